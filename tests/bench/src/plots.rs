//! Bar charts of what was found, as SVG.

use std::path::Path;

use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use crate::get_page;
use crate::report::Report;

const SIZE: (u32, u32) = (860, 340);
const VARVE: RGBColor = RGBColor(0x1f, 0x77, 0xb4);
const STOCK: RGBColor = RGBColor(0xb0, 0xb0, 0xb0);
const SHADES: [RGBColor; 3] = [RGBColor(0x12, 0x4a, 0x70), VARVE, RGBColor(0x9e, 0xc9, 0xe6)];
const FONT: &str = "sans-serif";

struct Bar {
    label: String,
    value: f64,
    color: RGBColor,
}

struct Panel {
    title: String,
    /// Bars that stand together, with what is written below them.
    groups: Vec<(String, Vec<Bar>)>,
}

/// The names of the files.
pub fn draw(report: &Report, directory: &Path) -> Vec<String> {
    let pictures = [
        (
            "benchmarks-pgbench.svg",
            "transactions a second: Varve (blue), stock PostgreSQL (grey)",
            pgbench(report),
        ),
        ("benchmarks-getpage.svg", "pages a second from the pageserver, by records a page", pages(report)),
    ];
    let mut drawn = Vec::new();
    for (file, title, panels) in pictures {
        if !panels.is_empty() {
            let done = draw_one(&directory.join(file), title, &panels);
            done.unwrap_or_else(|error| panic!("cannot draw {file}: {error}"));
            drawn.push(file.to_owned());
        }
    }
    drawn
}

fn pgbench(report: &Report) -> Vec<Panel> {
    let mut panels: Vec<Panel> = Vec::new();
    for workload in ["tpcb", "insert", "select"] {
        let of_workload = report.findings_of(workload).filter_map(|measurement| {
            let stock = measurement.stock?;
            let clients = measurement.name.split('-').nth(1)?;
            let bar = |value: f64, color| Bar { label: thousands(value), value, color };
            Some((counted(clients, "client"), vec![bar(measurement.varve, VARVE), bar(stock, STOCK)]))
        });
        let groups: Vec<_> = of_workload.collect();
        if !groups.is_empty() {
            panels.push(Panel { title: workload.to_owned(), groups });
        }
    }
    panels
}

fn pages(report: &Report) -> Vec<Panel> {
    let mut groups = Vec::new();
    for connections in get_page::CONNECTIONS {
        let kinds = [("image", "image"), ("10-records", "10"), ("100-records", "100")];
        let bars: Vec<Bar> = kinds
            .iter()
            .zip(SHADES)
            .filter_map(|((what, short), color)| {
                let value = report.measured(&get_page::name_of(what, connections))?.varve;
                Some(Bar { label: format!("{short}: {}", thousands(value)), value, color })
            })
            .collect();
        if !bars.is_empty() {
            groups.push((counted(&connections.to_string(), "connection"), bars));
        }
    }
    if groups.is_empty() { Vec::new() } else { vec![Panel { title: String::new(), groups }] }
}

fn counted(number: &str, what: &str) -> String {
    format!("{number} {what}{}", if number == "1" { "" } else { "s" })
}

fn thousands(value: f64) -> String {
    if value >= 10_000.0 { format!("{:.0}k", value / 1000.0) } else { format!("{value:.0}") }
}

type Drawing<T> = Result<T, Box<dyn std::error::Error>>;

fn draw_one(file: &Path, title: &str, panels: &[Panel]) -> Drawing<()> {
    let root = SVGBackend::new(file, SIZE).into_drawing_area();
    root.fill(&WHITE)?;
    let root = root.titled(title, (FONT, 17))?;
    for (area, panel) in root.split_evenly((1, panels.len())).iter().zip(panels) {
        draw_panel(area, panel)?;
    }
    root.present()?;
    Ok(())
}

fn draw_panel(area: &DrawingArea<SVGBackend<'_>, plotters::coord::Shift>, panel: &Panel) -> Drawing<()> {
    let highest = panel.groups.iter().flat_map(|(_, bars)| bars).map(|bar| bar.value).fold(0.0, f64::max);
    let width = panel.groups.len() as f64;
    let mut chart = ChartBuilder::on(area)
        .caption(&panel.title, (FONT, 15))
        .margin(12)
        .x_label_area_size(26)
        .build_cartesian_2d(0.0..width, 0.0..highest * 1.12)?;
    chart.configure_mesh().disable_mesh().disable_axes().draw()?;
    let small = TextStyle::from((FONT, 12)).color(&RGBColor(0x40, 0x40, 0x40));
    let above = small.pos(Pos::new(HPos::Center, VPos::Bottom));
    let below = small.pos(Pos::new(HPos::Center, VPos::Top));
    for (number, (label, bars)) in panel.groups.iter().enumerate() {
        let left = number as f64 + 0.1;
        let bar_width = 0.8 / bars.len() as f64;
        for (position, bar) in bars.iter().enumerate() {
            let from = left + bar_width * position as f64;
            let to = from + bar_width * 0.92;
            let middle = f64::midpoint(from, to);
            chart.draw_series([
                Rectangle::new([(from, 0.0), (to, bar.value)], bar.color.filled()).into_dyn(),
                Text::new(bar.label.clone(), (middle, bar.value + highest * 0.015), above.clone()).into_dyn(),
            ])?;
        }
        let place = chart.backend_coord(&(number as f64 + 0.5, 0.0));
        let (x, y) = area.get_base_pixel();
        area.draw(&Text::new(label.clone(), (place.0 - x, place.1 - y + 8), below.clone()))?;
    }
    Ok(())
}

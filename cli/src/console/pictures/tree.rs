//! Branches over time: a line for each, from where it left another one to its head, hung up on that one.

use maud::{Markup, html};
use types::{Lsn, TimelineId};

use super::scale::Scale;
use crate::output::bytes;

/// One branch.
pub struct Twig {
    /// Empty: it has none.
    pub name: String,
    pub id: TimelineId,
    /// Index of the one that it left.
    pub parent: Option<usize>,
    pub start: Lsn,
    pub head: Lsn,
    pub left_at: Option<Lsn>,
    pub left_time: Option<String>,
    pub head_time: Option<String>,
    pub logical: Option<u64>,
    pub physical: u64,
    pub is_archived: bool,
}

impl Twig {
    pub fn label(&self) -> String {
        if self.name.is_empty() { self.id.to_string() } else { self.name.clone() }
    }

    fn in_words(&self) -> String {
        let mut text = self.label();
        if let Some(lsn) = self.left_at {
            text.push_str(&format!(", left at {lsn}"));
        }
        if let Some(time) = &self.left_time {
            text.push_str(&format!(" ({time})"));
        }
        text.push_str(&format!(", head {}", self.head));
        if let Some(time) = &self.head_time {
            text.push_str(&format!(" ({time})"));
        }
        text
    }
}

const ROW: f64 = 38.0;
const TOP: f64 = 20.0;
const LEFT: f64 = 12.0;
const WIDTH: f64 = 960.0;
/// For what stands behind a head.
const RIGHT: f64 = 250.0;
const GAP: f64 = 46.0;
/// Of a label, which is cut to it.
const LETTERS: usize = 26;

/// `twigs` each below the one that it left, as they are drawn.
pub fn tree(twigs: &[Twig], link: impl Fn(&Twig) -> String) -> Markup {
    let marks = twigs.iter().flat_map(|twig| [twig.left_at.unwrap_or(twig.start), twig.head]);
    let scale = Scale::new(marks, WIDTH - LEFT - RIGHT, GAP, |lsn: Lsn| lsn.0 as f64);
    let x = |lsn| LEFT + scale.at(lsn);
    let y = |at: usize| TOP + at as f64 * ROW;
    let height = TOP + twigs.len() as f64 * ROW;
    html! {
        div.scroll tabindex="0" role="region" aria-label="Branches over time" {
            svg.tree viewBox={ "0 0 " (WIDTH) " " (height) } width=(WIDTH) height=(height) role="group" aria-label={ (twigs.len()) " branches over time; the table below says the same" } {
                @for (at, twig) in twigs.iter().enumerate() {
                    @let (from, to, row) = (x(twig.left_at.unwrap_or(twig.start)), x(twig.head), y(at));
                    @if let Some(parent) = twig.parent {
                        path.fork d={ "M" (number(from)) " " (number(y(parent))) "V" (number(row - 8.0)) "q0 8 8 8" } {}
                        circle.point cx=(number(from)) cy=(number(y(parent))) r="3" {}
                    }
                    @let begin = if twig.parent.is_some() { from + 8.0 } else { from };
                    line.life.archived[twig.is_archived] x1=(number(begin)) y1=(number(row)) x2=(number(to.max(begin + 4.0))) y2=(number(row)) {}
                    a href=(link(twig)) aria-label=(twig.in_words()) {
                        title { (twig.in_words()) }
                        circle.head.archived[twig.is_archived] cx=(number(to.max(begin + 4.0))) cy=(number(row)) r="6" {}
                        text.name x=(number(to.max(begin + 4.0) + 14.0)) y=(number(row - 1.0)) { (cut(&twig.label())) @if twig.is_archived { " (archived)" } }
                        text.small x=(number(to.max(begin + 4.0) + 14.0)) y=(number(row + 13.0)) { (twig.head) @if let Some(size) = twig.logical { " · " (bytes(size)) } }
                    }
                }
            }
        }
    }
}

fn number(value: f64) -> String {
    format!("{value:.1}")
}

fn cut(label: &str) -> String {
    match label.char_indices().nth(LETTERS) {
        None => label.to_owned(),
        Some((end, _)) => format!("{}…", &label[..end]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn twig(name: &str, parent: Option<usize>, left_at: u64, head: u64) -> Twig {
        Twig {
            name: name.to_owned(),
            id: TimelineId([1; 16]),
            parent,
            start: Lsn(left_at),
            head: Lsn(head),
            left_at: parent.map(|_| Lsn(left_at)),
            left_time: None,
            head_time: None,
            logical: None,
            physical: 0,
            is_archived: false,
        }
    }

    #[test]
    fn every_branch_is_drawn_and_none_is_markup() {
        let twigs =
            [twig("main", None, 10, 900), twig("<script>", Some(0), 400, 500), twig("", Some(1), 450, 450)];
        let text = tree(&twigs, |twig| format!("/branch?branch={}", twig.name)).into_string();
        assert_eq!(text.matches("class=\"life\"").count(), 3, "{text}");
        assert_eq!(text.matches("class=\"fork\"").count(), 2, "{text}");
        assert!(!text.contains("<script") && text.contains("&lt;script&gt;"), "{text}");
        assert!(text.contains(&TimelineId([1; 16]).to_string()[..LETTERS]), "{text}");
    }

    #[test]
    fn a_branch_hangs_where_it_left() {
        let twigs = [twig("main", None, 0, 1000), twig("dev", Some(0), 500, 1000)];
        let text = tree(&twigs, |_| String::new()).into_string();
        let middle = number(LEFT + (WIDTH - LEFT - RIGHT) / 2.0);
        assert!(text.contains(&format!("cx=\"{middle}\" cy=\"{}\"", number(TOP))), "{middle}: {text}");
    }
}

//! A branch, beside the copy of a database; and a branch of much more, which must not take longer.

use std::time::{Duration, Instant};

use harness::block_on;
use pageserver_api::PageserverClient;

use crate::arguments::Arguments;
use crate::get_page::main_timeline;
use crate::ingest::wait_for_pageserver_within;
use crate::report::{Finding, Measurement, Report};
use crate::sides::{DATABASE, Side, Sides};
use crate::statistics::{median, percentile};
use crate::transactions::insert_lsn;

/// A copy takes so much longer that a few tell enough.
const COPIES: usize = 3;
/// For what one copy of the database has written.
const PATIENCE: Duration = Duration::from_secs(900);

pub fn measure(sides: &Sides, arguments: &Arguments, report: &mut Report) {
    come_to_rest(sides);
    let once = branches(sides, arguments, "branch");
    let stock: Vec<f64> =
        (0..COPIES.min(arguments.repetitions)).map(|number| copy_on_stock(sides, number)).collect();
    report.add(Finding::Measured(Measurement {
        name: "branch".to_owned(),
        unit: "ms",
        varve: median(&once),
        stock: Some(median(&stock)),
        note: format!("of {:.2} GB, {}", gigabytes(sides), spread(&once)),
    }));
    if arguments.copies > 0 {
        grow(sides, arguments.copies);
        let grown = branches(sides, arguments, "grown");
        report.add(Finding::Measured(Measurement {
            name: "branch-of-more".to_owned(),
            unit: "ms",
            varve: median(&grown),
            stock: None,
            note: format!(
                "of {:.2} GB, {}; {:.2} times as long as the one before",
                gigabytes(sides),
                spread(&grown),
                median(&grown) / median(&once)
            ),
        }));
        (1..=arguments.copies).for_each(|number| drop_copy(sides, Side::Varve, number));
    }
}

/// Milliseconds for each.
fn branches(sides: &Sides, arguments: &Arguments, name: &str) -> Vec<f64> {
    let branch = |number: usize| {
        let begun = Instant::now();
        sides.cluster.varve(&["timeline", "branch", "--branch-name", &format!("{name}-{number}")]);
        begun.elapsed().as_secs_f64() * 1000.0
    };
    (0..arguments.repetitions).map(branch).collect()
}

fn copy_on_stock(sides: &Sides, number: usize) -> f64 {
    let begun = Instant::now();
    let sql = format!("CREATE DATABASE copy_{number} TEMPLATE {DATABASE} STRATEGY FILE_COPY");
    sides.execute_in(Side::Stock, "postgres", &sql);
    let milliseconds = begun.elapsed().as_secs_f64() * 1000.0;
    drop_copy(sides, Side::Stock, number);
    milliseconds
}

/// Copies of the database, each of whose pages the pageserver has to take in: as compressed images, so that WAL does
/// not fill the disk.
fn grow(sides: &Sides, copies: usize) {
    for number in 1..=copies {
        let sql = format!(
            "SET wal_compression = pglz; CREATE DATABASE copy_{number} TEMPLATE {DATABASE} STRATEGY WAL_LOG"
        );
        sides.execute_in(Side::Varve, "postgres", &sql);
        wait_for_pageserver_within(sides, insert_lsn(sides, Side::Varve), PATIENCE);
    }
    come_to_rest(sides);
}

fn drop_copy(sides: &Sides, side: Side, number: usize) {
    sides.execute_in(side, "postgres", &format!("DROP DATABASE copy_{number}"));
}

/// All is in layers, and these are merged: nothing of it goes on beside the branches.
fn come_to_rest(sides: &Sides) {
    wait_for_pageserver_within(sides, insert_lsn(sides, Side::Varve), PATIENCE);
    let main = main_timeline(sides);
    block_on(async {
        let client = client(sides);
        client.checkpoint(main.tenant_id, main.timeline_id).await.expect("a checkpoint");
        client.compact(main.tenant_id, main.timeline_id).await.expect("compaction");
    });
}

fn client(sides: &Sides) -> PageserverClient {
    PageserverClient::new(&sides.cluster.http_address("pageserver"), sides.cluster.credentials())
}

/// Of all databases: that is what a branch has.
fn gigabytes(sides: &Sides) -> f64 {
    let main = main_timeline(sides);
    let info = block_on(client(sides).timeline_with_size(main.tenant_id, main.timeline_id));
    info.expect("the timeline").current_logical_size.expect("a size, since it was asked for") as f64 / 1e9
}

fn spread(milliseconds: &[f64]) -> String {
    let [least, most] = [0.0, 1.0].map(|part| percentile(milliseconds, part));
    format!("{} times, {least:.0} to {most:.0} ms", milliseconds.len())
}

//! The whole benchmark, much too short to say anything: all its parts run, and what they find is written down.

use bench::{Arguments, Finding};
use clap::Parser as _;

#[test]
#[ignore = "minutes: cargo test --release -p bench -- --ignored"]
fn every_part_is_measured_and_written_down() {
    let documents = tempfile::tempdir().expect("a directory");
    let write = documents.path().display().to_string();
    let arguments = Arguments::parse_from([
        "bench",
        "--seconds=1",
        "--rounds=1",
        "--attempts=1",
        "--clients=2",
        "--scale=1",
        "--repetitions=2",
        "--copies=1",
        "--write",
        &write,
    ]);
    let report = bench::run(&arguments);

    let mut names = Vec::new();
    for finding in &report.findings {
        match finding {
            Finding::Measured(measurement) => {
                assert!(measurement.varve > 0.0, "{finding}");
                assert!(measurement.stock.is_none_or(|stock| stock > 0.0), "{finding}");
                names.push(measurement.name.as_str());
            }
            Finding::NoResult { name, .. } => names.push(name),
        }
    }
    let expected = [
        "tpcb-2-clients",
        "insert-2-clients",
        "select-2-clients",
        "commit-p50",
        "ingest-pgbench",
        "ingest-bulk-insert",
        "redo-pgbench",
        "redo-bulk-insert",
        "redo-chain-heap",
        "redo-chain-btree",
        "getpage-image-16-connections",
        "getpage-100-records-1-connections",
        "storage-written-for-wal",
        "storage-kept-for-data",
        "storage-compaction",
        "storage-requests",
        "neighbour-p50",
        "neighbour-p99",
        "branch",
        "branch-of-more",
        "cold-start",
        "warm-start",
    ];
    for name in expected {
        assert!(names.contains(&name), "{name} is missing among {names:?}");
    }
    // That many records, and not a few of another kind more.
    for (name, records) in [("image", 1.0), ("10-records", 11.0), ("100-records", 101.0)] {
        let measured = report.measured(&format!("getpage-{name}-1-connections")).expect("a measurement");
        let said: f64 =
            measured.note.split([',', ' ']).rev().nth(4).and_then(|said| said.parse().ok()).expect("records");
        assert!((records..=records * 1.3).contains(&said), "{}", measured.note);
    }
    let text = std::fs::read_to_string(documents.path().join("benchmarks.md")).expect("the page");
    for name in names {
        assert!(text.contains(&format!("| {name} |")), "{name} is missing in\n{text}");
    }
    let picture = std::fs::read_to_string(documents.path().join("pictures/benchmarks-getpage.svg"));
    assert!(picture.expect("a picture").contains("16 connections"));
}

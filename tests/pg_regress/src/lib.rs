//! PostgreSQL's own suites on an endpoint, against a stock server with the same catalogs and settings: every file of
//! results must be the same, byte by byte, but for the differences that docs/compatibility.md lists.
//!
//! How many tests fail against the output that the suites expect is only counted: their release is the one that
//! the distribution has sources of, which may be older than the server.
#![cfg(test)]

mod afterwards;
mod choice;
mod compare;
mod configuration;
mod dump;
mod listed;
mod matrix;
mod report;
mod schedule;
mod servers;
mod source;
mod suite;

use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};

use harness::pg_version;

use crate::choice::Group;
use crate::configuration::SERIAL;
use crate::matrix::{Afterwards, Tally};

/// Less, and the comparison would say little.
const LEAST_TESTS: usize = 200;
const LEAST_EVICTIONS: u64 = 5_000;

/// A part of `make pg-regress` that every run of all tests has.
#[test]
fn the_suite_prints_on_an_endpoint_what_it_prints_on_stock() {
    let libraries = tempfile::tempdir().expect("a directory");
    let suites = vec![choice::regression(&source::source(), true, libraries.path())];
    let group = Group { name: "regress", settings: vec![], suites };
    let (tally, cluster) = matrix::run(&SERIAL, &group, libraries.path(), Afterwards::Left);
    let activity = cluster.cache_activity();
    let storage = |name: &str| cluster.metric("pageserver", &format!("pageserver_storage_{name}"));
    let (compacted, collected) = (storage("compaction_seconds_count"), storage("collected_layers_total"));
    tell(&format!("pg-regress: {compacted} jobs of compaction, {collected} layers collected"));
    tell(&tally.last_line());
    assert!(tally.faults.is_empty(), "other results than stock PostgreSQL's: {:#?}", tally.faults);
    assert!(tally.tests >= LEAST_TESTS, "not the suite: {} tests", tally.tests);
    assert!(compacted > 20.0 && collected > 20.0, "too little of the pageserver's background work");
    assert!(activity.evicted_chunks.min(activity.refetched_blocks) >= LEAST_EVICTIONS, "{activity}");
}

/// Only suites whose name contains `SUITE`, only the configuration `CONFIGURATION`, if they are set.
#[test]
#[ignore = "hours: make pg-regress"]
fn all_suites_print_on_an_endpoint_what_they_print_on_stock() {
    let wanted = |variable: &str| std::env::var(variable).ok().filter(|value| !value.is_empty());
    let (only_suite, only_configuration) = (wanted("SUITE"), wanted("CONFIGURATION"));
    let libraries = tempfile::tempdir().expect("a directory");
    let mut tally = Tally::default();
    for configuration in configuration::ALL {
        if only_configuration.as_ref().is_some_and(|name| name != configuration.name) {
            continue;
        }
        let (groups, left_out) = choice::groups(configuration.is_serial, libraries.path());
        for suite in &left_out {
            tell(&format!("pg-regress: left out: {suite}"));
        }
        for mut group in groups {
            group.suites.retain(|suite| only_suite.as_ref().is_none_or(|name| suite.name.contains(name)));
            if group.suites.is_empty() {
                continue;
            }
            // Its end may find that pages went wrong in its cache.
            let ran = catch_unwind(AssertUnwindSafe(|| {
                matrix::run(&configuration, &group, libraries.path(), Afterwards::Checked).0
            }));
            tally.add(ran.unwrap_or_else(|_| Tally {
                faults: vec![format!("{}-{}: it did not come to its end", configuration.name, group.name)],
                ..Tally::default()
            }));
        }
    }
    for fault in &tally.faults {
        tell(&format!("pg-regress: PG {}: FAILED {fault}", pg_version()));
    }
    tell(&tally.last_line());
    assert!(tally.faults.is_empty(), "{} faults", tally.faults.len());
    assert!(tally.tests > 0, "no such suite, or no such configuration");
}

/// Seen also when the test passes.
fn tell(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

//! PostgreSQL as the judge. A stock server of each version runs a mixed load with `wal_consistency_checking = all`;
//! our redo of its WAL must give every page as PostgreSQL left it. Each run leaves samples of real changes of every
//! kind, which are then mutilated: the answer must be a page or an error, never a panic.

use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;

use bytes::Bytes;
use page_redo::page::PageBytes;
use page_redo::{Change, apply};
use proptest::prelude::*;
use types::{BLCKSZ, Lsn, PgVersion};

const VERSIONS: [PgVersion; 2] = [PgVersion::V15, PgVersion::V17];

struct Sample {
    version: PgVersion,
    lsn: Lsn,
    change: Bytes,
    before: Box<PageBytes>,
    after: Box<PageBytes>,
}

/// More than the samples of all opcodes need.
const MAX_SIZE: usize = 64 << 20;

struct OracleRun {
    /// What it printed, its verdict in the last line.
    report: String,
    samples: Vec<u8>,
}

/// One run of a version for all tests of this file: it takes a minute.
fn oracle(version: PgVersion) -> &'static OracleRun {
    static RUNS: [OnceLock<OracleRun>; VERSIONS.len()] = [const { OnceLock::new() }; VERSIONS.len()];
    let at = VERSIONS.iter().position(|other| *other == version).expect("a version that is judged");
    RUNS[at].get_or_init(|| {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("samples.zst");
        let mut command = Command::new(root.join("tests/redo_oracle/run.sh"));
        command.args(["--pg", &version.to_string(), "--count", "--pgbench", "3", "--samples"]).arg(&file);
        if !cfg!(debug_assertions) {
            command.arg("--release");
        }
        let output = command.output().expect("run.sh runs");
        let report = String::from_utf8_lossy(&output.stdout).into_owned();
        let complaints = String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.success(),
            "the oracle of {version}: {}\n{report}\n{complaints}",
            output.status
        );
        let compressed = std::fs::read(&file).expect("the samples");
        let samples = zstd::bulk::decompress(&compressed, MAX_SIZE).expect("samples are zstd");
        OracleRun { report, samples }
    })
}

fn samples() -> Vec<Sample> {
    VERSIONS.into_iter().flat_map(samples_of).collect()
}

fn samples_of(version: PgVersion) -> Vec<Sample> {
    let bytes = &oracle(version).samples;
    let mut rest = bytes.as_slice();
    let mut take = |count: usize| {
        let (taken, behind) = rest.split_at(count);
        rest = behind;
        (taken, behind.is_empty())
    };
    let mut samples = Vec::new();
    loop {
        let lsn = Lsn(u64::from_le_bytes(take(8).0.try_into().unwrap()));
        let length = u32::from_le_bytes(take(4).0.try_into().unwrap());
        let change = Bytes::copy_from_slice(take(length as usize).0);
        let before: Box<PageBytes> = Box::new(take(BLCKSZ).0.try_into().unwrap());
        let (after, last) = take(BLCKSZ);
        samples.push(Sample { version, lsn, change, before, after: Box::new(after.try_into().unwrap()) });
        if last {
            return samples;
        }
    }
}

#[test]
fn postgres_15_agrees_with_every_page() {
    postgres_agrees_with_every_page(PgVersion::V15);
}

#[test]
fn postgres_17_agrees_with_every_page() {
    postgres_agrees_with_every_page(PgVersion::V17);
}

fn postgres_agrees_with_every_page(version: PgVersion) {
    let report = &oracle(version).report;
    let verdict = report.lines().last().unwrap_or_default();
    let count = |what: &str| {
        let words: Vec<&str> = verdict.split([' ', ',']).filter(|word| !word.is_empty()).collect();
        let at = words.iter().position(|word| *word == what);
        at.and_then(|at| words[at - 1].parse::<u64>().ok())
            .unwrap_or_else(|| panic!("no {what} in {verdict:?}"))
    };
    assert!(count("records") > 1_500_000, "{report}");
    assert_eq!(count("mismatches"), 0, "{report}");
    // With checksums only; after a crash only: `make redo-oracle` sees them.
    let rare = ["XLOG FPI_FOR_HINT", "XLOG OVERWRITE_CONTRECORD"];
    let unseen = report.lines().find_map(|line| line.strip_prefix("opcodes never seen: ")).expect("a list");
    let missing: Vec<&str> = unseen.split(", ").filter(|name| !rare.contains(name)).collect();
    assert!(missing.is_empty() || unseen == "none", "{missing:?} were never seen\n{report}");
    // What the stopped cluster had.
    for what in ["pages", "pages of SLRUs", "relation sizes", "relation maps", "counters in pg_control"] {
        assert!(report.contains(&format!("at rest: {what}: ")), "{report}");
    }
}

#[test]
fn every_sample_gives_its_page() {
    let samples = samples();
    assert!(samples.len() > 200, "only {} samples", samples.len());
    for Sample { version, lsn, change, mut before, after } in samples {
        let change = Change::decode(&change).unwrap();
        apply(&mut before, &change, lsn, version).unwrap_or_else(|error| panic!("{error}"));
        let differs = before.iter().zip(after.iter()).position(|(ours, expected)| ours != expected);
        assert_eq!(differs, None, "{change:?}");
    }
}

#[test]
fn a_second_application_changes_nothing() {
    for Sample { version, lsn, change, after, .. } in samples() {
        let mut page = after.clone();
        let change = Change::decode(&change).unwrap();
        apply(&mut page, &change, lsn, version).unwrap();
        assert!(page == after, "{change:?}");
    }
}

/// A place from 0 to 1 in the bytes, and what to put there.
fn edits() -> impl Strategy<Value = Vec<(f64, u8)>> {
    prop::collection::vec((0.0..1.0f64, any::<u8>()), 0..6)
}

fn edit(bytes: &mut [u8], edits: &[(f64, u8)]) {
    for (place, value) in edits {
        let at = (place * bytes.len() as f64) as usize;
        if let Some(byte) = bytes.get_mut(at) {
            *byte = *value;
        }
    }
}

#[test]
fn mutilated_changes_and_pages_give_an_answer() {
    let samples = samples();
    let any_sample = 0..samples.len();
    // Header, line pointers and special space are where a wrong byte does most.
    let header_edits = prop::collection::vec((0usize..120, any::<u8>()), 0..4);
    let config = ProptestConfig { cases: 20_000, failure_persistence: None, ..ProptestConfig::default() };
    let cut = 0.0..1.5f64;
    proptest!(config, |(which in any_sample, change_edits in edits(), page_edits in edits(),
                        header_edits in header_edits, other in 0..samples.len(), swap in any::<bool>(), cut in cut)| {
        let sample = &samples[which];
        let mut change = sample.change.to_vec();
        edit(&mut change, &change_edits);
        if cut < 1.0 && change_edits.len() == 1 {
            change.truncate((cut * change.len() as f64) as usize);
        }
        // A page of another kind altogether, now and then.
        let mut page = if swap { samples[other].before.clone() } else { sample.before.clone() };
        // Older than the change, or it would be skipped.
        page[..8].fill(0);
        edit(&mut page[..], &page_edits);
        for (at, value) in &header_edits {
            page[*at] = *value;
        }
        if let Ok(change) = Change::decode(&change) {
            let _ = apply(&mut page, &change, sample.lsn, sample.version);
        }
    });
}

//! Real changes of every kind (written by the oracle): applied they give the page that PostgreSQL confirmed,
//! and however they or their pages are mutilated, the answer is a page or an error, never a panic.

use bytes::Bytes;
use page_redo::page::PageBytes;
use page_redo::{Change, apply};
use proptest::prelude::*;
use types::{BLCKSZ, Lsn, PgVersion};

struct Sample {
    lsn: Lsn,
    change: Bytes,
    before: Box<PageBytes>,
    after: Box<PageBytes>,
}

const COMPRESSED: &[u8] = include_bytes!("samples.zst");
/// More than the samples of all opcodes need.
const MAX_SIZE: usize = 64 << 20;

fn samples() -> Vec<Sample> {
    let bytes = zstd::bulk::decompress(COMPRESSED, MAX_SIZE).expect("samples.zst is zstd");
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
        samples.push(Sample { lsn, change, before, after: Box::new(after.try_into().unwrap()) });
        if last {
            return samples;
        }
    }
}

#[test]
fn every_sample_gives_its_page() {
    let samples = samples();
    assert!(samples.len() > 100, "only {} samples", samples.len());
    for Sample { lsn, change, mut before, after } in samples {
        let change = Change::decode(&change).unwrap();
        apply(&mut before, &change, lsn, PgVersion::V15).unwrap_or_else(|error| panic!("{error}"));
        let differs = before.iter().zip(after.iter()).position(|(ours, expected)| ours != expected);
        assert_eq!(differs, None, "{change:?}");
    }
}

#[test]
fn a_second_application_changes_nothing() {
    for Sample { lsn, change, after, .. } in samples() {
        let mut page = after.clone();
        let change = Change::decode(&change).unwrap();
        apply(&mut page, &change, lsn, PgVersion::V15).unwrap();
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
            let _ = apply(&mut page, &change, sample.lsn, PgVersion::V15);
        }
    });
}

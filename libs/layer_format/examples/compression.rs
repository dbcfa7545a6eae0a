//! What the ways of compressing blocks cost on real pages, of files that PostgreSQL has written: bytes, and the time to
//! write an image layer and to read all of it. FORMAT.md has what it said.
//!
//! ```text
//! cargo run --release -p layer_format --example compression -- DATA/base/5/*
//! ```
#![allow(clippy::print_stdout, reason = "the output of a command")]

use std::time::Instant;

use bytes::Bytes;
use layer_format::{Compression, Identity, LayerName, LayerReader, LayerWriter, Value};
use types::{BLCKSZ, Fork, Key, Lsn, RelTag, TenantId, TenantTimelineId, TimelineId};

/// Rounds, of which the fastest counts: other work on the machine only makes them slower.
const ROUNDS: usize = 7;
const LSN: Lsn = Lsn(100);

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let rel = RelTag { spc: 1663, db: 5, rel: 16384, fork: Fork::Main };
    let mut pages = Vec::new();
    for file in std::env::args().skip(1) {
        let bytes = Bytes::from(std::fs::read(file)?);
        let whole = (0..bytes.len() / BLCKSZ).map(|page| bytes.slice(page * BLCKSZ..(page + 1) * BLCKSZ));
        pages.extend(whole.filter(|page| page.iter().any(|byte| *byte != 0)));
    }
    let timeline = TenantTimelineId::new(TenantId([7; 16]), TimelineId([9; 16]));
    let identity = Identity { timeline, name: LayerName::image(Key::MIN..Key::MAX, LSN) };
    let megabytes = (pages.len() * BLCKSZ) as f64 / 1e6;
    println!("{megabytes:.0} MB of pages");
    let all = [Compression::None, Compression::Lz4, Compression::Zstd(1), Compression::Zstd(3)];
    let mut best = all.map(|_| (f64::INFINITY, f64::INFINITY, 0));
    for _ in 0..ROUNDS {
        // In turns, so that all of them meet the same machine.
        for (compression, (write, read, length)) in all.into_iter().zip(&mut best) {
            let begun = Instant::now();
            let mut writer = LayerWriter::new(Vec::new(), identity.clone(), compression)?;
            for (block, page) in (0..).zip(&pages) {
                writer.put(Key::rel_block(rel, block), LSN, &Value::Image(page.clone()))?;
            }
            let (bytes, summary) = writer.finish()?;
            *write = write.min(begun.elapsed().as_secs_f64());
            *length = summary.file_length;
            let begun = Instant::now();
            let reader = LayerReader::open(Bytes::from(bytes), "layer", &identity)?;
            let mut entries = 0;
            for entry in reader.entries_in(Key::MIN..Key::MAX) {
                entry?;
                entries += 1;
            }
            assert_eq!(entries, pages.len());
            *read = read.min(begun.elapsed().as_secs_f64());
        }
    }
    for (compression, (write, read, length)) in all.into_iter().zip(best) {
        println!(
            "{:<8} {:>5.1} % of the bytes, written at {:>5.0} MB/s, read at {:>5.0} MB/s",
            format!("{compression:?}"),
            length as f64 / megabytes / 1e4,
            megabytes / write,
            megabytes / read
        );
    }
    Ok(())
}

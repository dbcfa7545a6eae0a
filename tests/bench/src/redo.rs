//! Page redo itself, on one core: WAL decoded and applied to pages in memory, beside PostgreSQL's crash recovery of
//! that very WAL. What counts on both sides is CPU time, since a disk may be in the way of one of them.
//!
//! Ours begins where recovery begins, with the files as the crash left them, reads each page once, and keeps all
//! of them; PostgreSQL reads into its buffers and writes out what it must.

use std::collections::HashMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Instant;

use page_redo::page::PageBytes;
use page_redo::{BlockChange, Change, apply, slru_changes, vm_clears};
use pg_format::{ControlFile, rmgr};
use types::{BLCKSZ, Fork, Lsn, PgVersion, RELSEG_BLOCKS, RelTag};
use wal_decoder::{DecodedBlock, DecodedRecord, WalStreamDecoder};

use crate::arguments::Arguments;
use crate::ingest::{self, MEGABYTE};
use crate::pgbench::{self, Length, Workload};
use crate::report::{Finding, Measurement, Report};
use crate::sides::{Side, Sides};
use crate::statistics::median;

/// Changes in a chain, and how often one is applied.
const CHAIN: usize = 100;
const REPETITIONS: usize = 501;

pub fn measure(sides: &Sides, arguments: &Arguments, report: &mut Report) {
    ingest::prepare(sides);
    let transactions = 400 * arguments.seconds;
    let rows = 100_000 * arguments.seconds;
    sides.execute(
        Side::Stock,
        "CREATE TABLE IF NOT EXISTS keys (id bigint PRIMARY KEY, note text); TRUNCATE keys",
    );
    let bulk = format!("INSERT INTO keys SELECT n, repeat('x', 60) FROM generate_series(1, {rows}) n");
    let mut chains = Chains::default();
    let works: [(&str, &dyn Fn()); 2] = [
        ("redo-pgbench", &|| {
            let clients = ingest::CLIENTS;
            let connstr = sides.connstr(Side::Stock);
            pgbench::bench(&connstr, Workload::TpcB, clients, Length::Transactions(transactions));
        }),
        ("redo-bulk-insert", &|| sides.execute(Side::Stock, &bulk)),
    ];
    for (name, work) in works {
        sides.execute(Side::Stock, "CHECKPOINT");
        work();
        sides.stock.crash();
        chains.begun.clear();
        let replayed = Replay::new(&sides.stock.data()).run(&mut chains);
        let log_before = sides.stock.log().len();
        sides.stock.run();
        let log = sides.stock.log();
        sides.stock.wait_for_receivers();
        let said = &log[log_before..];
        let stock = recovery_rate(said)
            .unwrap_or_else(|| panic!("the server does not say what its recovery cost:\n{said}"));
        let note = format!(
            "per second of CPU; {:.0} MB of WAL, {:.0} thousand records a second",
            replayed.megabytes,
            replayed.records / replayed.cpu_seconds / 1000.0
        );
        report.add(Finding::Measured(Measurement {
            name: name.to_owned(),
            unit: "MB/s",
            varve: replayed.megabytes / replayed.cpu_seconds,
            stock: Some(stock),
            note,
        }));
    }
    for (name, rmid) in [("redo-chain-heap", rmgr::HEAP), ("redo-chain-btree", rmgr::BTREE)] {
        let Some(chain) = chains.done.get(&rmid) else {
            let reason = format!("no page was changed {CHAIN} times");
            report.add(Finding::NoResult { name: name.to_owned(), reason });
            continue;
        };
        report.add(Finding::Measured(Measurement {
            name: name.to_owned(),
            unit: "µs",
            varve: chain.microseconds(),
            stock: None,
            note: format!("{CHAIN} records of one page, read from their stored form and applied"),
        }));
    }
    sides.execute(Side::Stock, "DROP TABLE keys; ALTER SYSTEM RESET ALL; SELECT pg_reload_conf()");
}

/// A page, and what changes it from there on.
struct Chain {
    version: PgVersion,
    page: Box<PageBytes>,
    changes: Vec<(bytes::Bytes, Lsn)>,
}

impl Chain {
    /// Median of many applications.
    fn microseconds(&self) -> f64 {
        let once = || {
            let mut page = self.page.clone();
            let begun = Instant::now();
            for (bytes, lsn) in &self.changes {
                let change = Change::decode_shared(bytes.clone()).expect("it was encoded");
                apply(&mut page, &change, *lsn, self.version).expect("it was applied before");
            }
            std::hint::black_box(&page);
            begun.elapsed().as_secs_f64() * 1e6
        };
        median(&(0..REPETITIONS).map(|_| once()).collect::<Vec<_>>())
    }
}

/// The first chain that is long enough, of each resource manager.
#[derive(Default)]
struct Chains {
    begun: HashMap<(u8, RelTag, u32), Chain>,
    done: HashMap<u8, Chain>,
}

impl Chains {
    /// So many are followed at a time.
    const FOLLOWED: usize = 64;

    fn offer(
        &mut self,
        rmid: u8,
        block: &DecodedBlock,
        change: &Change,
        end: (PgVersion, Lsn),
        page: &PageBytes,
    ) {
        let (version, lsn) = end;
        let rel = block.rel;
        let rmid = match rmid {
            rmgr::HEAP | rmgr::HEAP2 => rmgr::HEAP,
            rmgr::BTREE => rmgr::BTREE,
            // A chain has all changes of its page, or none after this one.
            _ => {
                for rmid in [rmgr::HEAP, rmgr::BTREE] {
                    self.begun.remove(&(rmid, rel, block.blkno));
                }
                return;
            }
        };
        if self.done.contains_key(&rmid) || rel.fork != Fork::Main {
            return;
        }
        let key = (rmid, rel, block.blkno);
        if change.will_init() {
            self.begun.remove(&key);
            return;
        }
        if self.begun.len() >= Chains::FOLLOWED && !self.begun.contains_key(&key) {
            return;
        }
        let chain = self.begun.entry(key).or_insert_with(|| Chain {
            version,
            page: Box::new(*page),
            changes: Vec::with_capacity(CHAIN),
        });
        chain.changes.push((change.encode(), lsn));
        if chain.changes.len() == CHAIN
            && let Some(chain) = self.begun.remove(&key)
        {
            self.done.insert(rmid, chain);
        }
    }
}

struct Replayed {
    megabytes: f64,
    records: f64,
    cpu_seconds: f64,
}

/// A crashed data directory, read only.
struct Replay {
    directory: PathBuf,
    control: ControlFile,
    relations: HashMap<RelTag, Relation>,
    slrus: HashMap<(types::SlruKind, u32, u32), Box<PageBytes>>,
}

impl Replay {
    fn new(directory: &Path) -> Replay {
        let bytes = std::fs::read(directory.join("global/pg_control")).expect("pg_control");
        let control = ControlFile::decode(&bytes).expect("pg_control");
        Replay { directory: directory.to_owned(), control, relations: HashMap::new(), slrus: HashMap::new() }
    }

    fn run(mut self, chains: &mut Chains) -> Replayed {
        let version = self.control.version;
        let (start, size) = (self.control.checkpoint_copy.redo, self.control.wal_segment_size);
        let mut decoder = WalStreamDecoder::new(start, version, size);
        let mut skip = start.segment_offset(size.bytes()) as usize;
        let (mut records, mut end) = (0, start);
        let begun = cpu_seconds();
        'segments: for number in start.segment_number(size.bytes()).. {
            let path = self.directory.join("pg_wal").join(size.file_name(1, number));
            let Ok(segment) = std::fs::read(&path) else { break };
            decoder.feed(&segment[skip..]);
            skip = 0;
            loop {
                match decoder.next_record() {
                    Ok(Some(record)) => {
                        let decoded = wal_decoder::decode(&record, version).expect("a record of the server");
                        self.record(&decoded, chains);
                        records += 1;
                        end = decoded.end_lsn;
                    }
                    Ok(None) => break,
                    // What is behind the last record, as in recovery.
                    Err(_) => break 'segments,
                }
            }
        }
        Replayed {
            megabytes: (end - start) as f64 / MEGABYTE,
            records: f64::from(records),
            cpu_seconds: cpu_seconds() - begun,
        }
    }

    fn record(&mut self, record: &DecodedRecord, chains: &mut Chains) {
        let (lsn, version) = (record.end_lsn, self.control.version);
        for (index, block) in record.blocks.iter().enumerate() {
            let change = Change::Postgres(BlockChange::from_record(record, index));
            let page = self.page(block.rel, block.blkno);
            chains.offer(record.header.rmid, block, &change, (version, lsn), page);
            apply(page, &change, lsn, version).expect("a record of the server");
        }
        for (rel, block, change) in vm_clears(record).expect("a record of the server") {
            let page = self.page(rel, block);
            apply(page, &Change::Native(change), lsn, version).expect("a record of the server");
        }
        for (kind, segment, block, change) in slru_changes(record, version).expect("a record of the server") {
            let page = self.slrus.entry((kind, segment, block)).or_insert_with(|| Box::new([0; BLCKSZ]));
            apply(page, &Change::Native(change), lsn, version).expect("a record of the server");
        }
    }

    fn page(&mut self, rel: RelTag, block: u32) -> &mut PageBytes {
        let relation = self.relations.entry(rel).or_insert_with(|| Relation::new(&self.directory, rel));
        relation.page(block)
    }
}

/// A fork of a relation: its files, open once they were needed, and the pages that were touched.
struct Relation {
    path: PathBuf,
    files: Vec<Option<File>>,
    pages: Vec<Option<Box<PageBytes>>>,
}

impl Relation {
    fn new(directory: &Path, rel: RelTag) -> Relation {
        let name = format!("{}{}", rel.rel, rel.fork.file_suffix());
        let parent = if rel.db == 0 { "global".to_owned() } else { format!("base/{}", rel.db) };
        Relation { path: directory.join(parent).join(name), files: Vec::new(), pages: Vec::new() }
    }

    fn page(&mut self, block: u32) -> &mut PageBytes {
        let at = block as usize;
        if at >= self.pages.len() {
            self.pages.resize_with(at + 1, || None);
        }
        if self.pages[at].is_none() {
            self.pages[at] = Some(self.read(block));
        }
        self.pages[at].as_mut().expect("it was put there")
    }

    /// Zeros where the file does not reach.
    fn read(&mut self, block: u32) -> Box<PageBytes> {
        let segment = block / RELSEG_BLOCKS;
        while self.files.len() <= segment as usize {
            let mut path = self.path.clone();
            if !self.files.is_empty() {
                path.set_extension(self.files.len().to_string());
            }
            self.files.push(File::open(path).ok());
        }
        let mut page = Box::new([0; BLCKSZ]);
        if let Some(file) = &self.files[segment as usize] {
            // A file that ends before the block leaves it as it is.
            let _ = file.read_exact_at(&mut page[..], u64::from(block % RELSEG_BLOCKS) * BLCKSZ as u64);
        }
        page
    }
}

/// User and system time of this thread.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").expect("schedstat");
    let nanoseconds = stat.split_ascii_whitespace().next().and_then(|text| text.parse::<f64>().ok());
    nanoseconds.expect("nanoseconds on the CPU") / 1e9
}

/// MB for each second of CPU, as PostgreSQL itself says it.
fn recovery_rate(log: &str) -> Option<f64> {
    let after = |text: &str| {
        let rest = log.split_once(text)?.1;
        rest.split([' ', '\n']).next().map(str::to_owned)
    };
    let start: Lsn = after("redo starts at ")?.parse().ok()?;
    let end: Lsn = after("redo done at ")?.parse().ok()?;
    let user: f64 = after("CPU: user: ")?.parse().ok()?;
    let system: f64 = after("system: ")?.parse().ok()?;
    (user + system > 0.0).then(|| (end - start) as f64 / MEGABYTE / (user + system))
}

#[cfg(test)]
mod tests {
    use super::recovery_rate;

    #[test]
    fn the_cost_of_a_recovery_is_read_from_the_log() {
        let log = "LOG:  redo starts at 0/1000000\nLOG:  redo done at 0/2312D00 system usage: CPU: user: 0.10 s, system: 0.02 s, elapsed: 0.20 s\n";
        let rate = recovery_rate(log).expect("a rate");
        assert!((rate - f64::from(0x131_2D00) / 1e6 / 0.12).abs() < 1e-6, "{rate}");
        assert_eq!(recovery_rate("LOG:  database system is ready"), None);
    }
}

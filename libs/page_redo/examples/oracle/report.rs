//! What was seen, compared and found different, by resource manager and opcode.

use std::collections::BTreeMap;
use std::fmt::Write;

use anyhow::{Context, bail};
use types::{Lsn, PgVersion};

use crate::names;

#[derive(Default)]
pub struct Line {
    pub records: u64,
    /// Block references.
    pub blocks: u64,
    /// Blocks that were changed by redo (not by a full-page image).
    pub applied: u64,
    pub compared: u64,
    pub different: u64,
    pub failed: u64,
    pub unsupported: u64,
}

impl Line {
    const FIELDS: usize = 7;

    fn fields(&mut self) -> [&mut u64; Line::FIELDS] {
        [
            &mut self.records,
            &mut self.blocks,
            &mut self.applied,
            &mut self.compared,
            &mut self.different,
            &mut self.failed,
            &mut self.unsupported,
        ]
    }
}

/// Of one kind of thing that the stopped cluster has: how many were compared, and how many differ.
#[derive(Default)]
pub struct AtRest {
    pub compared: u64,
    pub different: u64,
}

pub struct Report {
    pub version: PgVersion,
    pub lines: BTreeMap<(u8, u8), Line>,
    /// Pages, files, maps and positions of the stopped cluster.
    pub at_rest: BTreeMap<String, AtRest>,
    /// What was read, up to the end of the last record.
    pub wal: Option<(Lsn, Lsn)>,
    pub implied_changes: u64,
    pub change_bytes: u64,
    pub apply_seconds: f64,
}

impl Report {
    pub fn new(version: PgVersion) -> Report {
        Report {
            version,
            lines: BTreeMap::new(),
            at_rest: BTreeMap::new(),
            wal: None,
            implied_changes: 0,
            change_bytes: 0,
            apply_seconds: 0.0,
        }
    }

    pub fn line(&mut self, rmid: u8, info: u8) -> &mut Line {
        self.lines.entry((rmid, names::opcode_bits(rmid, info))).or_default()
    }

    pub fn at_rest(&mut self, what: &str, same: bool) {
        let count = self.at_rest.entry(what.to_owned()).or_default();
        count.compared += 1;
        count.different += u64::from(!same);
    }

    fn sum(&self, of: impl Fn(&Line) -> u64) -> u64 {
        self.lines.values().map(of).sum()
    }

    /// Counts of one run, a line for each; the first is for the comparison with pg_waldump.
    ///
    /// ```text
    /// wal START END records blocks check-images
    /// version MAJOR
    /// opcode RMID INFO records blocks applied compared different failed unsupported
    /// rest COMPARED DIFFERENT what
    /// ```
    pub fn tally(&mut self) -> String {
        let (start, end) = self.wal.unwrap_or_default();
        let (records, blocks) = (self.sum(|line| line.records), self.sum(|line| line.blocks));
        let mut text = format!("wal {start} {end} {records} {blocks} {}\n", self.sum(|line| line.compared));
        writeln!(text, "version {}", self.version).expect("a string");
        for ((rmid, info), line) in &mut self.lines {
            let fields = line.fields().map(|field| field.to_string()).join(" ");
            writeln!(text, "opcode {rmid} {info} {fields}").expect("a string");
        }
        for (what, AtRest { compared, different }) in &self.at_rest {
            writeln!(text, "rest {compared} {different} {what}").expect("a string");
        }
        text
    }

    /// Adds the counts of another run.
    pub fn add(&mut self, tally: &str) -> anyhow::Result<()> {
        for text in tally.lines() {
            let mut words = text.splitn(4, ' ');
            let mut word = || words.next().with_context(|| format!("{text:?} ends early"));
            match word()? {
                "wal" => {}
                "version" => self.version = word()?.parse()?,
                "opcode" => {
                    let line = self.lines.entry((word()?.parse()?, word()?.parse()?)).or_default();
                    let counts: Vec<u64> = word()?.split(' ').map(str::parse).collect::<Result<_, _>>()?;
                    line.fields().into_iter().zip(counts).for_each(|(field, count)| *field += count);
                }
                "rest" => {
                    let (compared, different): (u64, u64) = (word()?.parse()?, word()?.parse()?);
                    let count = self.at_rest.entry(word()?.to_owned()).or_default();
                    count.compared += compared;
                    count.different += different;
                }
                other => bail!("a tally has no {other:?}"),
            }
        }
        Ok(())
    }

    /// Prints the table. True if all is well.
    pub fn print(&self) -> bool {
        println!(
            "{:<12} {:<22} {:>9} {:>9} {:>9} {:>9} {:>7} {:>11}",
            "rmgr", "opcode", "records", "applied", "compared", "different", "failed", "unsupported"
        );
        for ((rmid, info), line) in &self.lines {
            println!(
                "{:<12} {:<22} {:>9} {:>9} {:>9} {:>9} {:>7} {:>11}",
                page_redo::rmgr_name(*rmid),
                names::opcode(self.version, *rmid, *info),
                line.records,
                line.applied,
                line.compared,
                line.different,
                line.failed,
                line.unsupported
            );
        }
        let unseen = self.unseen();
        println!("opcodes never seen: {}", if unseen.is_empty() { "none".into() } else { unseen.join(", ") });
        for (what, AtRest { compared, different }) in &self.at_rest {
            println!("at rest: {what}: {compared} compared, {different} different");
        }
        let applied = self.sum(|line| line.applied);
        if self.apply_seconds > 0.0 {
            println!("changes of maps and SLRUs that no block carries: {}", self.implied_changes);
            println!(
                "{applied} changes of {} bytes applied in {:.3} s ({:.0} ns each)",
                self.change_bytes,
                self.apply_seconds,
                self.apply_seconds * 1e9 / applied.max(1) as f64
            );
        }
        let wrong = self.sum(|line| line.different + line.failed + line.unsupported)
            + self.at_rest.values().map(|count| count.different).sum::<u64>();
        println!(
            "redo-oracle: PG {}: {} records, {} blocks compared, {wrong} mismatches, {} opcodes unseen",
            self.version,
            self.sum(|line| line.records),
            self.sum(|line| line.compared),
            unseen.len()
        );
        wrong == 0 && applied > 0
    }

    fn unseen(&self) -> Vec<String> {
        let all = names::all(self.version)
            .flat_map(|(rmid, opcodes)| opcodes.iter().map(move |(info, name)| (rmid, *info, name)));
        all.filter(|(rmid, info, _)| !self.lines.contains_key(&(*rmid, *info)))
            .map(|(rmid, _, name)| format!("{} {name}", page_redo::rmgr_name(rmid)))
            .collect()
    }
}

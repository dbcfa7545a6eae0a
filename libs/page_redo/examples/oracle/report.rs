//! What was seen, compared and found different, by resource manager and opcode.

use std::collections::BTreeMap;

use crate::names;

#[derive(Default)]
pub struct Line {
    pub records: u64,
    /// Blocks that were changed by redo (not by a full-page image).
    pub applied: u64,
    pub compared: u64,
    pub different: u64,
    pub failed: u64,
    pub unsupported: u64,
}

#[derive(Default)]
pub struct Report {
    pub lines: BTreeMap<(u8, u8), Line>,
    /// Pages of the stopped cluster that were compared, and those that differ.
    pub file_pages: u64,
    pub file_pages_different: u64,
    pub slru_pages: u64,
    pub slru_pages_different: u64,
    pub implied_changes: u64,
    pub change_bytes: u64,
    pub apply_seconds: f64,
}

impl Report {
    pub fn line(&mut self, rmid: u8, info: u8) -> &mut Line {
        self.lines.entry((rmid, info & 0xf0)).or_default()
    }

    fn sum(&self, of: impl Fn(&Line) -> u64) -> u64 {
        self.lines.values().map(of).sum()
    }

    /// Prints the table. True if all is well.
    pub fn print(&self) -> bool {
        println!(
            "{:<12} {:<22} {:>9} {:>9} {:>9} {:>9} {:>7} {:>11}",
            "rmgr", "opcode", "records", "applied", "compared", "different", "failed", "unsupported"
        );
        for ((rmid, info), line) in &self.lines {
            if line.applied + line.compared + line.failed + line.unsupported == 0 {
                continue;
            }
            println!(
                "{:<12} {:<22} {:>9} {:>9} {:>9} {:>9} {:>7} {:>11}",
                page_redo::rmgr_name(*rmid),
                names::opcode(*rmid, *info),
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
        println!("changes of maps and SLRUs that no block carries: {}", self.implied_changes);
        println!("pages at rest: {} compared, {} different", self.file_pages, self.file_pages_different);
        println!("SLRU pages at rest: {} compared, {} different", self.slru_pages, self.slru_pages_different);
        let applied = self.sum(|line| line.applied);
        println!(
            "{applied} changes of {} bytes applied in {:.3} s ({:.0} ns each)",
            self.change_bytes,
            self.apply_seconds,
            self.apply_seconds * 1e9 / applied.max(1) as f64
        );
        let wrong = self.sum(|line| line.different + line.failed + line.unsupported);
        println!(
            "redo-oracle: PG 15: {} records, {} blocks compared, {wrong} mismatches, {} opcodes unseen",
            self.sum(|line| line.records),
            self.sum(|line| line.compared),
            unseen.len()
        );
        wrong + self.file_pages_different + self.slru_pages_different == 0 && applied > 0
    }

    fn unseen(&self) -> Vec<String> {
        let all = names::ALL
            .iter()
            .flat_map(|(rmid, opcodes)| opcodes.iter().map(move |(info, name)| (rmid, info, name)));
        all.filter(|(rmid, info, _)| !self.lines.contains_key(&(**rmid, **info)))
            .map(|(rmid, _, name)| format!("{} {name}", page_redo::rmgr_name(*rmid)))
            .collect()
    }
}

//! The ledger: a client's own record of what was acknowledged, against what the database holds.
//!
//! Each write is one row with a number that is used once, in a table without any constraint, so that a
//! row that came twice is seen as twice. A write ends in one of three ways: acknowledged; refused, which
//! promises nothing here; or *unknown*, when the connection broke while its COMMIT was under way.

use std::collections::{BTreeMap, BTreeSet};

#[derive(Clone, Debug, Default)]
pub struct Ledger {
    acknowledged: BTreeSet<i64>,
    unknown: BTreeSet<i64>,
}

/// What the check found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    pub acknowledged: usize,
    pub unknown: usize,
    /// Acknowledged and not there.
    pub lost: Vec<i64>,
    /// There more than once.
    pub twice: Vec<i64>,
    /// There although nobody wrote it.
    pub invented: Vec<i64>,
}

impl Verdict {
    pub fn is_clean(&self) -> bool {
        self.lost.is_empty() && self.twice.is_empty() && self.invented.is_empty()
    }
}

impl Ledger {
    pub fn acknowledge(&mut self, number: i64) {
        self.unknown.remove(&number);
        self.acknowledged.insert(number);
    }

    pub fn lose_track_of(&mut self, number: i64) {
        self.unknown.insert(number);
    }

    pub fn acknowledged(&self) -> usize {
        self.acknowledged.len()
    }

    pub fn merge(&mut self, other: Ledger) {
        self.acknowledged.extend(other.acknowledged);
        self.unknown.extend(other.unknown);
    }

    /// Compares with the numbers found in the database, repeats included.
    pub fn check(&self, found: impl IntoIterator<Item = i64>) -> Verdict {
        let mut counts: BTreeMap<i64, usize> = BTreeMap::new();
        for number in found {
            *counts.entry(number).or_default() += 1;
        }
        let known = |number: &i64| self.acknowledged.contains(number) || self.unknown.contains(number);
        Verdict {
            acknowledged: self.acknowledged.len(),
            unknown: self.unknown.len(),
            lost: self.acknowledged.iter().copied().filter(|number| !counts.contains_key(number)).collect(),
            twice: counts.iter().filter(|(_, count)| **count > 1).map(|(number, _)| *number).collect(),
            invented: counts.keys().copied().filter(|number| !known(number)).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ledger() -> Ledger {
        let mut ledger = Ledger::default();
        (1..=100).for_each(|number| ledger.acknowledge(number));
        ledger.lose_track_of(101);
        ledger.lose_track_of(102);
        ledger
    }

    #[test]
    fn a_faithful_database_is_clean_whatever_became_of_the_unknown() {
        for last in [100, 101, 102] {
            assert!(ledger().check(1..=last).is_clean());
        }
    }

    #[test]
    fn a_planted_loss_and_a_planted_duplicate_are_found() {
        let verdict = ledger().check((1..=100).filter(|number| *number != 37));
        assert_eq!(verdict.lost, [37]);
        let verdict = ledger().check((1..=100).chain([55]));
        assert_eq!(verdict.twice, [55]);
        let verdict = ledger().check(1..=103);
        assert_eq!(verdict.invented, [103]);
    }
}

//! What the sparse cache says of itself in an endpoint's log, and what must hold of it.
//!
//! ```text
//! LOG:  varve cache: evicted_chunks=12 evicted_blocks=345 refetched_blocks=200 suspect_zero_pages=0 shadow_mismatches=0 valid_blocks=678 …
//! ```
//!
//! The numbers are sums since the server started, so the last line of each start counts. A log goes on over
//! all starts of its endpoint.

use std::collections::HashMap;
use std::fmt;
use std::iter::Sum;
use std::ops::Add;

const REPORT: &str = "LOG:  varve cache: ";
/// The first line of every postmaster.
const START: &str = "LOG:  starting PostgreSQL ";

/// A cache that was filled this often over must have evicted this many chunks and fetched as many blocks again.
const FULL: u64 = 2;
const LEAST: u64 = 10;
/// Blocks; a cache with a bound of less, or of none at all, was not much used by who held no more in it.
const LEAST_BOUND: u64 = 128;

/// What one server's cache did, or several together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CacheActivity {
    pub evicted_chunks: u64,
    pub evicted_blocks: u64,
    /// Blocks that came back after they had been evicted.
    pub refetched_blocks: u64,
    /// Pages of zeros where there should have been none.
    pub suspect_zero_pages: u64,
    /// Evicted pages that came back different.
    pub shadow_mismatches: u64,
    /// Blocks that one server's cache has held at one time or another, at least.
    pub held_blocks: u64,
}

impl CacheActivity {
    /// Of all server starts in a log.
    pub fn of_log(log: &str) -> CacheActivity {
        let mut of_starts = vec![CacheActivity::default()];
        // A server that is killed may leave half a line behind.
        for line in log.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n')) {
            if line.contains(START) {
                of_starts.push(CacheActivity::default());
            } else if let Some((_, report)) = line.split_once(REPORT) {
                let last = of_starts.last_mut().expect("one from the beginning");
                let held_before = last.held_blocks;
                *last = CacheActivity::parse(report);
                last.held_blocks = last.held_blocks.max(held_before);
            }
        }
        of_starts.into_iter().sum()
    }

    fn parse(report: &str) -> CacheActivity {
        let pairs: HashMap<&str, &str> =
            report.split_ascii_whitespace().filter_map(|pair| pair.split_once('=')).collect();
        let number = |name| {
            let value = pairs.get(name).and_then(|value| value.parse().ok());
            value.unwrap_or_else(|| panic!("no number {name} in the cache's report: {report}"))
        };
        CacheActivity {
            evicted_chunks: number("evicted_chunks"),
            evicted_blocks: number("evicted_blocks"),
            refetched_blocks: number("refetched_blocks"),
            suspect_zero_pages: number("suspect_zero_pages"),
            shadow_mismatches: number("shadow_mismatches"),
            held_blocks: number("evicted_blocks") + number("valid_blocks"),
        }
    }

    /// What is wrong with it, if the caches had a bound.
    pub fn fault(&self, bound_in_blocks: Option<u64>) -> Option<&'static str> {
        if self.suspect_zero_pages > 0 || self.shadow_mismatches > 0 {
            return Some("pages went wrong in the cache");
        }
        let was_full = bound_in_blocks.is_some_and(|bound| self.held_blocks >= FULL * bound.max(LEAST_BOUND));
        let (evicted, refetched) = (self.evicted_chunks, self.refetched_blocks);
        (was_full && evicted.min(refetched) < LEAST)
            .then_some("the cache was full, and next to nothing came of it")
    }
}

impl Add for CacheActivity {
    type Output = CacheActivity;

    fn add(self, other: CacheActivity) -> CacheActivity {
        CacheActivity {
            evicted_chunks: self.evicted_chunks + other.evicted_chunks,
            evicted_blocks: self.evicted_blocks + other.evicted_blocks,
            refetched_blocks: self.refetched_blocks + other.refetched_blocks,
            suspect_zero_pages: self.suspect_zero_pages + other.suspect_zero_pages,
            shadow_mismatches: self.shadow_mismatches + other.shadow_mismatches,
            held_blocks: self.held_blocks.max(other.held_blocks),
        }
    }
}

impl Sum for CacheActivity {
    fn sum<I: Iterator<Item = CacheActivity>>(all: I) -> CacheActivity {
        all.fold(CacheActivity::default(), CacheActivity::add)
    }
}

impl fmt::Display for CacheActivity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} blocks of {} chunks evicted, {} blocks fetched again, {} suspect zero pages, {} pages that came back different",
            self.evicted_blocks,
            self.evicted_chunks,
            self.refetched_blocks,
            self.suspect_zero_pages,
            self.shadow_mismatches
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(chunks: u64, refetched: u64, suspect: u64, mismatches: u64) -> String {
        format!(
            "2026-01-01 00:00:00.000 UTC [7] LOG:  varve cache: evicted_chunks={chunks} new_key=7 evicted_blocks={} \
             refetched_blocks={refetched} suspect_zero_pages={suspect} shadow_mismatches={mismatches} valid_blocks=9\n",
            chunks * 100
        )
    }

    const STARTING: &str = "2026-01-01 00:00:00.000 UTC [1] LOG:  starting PostgreSQL 15.20 on something\n";

    #[test]
    fn the_last_report_of_each_start_counts() {
        let first = [STARTING, &report(1, 2, 0, 0), &report(5, 6, 0, 0)].concat();
        let silent = STARTING.to_owned();
        let second = [STARTING, &report(10, 20, 0, 0), "2026 [9] ERROR:  varve cache: no report\n"].concat();
        let activity = CacheActivity::of_log(&[first, silent, second].concat());
        let expected = CacheActivity {
            evicted_chunks: 15,
            evicted_blocks: 1500,
            refetched_blocks: 26,
            held_blocks: 1009,
            ..Default::default()
        };
        assert_eq!(activity, expected);
        assert_eq!(activity.fault(Some(9)), None);
    }

    #[test]
    fn too_few_of_either_is_a_fault_of_a_full_cache() {
        for (chunks, refetched, fault) in [(10, 10, false), (9, 100, true), (100, 9, true)] {
            let activity = CacheActivity::of_log(&report(chunks, refetched, 0, 0));
            assert_eq!(activity.fault(Some(activity.held_blocks / FULL)).is_some(), fault, "{activity:?}");
            assert_eq!(activity.fault(Some(activity.held_blocks / FULL + 1)), None, "it was not full");
            assert_eq!(activity.fault(None), None, "it had no bound");
        }
    }

    #[test]
    fn a_cache_that_shrank_was_full_nevertheless() {
        let shrunk = report(0, 0, 0, 0);
        let log = [&shrunk.replace("valid_blocks=9", "valid_blocks=1000"), &shrunk[..]].concat();
        assert!(CacheActivity::of_log(&log).fault(Some(500)).is_some());
    }

    #[test]
    fn a_bad_page_of_an_earlier_start_is_not_forgotten() {
        for (suspect, mismatches) in [(1, 0), (0, 1)] {
            let log = [STARTING, &report(1, 1, suspect, mismatches), STARTING, &report(1, 1, 0, 0)].concat();
            assert!(CacheActivity::of_log(&log).fault(None).is_some());
        }
    }

    #[test]
    fn a_line_cut_off_by_a_kill_is_passed_over() {
        let whole = report(3, 4, 0, 0);
        let torn = &whole[..whole.len() - 30];
        assert_eq!(CacheActivity::of_log(&[&whole, torn].concat()), CacheActivity::of_log(&whole));
        assert_eq!(CacheActivity::of_log(""), CacheActivity::default());
    }

    #[test]
    #[should_panic(expected = "no number shadow_mismatches")]
    fn a_report_that_lacks_what_is_judged_is_an_error() {
        CacheActivity::of_log(&report(1, 1, 0, 0).replace("shadow_", ""));
    }
}

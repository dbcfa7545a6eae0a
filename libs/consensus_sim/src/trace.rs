//! What happened in a world: text for people when it is asked for, and one number for all of it, always.

use std::collections::VecDeque;

use types::Lsn;

use crate::schedule::{Micros, SECOND};

/// So many lines before the end are kept.
const KEPT: usize = 400;

#[derive(Debug)]
pub struct Trace {
    wanted: bool,
    lines: VecDeque<String>,
    fingerprint: u64,
}

impl Trace {
    pub fn new(wanted: bool) -> Self {
        Self { wanted, lines: VecDeque::new(), fingerprint: 0xcbf2_9ce4_8422_2325 }
    }

    /// `kind`, `who` and `lsn` go into the fingerprint; `text` is only made when somebody reads it.
    pub(crate) fn note(&mut self, now: Micros, kind: u64, who: u64, lsn: Lsn, text: impl FnOnce() -> String) {
        for value in [now, kind, who, lsn.0] {
            self.fingerprint = (self.fingerprint ^ value).wrapping_mul(0x0000_0100_0000_01b3).rotate_left(17);
        }
        if self.wanted {
            if self.lines.len() == KEPT {
                self.lines.pop_front();
            }
            self.lines.push_back(format!("{:9.6}  {}", now as f64 / SECOND as f64, text()));
        }
    }

    /// Equal for two runs in which the same things happened at the same times.
    pub fn fingerprint(&self) -> u64 {
        self.fingerprint
    }

    /// The last of what happened.
    pub fn lines(&self) -> impl Iterator<Item = &str> {
        self.lines.iter().map(String::as_str)
    }
}

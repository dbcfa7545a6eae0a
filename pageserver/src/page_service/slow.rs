//! Reads that take long are told, with what they go through.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use types::{Key, Lsn};

use crate::storage::Timeline;

/// Between two that are told: to tell costs a read too.
const PAUSE: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub struct SlowReads {
    threshold: Duration,
    told: Mutex<Option<Instant>>,
}

impl SlowReads {
    pub fn new(threshold: Duration) -> Self {
        Self { threshold, told: Mutex::default() }
    }

    /// A read of a page that began then has ended.
    pub(super) async fn note(&self, timeline: &Timeline, key: Key, lsn: Lsn, began: Instant) {
        let took = began.elapsed();
        if took < self.threshold || !self.is_turn() {
            return;
        }
        let id = timeline.id();
        match timeline.explain_read(key, lsn).await {
            Ok(plan) => tracing::warn!(timeline = %id, ?key, %lsn, ?took, %plan, "a slow read"),
            Err(error) => tracing::warn!(timeline = %id, ?key, %lsn, ?took, %error, "a slow read"),
        }
    }

    fn is_turn(&self) -> bool {
        let mut told = self.told.lock().expect("no holder panics");
        let is_turn = told.is_none_or(|last| last.elapsed() >= PAUSE);
        if is_turn {
            *told = Some(Instant::now());
        }
        is_turn
    }
}

//! The safekeepers of a timeline, as the broker tells of them, and how attempts to connect to them went.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use broker_api::SafekeeperTimelineInfo;
use types::NodeId;

use super::choose::Candidate;

const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

struct Known {
    info: SafekeeperTimelineInfo,
    failures: u32,
    retry_at: Instant,
}

#[derive(Default)]
pub(super) struct Candidates(HashMap<NodeId, Known>);

impl Candidates {
    pub(super) fn heard(&mut self, info: SafekeeperTimelineInfo) {
        let known = self.0.entry(info.safekeeper_id).or_insert_with(|| Known {
            info: info.clone(),
            failures: 0,
            retry_at: Instant::now(),
        });
        known.info = info;
    }

    /// Those that are not among them serve the timeline no more.
    pub(super) fn retain(&mut self, still: impl Fn(NodeId) -> bool) {
        self.0.retain(|id, _| still(*id));
    }

    pub(super) fn all(&self) -> Vec<Candidate> {
        let now = Instant::now();
        let candidate = |(id, known): (&NodeId, &Known)| Candidate {
            id: *id,
            commit_lsn: known.info.commit_lsn,
            retry_in: known.retry_at.saturating_duration_since(now),
        };
        self.0.iter().map(candidate).collect()
    }

    pub(super) fn info(&self, id: NodeId) -> Option<&SafekeeperTimelineInfo> {
        self.0.get(&id).map(|known| &known.info)
    }

    /// The pause doubles with every failure and varies by half, so that receivers do not come all at once.
    pub(super) fn failed(&mut self, id: NodeId) {
        if let Some(known) = self.0.get_mut(&id) {
            let pause = FIRST_PAUSE.saturating_mul(1 << known.failures.min(10)).min(LONGEST_PAUSE);
            known.failures = known.failures.saturating_add(1);
            known.retry_at = Instant::now() + pause.mul_f64(rand::random_range(0.5..1.0));
        }
    }

    pub(super) fn succeeded(&mut self, id: NodeId) {
        if let Some(known) = self.0.get_mut(&id) {
            known.failures = 0;
        }
    }
}

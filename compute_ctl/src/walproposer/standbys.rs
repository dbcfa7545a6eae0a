//! What the branch's read replicas need PostgreSQL to keep, gathered from the safekeepers that they read from. Pure.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use safekeeper_api::standby_feedback::StandbyFeedback;
use types::NodeId;

/// When the connection to a safekeeper is lost, its replicas look for another safekeeper, and say there again what they
/// need: by default every ten seconds (`wal_receiver_status_interval`). What they said last counts for so long.
const REMEMBERED: Duration = Duration::from_secs(30);

#[derive(Default)]
pub struct Standbys {
    heard: BTreeMap<NodeId, Heard>,
}

struct Heard {
    feedback: StandbyFeedback,
    lost_at: Option<Instant>,
}

impl Standbys {
    pub fn heard(&mut self, node: NodeId, feedback: StandbyFeedback) {
        self.heard.insert(node, Heard { feedback, lost_at: None });
    }

    /// The connection to the safekeeper is gone.
    pub fn lost(&mut self, node: NodeId, now: Instant) {
        if let Some(heard) = self.heard.get_mut(&node) {
            heard.lost_at.get_or_insert(now);
        }
    }

    /// What is enough for all.
    pub fn need(&mut self, now: Instant) -> StandbyFeedback {
        self.heard.retain(|_, heard| {
            heard.lost_at.is_none_or(|lost_at| now.saturating_duration_since(lost_at) < REMEMBERED)
        });
        self.heard.values().map(|heard| heard.feedback).reduce(StandbyFeedback::and).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use safekeeper_api::standby_feedback::FullTransactionId;

    use super::*;

    fn needs(xid: u64) -> StandbyFeedback {
        StandbyFeedback { xmin: Some(FullTransactionId(xid)), catalog_xmin: None }
    }

    #[test]
    fn what_a_lost_safekeeper_said_counts_until_its_replicas_had_time_to_say_it_elsewhere() {
        let (one, other) = (NodeId(1), NodeId(2));
        let begin = Instant::now();
        let mut standbys = Standbys::default();
        standbys.heard(one, needs(700));
        standbys.heard(other, needs(900));
        assert_eq!(standbys.need(begin), needs(700));
        standbys.lost(one, begin);
        standbys.lost(one, begin + REMEMBERED / 2);
        assert_eq!(standbys.need(begin + REMEMBERED / 2), needs(700));
        assert_eq!(standbys.need(begin + REMEMBERED), needs(900), "counted from when it was lost first");
        standbys.heard(one, StandbyFeedback::default());
        assert_eq!(standbys.need(begin + REMEMBERED), needs(900));
        standbys.heard(other, StandbyFeedback::default());
        assert_eq!(standbys.need(begin + REMEMBERED), StandbyFeedback::default());
    }

    #[test]
    fn a_safekeeper_that_comes_back_says_it_anew() {
        let begin = Instant::now();
        let mut standbys = Standbys::default();
        standbys.heard(NodeId(1), needs(700));
        standbys.lost(NodeId(1), begin);
        standbys.heard(NodeId(1), needs(800));
        assert_eq!(standbys.need(begin + REMEMBERED * 2), needs(800));
    }
}

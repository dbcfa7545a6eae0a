//! Which WAL goes to object storage, by whom, and what may be removed here then.

use std::time::Duration;

use types::{Lsn, NodeId, TimelineId};

/// How long the one whose turn it is not waits for the one whose turn it is, for each place that it is behind.
const TURN: Duration = Duration::from_secs(15);

/// How far a timeline is, in the ways that matter for its removal.
#[derive(Clone, Copy, Debug)]
pub struct View {
    pub backup_lsn: Lsn,
    pub remote_consistent_lsn: Lsn,
    pub horizon_lsn: Lsn,
    pub commit_lsn: Lsn,
}

/// Segments that end there or before may be removed here; none, if that says nothing new.
pub fn remove_before(view: &View, local_start_lsn: Lsn, segment_size: u64) -> Option<Lsn> {
    let View { backup_lsn, remote_consistent_lsn, horizon_lsn, commit_lsn } = *view;
    let needed = backup_lsn.min(remote_consistent_lsn).min(horizon_lsn).min(commit_lsn);
    let before = needed.segment_start(segment_size);
    (before > local_start_lsn).then_some(before)
}

/// The first segment that is committed to its end and not known to be in object storage.
pub fn next_segment(start_lsn: Lsn, backup_lsn: Lsn, commit_lsn: Lsn, segment_size: u64) -> Option<u64> {
    let number = start_lsn.max(backup_lsn).segment_number(segment_size);
    (Lsn((number + 1) * segment_size) <= commit_lsn).then_some(number)
}

/// How long a safekeeper waits with a segment before it puts it into object storage itself. The members take turns by
/// timeline, so that the work is spread; one that is not there is waited for once per segment.
pub fn patience(timeline: TimelineId, members: &[NodeId], own: NodeId) -> Duration {
    let mut members = members.to_vec();
    members.sort_unstable();
    let first = timeline.0.iter().fold(0, |sum, byte| sum + usize::from(*byte)) % members.len().max(1);
    // Who is no member (any more) comes after all who are.
    let place = match members.iter().position(|member| *member == own) {
        Some(at) => (at + members.len() - first) % members.len(),
        None => members.len(),
    };
    TURN * u32::try_from(place).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEGMENT: u64 = 16 << 20;

    #[test]
    fn removed_is_what_nobody_needs() {
        let all = View {
            backup_lsn: Lsn(5 * SEGMENT),
            remote_consistent_lsn: Lsn(5 * SEGMENT),
            horizon_lsn: Lsn(5 * SEGMENT),
            commit_lsn: Lsn(5 * SEGMENT),
        };
        let at = Lsn(3 * SEGMENT + 100);
        let three = Some(Lsn(3 * SEGMENT));
        assert_eq!(remove_before(&all, Lsn(0), SEGMENT), Some(Lsn(5 * SEGMENT)));
        for view in [
            View { backup_lsn: at, ..all },
            View { remote_consistent_lsn: at, ..all },
            View { horizon_lsn: at, ..all },
            View { commit_lsn: at, ..all },
        ] {
            assert_eq!(remove_before(&view, Lsn(SEGMENT), SEGMENT), three, "{view:?}");
            assert_eq!(remove_before(&view, Lsn(3 * SEGMENT), SEGMENT), None, "done already");
        }
        assert_eq!(remove_before(&View { backup_lsn: Lsn::INVALID, ..all }, Lsn(0), SEGMENT), None);
    }

    #[test]
    fn segments_are_offloaded_in_order_and_whole() {
        let start = Lsn(SEGMENT + 500);
        assert_eq!(next_segment(start, Lsn(0), Lsn(2 * SEGMENT - 8), SEGMENT), None);
        assert_eq!(next_segment(start, Lsn(0), Lsn(2 * SEGMENT), SEGMENT), Some(1));
        assert_eq!(next_segment(start, Lsn(2 * SEGMENT), Lsn(9 * SEGMENT), SEGMENT), Some(2));
        assert_eq!(next_segment(start, Lsn(9 * SEGMENT), Lsn(9 * SEGMENT), SEGMENT), None);
    }

    #[test]
    fn turns_are_spread_and_somebody_is_always_first() {
        let members = [NodeId(7), NodeId(2), NodeId(4)];
        let mut first = std::collections::BTreeMap::new();
        for timeline in 0..=255 {
            let timeline = TimelineId([timeline; 16]);
            let mut waits = members.map(|member| (patience(timeline, &members, member), member));
            waits.sort_unstable();
            assert_eq!(waits.map(|(wait, _)| wait), [Duration::ZERO, TURN, TURN * 2]);
            *first.entry(waits[0].1).or_insert(0) += 1;
            assert_eq!(patience(timeline, &members, NodeId(9)), TURN * 3);
        }
        assert!(first.len() == 3 && first.values().all(|count| *count > 60), "{first:?}");
    }
}

//! Which LSN was when.
//!
//! Ingest writes down, at each commit, the latest time of a commit so far: clocks may go back, this number does not. A
//! moment of the past is the end of the last commit before the first one that is later, which is also where
//! PostgreSQL's `recovery_target_time` ends.

use pageserver_api::history::{LsnByTimestamp, LsnKind};
use types::{Key, Lsn};

use crate::storage::{StorageError, Timeline};

/// The latest time of a commit up to `lsn`, in microseconds since 2000-01-01, and the LSN of the last one. None if
/// there is no commit, or only those of initdb.
pub async fn commit_time(timeline: &Timeline, lsn: Lsn) -> Result<Option<(i64, Lsn)>, StorageError> {
    let found = timeline.get_reconstruct(Key::commit_time(), lsn).await?;
    Ok(found.image.and_then(|(lsn, image)| Some((i64::from_le_bytes(image[..].try_into().ok()?), lsn))))
}

/// The oldest LSN from which on everything can be read.
pub fn oldest_readable(timeline: &Timeline) -> Lsn {
    let (start, cutoff) = (timeline.start_lsn(), timeline.gc_cutoff());
    match timeline.ancestor_timeline() {
        Some(ancestor) if cutoff <= start && ancestor.gc_cutoff() <= start => oldest_readable(&ancestor),
        Some(_) | None => start.max(cutoff),
    }
}

/// Where the branch was at a time, in microseconds since 2000-01-01.
pub async fn lsn_of_time(timeline: &Timeline, time: i64) -> Result<LsnByTimestamp, StorageError> {
    let oldest = oldest_readable(timeline);
    let (mut low, mut high) = (oldest, timeline.last_record_lsn());
    let is_later = async |lsn| {
        let found = commit_time(timeline, lsn).await?;
        Ok::<_, StorageError>(found.is_some_and(|(committed, _)| committed > time))
    };
    match commit_time(timeline, high).await? {
        None => return Ok(LsnByTimestamp { lsn: high, kind: LsnKind::NoData }),
        Some((newest, _)) if newest <= time => {
            return Ok(LsnByTimestamp { lsn: high, kind: LsnKind::Future });
        }
        Some(_) => {}
    }
    if is_later(low).await? {
        return Ok(LsnByTimestamp { lsn: low, kind: LsnKind::Past });
    }
    // `low` is not later, `high` is.
    while high.0 - low.0 > 1 {
        let middle = Lsn(low.0 + (high.0 - low.0) / 2);
        if is_later(middle).await? { high = middle } else { low = middle }
    }
    // Not where the next commit begins to be seen, but where the last one ends: there a record ends.
    Ok(match commit_time(timeline, low).await? {
        Some((_, lsn)) => LsnByTimestamp { lsn: lsn.max(oldest), kind: LsnKind::Present },
        None => LsnByTimestamp { lsn: oldest, kind: LsnKind::Past },
    })
}

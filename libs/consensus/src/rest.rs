//! A timeline that nobody uses: what is done, in which order, when its WAL leaves the acceptor's disk and when it comes
//! back. The caller carries the steps out one after the other, and begins none before the one before it is durable.
//!
//! ```text
//!  at rest ─▶ last segment to object storage, read back ─▶ control file says that it is there ─▶ segments removed
//!  in use ◀─ object deleted ◀─ control file says that it is in use ◀─ last segment written here, synced ◀─ wanted
//! ```
//! A step that fails ends it there: what was done until then leaves a timeline at rest, with its WAL here or there or
//! both, and so does a crash between two steps.

use types::Lsn;

/// A timeline that has been brought to rest, as its control file says.
#[derive(Clone, Copy, Debug)]
pub struct Resting {
    pub start_lsn: Lsn,
    /// Where its WAL ends: the end of a record, committed or not.
    pub flush_lsn: Lsn,
    /// Whole segments before it are in object storage.
    pub backup_lsn: Lsn,
    /// Segments before it are not here any more.
    pub local_start_lsn: Lsn,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leaving {
    /// Put the WAL of `begin..end`, a part of one segment, into object storage, and read it back.
    StorePartial { begin: Lsn, end: Lsn },
    /// Write down that all WAL is in object storage, what was stored just now included.
    WriteControlFile { local_start_lsn: Lsn },
    /// Remove all segments.
    RemoveSegments,
}

/// What makes a timeline at rest leave a disk that has these segments. Nothing, if some WAL would be nowhere then.
pub fn leave(resting: &Resting, segments: &[u64], segment_size: u64) -> Vec<Leaving> {
    let Resting { start_lsn, flush_lsn, backup_lsn, local_start_lsn } = *resting;
    let last = flush_lsn.segment_start(segment_size);
    let all_before = backup_lsn.max(start_lsn.segment_start(segment_size)) >= last;
    if segments.is_empty() || !all_before {
        return Vec::new();
    }
    let mut steps = Vec::new();
    if segments.contains(&flush_lsn.segment_number(segment_size)) && flush_lsn > last {
        steps.push(Leaving::StorePartial { begin: last, end: flush_lsn });
    }
    steps.push(Leaving::WriteControlFile { local_start_lsn: local_start_lsn.max(last) });
    steps.push(Leaving::RemoveSegments);
    steps
}

/// `P` is how the caller names what was stored of the last segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Returning<P> {
    /// Get it, check it, and write it here, durably.
    RestorePartial(P),
    /// Write down that the timeline is in use.
    WriteControlFile,
    /// Delete the object. That it fails does no harm: the next time it is replaced.
    DeletePartial(P),
}

/// What makes a timeline at rest one that can be opened.
pub fn come_back<P: Clone>(partial: Option<P>) -> Vec<Returning<P>> {
    match partial {
        Some(partial) => vec![
            Returning::RestorePartial(partial.clone()),
            Returning::WriteControlFile,
            Returning::DeletePartial(partial),
        ],
        None => vec![Returning::WriteControlFile],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEGMENT: u64 = 16 << 20;

    fn resting(flush_lsn: Lsn, backup_lsn: Lsn) -> Resting {
        Resting { start_lsn: Lsn(SEGMENT + 500), flush_lsn, backup_lsn, local_start_lsn: Lsn(0) }
    }

    #[test]
    fn nothing_leaves_that_would_be_nowhere() {
        let middle = Lsn(3 * SEGMENT + 100);
        assert_eq!(leave(&resting(middle, Lsn(2 * SEGMENT)), &[2, 3], SEGMENT), []);
        assert_eq!(leave(&resting(middle, Lsn(3 * SEGMENT)), &[], SEGMENT), [], "it has left");
        // The first segment has no other before it.
        let first = Lsn(SEGMENT + 900);
        assert_eq!(leave(&resting(first, Lsn(0)), &[1], SEGMENT).len(), 3);
    }

    #[test]
    fn the_control_file_says_so_before_anything_is_removed() {
        let last = Lsn(3 * SEGMENT);
        let (begin, end) = (last, last + 100);
        let rest = [Leaving::WriteControlFile { local_start_lsn: last }, Leaving::RemoveSegments];
        let whole = [&[Leaving::StorePartial { begin, end }], &rest[..]].concat();
        assert_eq!(leave(&resting(end, last), &[2, 3], SEGMENT), whole);
        assert_eq!(leave(&resting(last, last), &[2], SEGMENT), rest, "nothing was written to the last one");
        let steps = come_back(Some("object"));
        assert_eq!(steps[0], Returning::RestorePartial("object"));
        assert_eq!(
            steps[1],
            Returning::WriteControlFile,
            "or the object would be gone and still be asked for"
        );
        assert_eq!(come_back::<&str>(None), [Returning::WriteControlFile]);
    }
}

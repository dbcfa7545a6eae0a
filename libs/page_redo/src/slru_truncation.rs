//! Which segments of an SLRU a truncation removes. Pure: numbers wrap around, and "before" is modulo.

use types::SlruKind;

use crate::slru::{MEMBERS_PER_PAGE, OFFSETS_PER_PAGE, XIDS_PER_PAGE};

const FIRST_NORMAL_XID: u32 = 3;

fn precedes(one: u32, other: u32) -> bool {
    (one.wrapping_sub(other) as i32) < 0
}

/// All numbers of page `one` come before all of page `other` (`CLOGPagePrecedes`,
/// `MultiXactOffsetPagePrecedes`).
fn page_precedes(one: u32, other: u32, per_page: u32, first: u32) -> bool {
    let one = one.wrapping_mul(per_page).wrapping_add(first);
    let other = other.wrapping_mul(per_page).wrapping_add(first);
    precedes(one, other) && precedes(one, other.wrapping_add(per_page - 1))
}

/// `SlruMayDeleteSegment`, with the cutoff moved to the start of its segment as `SimpleLruTruncate` does.
fn segment_goes(segment: u32, cutoff_page: u32, per_page: u32, first: u32) -> bool {
    let first_page = segment * SlruKind::BLOCKS_PER_SEGMENT;
    let last_page = first_page + SlruKind::BLOCKS_PER_SEGMENT - 1;
    let cutoff = cutoff_page - cutoff_page % SlruKind::BLOCKS_PER_SEGMENT;
    page_precedes(first_page, cutoff, per_page, first) && page_precedes(last_page, cutoff, per_page, first)
}

/// By a CLOG record that names the page before which nothing is needed.
pub fn clog_segment_goes(segment: u32, cutoff_page: u32) -> bool {
    segment_goes(segment, cutoff_page, XIDS_PER_PAGE, FIRST_NORMAL_XID + 1)
}

/// `PerformOffsetsTruncation`: the one before the oldest stays, as TrimMultiXact looks at it.
pub fn offsets_segment_goes(segment: u32, oldest_multi: u32) -> bool {
    let previous = if oldest_multi <= 1 { u32::MAX } else { oldest_multi - 1 };
    segment_goes(segment, previous / OFFSETS_PER_PAGE, OFFSETS_PER_PAGE, 2)
}

/// `PerformMembersTruncation`: segments from the one of `start` up to but not including the one of `end`,
/// round the end of all numbers if need be.
pub fn members_segment_goes(segment: u32, start: u32, end: u32) -> bool {
    let segment_of = |member: u32| member / MEMBERS_PER_PAGE / SlruKind::BLOCKS_PER_SEGMENT;
    let (start, end) = (segment_of(start), segment_of(end));
    if start <= end { (start..end).contains(&segment) } else { segment >= start || segment < end }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commit_log_segments_before_the_cutoff_go() {
        assert!(!clog_segment_goes(0, 31), "the cutoff is in it");
        assert!(clog_segment_goes(0, 32));
        assert!(!clog_segment_goes(1, 32));
        // 2^32 transactions are 4096 segments: far ahead is behind, and the reverse.
        assert!(clog_segment_goes(4000, 32));
        assert!(!clog_segment_goes(1000, 32));
    }

    #[test]
    fn members_go_round() {
        let per_segment = MEMBERS_PER_PAGE * SlruKind::BLOCKS_PER_SEGMENT;
        assert!(members_segment_goes(0, 0, per_segment));
        assert!(!members_segment_goes(1, 0, per_segment));
        assert!(!members_segment_goes(0, 0, per_segment - 1));
        let (start, end) = (u32::MAX - 5, per_segment * 2);
        assert!(members_segment_goes(u32::MAX / per_segment, start, end));
        assert!(members_segment_goes(1, start, end));
        assert!(!members_segment_goes(2, start, end));
    }

    #[test]
    fn the_multixact_before_the_oldest_keeps_its_segment() {
        let per_segment = OFFSETS_PER_PAGE * SlruKind::BLOCKS_PER_SEGMENT;
        assert!(!offsets_segment_goes(0, per_segment));
        assert!(offsets_segment_goes(0, per_segment + 1));
    }
}

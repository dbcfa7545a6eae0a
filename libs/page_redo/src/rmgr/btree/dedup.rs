//! Redo of B-tree deduplication (`btree_xlog_dedup`): runs of equal tuples become posting lists.

use super::{BTP_HAS_GARBAGE, Opaque, P_HIKEY, P_NONE, tuple};
use crate::error::Fault;
use crate::page::{OffsetNumber, Page, Placement, maxalign};
use crate::rmgr::Record;

/// `BTMaxItemSize` for 8 KiB pages: the limit that redo uses for posting lists.
const MAX_POSTING_SIZE: usize = 2704;

/// A run of tuples to be merged (`BTDedupInterval`).
struct Interval {
    base: OffsetNumber,
    items: u16,
}

pub(super) fn redo(page: &mut Page<'_>, record: &Record<'_>) -> Result<(), Fault> {
    if record.block_id() != 0 {
        return record.unexpected_block();
    }
    let count = record.main().u16("number of intervals")?;
    let mut data = record.data();
    let mut intervals = Vec::with_capacity(count as usize);
    for _ in 0..count {
        intervals.push(Interval { base: data.u16("interval")?, items: data.u16("interval")? });
    }

    let mut bytes = page.empty_copy_with_special()?;
    let mut new_page = Page::new(&mut bytes);
    if Opaque::next(page)? != P_NONE {
        new_page.add_item(page.item(P_HIKEY)?, Placement::Insert(P_HIKEY))?;
    }
    merge(page, &mut new_page, &intervals)?;
    let flags = Opaque::flags(&new_page)?;
    Opaque::set_flags(&mut new_page, flags & !BTP_HAS_GARBAGE)?;
    *page.bytes = *bytes;
    page.set_lsn(record.lsn);
    Ok(())
}

/// Copies the data items, those of an interval as one posting list.
fn merge(page: &Page<'_>, new_page: &mut Page<'_>, intervals: &[Interval]) -> Result<(), Fault> {
    let mut intervals = intervals.iter().peekable();
    let last = page.max_offset();
    let mut offset = Opaque::first_data_key(page)?;
    while offset <= last {
        let base = page.item(offset)?;
        let items =
            intervals.next_if(|interval| interval.base == offset).map_or(1, |interval| interval.items);
        let end = offset.checked_add(items.max(1)).ok_or(Fault::Malformed("interval"))?;
        let at = Placement::Insert(new_page.max_offset() + 1);
        if items <= 1 {
            new_page.add_item(base, at)?;
        } else {
            let mut heap_tids = Vec::with_capacity(MAX_POSTING_SIZE);
            for merged in offset..end {
                heap_tids.extend_from_slice(tuple::heap_tids(page.item(merged)?)?);
                if maxalign(tuple::key_size(base)? + heap_tids.len()) > MAX_POSTING_SIZE {
                    return Err(Fault::PageState("posting list grows too long"));
                }
            }
            new_page.add_item(&tuple::form_posting(base, &heap_tids)?, at)?;
        }
        offset = end;
    }
    if intervals.peek().is_some() {
        return Err(Fault::PageState("tuples to merge are not on the page"));
    }
    Ok(())
}

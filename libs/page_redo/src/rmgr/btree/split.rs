//! Redo of B-tree page splits (`btree_xlog_split`).

use super::{BTP_INCOMPLETE_SPLIT, BTP_LEAF, Opaque, P_HIKEY, P_NONE, restore_page, tuple};
use crate::bytes_reader::Reader;
use crate::error::Fault;
use crate::page::{OffsetNumber, Page, PageBytes, Placement, maxalign};
use crate::rmgr::Record;

/// `xl_btree_split`
struct Split {
    level: u32,
    first_right: OffsetNumber,
    new_item_at: OffsetNumber,
    posting_offset: u16,
    new_item_on_left: bool,
}

impl Split {
    fn read(mut main: Reader<'_>, new_item_on_left: bool) -> Result<Split, Fault> {
        Ok(Split {
            level: main.u32("level")?,
            first_right: main.u16("first item of the right page")?,
            new_item_at: main.u16("offset of the new item")?,
            posting_offset: main.u16("posting list offset")?,
            new_item_on_left,
        })
    }

    fn leaf_flag(&self) -> u16 {
        if self.level == 0 { BTP_LEAF } else { 0 }
    }
}

/// Block 0 is split and becomes the left page, block 1 is the new right page, block 2 the page behind it (if
/// any), block 3 the child whose split the new item completes (above leaf level).
pub(super) fn redo(page: &mut Page<'_>, record: &Record<'_>, new_item_on_left: bool) -> Result<(), Fault> {
    let split = Split::read(record.main(), new_item_on_left)?;
    match record.block_id() {
        0 => left_page(page, record, &split)?,
        1 => {
            let behind = record.tag(2).map_or(P_NONE, |tag| tag.blkno);
            Opaque::init_page(page, record.blkno_of(0)?, behind, split.level, split.leaf_flag())?;
            restore_page(page, record.data().rest())?;
        }
        2 => Opaque::set_prev(page, record.blkno_of(1)?)?,
        3 => return super::clear_incomplete_split(page, record),
        _ => return record.unexpected_block(),
    }
    page.set_lsn(record.lsn);
    Ok(())
}

fn left_page(page: &mut Page<'_>, record: &Record<'_>, split: &Split) -> Result<(), Fault> {
    *page.bytes = *rebuild_left(page, record, split)?;
    Opaque::set_flags(page, BTP_INCOMPLETE_SPLIT | split.leaf_flag())?;
    Opaque::set_next(page, record.blkno_of(1)?)?;
    Opaque::set_cycle_id(page, 0)
}

/// The left half on a page of its own, filled in the order of the item numbers, so that the bytes lie as
/// they do on the primary.
fn rebuild_left(page: &Page<'_>, record: &Record<'_>, split: &Split) -> Result<Box<PageBytes>, Fault> {
    let mut data = record.data();
    let mut new_item = Vec::new();
    let mut posting = Vec::new();
    let mut posting_at = 0;
    if split.new_item_on_left || split.posting_offset != 0 {
        new_item = take_tuple(&mut data)?.to_vec();
    }
    if split.posting_offset != 0 {
        posting_at = split.new_item_at.checked_sub(1).ok_or(Fault::Malformed("offset of the new item"))?;
        posting = page.item(posting_at)?.to_vec();
        tuple::swap_posting(&mut new_item, &mut posting, split.posting_offset)?;
    }
    let high_key = take_tuple(&mut data)?;

    let mut bytes = page.empty_copy_with_special()?;
    let mut left = Page::new(&mut bytes);
    left.add_item(high_key, Placement::Insert(P_HIKEY))?;
    let mut append = |item: &[u8]| left.add_item(item, Placement::Insert(left.max_offset() + 1)).map(|_| ());
    let first = Opaque::first_data_key(page)?;
    for offset in first..split.first_right {
        if posting_at != 0 && offset == posting_at {
            append(&posting)?;
            continue;
        }
        if split.new_item_on_left && offset == split.new_item_at {
            append(&new_item)?;
        }
        append(page.item(offset)?)?;
    }
    // The new item may be the last one of the left page.
    if split.new_item_on_left && split.first_right.max(first) == split.new_item_at {
        append(&new_item)?;
    }
    Ok(bytes)
}

/// The next index tuple of a block's data, with its padding.
fn take_tuple<'a>(data: &mut Reader<'a>) -> Result<&'a [u8], Fault> {
    let size = maxalign(tuple::size(data.rest())?);
    data.bytes(size, "index tuple")
}

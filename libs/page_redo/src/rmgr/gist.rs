//! Redo of GiST indexes (gistxlog.c: `gist_redo`).
//!
//! Special space of a page (`GISTPageOpaqueData`, 16 bytes):
//! ```text
//!  0 nsn (high u32, low u32)   8 rightlink u32   12 flags u16   14 page id u16
//! ```
//! Up to 15.18 deletions also set a flag (1 << 2) that nothing ever read; 15.20 does not, and neither does this.

use types::{Lsn, PgVersion};

use super::Record;
use super::index_tuple::{append_tuples, read_tuple};
use crate::error::Fault;
use crate::page::{HEADER_SIZE, Page};

const XLOG_GIST_PAGE_UPDATE: u8 = 0x00;
const XLOG_GIST_DELETE: u8 = 0x10;
const XLOG_GIST_PAGE_SPLIT: u8 = 0x30;
const XLOG_GIST_PAGE_DELETE: u8 = 0x60;

const F_LEAF: u16 = 1 << 0;
const F_DELETED: u16 = 1 << 1;
const F_FOLLOW_RIGHT: u16 = 1 << 3;
const F_HAS_GARBAGE: u16 = 1 << 4;

const ROOT_BLOCK: u32 = 0;
const INVALID_BLOCK: u32 = u32::MAX;
const OPAQUE_SIZE: usize = 16;
const RIGHTLINK_AT: usize = 8;
const FLAGS_AT: usize = 12;
const PAGE_ID_AT: usize = 14;
const PAGE_ID: u16 = 0xff81;

/// `gist_redo`
pub(super) fn redo(page: &mut Page<'_>, record: &Record<'_>) -> Result<(), Fault> {
    match (record.info(), record.block_id()) {
        (XLOG_GIST_PAGE_UPDATE, 0) => update(page, record)?,
        (XLOG_GIST_PAGE_UPDATE, 1) | (XLOG_GIST_PAGE_SPLIT, 0) => clear_follow_right(page, record)?,
        (XLOG_GIST_PAGE_SPLIT, _) => split(page, record)?,
        (XLOG_GIST_DELETE, 0) => delete(page, record)?,
        (XLOG_GIST_PAGE_DELETE, _) => delete_page(page, record)?,
        _ => return record.unexpected_block(),
    }
    page.set_lsn(record.lsn);
    Ok(())
}

/// The left child gets its NSN even if it was restored from an image (`gistRedoClearFollowRight`).
pub(super) fn redo_restored(page: &mut Page<'_>, record: &Record<'_>) -> Result<(), Fault> {
    match (record.info(), record.block_id()) {
        (XLOG_GIST_PAGE_UPDATE, 1) | (XLOG_GIST_PAGE_SPLIT, 0) => redo(page, record),
        _ => Ok(()),
    }
}

/// Place of the special space.
fn opaque(page: &Page<'_>) -> Result<usize, Fault> {
    let special = page.special() as usize;
    page.slice(special, OPAQUE_SIZE).map_err(|_| Fault::PageState("not a GiST page"))?;
    Ok(special)
}

fn flags(page: &Page<'_>) -> Result<u16, Fault> {
    page.u16_at(opaque(page)? + FLAGS_AT)
}

fn change_flags(page: &mut Page<'_>, set: u16, clear: u16) -> Result<(), Fault> {
    let changed = flags(page)? & !clear | set;
    page.write_at(opaque(page)? + FLAGS_AT, &changed.to_le_bytes())
}

fn set_nsn(page: &mut Page<'_>, nsn: Lsn) -> Result<(), Fault> {
    let place = opaque(page)?;
    page.write_at(place, &((nsn.0 >> 32) as u32).to_le_bytes())?;
    page.write_at(place + 4, &(nsn.0 as u32).to_le_bytes())
}

fn clear_follow_right(page: &mut Page<'_>, record: &Record<'_>) -> Result<(), Fault> {
    set_nsn(page, record.lsn)?;
    change_flags(page, 0, F_FOLLOW_RIGHT)
}

/// `gistRedoPageUpdateRecord`
fn update(page: &mut Page<'_>, record: &Record<'_>) -> Result<(), Fault> {
    let mut main = record.main();
    let delete_count = main.u16("number of tuples to delete")?;
    let insert_count = main.u16("number of tuples to insert")?;
    let mut data = record.data();
    let offsets = data.u16_array(delete_count.into(), "tuples to delete")?;
    match offsets[..] {
        // As the primary did it: the order of bytes depends on it.
        [offset] if insert_count == 1 => return page.overwrite_item(offset, read_tuple(&mut data)?),
        [] => {}
        _ => page.delete_items(&offsets)?,
    }
    append_tuples(page, data)
}

/// `gistRedoDeleteRecord`
fn delete(page: &mut Page<'_>, record: &Record<'_>) -> Result<(), Fault> {
    let mut main = record.main();
    main.skip(4, "latest removed xid")?;
    let count = main.u16("number of tuples to delete")?;
    match record.version {
        PgVersion::V15 => {}
        PgVersion::V17 => main.skip(2, "kind of relation")?,
    }
    if !main.is_empty() {
        page.delete_items(&main.u16_array(count.into(), "tuples to delete")?)?;
    }
    change_flags(page, 0, F_HAS_GARBAGE)
}

/// `gistRedoPageSplitRecord`. Block 0 is the left child whose split the new downlinks complete; 1 and so on
/// are the pages of this split, the first of them the original.
fn split(page: &mut Page<'_>, record: &Record<'_>) -> Result<(), Fault> {
    let mut main = record.main();
    let original_rightlink = main.u32("right link before the split")?;
    main.align(8, "padding")?;
    let original_nsn = Lsn(main.u64("NSN before the split")?);
    let was_leaf = main.u8("kind of the split page")? != 0;
    main.skip(1, "padding")?;
    let page_count = main.u16("number of pages")?;
    let mark_follow_right = main.u8("marking of the pages")? != 0;

    let is_root = record.blkno() == ROOT_BLOCK;
    let is_last = u16::from(record.block_id()) >= page_count;
    let is_root_split = record.blkno_of(1)? == ROOT_BLOCK;
    let mut flags = if was_leaf && !is_root { F_LEAF } else { 0 };
    if !is_root && !is_last && !is_root_split && mark_follow_right {
        flags |= F_FOLLOW_RIGHT;
    }
    let rightlink = match (is_root, is_last) {
        (true, _) => INVALID_BLOCK,
        (false, true) => original_rightlink,
        (false, false) => record.blkno_of(record.block_id() + 1)?,
    };
    init_page(page, flags, rightlink)?;
    set_nsn(page, original_nsn)?;
    let mut data = record.data();
    data.skip(4, "number of tuples")?;
    append_tuples(page, data)
}

/// `gistinitpage`
fn init_page(page: &mut Page<'_>, flags: u16, rightlink: u32) -> Result<(), Fault> {
    page.init(OPAQUE_SIZE);
    let place = opaque(page)?;
    page.write_at(place + RIGHTLINK_AT, &rightlink.to_le_bytes())?;
    page.write_at(place + FLAGS_AT, &flags.to_le_bytes())?;
    page.write_at(place + PAGE_ID_AT, &PAGE_ID.to_le_bytes())
}

/// `gistRedoPageDelete`. Block 0 is the deleted leaf, block 1 its parent.
fn delete_page(page: &mut Page<'_>, record: &Record<'_>) -> Result<(), Fault> {
    let mut main = record.main();
    let delete_xid = main.u64("xid of the deletion")?;
    let downlink = main.u16("offset of the downlink")?;
    match record.block_id() {
        0 => {
            change_flags(page, F_DELETED, 0)?;
            page.write_at(HEADER_SIZE, &delete_xid.to_le_bytes())?;
            page.set_lower((HEADER_SIZE + 8) as u16);
            Ok(())
        }
        1 => page.delete_item(downlink),
        _ => record.unexpected_block(),
    }
}

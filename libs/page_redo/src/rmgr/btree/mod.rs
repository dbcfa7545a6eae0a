//! Redo of B-tree indexes (nbtxlog.c: `btree_redo`).
//!
//! Special space of a page (`BTPageOpaqueData`, 16 bytes):
//! ```text
//!  0 btpo_prev u32   4 btpo_next u32   8 btpo_level u32   12 btpo_flags u16   14 btpo_cycleid u16
//! ```

mod dedup;
mod delete;
mod split;
mod tuple;

use super::Record;
use crate::bytes_reader::Reader;
use crate::error::Fault;
use crate::page::{HEADER_SIZE, OffsetNumber, Page, Placement, maxalign};

const XLOG_BTREE_INSERT_LEAF: u8 = 0x00;
const XLOG_BTREE_INSERT_UPPER: u8 = 0x10;
const XLOG_BTREE_INSERT_META: u8 = 0x20;
const XLOG_BTREE_SPLIT_L: u8 = 0x30;
const XLOG_BTREE_SPLIT_R: u8 = 0x40;
const XLOG_BTREE_INSERT_POST: u8 = 0x50;
const XLOG_BTREE_DEDUP: u8 = 0x60;
const XLOG_BTREE_DELETE: u8 = 0x70;
const XLOG_BTREE_UNLINK_PAGE: u8 = 0x80;
const XLOG_BTREE_UNLINK_PAGE_META: u8 = 0x90;
const XLOG_BTREE_NEWROOT: u8 = 0xa0;
const XLOG_BTREE_MARK_PAGE_HALFDEAD: u8 = 0xb0;
const XLOG_BTREE_VACUUM: u8 = 0xc0;
const XLOG_BTREE_REUSE_PAGE: u8 = 0xd0;
const XLOG_BTREE_META_CLEANUP: u8 = 0xe0;

// btpo_flags
const BTP_LEAF: u16 = 1 << 0;
const BTP_ROOT: u16 = 1 << 1;
const BTP_DELETED: u16 = 1 << 2;
const BTP_META: u16 = 1 << 3;
const BTP_HALF_DEAD: u16 = 1 << 4;
const BTP_HAS_GARBAGE: u16 = 1 << 6;
const BTP_INCOMPLETE_SPLIT: u16 = 1 << 7;
const BTP_HAS_FULLXID: u16 = 1 << 8;

/// "No page": the metapage's number, to which nothing ever points.
const P_NONE: u32 = 0;
/// The high key of a page that is not the rightmost of its level.
const P_HIKEY: OffsetNumber = 1;

const BTREE_MAGIC: u32 = 0x0005_3162;
const OPAQUE_SIZE: usize = 16;
const PREV_AT: usize = 0;
const NEXT_AT: usize = 4;
const FLAGS_AT: usize = 12;

/// `btree_redo`
pub(super) fn redo(page: &mut Page<'_>, record: &Record<'_>) -> Result<(), Fault> {
    match record.info() {
        XLOG_BTREE_INSERT_LEAF => insert(page, record, Insert::Leaf),
        XLOG_BTREE_INSERT_UPPER => insert(page, record, Insert::Upper),
        XLOG_BTREE_INSERT_META => insert(page, record, Insert::Meta),
        XLOG_BTREE_INSERT_POST => insert(page, record, Insert::Posting),
        XLOG_BTREE_SPLIT_L => split::redo(page, record, true),
        XLOG_BTREE_SPLIT_R => split::redo(page, record, false),
        XLOG_BTREE_DEDUP => dedup::redo(page, record),
        XLOG_BTREE_VACUUM => delete::vacuum(page, record),
        XLOG_BTREE_DELETE => delete::delete(page, record),
        XLOG_BTREE_MARK_PAGE_HALFDEAD => delete::mark_page_halfdead(page, record),
        XLOG_BTREE_UNLINK_PAGE => delete::unlink_page(page, record, false),
        XLOG_BTREE_UNLINK_PAGE_META => delete::unlink_page(page, record, true),
        XLOG_BTREE_NEWROOT => newroot(page, record),
        XLOG_BTREE_META_CLEANUP => restore_meta(page, record),
        XLOG_BTREE_REUSE_PAGE => Err(Fault::Malformed("block in a record that has none")),
        _ => Err(Fault::Malformed("unknown opcode")),
    }
}

/// Accessors of the special space.
struct Opaque;

impl Opaque {
    fn place(page: &Page<'_>) -> Result<usize, Fault> {
        let special = page.special() as usize;
        page.slice(special, OPAQUE_SIZE).map_err(|_| Fault::PageState("not a btree page"))?;
        Ok(special)
    }

    fn next(page: &Page<'_>) -> Result<u32, Fault> {
        page.u32_at(Opaque::place(page)? + NEXT_AT)
    }

    fn set_prev(page: &mut Page<'_>, block: u32) -> Result<(), Fault> {
        page.write_at(Opaque::place(page)? + PREV_AT, &block.to_le_bytes())
    }

    fn set_next(page: &mut Page<'_>, block: u32) -> Result<(), Fault> {
        page.write_at(Opaque::place(page)? + NEXT_AT, &block.to_le_bytes())
    }

    fn flags(page: &Page<'_>) -> Result<u16, Fault> {
        page.u16_at(Opaque::place(page)? + FLAGS_AT)
    }

    fn set_flags(page: &mut Page<'_>, flags: u16) -> Result<(), Fault> {
        page.write_at(Opaque::place(page)? + FLAGS_AT, &flags.to_le_bytes())
    }

    fn set_cycle_id(page: &mut Page<'_>, cycle_id: u16) -> Result<(), Fault> {
        page.write_at(Opaque::place(page)? + 14, &cycle_id.to_le_bytes())
    }

    /// `_bt_pageinit` and all fields of the special space; the cycle id is zero.
    fn init_page(page: &mut Page<'_>, prev: u32, next: u32, level: u32, flags: u16) -> Result<(), Fault> {
        page.init(OPAQUE_SIZE);
        Opaque::set_prev(page, prev)?;
        Opaque::set_next(page, next)?;
        page.write_at(page.special() as usize + 8, &level.to_le_bytes())?;
        Opaque::set_flags(page, flags)
    }

    /// `P_FIRSTDATAKEY`
    fn first_data_key(page: &Page<'_>) -> Result<OffsetNumber, Fault> {
        Ok(if Opaque::next(page)? == P_NONE { P_HIKEY } else { P_HIKEY + 1 })
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Insert {
    Leaf,
    Upper,
    /// `Upper`, and the root moved.
    Meta,
    /// `Leaf`, splitting the posting list before the new item.
    Posting,
}

/// `btree_xlog_insert`. Block 0 gets the item, block 1 is the child whose split the item completes, block 2
/// the metapage.
fn insert(page: &mut Page<'_>, record: &Record<'_>, kind: Insert) -> Result<(), Fault> {
    match (record.block_id(), kind) {
        (0, Insert::Leaf | Insert::Upper | Insert::Meta) => {
            let offset = record.main().u16("offset")?;
            page.add_item(record.data().rest(), Placement::Insert(offset))?;
        }
        (0, Insert::Posting) => insert_splitting_posting(page, record)?,
        (1, Insert::Upper | Insert::Meta) => return clear_incomplete_split(page, record),
        (2, Insert::Meta) => return restore_meta(page, record),
        _ => return record.unexpected_block(),
    }
    page.set_lsn(record.lsn);
    Ok(())
}

fn insert_splitting_posting(page: &mut Page<'_>, record: &Record<'_>) -> Result<(), Fault> {
    let offset = record.main().u16("offset")?;
    let mut data = record.data();
    let posting_offset = data.u16("posting list offset")?;
    let mut new_item = data.rest().to_vec();
    let posting_at = offset.checked_sub(1).ok_or(Fault::Malformed("offset"))?;
    tuple::swap_posting(&mut new_item, page.item_mut(posting_at)?, posting_offset)?;
    page.add_item(&new_item, Placement::Insert(offset))?;
    Ok(())
}

/// `_bt_clear_incomplete_split`
fn clear_incomplete_split(page: &mut Page<'_>, record: &Record<'_>) -> Result<(), Fault> {
    let flags = Opaque::flags(page)?;
    Opaque::set_flags(page, flags & !BTP_INCOMPLETE_SPLIT)?;
    page.set_lsn(record.lsn);
    Ok(())
}

/// `_bt_restore_page`: the items as they lay in the page's item space, the last one first.
fn restore_page(page: &mut Page<'_>, items: &[u8]) -> Result<(), Fault> {
    let mut starts = Vec::new();
    let mut reader = Reader::new(items);
    while !reader.is_empty() {
        let size = maxalign(tuple::size(reader.rest())?);
        starts.push(reader.bytes(size, "index tuple")?);
    }
    let count = starts.len();
    for (index, item) in starts.into_iter().enumerate().rev() {
        page.add_item(item, Placement::Insert((count - index) as OffsetNumber))?;
    }
    Ok(())
}

/// `btree_xlog_newroot`. Block 0 is the new root, block 1 the left child, block 2 the metapage.
fn newroot(page: &mut Page<'_>, record: &Record<'_>) -> Result<(), Fault> {
    let mut main = record.main();
    main.skip(4, "root block")?;
    let level = main.u32("level")?;
    match record.block_id() {
        0 => {
            let leaf = if level == 0 { BTP_LEAF } else { 0 };
            Opaque::init_page(page, P_NONE, P_NONE, level, BTP_ROOT | leaf)?;
            if level > 0 {
                restore_page(page, record.data().rest())?;
            }
            page.set_lsn(record.lsn);
            Ok(())
        }
        1 => clear_incomplete_split(page, record),
        2 => restore_meta(page, record),
        _ => record.unexpected_block(),
    }
}

/// `_bt_restore_meta`: the metapage from `xl_btree_metadata`, the block's data.
fn restore_meta(page: &mut Page<'_>, record: &Record<'_>) -> Result<(), Fault> {
    const META_SIZE: usize = 48;
    let mut data = record.data();
    // version, root, level, fastroot, fastlevel, last_cleanup_num_delpages: in the same order on the page.
    let fields = data.bytes(24, "metapage's fields")?;
    let all_equal_image = data.u8("allequalimage")?;

    Opaque::init_page(page, P_NONE, P_NONE, 0, BTP_META)?;
    page.write_at(HEADER_SIZE, &BTREE_MAGIC.to_le_bytes())?;
    page.write_at(HEADER_SIZE + 4, fields)?;
    page.write_at(HEADER_SIZE + 32, &(-1.0f64).to_le_bytes())?;
    page.write_at(HEADER_SIZE + 40, &[all_equal_image])?;
    // So that an image of the page does not leave the metadata out as free space.
    page.set_lower((HEADER_SIZE + META_SIZE) as u16);
    page.set_lsn(record.lsn);
    Ok(())
}

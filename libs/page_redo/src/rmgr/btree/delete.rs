//! Redo of deletions from a B-tree: of tuples, and of whole pages.

use super::{
    BTP_DELETED, BTP_HALF_DEAD, BTP_HAS_FULLXID, BTP_HAS_GARBAGE, BTP_LEAF, Opaque, P_HIKEY, P_NONE,
    restore_meta, tuple,
};
use crate::bytes_reader::Reader;
use crate::error::Fault;
use crate::page::{HEADER_SIZE, Page, Placement, maxalign};
use crate::rmgr::Record;

/// `btree_xlog_vacuum`
pub(super) fn vacuum(page: &mut Page<'_>, record: &Record<'_>) -> Result<(), Fault> {
    delete_items(page, record, record.main())
}

/// `btree_xlog_delete`
pub(super) fn delete(page: &mut Page<'_>, record: &Record<'_>) -> Result<(), Fault> {
    let mut main = record.main();
    main.skip(4, "latest removed xid")?;
    delete_items(page, record, main)
}

/// What both have in common: tuples to delete, and tuples whose posting lists lose heap TIDs.
fn delete_items(page: &mut Page<'_>, record: &Record<'_>, mut main: Reader<'_>) -> Result<(), Fault> {
    if record.block_id() != 0 {
        return record.unexpected_block();
    }
    let deleted = main.u16("number of deleted items")? as usize;
    let updated = main.u16("number of updated items")? as usize;
    let mut data = record.data();
    let deleted = data.u16_array(deleted, "deleted items")?;
    let updated = data.u16_array(updated, "updated items")?;

    // btree_xlog_updates
    for offset in updated {
        let count = data.u16("number of deleted heap TIDs")? as usize;
        let heap_tids = data.u16_array(count, "deleted heap TIDs")?;
        let mut item = tuple::remove_from_posting(page.item(offset)?, &heap_tids)?;
        item.resize(maxalign(item.len()), 0);
        page.overwrite_item(offset, &item)?;
    }
    page.delete_items(&deleted)?;
    let flags = Opaque::flags(page)?;
    Opaque::set_flags(page, flags & !BTP_HAS_GARBAGE)?;
    page.set_lsn(record.lsn);
    Ok(())
}

/// A leaf that is to be deleted: empty but for a high key that points to the top of its subtree.
fn init_half_dead(page: &mut Page<'_>, prev: u32, next: u32, top_parent: u32) -> Result<(), Fault> {
    Opaque::init_page(page, prev, next, 0, BTP_HALF_DEAD | BTP_LEAF)?;
    page.add_item(&tuple::dummy_high_key(top_parent)?, Placement::Insert(P_HIKEY))?;
    Ok(())
}

/// `btree_xlog_mark_page_halfdead`. Block 0 is the leaf, block 1 the parent that loses the downlink.
pub(super) fn mark_page_halfdead(page: &mut Page<'_>, record: &Record<'_>) -> Result<(), Fault> {
    let mut main = record.main();
    let parent_offset = main.u16("offset in the parent")?;
    main.skip(2 + 4, "leaf block")?;
    let left = main.u32("left sibling")?;
    let right = main.u32("right sibling")?;
    let top_parent = main.u32("top parent")?;
    match record.block_id() {
        0 => init_half_dead(page, left, right, top_parent)?,
        1 => {
            // The downlink to the right sibling takes the place of the one to the leaf, under the leaf's key.
            let next = parent_offset.checked_add(1).ok_or(Fault::Malformed("offset in the parent"))?;
            let right_sibling = tuple::downlink(page.item(next)?)?;
            tuple::set_downlink(page.item_mut(parent_offset)?, right_sibling)?;
            page.delete_item(next)?;
        }
        _ => return record.unexpected_block(),
    }
    page.set_lsn(record.lsn);
    Ok(())
}

/// `btree_xlog_unlink_page`. Block 0 is deleted, blocks 1 and 2 are its siblings, block 3 is the leaf of its
/// subtree if that is another page, block 4 the metapage.
pub(super) fn unlink_page(page: &mut Page<'_>, record: &Record<'_>, with_meta: bool) -> Result<(), Fault> {
    let mut main = record.main();
    let left = main.u32("left sibling")?;
    let right = main.u32("right sibling")?;
    let level = main.u32("level")?;
    main.align(8, "padding")?;
    let safe_xid = main.u64("safe xid")?;
    let leaf_left = main.u32("leaf's left sibling")?;
    let leaf_right = main.u32("leaf's right sibling")?;
    let leaf_top_parent = main.u32("leaf's top parent")?;
    match record.block_id() {
        0 => init_deleted(page, left, right, level, safe_xid)?,
        1 if left != P_NONE => Opaque::set_next(page, right)?,
        2 => Opaque::set_prev(page, left)?,
        3 => init_half_dead(page, leaf_left, leaf_right, leaf_top_parent)?,
        4 if with_meta => return restore_meta(page, record),
        _ => return record.unexpected_block(),
    }
    page.set_lsn(record.lsn);
    Ok(())
}

/// An empty page, of which `BTPageSetDeleted` says until when scans may still come to it.
fn init_deleted(page: &mut Page<'_>, left: u32, right: u32, level: u32, safe_xid: u64) -> Result<(), Fault> {
    let leaf = if level == 0 { BTP_LEAF } else { 0 };
    Opaque::init_page(page, left, right, level, BTP_DELETED | BTP_HAS_FULLXID | leaf)?;
    page.set_lower((HEADER_SIZE + 8) as u16);
    page.set_upper(page.special());
    page.write_at(HEADER_SIZE, &safe_xid.to_le_bytes())
}

//! Redo of GIN indexes (ginxlog.c: `gin_redo`).
//!
//! Special space of a page (`GinPageOpaqueData`, 8 bytes):
//! ```text
//!  0 rightlink u32   4 maxoff u16   6 flags u16
//! ```
//! Pages of posting trees (`GIN_DATA`) keep their right bound at 24 and from 32 on, up to pd_lower, either
//! compressed segments (leaves, see posting.rs) or posting items of 10 bytes: child block, key.

mod posting;

use super::Record;
use super::index_tuple::{append_tuples, read_tuple};
use crate::bytes_reader::Reader;
use crate::error::Fault;
use crate::page::{FIRST_OFFSET, HEADER_SIZE, OffsetNumber, Page, Placement};

const XLOG_GIN_CREATE_PTREE: u8 = 0x10;
const XLOG_GIN_INSERT: u8 = 0x20;
const XLOG_GIN_SPLIT: u8 = 0x30;
const XLOG_GIN_VACUUM_PAGE: u8 = 0x40;
const XLOG_GIN_DELETE_PAGE: u8 = 0x50;
const XLOG_GIN_UPDATE_META_PAGE: u8 = 0x60;
const XLOG_GIN_INSERT_LISTPAGE: u8 = 0x70;
const XLOG_GIN_DELETE_LISTPAGE: u8 = 0x80;
const XLOG_GIN_VACUUM_DATA_LEAF_PAGE: u8 = 0x90;

const GIN_DATA: u16 = 1 << 0;
const GIN_LEAF: u16 = 1 << 1;
const GIN_DELETED: u16 = 1 << 2;
const GIN_META: u16 = 1 << 3;
const GIN_LIST: u16 = 1 << 4;
const GIN_LIST_FULLROW: u16 = 1 << 5;
const GIN_INCOMPLETE_SPLIT: u16 = 1 << 6;
const GIN_COMPRESSED: u16 = 1 << 7;

const GIN_INSERT_ISDATA: u16 = 0x01;
const GIN_INSERT_ISLEAF: u16 = 0x02;

const INVALID_BLOCK: u32 = u32::MAX;
const OPAQUE_SIZE: usize = 8;
const RIGHTLINK_AT: usize = 0;
const MAXOFF_AT: usize = 4;
const FLAGS_AT: usize = 6;
/// Where posting items or segments begin (`GinDataPageGetData`).
const DATA_AT: usize = HEADER_SIZE + 8;
const POSTING_ITEM_SIZE: usize = 10;
/// `sizeof(GinMetaPageData)`
const META_SIZE: usize = 56;

/// `gin_redo`
pub(super) fn redo(page: &mut Page<'_>, record: &Record<'_>) -> Result<(), Fault> {
    match (record.info(), record.block_id()) {
        (XLOG_GIN_CREATE_PTREE, 0) => create_posting_tree(page, record)?,
        (XLOG_GIN_INSERT, 0) => insert(page, record)?,
        (XLOG_GIN_INSERT, 1) | (XLOG_GIN_SPLIT, 3) => clear_incomplete_split(page)?,
        (XLOG_GIN_SPLIT, 0..=2) | (XLOG_GIN_VACUUM_PAGE, 0) => {
            return Err(Fault::Malformed("record must have a full-page image"));
        }
        (XLOG_GIN_DELETE_PAGE, _) => delete_page(page, record)?,
        (XLOG_GIN_UPDATE_META_PAGE, 0) => restore_metapage(page, record, 16)?,
        (XLOG_GIN_UPDATE_META_PAGE, 1) => update_tail(page, record)?,
        (XLOG_GIN_INSERT_LISTPAGE, 0) => insert_list_page(page, record)?,
        (XLOG_GIN_DELETE_LISTPAGE, 0) => restore_metapage(page, record, 0)?,
        (XLOG_GIN_DELETE_LISTPAGE, _) => init_page(page, GIN_DELETED)?,
        (XLOG_GIN_VACUUM_DATA_LEAF_PAGE, 0) => posting::recompress(page, record.data())?,
        _ => return record.unexpected_block(),
    }
    page.set_lsn(record.lsn);
    Ok(())
}

/// Place of the special space.
fn opaque(page: &Page<'_>) -> Result<usize, Fault> {
    let special = page.special() as usize;
    page.slice(special, OPAQUE_SIZE).map_err(|_| Fault::PageState("not a GIN page"))?;
    Ok(special)
}

fn flags(page: &Page<'_>) -> Result<u16, Fault> {
    page.u16_at(opaque(page)? + FLAGS_AT)
}

fn set_flags(page: &mut Page<'_>, flags: u16) -> Result<(), Fault> {
    page.write_at(opaque(page)? + FLAGS_AT, &flags.to_le_bytes())
}

fn maxoff(page: &Page<'_>) -> Result<u16, Fault> {
    page.u16_at(opaque(page)? + MAXOFF_AT)
}

fn set_maxoff(page: &mut Page<'_>, maxoff: u16) -> Result<(), Fault> {
    page.write_at(opaque(page)? + MAXOFF_AT, &maxoff.to_le_bytes())
}

fn set_rightlink(page: &mut Page<'_>, block: u32) -> Result<(), Fault> {
    page.write_at(opaque(page)? + RIGHTLINK_AT, &block.to_le_bytes())
}

/// `GinInitPage`
fn init_page(page: &mut Page<'_>, flags: u16) -> Result<(), Fault> {
    page.init(OPAQUE_SIZE);
    set_rightlink(page, INVALID_BLOCK)?;
    set_flags(page, flags)
}

/// `GinDataPageSetDataSize`
fn set_data_size(page: &mut Page<'_>, size: usize) -> Result<(), Fault> {
    if DATA_AT + size > opaque(page)? {
        return Err(Fault::PageState("posting data does not fit on the page"));
    }
    page.set_lower((DATA_AT + size) as u16);
    Ok(())
}

/// A block number as item pointers have it: the high half first.
fn block_bytes(block: u32) -> [u8; 4] {
    let ([low0, low1], [high0, high1]) = ((block as u16).to_le_bytes(), ((block >> 16) as u16).to_le_bytes());
    [high0, high1, low0, low1]
}

fn read_block(reader: &mut Reader<'_>, what: &'static str) -> Result<[u8; 4], Fault> {
    let (high, low) = (reader.u16(what)?, reader.u16(what)?);
    Ok(block_bytes(u32::from(high) << 16 | u32::from(low)))
}

/// `ginRedoClearIncompleteSplit`
fn clear_incomplete_split(page: &mut Page<'_>) -> Result<(), Fault> {
    let flags = flags(page)?;
    set_flags(page, flags & !GIN_INCOMPLETE_SPLIT)
}

/// `ginRedoCreatePTree`
fn create_posting_tree(page: &mut Page<'_>, record: &Record<'_>) -> Result<(), Fault> {
    let mut main = record.main();
    let size = main.u32("size of the posting list")? as usize;
    let list = main.bytes(size, "posting list")?;
    init_page(page, GIN_DATA | GIN_LEAF | GIN_COMPRESSED)?;
    set_data_size(page, size)?;
    page.write_at(DATA_AT, list)
}

/// `ginRedoInsert`
fn insert(page: &mut Page<'_>, record: &Record<'_>) -> Result<(), Fault> {
    let mut main = record.main();
    let insert_flags = main.u16("flags of the insertion")?;
    let is_leaf = insert_flags & GIN_INSERT_ISLEAF != 0;
    let right_child = if is_leaf {
        None
    } else {
        main.skip(4, "left child")?;
        Some(read_block(&mut main, "right child")?)
    };
    match (insert_flags & GIN_INSERT_ISDATA != 0, right_child) {
        (true, None) => posting::recompress(page, record.data()),
        (true, Some(right_child)) => insert_posting_item(page, record.data(), right_child),
        (false, right_child) => insert_entry(page, record.data(), right_child),
    }
}

/// `ginRedoInsertEntry`: the tuple before the new one gets the right page of the split as its child.
fn insert_entry(
    page: &mut Page<'_>,
    mut data: Reader<'_>,
    right_child: Option<[u8; 4]>,
) -> Result<(), Fault> {
    let offset = data.u16("offset of the entry")?;
    let is_delete = data.u8("deletion of the old entry")? != 0;
    data.skip(1, "padding")?;
    if let Some(child) = right_child.filter(|child| *child != block_bytes(INVALID_BLOCK)) {
        let item_id = page.item_id(offset)?;
        page.write_at(item_id.offset(), &child)?;
        // GinSetDownlink clears the offset number too.
        page.write_at(item_id.offset() + 4, &[0, 0])?;
    }
    if is_delete {
        page.delete_item(offset)?;
    }
    page.add_item(read_tuple(&mut data)?, Placement::Insert(offset)).map(drop)
}

/// `ginRedoInsertData` of an inner page, `GinDataPageAddPostingItem`.
fn insert_posting_item(page: &mut Page<'_>, mut data: Reader<'_>, right_child: [u8; 4]) -> Result<(), Fault> {
    let offset = data.u16("offset of the posting item")?;
    let item = data.bytes(POSTING_ITEM_SIZE, "posting item")?;
    let count = maxoff(page)?;
    if offset < FIRST_OFFSET || offset > count {
        return Err(Fault::PageState("no such posting item"));
    }
    let place = DATA_AT + (offset as usize - 1) * POSTING_ITEM_SIZE;
    page.write_at(place, &right_child)?;
    set_data_size(page, (count as usize + 1) * POSTING_ITEM_SIZE)?;
    let end = DATA_AT + count as usize * POSTING_ITEM_SIZE;
    page.bytes.copy_within(place..end, place + POSTING_ITEM_SIZE);
    page.write_at(place, item)?;
    set_maxoff(page, count + 1)
}

/// `GinPageDeletePostingItem`
fn delete_posting_item(page: &mut Page<'_>, offset: OffsetNumber) -> Result<(), Fault> {
    let count = maxoff(page)?;
    if offset < FIRST_OFFSET || offset > count {
        return Err(Fault::PageState("no such posting item"));
    }
    let end = DATA_AT + count as usize * POSTING_ITEM_SIZE;
    if end > opaque(page)? {
        return Err(Fault::PageState("posting items reach past the page"));
    }
    let place = DATA_AT + (offset as usize - 1) * POSTING_ITEM_SIZE;
    page.bytes.copy_within(place + POSTING_ITEM_SIZE..end, place);
    set_maxoff(page, count - 1)?;
    set_data_size(page, (count as usize - 1) * POSTING_ITEM_SIZE)
}

/// `ginRedoDeletePage`. Block 0 is the deleted page, block 1 its parent, block 2 its left sibling.
fn delete_page(page: &mut Page<'_>, record: &Record<'_>) -> Result<(), Fault> {
    let mut main = record.main();
    let parent_offset = main.u16("offset in the parent")?;
    main.skip(2, "padding")?;
    let rightlink = main.u32("right link")?;
    let delete_xid = main.u32("xid of the deletion")?;
    match record.block_id() {
        0 => {
            let flags = flags(page)?;
            set_flags(page, flags | GIN_DELETED)?;
            page.set_prune_xid(delete_xid);
            Ok(())
        }
        1 => delete_posting_item(page, parent_offset),
        2 => set_rightlink(page, rightlink),
        _ => record.unexpected_block(),
    }
}

/// `GinInitMetabuffer`, and the metadata from the record's main data.
fn restore_metapage(page: &mut Page<'_>, record: &Record<'_>, metadata_at: usize) -> Result<(), Fault> {
    let mut main = record.main();
    main.skip(metadata_at, "metadata")?;
    let metadata = main.bytes(META_SIZE, "metadata")?;
    init_page(page, GIN_META)?;
    page.write_at(HEADER_SIZE, metadata)?;
    page.set_lower((HEADER_SIZE + META_SIZE) as u16);
    Ok(())
}

/// `ginRedoUpdateMetapage`, the tail of the pending list: it gets tuples, or a successor.
fn update_tail(page: &mut Page<'_>, record: &Record<'_>) -> Result<(), Fault> {
    let mut main = record.main();
    main.skip(16 + META_SIZE, "metadata")?;
    let _previous_tail = main.u32("previous tail")?;
    let rightlink = main.u32("new right link")?;
    let tuple_count = main.u32("number of tuples")?;
    if tuple_count == 0 {
        return set_rightlink(page, rightlink);
    }
    append_tuples(page, record.data())?;
    let heap_tuples = maxoff(page)?;
    set_maxoff(page, heap_tuples.wrapping_add(1))
}

/// `ginRedoInsertListPage`
fn insert_list_page(page: &mut Page<'_>, record: &Record<'_>) -> Result<(), Fault> {
    let mut main = record.main();
    let rightlink = main.u32("right link")?;
    let is_tail = rightlink == INVALID_BLOCK;
    init_page(page, if is_tail { GIN_LIST | GIN_LIST_FULLROW } else { GIN_LIST })?;
    set_rightlink(page, rightlink)?;
    set_maxoff(page, is_tail.into())?;
    append_tuples(page, record.data())
}

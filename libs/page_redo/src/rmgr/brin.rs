//! Redo of BRIN indexes (brin_xlog.c: `brin_redo`).
//!
//! The special space is 8 bytes, whose last u16 is the type of the page. A revmap page holds item pointers of
//! 6 bytes from 24 on, one for each range of heap blocks. The metapage holds at 24: magic, version, pages per
//! range, last revmap page.

use super::Record;
use crate::bytes_reader::Reader;
use crate::error::Fault;
use crate::page::{HEADER_SIZE, OffsetNumber, Page, Placement};

const XLOG_BRIN_CREATE_INDEX: u8 = 0x00;
const XLOG_BRIN_INSERT: u8 = 0x10;
const XLOG_BRIN_UPDATE: u8 = 0x20;
const XLOG_BRIN_SAMEPAGE_UPDATE: u8 = 0x30;
const XLOG_BRIN_REVMAP_EXTEND: u8 = 0x40;
const XLOG_BRIN_DESUMMARIZE: u8 = 0x50;
const XLOG_BRIN_OPMASK: u8 = 0x70;
const XLOG_BRIN_INIT_PAGE: u8 = 0x80;

const PAGETYPE_META: u16 = 0xf091;
const PAGETYPE_REVMAP: u16 = 0xf092;
const PAGETYPE_REGULAR: u16 = 0xf093;

const SPECIAL_SIZE: usize = 8;
const META_MAGIC: u32 = 0xa810_9cfa;
const META_SIZE: usize = 16;
const LAST_REVMAP_PAGE_AT: usize = HEADER_SIZE + 12;
const ITEM_POINTER_SIZE: usize = 6;
/// `REVMAP_PAGE_MAXITEMS`
const REVMAP_ITEMS: u32 = 1360;
/// `ItemPointerSetInvalid`: no block, no offset.
const INVALID_POINTER: [u8; ITEM_POINTER_SIZE] = [0xff, 0xff, 0xff, 0xff, 0, 0];

/// `brin_redo`
pub(super) fn redo(page: &mut Page<'_>, record: &Record<'_>) -> Result<(), Fault> {
    let main = record.main();
    match (record.info() & XLOG_BRIN_OPMASK, record.block_id()) {
        (XLOG_BRIN_CREATE_INDEX, 0) => create_index(page, main)?,
        (XLOG_BRIN_INSERT, 0 | 1) => insert(page, record, main)?,
        (XLOG_BRIN_UPDATE, _) => update(page, record, main)?,
        (XLOG_BRIN_SAMEPAGE_UPDATE, 0) => samepage_update(page, record, main)?,
        (XLOG_BRIN_REVMAP_EXTEND, _) => revmap_extend(page, record, main)?,
        (XLOG_BRIN_DESUMMARIZE, _) => desummarize(page, record, main)?,
        _ => return record.unexpected_block(),
    }
    page.set_lsn(record.lsn);
    Ok(())
}

/// `brin_page_init`
fn init_page(page: &mut Page<'_>, page_type: u16) -> Result<(), Fault> {
    page.init(SPECIAL_SIZE);
    page.write_at(usize::from(page.special()) + SPECIAL_SIZE - 2, &page_type.to_le_bytes())
}

/// `brin_metapage_init`
fn create_index(page: &mut Page<'_>, mut main: Reader<'_>) -> Result<(), Fault> {
    let pages_per_range = main.u32("pages per range")?;
    let version = main.u16("version of the index")?;
    init_page(page, PAGETYPE_META)?;
    for (index, field) in [META_MAGIC, version.into(), pages_per_range, 0].into_iter().enumerate() {
        page.write_at(HEADER_SIZE + 4 * index, &field.to_le_bytes())?;
    }
    page.set_lower((HEADER_SIZE + META_SIZE) as u16);
    Ok(())
}

/// `brin_xlog_insert_update`. Block 0 gets the tuple, block 1 is the revmap page that will point to it.
fn insert(page: &mut Page<'_>, record: &Record<'_>, mut main: Reader<'_>) -> Result<(), Fault> {
    let heap_block = main.u32("heap block")?;
    let pages_per_range = main.u32("pages per range")?;
    let offset = main.u16("offset of the tuple")?;
    if record.block_id() == 1 {
        let pointer = item_pointer(record.blkno_of(0)?, offset);
        return set_range(page, pages_per_range, heap_block, pointer);
    }
    if record.info() & XLOG_BRIN_INIT_PAGE != 0 {
        init_page(page, PAGETYPE_REGULAR)?;
    }
    page.add_item(record.data().rest(), Placement::Unused(offset)).map(drop)
}

/// `brin_xlog_update`. Block 2 is the page that the old tuple was on.
fn update(page: &mut Page<'_>, record: &Record<'_>, mut main: Reader<'_>) -> Result<(), Fault> {
    let old_offset = main.u16("offset of the old tuple")?;
    main.skip(2, "padding")?;
    match record.block_id() {
        0 | 1 => insert(page, record, main),
        2 => page.delete_item_no_compact(old_offset),
        _ => record.unexpected_block(),
    }
}

/// `brin_xlog_samepage_update`
fn samepage_update(page: &mut Page<'_>, record: &Record<'_>, mut main: Reader<'_>) -> Result<(), Fault> {
    page.overwrite_item(main.u16("offset of the tuple")?, record.data().rest())
}

/// `brin_xlog_revmap_extend`. Block 0 is the metapage, block 1 the new revmap page.
fn revmap_extend(page: &mut Page<'_>, record: &Record<'_>, mut main: Reader<'_>) -> Result<(), Fault> {
    let target = main.u32("new revmap page")?;
    match record.block_id() {
        0 => {
            page.write_at(LAST_REVMAP_PAGE_AT, &target.to_le_bytes())?;
            // Indexes of older versions had it elsewhere.
            page.set_lower((HEADER_SIZE + META_SIZE) as u16);
            Ok(())
        }
        1 => init_page(page, PAGETYPE_REVMAP),
        _ => record.unexpected_block(),
    }
}

/// `brin_xlog_desummarize_page`. Block 0 is the revmap page, block 1 the one with the tuple.
fn desummarize(page: &mut Page<'_>, record: &Record<'_>, mut main: Reader<'_>) -> Result<(), Fault> {
    let pages_per_range = main.u32("pages per range")?;
    let heap_block = main.u32("heap block")?;
    let offset = main.u16("offset of the tuple")?;
    match record.block_id() {
        0 => set_range(page, pages_per_range, heap_block, INVALID_POINTER),
        1 => page.delete_item_no_compact(offset),
        _ => record.unexpected_block(),
    }
}

/// Block numbers in item pointers have the high half first.
fn item_pointer(block: u32, offset: OffsetNumber) -> [u8; ITEM_POINTER_SIZE] {
    let ([high0, high1], [low0, low1]) = (((block >> 16) as u16).to_le_bytes(), (block as u16).to_le_bytes());
    let [offset0, offset1] = offset.to_le_bytes();
    [high0, high1, low0, low1, offset0, offset1]
}

/// `brinSetHeapBlockItemptr`
fn set_range(
    page: &mut Page<'_>,
    pages_per_range: u32,
    heap_block: u32,
    pointer: [u8; ITEM_POINTER_SIZE],
) -> Result<(), Fault> {
    let range = heap_block.checked_div(pages_per_range).ok_or(Fault::Malformed("no pages per range"))?;
    let place = HEADER_SIZE + (range % REVMAP_ITEMS) as usize * ITEM_POINTER_SIZE;
    page.write_at(place, &pointer)
}

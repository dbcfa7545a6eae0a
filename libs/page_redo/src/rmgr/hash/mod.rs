//! Redo of hash indexes (hash_xlog.c: `hash_redo`).
//!
//! Special space of a page (`HashPageOpaqueData`, 16 bytes):
//! ```text
//!  0 prevblkno u32   4 nextblkno u32   8 bucket u32   12 flag u16   14 page id u16
//! ```

mod meta;

use types::PgVersion;

use super::Record;
use super::index_tuple::tuple_size;
use crate::bytes_reader::Reader;
use crate::error::Fault;
use crate::page::{HEADER_SIZE, Page, Placement, maxalign};

const XLOG_HASH_INIT_META_PAGE: u8 = 0x00;
const XLOG_HASH_INIT_BITMAP_PAGE: u8 = 0x10;
const XLOG_HASH_INSERT: u8 = 0x20;
const XLOG_HASH_ADD_OVFL_PAGE: u8 = 0x30;
const XLOG_HASH_SPLIT_ALLOCATE_PAGE: u8 = 0x40;
const XLOG_HASH_SPLIT_PAGE: u8 = 0x50;
const XLOG_HASH_SPLIT_COMPLETE: u8 = 0x60;
const XLOG_HASH_MOVE_PAGE_CONTENTS: u8 = 0x70;
const XLOG_HASH_SQUEEZE_PAGE: u8 = 0x80;
const XLOG_HASH_DELETE: u8 = 0x90;
const XLOG_HASH_SPLIT_CLEANUP: u8 = 0xa0;
const XLOG_HASH_UPDATE_META_PAGE: u8 = 0xb0;
const XLOG_HASH_VACUUM_ONE_PAGE: u8 = 0xc0;

const LH_UNUSED_PAGE: u16 = 0;
const LH_OVERFLOW_PAGE: u16 = 1 << 0;
const LH_BITMAP_PAGE: u16 = 1 << 2;
const LH_META_PAGE: u16 = 1 << 3;
const LH_BUCKET_NEEDS_SPLIT_CLEANUP: u16 = 1 << 6;
const LH_PAGE_HAS_DEAD_TUPLES: u16 = 1 << 7;

/// `InvalidBlockNumber`, and `InvalidBucket`.
const INVALID: u32 = u32::MAX;
const OPAQUE_SIZE: usize = 16;
const PREV_AT: usize = 0;
const NEXT_AT: usize = 4;
const FLAG_AT: usize = 12;
const PAGE_ID: u16 = 0xff80;

/// `hash_redo`
pub(super) fn redo(page: &mut Page<'_>, record: &Record<'_>) -> Result<(), Fault> {
    match (record.info(), record.block_id()) {
        // The primary bucket page is named only to be locked.
        (XLOG_HASH_MOVE_PAGE_CONTENTS | XLOG_HASH_SQUEEZE_PAGE | XLOG_HASH_DELETE, 0) => return Ok(()),
        (XLOG_HASH_SPLIT_PAGE, 0) => return Err(Fault::Malformed("record must have a full-page image")),
        (XLOG_HASH_INIT_META_PAGE, 0) => meta::init(page, record.main())?,
        (XLOG_HASH_INIT_BITMAP_PAGE, 0) => init_bitmap(page, record.main().u16("size of the bitmap")?)?,
        (XLOG_HASH_INIT_BITMAP_PAGE, 1) => meta::add_first_bitmap(page)?,
        (XLOG_HASH_INSERT, 0) => insert(page, record)?,
        (XLOG_HASH_INSERT, 1) => meta::change_tuple_count(page, |count| count + 1.0)?,
        (XLOG_HASH_ADD_OVFL_PAGE, _) => add_overflow_page(page, record)?,
        (XLOG_HASH_SPLIT_ALLOCATE_PAGE, _) => split_allocate_page(page, record)?,
        (XLOG_HASH_SPLIT_COMPLETE, _) => split_complete(page, record)?,
        (XLOG_HASH_MOVE_PAGE_CONTENTS, 1) => add_moved_tuples(page, record, record.main())?,
        (XLOG_HASH_MOVE_PAGE_CONTENTS, 2) => delete_listed(page, record.data())?,
        (XLOG_HASH_SQUEEZE_PAGE, _) => {
            if !squeeze_page(page, record)? {
                return Ok(());
            }
        }
        (XLOG_HASH_DELETE, 1) => delete(page, record)?,
        (XLOG_HASH_SPLIT_CLEANUP, 0) => clear_flag(page, LH_BUCKET_NEEDS_SPLIT_CLEANUP)?,
        (XLOG_HASH_UPDATE_META_PAGE, 0) => {
            let count = f64::from_bits(record.main().u64("number of tuples")?);
            meta::change_tuple_count(page, |_| count)?;
        }
        (XLOG_HASH_VACUUM_ONE_PAGE, _) => vacuum_one_page(page, record)?,
        _ => return record.unexpected_block(),
    }
    page.set_lsn(record.lsn);
    Ok(())
}

/// Splits set the special space of the buckets even if they were restored from an image.
pub(super) fn redo_restored(page: &mut Page<'_>, record: &Record<'_>) -> Result<(), Fault> {
    match (record.info(), record.block_id()) {
        (XLOG_HASH_SPLIT_ALLOCATE_PAGE, 0) | (XLOG_HASH_SPLIT_COMPLETE, 0 | 1) => redo(page, record),
        _ => Ok(()),
    }
}

/// Place of the special space.
fn opaque(page: &Page<'_>) -> Result<usize, Fault> {
    let special = page.special() as usize;
    page.slice(special, OPAQUE_SIZE).map_err(|_| Fault::PageState("not a page of a hash index"))?;
    Ok(special)
}

fn set_prev(page: &mut Page<'_>, block: u32) -> Result<(), Fault> {
    page.write_at(opaque(page)? + PREV_AT, &block.to_le_bytes())
}

fn set_next(page: &mut Page<'_>, block: u32) -> Result<(), Fault> {
    page.write_at(opaque(page)? + NEXT_AT, &block.to_le_bytes())
}

fn set_flags(page: &mut Page<'_>, flags: u16) -> Result<(), Fault> {
    page.write_at(opaque(page)? + FLAG_AT, &flags.to_le_bytes())
}

fn clear_flag(page: &mut Page<'_>, flag: u16) -> Result<(), Fault> {
    let flags = page.u16_at(opaque(page)? + FLAG_AT)?;
    set_flags(page, flags & !flag)
}

/// `_hash_pageinit` and all fields of the special space.
fn init_page(page: &mut Page<'_>, prev: u32, bucket: u32, flags: u16) -> Result<(), Fault> {
    page.init(OPAQUE_SIZE);
    set_prev(page, prev)?;
    set_next(page, INVALID)?;
    let place = opaque(page)?;
    page.write_at(place + 8, &bucket.to_le_bytes())?;
    set_flags(page, flags)?;
    page.write_at(place + 14, &PAGE_ID.to_le_bytes())
}

/// `_hash_initbitmapbuffer`: all pages are in use.
fn init_bitmap(page: &mut Page<'_>, size: u16) -> Result<(), Fault> {
    init_page(page, INVALID, INVALID, LH_BITMAP_PAGE)?;
    let end = HEADER_SIZE + usize::from(size);
    if end > opaque(page)? {
        return Err(Fault::Malformed("size of the bitmap"));
    }
    page.bytes[HEADER_SIZE..end].fill(0xff);
    page.set_lower(end as u16);
    Ok(())
}

/// Sets or clears the bit whose number is the block's data.
fn change_bitmap(page: &mut Page<'_>, mut data: Reader<'_>, used: bool) -> Result<(), Fault> {
    let bit = data.u32("bit of the bitmap")?;
    let place = HEADER_SIZE + (bit / 8) as usize;
    if place >= opaque(page)? {
        return Err(Fault::Malformed("bit of the bitmap"));
    }
    let mask = 1 << (bit % 8);
    page.bytes[place] = if used { page.bytes[place] | mask } else { page.bytes[place] & !mask };
    Ok(())
}

/// `hash_xlog_insert`
fn insert(page: &mut Page<'_>, record: &Record<'_>) -> Result<(), Fault> {
    let offset = record.main().u16("offset of the tuple")?;
    page.add_item(record.data().rest(), Placement::Insert(offset)).map(drop)
}

/// `hash_xlog_add_ovfl_page`. Block 0 is the new page, 1 the one before it, 2 a bitmap, 3 a new bitmap, 4 the
/// metapage.
fn add_overflow_page(page: &mut Page<'_>, record: &Record<'_>) -> Result<(), Fault> {
    let mut main = record.main();
    let bitmap_size = main.u16("size of the bitmap")?;
    let bitmap_page_found = main.u8("use of a bitmap page")? != 0;
    match record.block_id() {
        0 => init_page(page, record.blkno_of(1)?, record.data().u32("bucket")?, LH_OVERFLOW_PAGE),
        1 => set_next(page, record.blkno_of(0)?),
        2 => change_bitmap(page, record.data(), true),
        3 => init_bitmap(page, bitmap_size),
        4 => {
            meta::set_first_free(page, record.data())?;
            let new_bitmap = record.tag(3).map(|tag| tag.blkno);
            if bitmap_page_found { Ok(()) } else { meta::add_overflow_page(page, new_bitmap) }
        }
        _ => record.unexpected_block(),
    }
}

/// `hash_xlog_split_allocate_page`. Block 0 is the old bucket, 1 the new one, 2 the metapage.
fn split_allocate_page(page: &mut Page<'_>, record: &Record<'_>) -> Result<(), Fault> {
    let mut main = record.main();
    let new_bucket = main.u32("new bucket")?;
    let old_flags = main.u16("flags of the old bucket")?;
    let new_flags = main.u16("flags of the new bucket")?;
    let flags = main.u8("flags of the split")?;
    match record.block_id() {
        0 => {
            set_flags(page, old_flags)?;
            set_prev(page, new_bucket)
        }
        1 => init_page(page, new_bucket, new_bucket, new_flags),
        2 => meta::split(page, new_bucket, flags, record.data()),
        _ => record.unexpected_block(),
    }
}

/// `hash_xlog_split_complete`
fn split_complete(page: &mut Page<'_>, record: &Record<'_>) -> Result<(), Fault> {
    let mut main = record.main();
    let old_flags = main.u16("flags of the old bucket")?;
    let new_flags = main.u16("flags of the new bucket")?;
    match record.block_id() {
        0 => set_flags(page, old_flags),
        1 => set_flags(page, new_flags),
        _ => record.unexpected_block(),
    }
}

/// Tuples that were moved to this page: their offsets, then the tuples, each padded to a multiple of 8.
/// `counts` stands where the record says how many.
fn add_moved_tuples(page: &mut Page<'_>, record: &Record<'_>, mut counts: Reader<'_>) -> Result<(), Fault> {
    let count = counts.u16("number of moved tuples")?;
    let mut data = record.data();
    for offset in data.u16_array(count.into(), "offsets of moved tuples")? {
        let size = maxalign(tuple_size(&data)?);
        page.add_item(data.bytes(size, "moved tuple")?, Placement::Insert(offset))?;
    }
    Ok(())
}

fn delete_listed(page: &mut Page<'_>, mut data: Reader<'_>) -> Result<(), Fault> {
    let offsets = data.u16_array(data.rest().len() / 2, "tuples to delete")?;
    if offsets.is_empty() { Ok(()) } else { page.delete_items(&offsets) }
}

/// `hash_xlog_squeeze_page`. Block 1 gets the tuples of the overflow page 2, which is freed; 3 and 4 are the
/// pages before and behind it, 5 is its bitmap, 6 the metapage. False if the page is named and not changed, as
/// version 17 knows it.
fn squeeze_page(page: &mut Page<'_>, record: &Record<'_>) -> Result<bool, Fault> {
    let mut main = record.main();
    let prev = main.u32("previous page")?;
    let next = main.u32("next page")?;
    let counts = main;
    let moved = main.u16("number of moved tuples")?;
    main.skip(1, "kind of the target")?;
    let previous_is_target = main.u8("kind of the previous page")? != 0;
    match record.block_id() {
        1 => {
            add_moved_tuples(page, record, counts)?;
            if previous_is_target {
                set_next(page, next)?;
            }
            return Ok(record.version < PgVersion::V17 || moved > 0 || previous_is_target);
        }
        2 => init_page(page, INVALID, INVALID, LH_UNUSED_PAGE)?,
        3 if !previous_is_target => set_next(page, next)?,
        4 => set_prev(page, prev)?,
        5 => change_bitmap(page, record.data(), false)?,
        6 => meta::set_first_free(page, record.data())?,
        _ => return record.unexpected_block(),
    }
    Ok(true)
}

/// `hash_xlog_delete`
fn delete(page: &mut Page<'_>, record: &Record<'_>) -> Result<(), Fault> {
    delete_listed(page, record.data())?;
    let clear_dead_marking = record.main().u8("clearing of the dead mark")? != 0;
    if clear_dead_marking { clear_flag(page, LH_PAGE_HAS_DEAD_TUPLES) } else { Ok(()) }
}

/// `hash_xlog_vacuum_one_page`. Block 0 loses its dead tuples, block 1 is the metapage.
fn vacuum_one_page(page: &mut Page<'_>, record: &Record<'_>) -> Result<(), Fault> {
    let mut main = record.main();
    main.skip(4, "latest removed xid")?;
    let count = match record.version {
        PgVersion::V15 => main.u32("number of dead tuples")?,
        PgVersion::V17 => {
            let count = main.u16("number of dead tuples")?;
            main.skip(2, "kind of relation")?;
            count.into()
        }
    };
    match record.block_id() {
        0 => {
            if !main.is_empty() {
                page.delete_items(&main.u16_array(count as usize, "tuples to delete")?)?;
            }
            clear_flag(page, LH_PAGE_HAS_DEAD_TUPLES)
        }
        1 => meta::change_tuple_count(page, |tuples| tuples - f64::from(count)),
        _ => record.unexpected_block(),
    }
}

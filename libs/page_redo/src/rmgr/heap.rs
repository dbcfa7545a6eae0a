//! Redo of the first heap resource manager (heapam.c: `heap_redo`).
//!
//! Heap pages only. From 17.11 on the page of the visibility map that a record changes is a block of it too
//! (`heap_vm.rs`); of other records that change it is implied, see [`crate::vm_clears`].

use super::Record;
use super::heap_tuple::{self, HeapTuple};
use super::heap_vm;
use crate::bytes_reader::Reader;
use crate::error::Fault;
use crate::page::{OffsetNumber, PD_ALL_VISIBLE, Page, Placement};

pub(crate) const XLOG_HEAP_INSERT: u8 = 0x00;
pub(crate) const XLOG_HEAP_DELETE: u8 = 0x10;
pub(crate) const XLOG_HEAP_UPDATE: u8 = 0x20;
const XLOG_HEAP_TRUNCATE: u8 = 0x30;
pub(crate) const XLOG_HEAP_HOT_UPDATE: u8 = 0x40;
const XLOG_HEAP_CONFIRM: u8 = 0x50;
pub(crate) const XLOG_HEAP_LOCK: u8 = 0x60;
const XLOG_HEAP_INPLACE: u8 = 0x70;
pub(crate) const XLOG_HEAP_OPMASK: u8 = 0x70;
/// The page is made anew; used by inserts and updates of both heap resource managers.
pub(super) const XLOG_HEAP_INIT_PAGE: u8 = 0x80;

pub(crate) const XLH_INSERT_ALL_VISIBLE_CLEARED: u8 = 1 << 0;
pub(crate) const XLH_DELETE_ALL_VISIBLE_CLEARED: u8 = 1 << 0;
const XLH_DELETE_IS_SUPER: u8 = 1 << 3;
const XLH_DELETE_IS_PARTITION_MOVE: u8 = 1 << 4;
pub(crate) const XLH_UPDATE_OLD_ALL_VISIBLE_CLEARED: u8 = 1 << 0;
pub(crate) const XLH_UPDATE_NEW_ALL_VISIBLE_CLEARED: u8 = 1 << 1;
const XLH_UPDATE_PREFIX_FROM_OLD: u8 = 1 << 5;
const XLH_UPDATE_SUFFIX_FROM_OLD: u8 = 1 << 6;
pub(crate) const XLH_LOCK_ALL_FROZEN_CLEARED: u8 = 1 << 0;

/// Largest tuple without its header (`MaxHeapTupleSize`).
const MAX_TUPLE_SIZE: usize = 8160;

/// `heap_redo`
pub(super) fn redo(page: &mut Page<'_>, record: &Record<'_>) -> Result<(), Fault> {
    if record.is_of_visibility_map() {
        return heap_vm::redo(page, record);
    }
    match record.info() & XLOG_HEAP_OPMASK {
        XLOG_HEAP_INSERT => insert(page, record),
        XLOG_HEAP_DELETE => delete(page, record),
        XLOG_HEAP_UPDATE => update(page, record, false),
        XLOG_HEAP_HOT_UPDATE => update(page, record, true),
        XLOG_HEAP_CONFIRM => confirm(page, record),
        XLOG_HEAP_LOCK => lock(page, record),
        XLOG_HEAP_INPLACE => inplace(page, record),
        XLOG_HEAP_TRUNCATE => Err(Fault::Malformed("block in a record that has none")),
        _ => Err(Fault::Malformed("unknown opcode")),
    }
}

/// `xl_heap_header`
pub(super) struct TupleHead {
    pub infomask2: u16,
    pub infomask: u16,
    pub hoff: u8,
}

impl TupleHead {
    pub(super) fn read(data: &mut Reader<'_>) -> Result<TupleHead, Fault> {
        Ok(TupleHead {
            infomask2: data.u16("tuple's infomask2")?,
            infomask: data.u16("tuple's infomask")?,
            hoff: data.u8("tuple's header size")?,
        })
    }

    /// A tuple as it stands on the page, of the parts of it that follow the fixed header.
    pub(super) fn build(
        &self,
        parts: &[&[u8]],
        xmin: u32,
        block: u32,
        offset: OffsetNumber,
    ) -> Result<Vec<u8>, Fault> {
        let size = heap_tuple::HEADER_SIZE + parts.iter().map(|part| part.len()).sum::<usize>();
        if size > MAX_TUPLE_SIZE {
            return Err(Fault::Malformed("tuple larger than a page"));
        }
        let mut bytes = Vec::with_capacity(size);
        bytes.resize(heap_tuple::HEADER_SIZE, 0);
        parts.iter().for_each(|part| bytes.extend_from_slice(part));
        let mut tuple = HeapTuple::new(&mut bytes)?;
        tuple.set_infomask2(self.infomask2);
        tuple.set_infomask(self.infomask);
        tuple.set_hoff(self.hoff);
        tuple.set_xmin(xmin);
        tuple.reset_command_id();
        tuple.set_ctid(block, offset);
        Ok(bytes)
    }
}

/// `PageSetPrunable`: the oldest transaction that may have left something to prune.
fn set_prunable(page: &mut Page<'_>, xid: u32) {
    const FIRST_NORMAL: u32 = 3;
    let old = page.prune_xid();
    let precedes =
        if xid < FIRST_NORMAL || old < FIRST_NORMAL { xid < old } else { (xid.wrapping_sub(old) as i32) < 0 };
    if old == 0 || precedes {
        page.set_prune_xid(xid);
    }
}

/// `heap_xlog_insert`
fn insert(page: &mut Page<'_>, record: &Record<'_>) -> Result<(), Fault> {
    let mut main = record.main();
    let offset = main.u16("offset")?;
    let flags = main.u8("flags")?;
    if record.info() & XLOG_HEAP_INIT_PAGE != 0 {
        page.init(0);
    }
    let mut data = record.data();
    let head = TupleHead::read(&mut data)?;
    let tuple = head.build(&[data.rest()], record.xid(), record.blkno(), offset)?;
    page.add_item(&tuple, Placement::HeapUnused(offset))?;
    page.set_lsn(record.lsn);
    if flags & XLH_INSERT_ALL_VISIBLE_CLEARED != 0 {
        page.clear_flag(PD_ALL_VISIBLE);
    }
    Ok(())
}

/// `heap_xlog_delete`
fn delete(page: &mut Page<'_>, record: &Record<'_>) -> Result<(), Fault> {
    let mut main = record.main();
    let xmax = main.u32("xmax")?;
    let offset = main.u16("offset")?;
    let infobits = main.u8("infobits")?;
    let flags = main.u8("flags")?;

    let mut tuple = HeapTuple::on_page(page, offset)?;
    tuple.set_hot_updated(false);
    tuple.set_xmax_bits(infobits);
    if flags & XLH_DELETE_IS_SUPER != 0 {
        // An insertion on speculation is taken back: as if it had never been.
        tuple.set_xmin(0);
    } else {
        tuple.set_xmax(xmax);
    }
    tuple.reset_command_id();
    if flags & XLH_DELETE_IS_PARTITION_MOVE != 0 {
        tuple.set_moved_partitions();
    } else {
        tuple.set_ctid(record.blkno(), offset);
    }
    set_prunable(page, record.xid());
    if flags & XLH_DELETE_ALL_VISIBLE_CLEARED != 0 {
        page.clear_flag(PD_ALL_VISIBLE);
    }
    page.set_lsn(record.lsn);
    Ok(())
}

/// `xl_heap_update`
struct Update {
    old_xmax: u32,
    old_offset: OffsetNumber,
    old_infobits: u8,
    flags: u8,
    new_xmax: u32,
    new_offset: OffsetNumber,
}

impl Update {
    fn read(mut main: Reader<'_>) -> Result<Update, Fault> {
        Ok(Update {
            old_xmax: main.u32("old xmax")?,
            old_offset: main.u16("old offset")?,
            old_infobits: main.u8("old infobits")?,
            flags: main.u8("flags")?,
            new_xmax: main.u32("new xmax")?,
            new_offset: main.u16("new offset")?,
        })
    }

    fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }
}

/// `heap_xlog_update`. Block 0 is the page of the new tuple, block 1 that of the old one if it is another.
fn update(page: &mut Page<'_>, record: &Record<'_>, hot: bool) -> Result<(), Fault> {
    let update = Update::read(record.main())?;
    match (record.block_id(), record.tag(1).is_some()) {
        (0, false) => {
            mark_updated(page, record, &update, hot)?;
            add_new_version(page, record, &update, true)
        }
        (0, true) => {
            if record.info() & XLOG_HEAP_INIT_PAGE != 0 {
                page.init(0);
            }
            add_new_version(page, record, &update, false)
        }
        (1, true) => mark_updated(page, record, &update, hot),
        _ => record.unexpected_block(),
    }
}

/// The old version of the row: xmax, and the link to the new one.
fn mark_updated(page: &mut Page<'_>, record: &Record<'_>, update: &Update, hot: bool) -> Result<(), Fault> {
    let new_block = record.blkno_of(0)?;
    let mut tuple = HeapTuple::on_page(page, update.old_offset)?;
    tuple.set_hot_updated(hot);
    tuple.set_xmax_bits(update.old_infobits);
    tuple.set_xmax(update.old_xmax);
    tuple.reset_command_id();
    tuple.set_ctid(new_block, update.new_offset);
    set_prunable(page, record.xid());
    if update.has(XLH_UPDATE_OLD_ALL_VISIBLE_CLEARED) {
        page.clear_flag(PD_ALL_VISIBLE);
    }
    page.set_lsn(record.lsn);
    Ok(())
}

/// The new version: its bytes may lack what is the same at the beginning and end of the old one.
fn add_new_version(
    page: &mut Page<'_>,
    record: &Record<'_>,
    update: &Update,
    old_is_here: bool,
) -> Result<(), Fault> {
    let (with_prefix, with_suffix) =
        (update.has(XLH_UPDATE_PREFIX_FROM_OLD), update.has(XLH_UPDATE_SUFFIX_FROM_OLD));
    if (with_prefix || with_suffix) && !old_is_here {
        return Err(Fault::Malformed("new tuple shares bytes with a tuple of another page"));
    }
    let mut data = record.data();
    let prefix_length = if with_prefix { data.u16("prefix length")? as usize } else { 0 };
    let suffix_length = if with_suffix { data.u16("suffix length")? as usize } else { 0 };
    let head = TupleHead::read(&mut data)?;

    let old: &[u8] = if old_is_here { page.item(update.old_offset)? } else { &[] };
    let old_data_at = old.get(22).map_or(0, |hoff| *hoff as usize);
    let beyond = Fault::PageState("old tuple is shorter than what the new one shares with it");
    let prefix = old.get(old_data_at..old_data_at + prefix_length).ok_or(beyond)?;
    let suffix_at = old.len().checked_sub(suffix_length).ok_or(beyond)?;
    // Null bitmap and padding, which precede the prefix.
    let bitmap_length = if prefix_length > 0 {
        (head.hoff as usize)
            .checked_sub(heap_tuple::HEADER_SIZE)
            .ok_or(Fault::Malformed("tuple's header size"))?
    } else {
        0
    };
    let bitmap = data.bytes(bitmap_length, "null bitmap")?;
    let parts = [bitmap, prefix, data.rest(), &old[suffix_at..]];
    let mut bytes = head.build(&parts, record.xid(), record.blkno(), update.new_offset)?;
    HeapTuple::new(&mut bytes)?.set_xmax(update.new_xmax);

    page.add_item(&bytes, Placement::HeapUnused(update.new_offset))?;
    if update.has(XLH_UPDATE_NEW_ALL_VISIBLE_CLEARED) {
        page.clear_flag(PD_ALL_VISIBLE);
    }
    page.set_lsn(record.lsn);
    Ok(())
}

/// `heap_xlog_confirm`: an insertion on speculation holds.
fn confirm(page: &mut Page<'_>, record: &Record<'_>) -> Result<(), Fault> {
    let offset = record.main().u16("offset")?;
    HeapTuple::on_page(page, offset)?.set_ctid(record.blkno(), offset);
    page.set_lsn(record.lsn);
    Ok(())
}

/// `heap_xlog_lock`
fn lock(page: &mut Page<'_>, record: &Record<'_>) -> Result<(), Fault> {
    let mut main = record.main();
    let xmax = main.u32("xmax")?;
    let offset = main.u16("offset")?;
    let infobits = main.u8("infobits")?;
    let mut tuple = HeapTuple::on_page(page, offset)?;
    tuple.set_xmax_bits(infobits);
    if tuple.is_only_locked() {
        // No update any more, so no link to a newer version.
        tuple.set_hot_updated(false);
        tuple.set_ctid(record.blkno(), offset);
    }
    tuple.set_xmax(xmax);
    tuple.reset_command_id();
    page.set_lsn(record.lsn);
    Ok(())
}

/// `heap_xlog_inplace`
fn inplace(page: &mut Page<'_>, record: &Record<'_>) -> Result<(), Fault> {
    let offset = record.main().u16("offset")?;
    let new = record.data();
    let mut tuple = HeapTuple::on_page(page, offset)?;
    let hoff = tuple.hoff();
    let old =
        tuple.bytes().get_mut(hoff..).ok_or(Fault::PageState("tuple is shorter than its header says"))?;
    if old.len() != new.rest().len() {
        return Err(Fault::PageState("in-place update changes the tuple's length"));
    }
    old.copy_from_slice(new.rest());
    page.set_lsn(record.lsn);
    Ok(())
}

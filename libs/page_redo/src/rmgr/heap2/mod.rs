//! Redo of the second heap resource manager (heapam.c: `heap2_redo`): pruning, vacuum, freezing, the
//! visibility map, and inserts of many tuples at once.
//!
//! Opcodes 0x10 to 0x30 are pruning, vacuum and freezing: three kinds of records in version 15, one kind of three
//! reasons in 17.

mod v15;
mod v17;

use types::PgVersion;

use super::heap::{TupleHead, XLH_INSERT_ALL_VISIBLE_CLEARED, XLOG_HEAP_INIT_PAGE, XLOG_HEAP_OPMASK};
use super::heap_tuple::HeapTuple;
use super::{Record, heap_vm};
use crate::error::Fault;
use crate::page::{FIRST_OFFSET, PD_ALL_VISIBLE, Page, Placement};
use crate::vm;

const XLOG_HEAP2_REWRITE: u8 = 0x00;
const PRUNING_AND_FREEZING: std::ops::RangeInclusive<u8> = 0x10..=0x30;
const XLOG_HEAP2_VISIBLE: u8 = 0x40;
pub(crate) const XLOG_HEAP2_MULTI_INSERT: u8 = 0x50;
pub(crate) const XLOG_HEAP2_LOCK_UPDATED: u8 = 0x60;
const XLOG_HEAP2_NEW_CID: u8 = 0x70;

const XLH_INSERT_ALL_FROZEN_SET: u8 = 1 << 5;
const XLH_FREEZE_XVAC: u8 = 0x02;
const XLH_INVALID_XVAC: u8 = 0x04;
const FROZEN_XID: u32 = 2;

/// `heap2_redo`
pub(super) fn redo(page: &mut Page<'_>, record: &Record<'_>) -> Result<(), Fault> {
    let opcode = record.info() & XLOG_HEAP_OPMASK;
    if record.is_of_visibility_map() && opcode != XLOG_HEAP2_VISIBLE {
        return heap_vm::redo(page, record);
    }
    match opcode {
        opcode if PRUNING_AND_FREEZING.contains(&opcode) => match record.version {
            PgVersion::V15 => v15::redo(page, record, opcode),
            PgVersion::V17 => v17::prune_freeze(page, record),
        },
        XLOG_HEAP2_VISIBLE => visible(page, record),
        XLOG_HEAP2_MULTI_INSERT => multi_insert(page, record),
        XLOG_HEAP2_LOCK_UPDATED => lock_updated(page, record),
        XLOG_HEAP2_REWRITE | XLOG_HEAP2_NEW_CID => Err(Fault::Malformed("block in a record that has none")),
        _ => Err(Fault::Malformed("unknown opcode")),
    }
}

/// `heap_execute_freeze_tuple`
fn freeze_tuple(mut tuple: HeapTuple<'_>, xmax: u32, infomask2: u16, infomask: u16, flags: u8) {
    tuple.set_xmax(xmax);
    if flags & XLH_FREEZE_XVAC != 0 {
        tuple.set_xvac(FROZEN_XID);
    }
    if flags & XLH_INVALID_XVAC != 0 {
        tuple.set_xvac(0);
    }
    tuple.set_infomask(infomask);
    tuple.set_infomask2(infomask2);
}

/// `heap_xlog_visible`: block 0 is the page of the visibility map, block 1 the heap page.
fn visible(page: &mut Page<'_>, record: &Record<'_>) -> Result<(), Fault> {
    let mut main = record.main();
    main.skip(4, "cutoff xid")?;
    let flags = main.u8("visibility map bits")?;
    match record.block_id() {
        0 => vm::set(page, record.blkno_of(1)?, flags, record.lsn),
        1 => {
            page.set_flag(PD_ALL_VISIBLE);
            // PostgreSQL moves the LSN only with checksums or wal_log_hints on, which the record does not
            // say. Here a page's LSN is always that of its last change; it is never too high, since the
            // record exists.
            page.set_lsn(record.lsn);
            Ok(())
        }
        _ => record.unexpected_block(),
    }
}

/// `heap_xlog_multi_insert`
fn multi_insert(page: &mut Page<'_>, record: &Record<'_>) -> Result<(), Fault> {
    let init = record.info() & XLOG_HEAP_INIT_PAGE != 0;
    let mut main = record.main();
    let flags = main.u8("flags")?;
    main.skip(1, "padding")?;
    let tuples = main.u16("number of tuples")?;
    if init {
        page.init(0);
    }
    let mut data = record.data();
    for index in 0..tuples {
        // A page made anew is filled from the first item on; else the record has the numbers.
        let offset = if init { FIRST_OFFSET + index } else { main.u16("offset")? };
        data.align(2, "padding")?;
        let length = data.u16("tuple length")? as usize;
        let head = TupleHead::read(&mut data)?;
        let body = data.bytes(length, "tuple")?;
        let tuple = head.build(&[body], record.xid(), record.blkno(), offset)?;
        page.add_item(&tuple, Placement::HeapUnused(offset))?;
    }
    if !data.is_empty() {
        return Err(Fault::Malformed("total length of the tuples"));
    }
    page.set_lsn(record.lsn);
    if flags & XLH_INSERT_ALL_VISIBLE_CLEARED != 0 {
        page.clear_flag(PD_ALL_VISIBLE);
    }
    if flags & XLH_INSERT_ALL_FROZEN_SET != 0 {
        page.set_flag(PD_ALL_VISIBLE);
    }
    Ok(())
}

/// `heap_xlog_lock_updated`
fn lock_updated(page: &mut Page<'_>, record: &Record<'_>) -> Result<(), Fault> {
    let mut main = record.main();
    let xmax = main.u32("xmax")?;
    let offset = main.u16("offset")?;
    let infobits = main.u8("infobits")?;
    let mut tuple = HeapTuple::on_page(page, offset)?;
    tuple.set_xmax_bits(infobits);
    tuple.set_xmax(xmax);
    page.set_lsn(record.lsn);
    Ok(())
}

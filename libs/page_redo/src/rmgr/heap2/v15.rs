//! Pruning, vacuum and freezing as versions 15 and 16 log them: a kind of record each (heapam_xlog.h of 15).

use super::freeze_tuple;
use crate::error::Fault;
use crate::page::{ItemId, Page};
use crate::rmgr::Record;
use crate::rmgr::heap_tuple::HeapTuple;

const XLOG_HEAP2_PRUNE: u8 = 0x10;
const XLOG_HEAP2_VACUUM: u8 = 0x20;
const XLOG_HEAP2_FREEZE_PAGE: u8 = 0x30;

pub(super) fn redo(page: &mut Page<'_>, record: &Record<'_>, opcode: u8) -> Result<(), Fault> {
    match opcode {
        XLOG_HEAP2_PRUNE => prune(page, record),
        XLOG_HEAP2_VACUUM => vacuum(page, record),
        XLOG_HEAP2_FREEZE_PAGE => freeze_page(page, record),
        _ => Err(Fault::Malformed("unknown opcode")),
    }
}

/// `heap_xlog_prune` and `heap_page_prune_execute`
fn prune(page: &mut Page<'_>, record: &Record<'_>) -> Result<(), Fault> {
    let mut main = record.main();
    main.skip(4, "latest removed xid")?;
    let redirected = main.u16("number of redirected items")? as usize;
    let dead = main.u16("number of dead items")? as usize;

    let mut data = record.data();
    for _ in 0..redirected {
        let (from, to) = (data.u16("redirected item")?, data.u16("redirected item")?);
        page.set_item_id(from, ItemId::redirect(to))?;
    }
    for _ in 0..dead {
        page.set_item_id(data.u16("dead item")?, ItemId::DEAD)?;
    }
    while !data.is_empty() {
        page.set_item_id(data.u16("unused item")?, ItemId::UNUSED)?;
    }
    page.repair_fragmentation()?;
    page.set_lsn(record.lsn);
    Ok(())
}

/// `heap_xlog_vacuum`
fn vacuum(page: &mut Page<'_>, record: &Record<'_>) -> Result<(), Fault> {
    let unused = record.main().u16("number of unused items")?;
    let mut data = record.data();
    for _ in 0..unused {
        page.set_item_id(data.u16("unused item")?, ItemId::UNUSED)?;
    }
    page.truncate_line_pointers()?;
    page.set_lsn(record.lsn);
    Ok(())
}

/// `heap_xlog_freeze_page`
fn freeze_page(page: &mut Page<'_>, record: &Record<'_>) -> Result<(), Fault> {
    let mut main = record.main();
    main.skip(4, "cutoff xid")?;
    let tuples = main.u16("number of tuples")?;
    let mut data = record.data();
    for _ in 0..tuples {
        // xl_heap_freeze_tuple: 11 bytes and one of padding.
        let xmax = data.u32("xmax")?;
        let offset = data.u16("offset")?;
        let infomask2 = data.u16("infomask2")?;
        let infomask = data.u16("infomask")?;
        let flags = data.u8("freeze flags")?;
        data.skip(1, "padding")?;
        freeze_tuple(HeapTuple::on_page(page, offset)?, xmax, infomask2, infomask, flags);
    }
    page.set_lsn(record.lsn);
    Ok(())
}

//! Pruning, vacuum and freezing as version 17 logs them: one kind of record, `xl_heap_prune` (heapam_xlog.h of 17).
//!
//! ```text
//!  main data   reason u8   flags u8   conflict horizon u32, unaligned, if HAS_CONFLICT_HORIZON
//!  block 0's data, each part if its flag is set:
//!    freeze plans    count u16, 2 bytes of padding, then for each (12 bytes)
//!                    xmax u32, infomask2 u16, infomask u16, freeze flags u8, padding u8, tuples u16
//!    redirected      count u16, that many pairs (from u16, to u16)
//!    dead, unused    count u16, that many offsets
//!    the offsets of the frozen tuples, in the order of the plans
//! ```

use super::freeze_tuple;
use crate::bytes_reader::Reader;
use crate::error::Fault;
use crate::page::{ItemId, Page};
use crate::rmgr::Record;
use crate::rmgr::heap_tuple::HeapTuple;

const XLHP_CLEANUP_LOCK: u8 = 1 << 2;
const XLHP_HAS_FREEZE_PLANS: u8 = 1 << 4;
const XLHP_HAS_REDIRECTIONS: u8 = 1 << 5;
const XLHP_HAS_DEAD_ITEMS: u8 = 1 << 6;
const XLHP_HAS_NOW_UNUSED_ITEMS: u8 = 1 << 7;
const XLHP_HAS_ITEMS: u8 = XLHP_HAS_REDIRECTIONS | XLHP_HAS_DEAD_ITEMS | XLHP_HAS_NOW_UNUSED_ITEMS;

/// `xlhp_freeze_plan`
struct FreezePlan {
    xmax: u32,
    infomask2: u16,
    infomask: u16,
    flags: u8,
    tuples: u16,
}

impl FreezePlan {
    fn read(data: &mut Reader<'_>) -> Result<FreezePlan, Fault> {
        let (xmax, infomask2) = (data.u32("xmax")?, data.u16("infomask2")?);
        let (infomask, flags) = (data.u16("infomask")?, data.u8("freeze flags")?);
        data.skip(1, "padding")?;
        let tuples = data.u16("number of frozen tuples")?;
        Ok(FreezePlan { xmax, infomask2, infomask, flags, tuples })
    }
}

/// `heap_xlog_prune_freeze`
pub(super) fn prune_freeze(page: &mut Page<'_>, record: &Record<'_>) -> Result<(), Fault> {
    let mut main = record.main();
    main.skip(1, "reason")?;
    let flags = main.u8("flags")?;
    let mut data = record.data();
    let plans = if flags & XLHP_HAS_FREEZE_PLANS != 0 { freeze_plans(&mut data)? } else { Vec::new() };
    prune(page, flags, &mut data)?;
    for plan in plans {
        for offset in data.u16_array(plan.tuples.into(), "frozen tuples")? {
            let tuple = HeapTuple::on_page(page, offset)?;
            freeze_tuple(tuple, plan.xmax, plan.infomask2, plan.infomask, plan.flags);
        }
    }
    if !data.is_empty() {
        return Err(Fault::Malformed("more data than its parts have"));
    }
    page.set_lsn(record.lsn);
    Ok(())
}

fn freeze_plans(data: &mut Reader<'_>) -> Result<Vec<FreezePlan>, Fault> {
    let count = data.u16("number of freeze plans")?;
    data.skip(2, "padding")?;
    (0..count).map(|_| FreezePlan::read(data)).collect()
}

/// `heap_page_prune_execute`
fn prune(page: &mut Page<'_>, flags: u8, data: &mut Reader<'_>) -> Result<(), Fault> {
    let count = |flag: u8, data: &mut Reader<'_>| match flags & flag {
        0 => Ok(0),
        _ => data.u16("number of pruned items"),
    };
    for _ in 0..count(XLHP_HAS_REDIRECTIONS, data)? {
        let (from, to) = (data.u16("redirected item")?, data.u16("redirected item")?);
        page.set_item_id(from, ItemId::redirect(to))?;
    }
    for _ in 0..count(XLHP_HAS_DEAD_ITEMS, data)? {
        page.set_item_id(data.u16("dead item")?, ItemId::DEAD)?;
    }
    for _ in 0..count(XLHP_HAS_NOW_UNUSED_ITEMS, data)? {
        page.set_item_id(data.u16("unused item")?, ItemId::UNUSED)?;
    }
    if flags & XLHP_HAS_ITEMS == 0 {
        return Ok(());
    }
    // Without the cleanup lock others may look at tuples, so none was moved.
    if flags & XLHP_CLEANUP_LOCK != 0 { page.repair_fragmentation() } else { page.truncate_line_pointers() }
}

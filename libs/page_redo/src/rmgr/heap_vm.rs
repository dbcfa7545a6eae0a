//! The page of the visibility map as a block of a heap record, from 17.11 on (heapam_xlog.h: `HEAP_*_BLKREF_VM`).
//!
//! ```text
//!  insert, delete, lock, multi-insert, lock-updated   0 heap page   1 its map page
//!  update   0 new heap page   1 old heap page, if another   2 the new one's map page   3 the old one's
//! ```
//! An update whose two heap pages have their bits on one map page registers it once, as block 2, unless only the
//! old heap page's bits were cleared: then as block 3.

use super::heap::{XLOG_HEAP_HOT_UPDATE, XLOG_HEAP_OPMASK, XLOG_HEAP_UPDATE};
use super::{Record, heap};
use crate::error::Fault;
use crate::native::VmBits;
use crate::page::Page;
use crate::rmgr::ids;
use crate::vm::{self, ALL_FROZEN, VALID_BITS};

const HEAP: u8 = 0;
const VM: u8 = 1;
const UPDATE_HEAP_NEW: u8 = 0;
const UPDATE_HEAP_OLD: u8 = 1;
const UPDATE_VM_NEW: u8 = 2;
const UPDATE_VM_OLD: u8 = 3;

/// `heap_xlog_vm_clear`, and what `heap_xlog_update` has in its place. The page's LSN moves only with its bits.
pub(super) fn redo(page: &mut Page<'_>, record: &Record<'_>) -> Result<(), Fault> {
    let opcode = record.info() & XLOG_HEAP_OPMASK;
    let cleared = if record.rmid() == ids::HEAP && matches!(opcode, XLOG_HEAP_UPDATE | XLOG_HEAP_HOT_UPDATE) {
        cleared_by_update(record)?
    } else {
        if record.block_id() != VM {
            return record.unexpected_block();
        }
        let lock = (record.rmid(), opcode) == (ids::HEAP, heap::XLOG_HEAP_LOCK)
            || (record.rmid(), opcode) == (ids::HEAP2, super::heap2::XLOG_HEAP2_LOCK_UPDATED);
        vec![VmBits { heap_block: record.blkno_of(HEAP)?, flags: if lock { ALL_FROZEN } else { VALID_BITS } }]
    };
    if vm::clear(page, &cleared)? {
        page.set_lsn(record.lsn);
    }
    Ok(())
}

fn cleared_by_update(record: &Record<'_>) -> Result<Vec<VmBits>, Fault> {
    let bits = |heap_block| VmBits { heap_block, flags: VALID_BITS };
    let new = record.blkno_of(UPDATE_HEAP_NEW)?;
    let old = record.tag(UPDATE_HEAP_OLD).map_or(new, |tag| tag.blkno);
    match record.block_id() {
        UPDATE_VM_NEW => {
            let mut main = record.main();
            main.skip(7, "old tuple")?;
            let old_too = main.u8("flags")? & heap::XLH_UPDATE_OLD_ALL_VISIBLE_CLEARED != 0
                && vm::vm_block(old) == record.blkno();
            Ok(if old_too { vec![bits(old), bits(new)] } else { vec![bits(new)] })
        }
        UPDATE_VM_OLD => Ok(vec![bits(old)]),
        _ => record.unexpected_block(),
    }
}

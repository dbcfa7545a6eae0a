//! Heap records, as far as they clear bits of the visibility map (`heapam_xlog.h`).
//!
//! In version 15 the map's page is not a registered block of these records: redo finds it by the heap
//! block's number. What they do to the heap pages is `page_redo`'s business.

use types::PgVersion;

use super::{only_v15, read_main_data};
use crate::error::{DecodeError, Malformation};
use crate::reader::Reader;
use crate::record::{DecodedBlock, DecodedRecord};

pub const XLOG_HEAP_INSERT: u8 = 0x00;
pub const XLOG_HEAP_DELETE: u8 = 0x10;
pub const XLOG_HEAP_UPDATE: u8 = 0x20;
pub const XLOG_HEAP_TRUNCATE: u8 = 0x30;
pub const XLOG_HEAP_HOT_UPDATE: u8 = 0x40;
pub const XLOG_HEAP_CONFIRM: u8 = 0x50;
pub const XLOG_HEAP_LOCK: u8 = 0x60;
pub const XLOG_HEAP_INPLACE: u8 = 0x70;
pub const XLOG_HEAP_OPMASK: u8 = 0x70;
pub const XLOG_HEAP_INIT_PAGE: u8 = 0x80;

/// `XLH_INSERT_…`, `XLH_DELETE_…` and `XLH_UPDATE_OLD_ALL_VISIBLE_CLEARED` are the same bit.
const ALL_VISIBLE_CLEARED: u8 = 1 << 0;
const UPDATE_NEW_ALL_VISIBLE_CLEARED: u8 = 1 << 1;
const LOCK_ALL_FROZEN_CLEARED: u8 = 1 << 0;

/// Bits of a heap block in the visibility map.
pub const VM_ALL_VISIBLE: u8 = 0x01;
pub const VM_ALL_FROZEN: u8 = 0x02;
pub const VM_ALL: u8 = VM_ALL_VISIBLE | VM_ALL_FROZEN;

/// The bits that a record clears for one of its heap blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VmClear {
    /// Id of the heap block in the record.
    pub heap_block_id: u8,
    pub bits: u8,
}

/// What a heap record clears in the visibility map; at most one entry for each of two heap blocks.
pub fn visibility_map_clears(
    record: &DecodedRecord,
    version: PgVersion,
) -> Result<Vec<VmClear>, DecodeError> {
    only_v15(record, version, "finding the visibility map changes of heap records")?;
    read_main_data(record, |reader, opcode| match opcode & XLOG_HEAP_OPMASK {
        XLOG_HEAP_INSERT => cleared(reader, 2, ALL_VISIBLE_CLEARED, VM_ALL),
        XLOG_HEAP_DELETE => cleared(reader, 7, ALL_VISIBLE_CLEARED, VM_ALL),
        XLOG_HEAP_LOCK => cleared(reader, 7, LOCK_ALL_FROZEN_CLEARED, VM_ALL_FROZEN),
        XLOG_HEAP_UPDATE | XLOG_HEAP_HOT_UPDATE => update(reader, record.block(1)),
        XLOG_HEAP_TRUNCATE | XLOG_HEAP_CONFIRM | XLOG_HEAP_INPLACE => Ok(Vec::new()),
        opcode => super::unknown_opcode("the opcode of a heap record", opcode),
    })
}

/// For records whose one heap block has id 0 and whose flags lie at `flags_at`.
pub(super) fn cleared(
    reader: &mut Reader,
    flags_at: usize,
    flag: u8,
    bits: u8,
) -> Result<Vec<VmClear>, Malformation> {
    reader.skip(flags_at, "a heap record")?;
    let flags = reader.u8("the flags of a heap record")?;
    Ok(if flags & flag != 0 { vec![VmClear { heap_block_id: 0, bits }] } else { Vec::new() })
}

/// Block 0 is the new tuple's, block 1 the old one's if that is another.
fn update(reader: &mut Reader, old_block: Option<&DecodedBlock>) -> Result<Vec<VmClear>, Malformation> {
    reader.skip(7, "a heap update")?;
    let flags = reader.u8("the flags of a heap update")?;
    let old_id = old_block.map_or(0, |block| block.id);
    let (old, new) = (flags & ALL_VISIBLE_CLEARED != 0, flags & UPDATE_NEW_ALL_VISIBLE_CLEARED != 0);
    let mut clears = Vec::new();
    if old {
        clears.push(VmClear { heap_block_id: old_id, bits: VM_ALL });
    }
    if new && !(old && old_id == 0) {
        clears.push(VmClear { heap_block_id: 0, bits: VM_ALL });
    }
    Ok(clears)
}

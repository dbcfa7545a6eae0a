//! The second resource manager of the heap, as far as its records clear bits of the visibility map.

use types::PgVersion;

use super::heap::{self, VM_ALL, VM_ALL_FROZEN, VmClear};
use super::{only_v15, read_main_data};
use crate::error::DecodeError;
use crate::record::DecodedRecord;

pub const XLOG_HEAP2_REWRITE: u8 = 0x00;
pub const XLOG_HEAP2_PRUNE: u8 = 0x10;
pub const XLOG_HEAP2_VACUUM: u8 = 0x20;
pub const XLOG_HEAP2_FREEZE_PAGE: u8 = 0x30;
pub const XLOG_HEAP2_VISIBLE: u8 = 0x40;
pub const XLOG_HEAP2_MULTI_INSERT: u8 = 0x50;
pub const XLOG_HEAP2_LOCK_UPDATED: u8 = 0x60;
pub const XLOG_HEAP2_NEW_CID: u8 = 0x70;

const INSERT_ALL_VISIBLE_CLEARED: u8 = 1 << 0;
const LOCK_ALL_FROZEN_CLEARED: u8 = 1 << 0;

/// See [`heap::visibility_map_clears`]. `XLOG_HEAP2_VISIBLE` sets bits, and registers the map's page as block 0.
pub fn visibility_map_clears(
    record: &DecodedRecord,
    version: PgVersion,
) -> Result<Vec<VmClear>, DecodeError> {
    only_v15(record, version, "finding the visibility map changes of heap records")?;
    read_main_data(record, |reader, opcode| match opcode & heap::XLOG_HEAP_OPMASK {
        XLOG_HEAP2_MULTI_INSERT => heap::cleared(reader, 0, INSERT_ALL_VISIBLE_CLEARED, VM_ALL),
        XLOG_HEAP2_LOCK_UPDATED => heap::cleared(reader, 7, LOCK_ALL_FROZEN_CLEARED, VM_ALL_FROZEN),
        XLOG_HEAP2_REWRITE
        | XLOG_HEAP2_PRUNE
        | XLOG_HEAP2_VACUUM
        | XLOG_HEAP2_FREEZE_PAGE
        | XLOG_HEAP2_VISIBLE
        | XLOG_HEAP2_NEW_CID => Ok(Vec::new()),
        opcode => super::unknown_opcode("the opcode of a heap record", opcode),
    })
}

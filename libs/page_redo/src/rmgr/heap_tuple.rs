//! The header of a heap tuple (htup_details.h), as far as redo changes it.
//!
//! ```text
//!  0 t_xmin   4 t_xmax   8 t_cid/t_xvac   12 t_ctid (block high u16, block low u16, offset u16)
//!  18 t_infomask2   20 t_infomask   22 t_hoff   23 null bitmap …
//! ```

use crate::error::Fault;
use crate::page::{OffsetNumber, Page};

/// `SizeofHeapTupleHeader`
pub const HEADER_SIZE: usize = 23;

pub const HEAP_XMAX_KEYSHR_LOCK: u16 = 0x0010;
pub const HEAP_COMBOCID: u16 = 0x0020;
pub const HEAP_XMAX_EXCL_LOCK: u16 = 0x0040;
pub const HEAP_XMAX_LOCK_ONLY: u16 = 0x0080;
pub const HEAP_XMAX_COMMITTED: u16 = 0x0400;
pub const HEAP_XMAX_INVALID: u16 = 0x0800;
pub const HEAP_XMAX_IS_MULTI: u16 = 0x1000;
pub const HEAP_MOVED: u16 = 0xc000;
const HEAP_LOCK_MASK: u16 = HEAP_XMAX_KEYSHR_LOCK | HEAP_XMAX_EXCL_LOCK;
const HEAP_XMAX_BITS: u16 =
    HEAP_XMAX_COMMITTED | HEAP_XMAX_INVALID | HEAP_XMAX_IS_MULTI | HEAP_LOCK_MASK | HEAP_XMAX_LOCK_ONLY;

/// In `t_infomask2`.
pub const HEAP_KEYS_UPDATED: u16 = 0x2000;
pub const HEAP_HOT_UPDATED: u16 = 0x4000;

/// Bits of a record's `infobits_set` (`XLHL_*` in heapam_xlog.h).
const XLHL_XMAX_IS_MULTI: u8 = 0x01;
const XLHL_XMAX_LOCK_ONLY: u8 = 0x02;
const XLHL_XMAX_EXCL_LOCK: u8 = 0x04;
const XLHL_XMAX_KEYSHR_LOCK: u8 = 0x08;
const XLHL_KEYS_UPDATED: u8 = 0x10;

/// `t_ctid` of a row that an UPDATE moved to another partition (`ItemPointerSetMovedPartitions`).
const MOVED_PARTITIONS: (u32, OffsetNumber) = (u32::MAX, 0xfffd);

/// A tuple with at least a whole header.
pub struct HeapTuple<'a> {
    bytes: &'a mut [u8],
}

impl<'a> HeapTuple<'a> {
    pub fn new(bytes: &'a mut [u8]) -> Result<HeapTuple<'a>, Fault> {
        if bytes.len() < HEADER_SIZE {
            return Err(Fault::PageState("heap tuple shorter than its header"));
        }
        Ok(HeapTuple { bytes })
    }

    /// The tuple behind a normal line pointer: anything else is PostgreSQL's "invalid lp".
    pub fn on_page(page: &'a mut Page<'_>, offset: OffsetNumber) -> Result<HeapTuple<'a>, Fault> {
        if !page.item_id(offset)?.is_normal() {
            return Err(Fault::PageState("line pointer does not hold a tuple"));
        }
        HeapTuple::new(page.item_mut(offset)?)
    }

    pub fn bytes(&mut self) -> &mut [u8] {
        self.bytes
    }

    // All places below lie within HEADER_SIZE.

    fn put_u32(&mut self, at: usize, value: u32) {
        self.bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
    }

    fn u16(&self, at: usize) -> u16 {
        u16::from_le_bytes([self.bytes[at], self.bytes[at + 1]])
    }

    fn put_u16(&mut self, at: usize, value: u16) {
        self.bytes[at..at + 2].copy_from_slice(&value.to_le_bytes());
    }

    pub fn set_xmin(&mut self, xid: u32) {
        self.put_u32(0, xid);
    }

    pub fn set_xmax(&mut self, xid: u32) {
        self.put_u32(4, xid);
    }

    pub fn set_xvac(&mut self, xid: u32) {
        self.put_u32(8, xid);
    }

    /// `HeapTupleHeaderSetCmin/Cmax(FirstCommandId, false)`: command ids are not in WAL.
    pub fn reset_command_id(&mut self) {
        self.put_u32(8, 0);
        self.set_infomask(self.infomask() & !HEAP_COMBOCID);
    }

    pub fn set_ctid(&mut self, block: u32, offset: OffsetNumber) {
        self.put_u16(12, (block >> 16) as u16);
        self.put_u16(14, block as u16);
        self.put_u16(16, offset);
    }

    pub fn set_moved_partitions(&mut self) {
        let (block, offset) = MOVED_PARTITIONS;
        self.set_ctid(block, offset);
    }

    pub fn infomask2(&self) -> u16 {
        self.u16(18)
    }

    pub fn set_infomask2(&mut self, infomask2: u16) {
        self.put_u16(18, infomask2);
    }

    pub fn infomask(&self) -> u16 {
        self.u16(20)
    }

    pub fn set_infomask(&mut self, infomask: u16) {
        self.put_u16(20, infomask);
    }

    pub fn hoff(&self) -> usize {
        self.bytes[22] as usize
    }

    pub fn set_hoff(&mut self, hoff: u8) {
        self.bytes[22] = hoff;
    }

    /// What every new deleter, updater or locker does first: forget the old xmax's bits and set those of the
    /// record (`fix_infomask_from_infobits`).
    pub fn set_xmax_bits(&mut self, infobits: u8) {
        let bit = |from: u8, to: u16| if infobits & from != 0 { to } else { 0 };
        let mask = self.infomask() & !(HEAP_XMAX_BITS | HEAP_MOVED);
        self.set_infomask(
            mask | bit(XLHL_XMAX_IS_MULTI, HEAP_XMAX_IS_MULTI)
                | bit(XLHL_XMAX_LOCK_ONLY, HEAP_XMAX_LOCK_ONLY)
                | bit(XLHL_XMAX_EXCL_LOCK, HEAP_XMAX_EXCL_LOCK)
                | bit(XLHL_XMAX_KEYSHR_LOCK, HEAP_XMAX_KEYSHR_LOCK),
        );
        self.set_infomask2(self.infomask2() & !HEAP_KEYS_UPDATED | bit(XLHL_KEYS_UPDATED, HEAP_KEYS_UPDATED));
    }

    pub fn set_hot_updated(&mut self, hot: bool) {
        let mask = self.infomask2();
        self.set_infomask2(if hot { mask | HEAP_HOT_UPDATED } else { mask & !HEAP_HOT_UPDATED });
    }

    /// `HEAP_XMAX_IS_LOCKED_ONLY`
    pub fn is_only_locked(&self) -> bool {
        let mask = self.infomask();
        mask & HEAP_XMAX_LOCK_ONLY != 0 || mask & (HEAP_XMAX_IS_MULTI | HEAP_LOCK_MASK) == HEAP_XMAX_EXCL_LOCK
    }
}

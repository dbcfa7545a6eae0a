//! Pages of the visibility map and the free space map, which most records change without naming them.
//!
//! A page of the visibility map holds, behind the page header, two bits for each of 32,672 heap blocks:
//! all-visible (1) and all-frozen (2). Heap records say by a flag that bits were cleared; [`vm_clears`] turns that
//! into changes where the map's page is not a block of the record, as it is from 17.11 on. A page of the free space map is a binary tree of bytes, leaves
//! for 4,069 heap blocks (fsm_internals.h).

use pg_format::rmgr as ids;
use types::{BLCKSZ, Fork, Lsn, RelTag};
use wal_decoder::DecodedRecord;

use crate::bytes_reader::Reader;
use crate::error::{Fault, Place, RedoError};
use crate::native::{NativeChange, VmBits};
use crate::page::{HEADER_SIZE, Page};
use crate::rmgr::{self, heap, heap2};

pub(crate) const ALL_FROZEN: u8 = 0x02;
pub(crate) const VALID_BITS: u8 = 0x03;
const HEAP_BLOCKS_PER_BYTE: u32 = 4;
const HEAP_BLOCKS_PER_PAGE: u32 = (BLCKSZ - HEADER_SIZE) as u32 * HEAP_BLOCKS_PER_BYTE;

/// The block of the visibility map that holds this heap block's bits.
pub const fn vm_block(heap_block: u32) -> u32 {
    heap_block / HEAP_BLOCKS_PER_PAGE
}

/// Where on its page a heap block's bits are: byte from the start of the page, shift in the byte.
fn bits_place(heap_block: u32) -> (usize, u8) {
    let on_page = heap_block % HEAP_BLOCKS_PER_PAGE;
    (HEADER_SIZE + (on_page / HEAP_BLOCKS_PER_BYTE) as usize, (on_page % HEAP_BLOCKS_PER_BYTE) as u8 * 2)
}

/// Maps are read by functions that initialise a page of zeros (`vm_readbuf`, `fsm_readbuf`).
fn init_if_new(page: &mut Page<'_>) {
    if page.is_new() {
        page.init(0);
    }
}

/// `visibilitymap_set`, as `heap_xlog_visible` calls it.
pub(crate) fn set(page: &mut Page<'_>, heap_block: u32, flags: u8, lsn: Lsn) -> Result<(), Fault> {
    init_if_new(page);
    let (at, shift) = bits_place(heap_block);
    let flags = flags & VALID_BITS;
    if flags != (page.bytes[at] >> shift) & VALID_BITS {
        page.bytes[at] |= flags << shift;
        page.set_lsn(lsn);
    }
    Ok(())
}

/// `visibilitymap_clear`. Says whether a bit was set; it does not move the page's LSN.
pub(crate) fn clear(page: &mut Page<'_>, bits: &[VmBits]) -> Result<bool, Fault> {
    init_if_new(page);
    let mut changed = false;
    for VmBits { heap_block, flags } in bits {
        let (at, shift) = bits_place(*heap_block);
        let mask = (flags & VALID_BITS) << shift;
        changed |= page.bytes[at] & mask != 0;
        page.bytes[at] &= !mask;
    }
    Ok(changed)
}

/// The tail of the last page that `visibilitymap_prepare_truncate` leaves.
pub(crate) fn truncate(page: &mut Page<'_>, heap_blocks: u32) -> Result<(), Fault> {
    init_if_new(page);
    let (at, shift) = bits_place(heap_blocks);
    page.bytes[at] &= (1 << shift) - 1;
    page.bytes[at + 1..].fill(0);
    Ok(())
}

const FSM_NODES_AT: usize = HEADER_SIZE + 4;
const FSM_NODES: usize = BLCKSZ - FSM_NODES_AT;
const FSM_INNER_NODES: usize = BLCKSZ / 2 - 1;
const FSM_SLOTS: u32 = (FSM_NODES - FSM_INNER_NODES) as u32;

/// `fsm_truncate_avail` and `fsm_rebuild_page`
pub(crate) fn truncate_fsm(page: &mut Page<'_>, heap_blocks: u32) -> Result<(), Fault> {
    init_if_new(page);
    let nodes = &mut page.bytes[FSM_NODES_AT..];
    nodes[FSM_INNER_NODES + (heap_blocks % FSM_SLOTS) as usize..].fill(0);
    for node in (0..FSM_INNER_NODES).rev() {
        let child = |number: usize| nodes.get(number).copied().unwrap_or(0);
        nodes[node] = child(2 * node + 1).max(child(2 * node + 2));
    }
    Ok(())
}

/// The leaf page of a free space map that holds this heap block (`fsm_logical_to_physical`).
fn fsm_block(heap_block: u32) -> u32 {
    let leaf = heap_block / FSM_SLOTS;
    // Each leaf page comes after the pages of the upper two levels that were needed up to it.
    leaf + (leaf / FSM_SLOTS + 1) + (leaf / FSM_SLOTS / FSM_SLOTS + 1)
}

/// What becomes of a map fork when the heap is cut.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TruncatedFork {
    pub rel: RelTag,
    /// New length in blocks; a fork that is shorter already stays as it is.
    pub blocks: u32,
    /// A last block that keeps its first part only.
    pub tail: Option<(u32, NativeChange)>,
}

/// The visibility map and the free space map of a relation whose main fork is cut to `heap_blocks`
/// (XLOG_SMGR_TRUNCATE).
pub fn truncated_maps(rel: RelTag, heap_blocks: u32) -> [TruncatedFork; 2] {
    let fork = |fork: Fork, block: u32, at_page_start: bool, change: NativeChange| TruncatedFork {
        rel: rel.with_fork(fork),
        blocks: if at_page_start { block } else { block + 1 },
        tail: if at_page_start { None } else { Some((block, change)) },
    };
    let vm_start = heap_blocks.is_multiple_of(HEAP_BLOCKS_PER_PAGE);
    let fsm_start = heap_blocks.is_multiple_of(FSM_SLOTS);
    [
        fork(Fork::Vm, vm_block(heap_blocks), vm_start, NativeChange::VmTruncate { heap_blocks }),
        fork(Fork::Fsm, fsm_block(heap_blocks), fsm_start, NativeChange::FsmTruncate { heap_blocks }),
    ]
}

/// The clearing of visibility map bits that a heap record implies, as (visibility map fork, block, change);
/// not more than one change for a block. A record that registers the map's pages (17.11 and later) implies
/// none.
pub fn vm_clears(record: &DecodedRecord) -> Result<Vec<(RelTag, u32, NativeChange)>, RedoError> {
    implied_clears(record).map_err(|fault| {
        let header = &record.header;
        let block = record.blocks.first().map(|block| (block.rel, block.blkno));
        let rmgr = rmgr::name(header.rmid);
        RedoError::new(fault, Place { rmgr, opcode: header.info & 0xf0, lsn: record.end_lsn, block })
    })
}

fn implied_clears(record: &DecodedRecord) -> Result<Vec<(RelTag, u32, NativeChange)>, Fault> {
    let cleared = cleared_blocks(record)?;
    let mut changes: Vec<(RelTag, u32, NativeChange)> = Vec::new();
    if cleared.is_empty() || record.blocks.iter().any(|block| block.rel.fork == Fork::Vm) {
        return Ok(changes);
    }
    for (id, flags) in cleared {
        let heap = record.blocks.iter().find(|block| block.id == id);
        let heap = heap.ok_or(Fault::Malformed("record lacks the heap block"))?;
        let bits = VmBits { heap_block: heap.blkno, flags };
        let (rel, block) = (heap.rel.with_fork(Fork::Vm), vm_block(heap.blkno));
        match changes.iter_mut().find(|change| (change.0, change.1) == (rel, block)) {
            Some((_, _, NativeChange::VmClear(list))) => list.push(bits),
            _ => changes.push((rel, block, NativeChange::VmClear(vec![bits]))),
        }
    }
    Ok(changes)
}

/// Ids of heap blocks that lose bits, and which.
fn cleared_blocks(record: &DecodedRecord) -> Result<Vec<(u8, u8)>, Fault> {
    let mut main = Reader::new(&record.main_data);
    let mut flag_at = |at: usize, flag: u8| -> Result<bool, Fault> {
        main.skip(at, "flags")?;
        Ok(main.u8("flags")? & flag != 0)
    };
    let opcode = record.header.info & heap::XLOG_HEAP_OPMASK;
    // (does it clear, block id, bits)
    let one = |cleared: bool, flags: u8| Ok(if cleared { vec![(0, flags)] } else { Vec::new() });
    match (record.header.rmid, opcode) {
        (ids::HEAP, heap::XLOG_HEAP_INSERT) => {
            one(flag_at(2, heap::XLH_INSERT_ALL_VISIBLE_CLEARED)?, VALID_BITS)
        }
        (ids::HEAP, heap::XLOG_HEAP_DELETE) => {
            one(flag_at(7, heap::XLH_DELETE_ALL_VISIBLE_CLEARED)?, VALID_BITS)
        }
        (ids::HEAP, heap::XLOG_HEAP_UPDATE | heap::XLOG_HEAP_HOT_UPDATE) => {
            main.skip(7, "flags")?;
            let flags = main.u8("flags")?;
            let old_id = if record.blocks.iter().any(|block| block.id == 1) { 1 } else { 0 };
            let mut cleared = Vec::new();
            if flags & heap::XLH_UPDATE_OLD_ALL_VISIBLE_CLEARED != 0 {
                cleared.push((old_id, VALID_BITS));
            }
            if flags & heap::XLH_UPDATE_NEW_ALL_VISIBLE_CLEARED != 0 {
                cleared.push((0, VALID_BITS));
            }
            Ok(cleared)
        }
        (ids::HEAP2, heap2::XLOG_HEAP2_MULTI_INSERT) => {
            one(flag_at(0, heap::XLH_INSERT_ALL_VISIBLE_CLEARED)?, VALID_BITS)
        }
        (ids::HEAP, heap::XLOG_HEAP_LOCK) | (ids::HEAP2, heap2::XLOG_HEAP2_LOCK_UPDATED) => {
            one(flag_at(7, heap::XLH_LOCK_ALL_FROZEN_CLEARED)?, ALL_FROZEN)
        }
        _ => Ok(Vec::new()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REL: RelTag = RelTag { spc: 1663, db: 5, rel: 16384, fork: Fork::Main };

    #[test]
    fn bits_are_set_and_cleared_apart() {
        let mut bytes = [0; BLCKSZ];
        let mut page = Page::new(&mut bytes);
        set(&mut page, 5, VALID_BITS, Lsn(8)).unwrap();
        set(&mut page, 6, 1, Lsn(16)).unwrap();
        assert_eq!((page.bytes[25], page.lsn()), (0b0001_1100, Lsn(16)));
        // Nothing new: the LSN stays.
        set(&mut page, 6, 1, Lsn(24)).unwrap();
        clear(&mut page, &[VmBits { heap_block: 5, flags: ALL_FROZEN }]).unwrap();
        assert_eq!((page.bytes[25], page.lsn()), (0b0001_0100, Lsn(16)));
    }

    #[test]
    fn truncation_keeps_what_is_before() {
        let mut bytes = [0xff; BLCKSZ];
        truncate(&mut Page::new(&mut bytes), HEAP_BLOCKS_PER_PAGE + 6).unwrap();
        assert_eq!(bytes[24..27], [0xff, 0x0f, 0]);
        assert!(bytes[26..].iter().all(|byte| *byte == 0));

        let mut bytes = [0; BLCKSZ];
        let mut page = Page::new(&mut bytes);
        page.init(0);
        page.bytes[FSM_NODES_AT + FSM_INNER_NODES + 3] = 9;
        page.bytes[FSM_NODES_AT + FSM_INNER_NODES + 4] = 200;
        truncate_fsm(&mut page, 4).unwrap();
        assert_eq!((page.bytes[FSM_NODES_AT], page.bytes[FSM_NODES_AT + FSM_INNER_NODES + 4]), (9, 0));
    }

    #[test]
    fn map_forks_are_cut_at_their_own_pages() {
        let [vm, fsm] = truncated_maps(REL, 0);
        assert_eq!((vm.blocks, vm.tail), (0, None));
        // The two upper levels come first; only the leaf and what is behind it goes.
        assert_eq!((fsm.blocks, fsm.tail), (2, None));
        let [vm, fsm] = truncated_maps(REL, 10);
        assert_eq!((vm.blocks, vm.tail), (1, Some((0, NativeChange::VmTruncate { heap_blocks: 10 }))));
        assert_eq!((fsm.blocks, fsm.tail), (3, Some((2, NativeChange::FsmTruncate { heap_blocks: 10 }))));
        assert_eq!(fsm_block(FSM_SLOTS), 3);
        assert_eq!(fsm_block(FSM_SLOTS * FSM_SLOTS), FSM_SLOTS + 3);
    }
}

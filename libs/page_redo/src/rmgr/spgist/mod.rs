//! Redo of SP-GiST indexes (spgxlog.c: `spg_redo`).

mod pick_split;
mod tuple;
mod vacuum;

use tuple::{FLAG_LEAF, FLAG_NULLS, Redirection, State};

use super::Record;
use crate::bytes_reader::Reader;
use crate::error::Fault;
use crate::page::{OffsetNumber, Page};

const XLOG_SPGIST_ADD_LEAF: u8 = 0x10;
const XLOG_SPGIST_MOVE_LEAFS: u8 = 0x20;
const XLOG_SPGIST_ADD_NODE: u8 = 0x30;
const XLOG_SPGIST_SPLIT_TUPLE: u8 = 0x40;
const XLOG_SPGIST_PICKSPLIT: u8 = 0x50;
const XLOG_SPGIST_VACUUM_LEAF: u8 = 0x60;
const XLOG_SPGIST_VACUUM_ROOT: u8 = 0x70;
const XLOG_SPGIST_VACUUM_REDIRECT: u8 = 0x80;

const INVALID_OFFSET: OffsetNumber = 0;

/// `spg_redo`
pub(super) fn redo(page: &mut Page<'_>, record: &Record<'_>) -> Result<(), Fault> {
    match record.info() {
        XLOG_SPGIST_ADD_LEAF => add_leaf(page, record)?,
        XLOG_SPGIST_MOVE_LEAFS => move_leafs(page, record)?,
        XLOG_SPGIST_ADD_NODE => add_node(page, record)?,
        XLOG_SPGIST_SPLIT_TUPLE => split_tuple(page, record)?,
        XLOG_SPGIST_PICKSPLIT => pick_split::redo(page, record)?,
        XLOG_SPGIST_VACUUM_LEAF => vacuum::leaf(page, record)?,
        XLOG_SPGIST_VACUUM_ROOT => vacuum::root(page, record)?,
        XLOG_SPGIST_VACUUM_REDIRECT => vacuum::redirect(page, record)?,
        _ => return Err(Fault::Malformed("unknown opcode")),
    }
    page.set_lsn(record.lsn);
    Ok(())
}

/// `spgxlogState`: the primary's transaction, and whether it was building the index.
struct Source {
    xid: u32,
    is_build: bool,
}

impl Source {
    fn read(main: &mut Reader<'_>) -> Result<Source, Fault> {
        let xid = main.u32("xid of the insertion")?;
        let is_build = flag(main)?;
        main.skip(3, "padding")?;
        Ok(Source { xid, is_build })
    }

    /// While an index is built nobody searches it, so that nobody needs redirections.
    fn state(&self) -> State {
        if self.is_build { State::Placeholder } else { State::Redirect }
    }

    fn redirection(&self, block: u32, offset: OffsetNumber) -> Redirection {
        Redirection { block, offset, xid: self.xid }
    }
}

fn flag(main: &mut Reader<'_>) -> Result<bool, Fault> {
    Ok(main.u8("flag")? != 0)
}

/// Flags of a page made for leaves.
fn leaf_flags(stores_nulls: bool) -> u16 {
    if stores_nulls { FLAG_LEAF | FLAG_NULLS } else { FLAG_LEAF }
}

/// `spgRedoAddLeaf`. Block 0 gets the tuple, block 1 has its parent.
fn add_leaf(page: &mut Page<'_>, record: &Record<'_>) -> Result<(), Fault> {
    let mut main = record.main();
    let (new_page, stores_nulls) = (flag(&mut main)?, flag(&mut main)?);
    let leaf = main.u16("offset of the leaf")?;
    let head = main.u16("offset of the chain's head")?;
    let parent = main.u16("offset of the parent")?;
    let node = main.u16("node of the parent")?;
    match record.block_id() {
        0 => {}
        1 => return tuple::set_downlink(page, parent, node, (record.blkno_of(0)?, leaf)),
        _ => return record.unexpected_block(),
    }
    let new_tuple = tuple::read_leaf(&mut main)?;
    if new_page {
        tuple::init_page(page, leaf_flags(stores_nulls))?;
    }
    if leaf == head {
        // A dead tuple makes room.
        return tuple::replace(page, new_tuple, leaf);
    }
    tuple::add_or_replace(page, new_tuple, leaf)?;
    if head == INVALID_OFFSET { Ok(()) } else { tuple::set_next_in_chain(page, head, leaf) }
}

/// `spgRedoMoveLeafs`. Tuples go from block 0 to block 1, block 2 has their parent.
fn move_leafs(page: &mut Page<'_>, record: &Record<'_>) -> Result<(), Fault> {
    let mut main = record.main();
    let move_count = main.u16("number of moved tuples")?;
    let (new_page, replace_dead, stores_nulls) = (flag(&mut main)?, flag(&mut main)?, flag(&mut main)?);
    main.skip(1, "padding")?;
    let parent = main.u16("offset of the parent")?;
    let node = main.u16("node of the parent")?;
    main.skip(2, "padding")?;
    let source = Source::read(&mut main)?;
    let insert_count = if replace_dead { 1 } else { usize::from(move_count) + 1 };
    let deleted = main.u16_array(move_count.into(), "offsets of moved tuples")?;
    let inserted = main.u16_array(insert_count, "new offsets of moved tuples")?;
    let last = inserted.last().copied().unwrap_or(INVALID_OFFSET);
    let destination = record.blkno_of(1)?;
    match record.block_id() {
        0 => {
            let target = source.redirection(destination, last);
            tuple::bury(page, &deleted, (source.state(), State::Placeholder), target)
        }
        1 => {
            if new_page {
                tuple::init_page(page, leaf_flags(stores_nulls))?;
            }
            inserted
                .iter()
                .try_for_each(|offset| tuple::add_or_replace(page, tuple::read_leaf(&mut main)?, *offset))
        }
        2 => tuple::set_downlink(page, parent, node, (destination, last)),
        _ => record.unexpected_block(),
    }
}

/// `spgRedoAddNode`. Block 0 has the old inner tuple, block 1 gets the new one if it does not fit in the old
/// one's place, block 2 has the parent if neither of them has.
fn add_node(page: &mut Page<'_>, record: &Record<'_>) -> Result<(), Fault> {
    let mut main = record.main();
    let old_offset = main.u16("offset of the old tuple")?;
    let new_offset = main.u16("offset of the new tuple")?;
    let new_page = flag(&mut main)?;
    let parent_block = main.u8("block of the parent")?;
    let parent = main.u16("offset of the parent")?;
    let node = main.u16("node of the parent")?;
    main.skip(2, "padding")?;
    let source = Source::read(&mut main)?;
    let new_tuple = tuple::read_inner(&mut main)?;
    let Some(new_block) = record.tag(1).map(|tag| tag.blkno) else {
        return tuple::replace(page, new_tuple, old_offset);
    };
    match record.block_id() {
        0 => {
            let target = source.redirection(new_block, new_offset);
            tuple::replace(page, &tuple::dead_tuple(source.state(), target), old_offset)?;
            if source.is_build {
                tuple::change_placeholders(page, 1)?;
            } else {
                tuple::change_redirections(page, 1)?;
            }
        }
        1 => {
            if new_page {
                tuple::init_page(page, 0)?;
            }
            tuple::add_or_replace(page, new_tuple, new_offset)?;
        }
        2 => {}
        _ => return record.unexpected_block(),
    }
    if parent_block == record.block_id() {
        tuple::set_downlink(page, parent, node, (new_block, new_offset))?;
    }
    Ok(())
}

/// `spgRedoSplitTuple`. Block 0 gets the prefix tuple, and the postfix tuple goes to block 1 or there too.
fn split_tuple(page: &mut Page<'_>, record: &Record<'_>) -> Result<(), Fault> {
    let mut main = record.main();
    let prefix_offset = main.u16("offset of the prefix tuple")?;
    let postfix_offset = main.u16("offset of the postfix tuple")?;
    let (new_page, same_block) = (flag(&mut main)?, flag(&mut main)?);
    let prefix = tuple::read_inner(&mut main)?;
    let postfix = tuple::read_inner(&mut main)?;
    match record.block_id() {
        0 => {
            tuple::replace(page, prefix, prefix_offset)?;
            if same_block { tuple::add_or_replace(page, postfix, postfix_offset) } else { Ok(()) }
        }
        1 => {
            if new_page {
                tuple::init_page(page, 0)?;
            }
            tuple::add_or_replace(page, postfix, postfix_offset)
        }
        _ => record.unexpected_block(),
    }
}

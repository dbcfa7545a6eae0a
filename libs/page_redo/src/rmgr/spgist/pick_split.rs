//! A chain of leaves becomes an inner tuple with several chains (`spgRedoPickSplit`).

use super::super::Record;
use super::tuple::{self, FLAG_NULLS, State};
use super::{Source, flag, leaf_flags};
use crate::bytes_reader::Reader;
use crate::error::Fault;
use crate::page::{OffsetNumber, Page};

/// `spgxlogPickSplit` and the arrays behind it.
struct PickSplit<'a> {
    init_source: bool,
    init_destination: bool,
    inner_offset: OffsetNumber,
    init_inner: bool,
    stores_nulls: bool,
    inner_is_parent: bool,
    parent: OffsetNumber,
    node: u16,
    source: Source,
    deleted: Vec<OffsetNumber>,
    inserted: Vec<OffsetNumber>,
    /// For each inserted tuple: 0 the source page, else the destination.
    page_select: &'a [u8],
    inner: &'a [u8],
    leaves: Reader<'a>,
}

impl<'a> PickSplit<'a> {
    fn read(mut main: Reader<'a>) -> Result<PickSplit<'a>, Fault> {
        main.skip(2, "kind of the split")?;
        let delete_count = main.u16("number of deleted tuples")?;
        let insert_count = main.u16("number of inserted tuples")?;
        let (init_source, init_destination) = (flag(&mut main)?, flag(&mut main)?);
        let inner_offset = main.u16("offset of the inner tuple")?;
        let (init_inner, stores_nulls, inner_is_parent) =
            (flag(&mut main)?, flag(&mut main)?, flag(&mut main)?);
        main.skip(1, "padding")?;
        let parent = main.u16("offset of the parent")?;
        let node = main.u16("node of the parent")?;
        main.skip(2, "padding")?;
        let source = Source::read(&mut main)?;
        let deleted = main.u16_array(delete_count.into(), "offsets of deleted tuples")?;
        let inserted = main.u16_array(insert_count.into(), "offsets of inserted tuples")?;
        let page_select = main.bytes(insert_count.into(), "pages of inserted tuples")?;
        let inner = tuple::read_inner(&mut main)?;
        Ok(PickSplit {
            init_source,
            init_destination,
            inner_offset,
            init_inner,
            stores_nulls,
            inner_is_parent,
            parent,
            node,
            source,
            deleted,
            inserted,
            page_select,
            inner,
            leaves: main,
        })
    }

    /// Adds the leaves that belong to one of the two pages.
    fn add_leaves(&self, page: &mut Page<'_>, to_destination: bool) -> Result<(), Fault> {
        let mut leaves = self.leaves;
        for (offset, select) in self.inserted.iter().zip(self.page_select) {
            let leaf = tuple::read_leaf(&mut leaves)?;
            if (*select != 0) == to_destination {
                tuple::add_or_replace(page, leaf, *offset)?;
            }
        }
        Ok(())
    }

    fn source_page(&self, page: &mut Page<'_>, inner_block: u32) -> Result<(), Fault> {
        if self.init_source {
            tuple::init_page(page, leaf_flags(self.stores_nulls))?;
        } else {
            let target = self.source.redirection(inner_block, self.inner_offset);
            tuple::bury(page, &self.deleted, (self.source.state(), State::Placeholder), target)?;
        }
        self.add_leaves(page, false)
    }

    fn destination_page(&self, page: &mut Page<'_>) -> Result<(), Fault> {
        if self.init_destination {
            tuple::init_page(page, leaf_flags(self.stores_nulls))?;
        }
        self.add_leaves(page, true)
    }

    fn inner_page(&self, page: &mut Page<'_>, inner_block: u32) -> Result<(), Fault> {
        if self.init_inner {
            tuple::init_page(page, if self.stores_nulls { FLAG_NULLS } else { 0 })?;
        }
        tuple::add_or_replace(page, self.inner, self.inner_offset)?;
        if self.inner_is_parent { self.parent_page(page, inner_block) } else { Ok(()) }
    }

    fn parent_page(&self, page: &mut Page<'_>, inner_block: u32) -> Result<(), Fault> {
        tuple::set_downlink(page, self.parent, self.node, (inner_block, self.inner_offset))
    }
}

/// Block 0 is the source of the leaves, 1 their other destination, 2 gets the inner tuple, 3 has its parent.
pub(super) fn redo(page: &mut Page<'_>, record: &Record<'_>) -> Result<(), Fault> {
    let split = PickSplit::read(record.main())?;
    let inner_block = record.blkno_of(2)?;
    match record.block_id() {
        0 => split.source_page(page, inner_block),
        1 => split.destination_page(page),
        2 => split.inner_page(page, inner_block),
        3 => split.parent_page(page, inner_block),
        _ => record.unexpected_block(),
    }
}

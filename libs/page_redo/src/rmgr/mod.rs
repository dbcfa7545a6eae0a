//! Redo by resource manager: one file each, mirroring PostgreSQL's `*_redo` functions of that name, one block
//! at a time.
//!
//! Where PostgreSQL's function reads and changes several buffers, the function here gets one of them and
//! does what PostgreSQL does to that one; so each is a `match` on the block's id in the record.
//!
//! Versions differ little: a field more or less is matched on [`Record::version`] where it is read, records that
//! are altogether different have files of their own (`heap2/v15.rs`, `heap2/v17.rs`).

mod brin;
mod btree;
mod generic;
mod gin;
mod gist;
mod hash;
pub(crate) mod heap;
pub(crate) mod heap2;
mod heap_tuple;
mod heap_vm;
mod index_tuple;
mod seq;
mod spgist;
mod xlog;

use pg_format::rmgr as ids;
use types::{Fork, Lsn, PgVersion};

use crate::bytes_reader::Reader;
use crate::change::{BlockChange, BlockTag};
use crate::error::Fault;
use crate::page::Page;

/// Stands where a resource manager's name would, for changes of our own.
pub const NATIVE: &str = "Native";

pub fn name(rmid: u8) -> &'static str {
    ids::name(rmid).unwrap_or("unknown resource manager")
}

/// One block of one record, as redo functions see it.
pub(crate) struct Record<'a> {
    change: &'a BlockChange,
    /// End of the record: what becomes the page's LSN.
    pub lsn: Lsn,
    /// Of the server that wrote the record.
    pub version: PgVersion,
}

impl<'a> Record<'a> {
    pub fn new(change: &'a BlockChange, lsn: Lsn, version: PgVersion) -> Record<'a> {
        Record { change, lsn, version }
    }

    /// `xl_info` without the bits that belong to the WAL machinery (`~XLR_INFO_MASK`).
    pub fn info(&self) -> u8 {
        self.change.info & 0xf0
    }

    pub fn rmid(&self) -> u8 {
        self.change.rmid
    }

    pub fn xid(&self) -> u32 {
        self.change.xid
    }

    /// The block's id in the record: which of PostgreSQL's buffers the page is.
    pub fn block_id(&self) -> u8 {
        self.change.own().id
    }

    pub fn blkno(&self) -> u32 {
        self.change.own().blkno
    }

    pub fn is_of_visibility_map(&self) -> bool {
        self.change.own().rel.fork == Fork::Vm
    }

    pub fn tag(&self, id: u8) -> Option<&'a BlockTag> {
        self.change.tag(id)
    }

    /// Number of the block with this id, which the record must have.
    pub fn blkno_of(&self, id: u8) -> Result<u32, Fault> {
        self.tag(id).map(|tag| tag.blkno).ok_or(Fault::Malformed("record lacks a block"))
    }

    pub fn main(&self) -> Reader<'a> {
        Reader::new(&self.change.main_data)
    }

    /// The block's own data.
    pub fn data(&self) -> Reader<'a> {
        Reader::new(&self.change.data)
    }

    /// What to say of a block id that the record's kind does not have.
    pub fn unexpected_block<T>(&self) -> Result<T, Fault> {
        Err(Fault::Malformed("block id that this kind of record does not have"))
    }
}

/// The visibility map's page may be zeros: `heap_xlog_visible` initialises it, and clearing bits of it does not
/// need to.
pub(crate) fn initialises_zeros(change: &BlockChange) -> bool {
    change.own().rel.fork == Fork::Vm
}

/// Applies a block of a record that has no full-page image.
pub(crate) fn redo(page: &mut Page<'_>, record: &Record<'_>) -> Result<(), Fault> {
    match record.change.rmid {
        ids::XLOG => xlog::redo(page, record),
        ids::HEAP => heap::redo(page, record),
        ids::HEAP2 => heap2::redo(page, record),
        ids::BTREE => btree::redo(page, record),
        ids::HASH => hash::redo(page, record),
        ids::GIN => gin::redo(page, record),
        ids::GIST => gist::redo(page, record),
        ids::SEQ => seq::redo(page, record),
        ids::SPGIST => spgist::redo(page, record),
        ids::BRIN => brin::redo(page, record),
        ids::GENERIC => generic::redo(page, record),
        _ => Err(Fault::Unsupported("resource manager without page redo")),
    }
}

/// What is left to do to a page after its full-page image was put in place. For nearly all records that is
/// nothing; GiST and hash change the special space, which they do before they know whether there is an image.
pub(crate) fn redo_restored(page: &mut Page<'_>, record: &Record<'_>) -> Result<(), Fault> {
    match record.change.rmid {
        ids::GIST => gist::redo_restored(page, record),
        ids::HASH => hash::redo_restored(page, record),
        _ => Ok(()),
    }
}

//! [`Change`]: what is stored of a WAL record for one page, enough to apply it to that page and no more.
//!
//! ```text
//!  byte 0   format version (1)
//!       1   kind: 0 = a block of a PostgreSQL record, others see native.rs
//!  A block of a PostgreSQL record goes on (integers little-endian, v = varint):
//!       2   rmid     3 info     4..8 xid     8 index of its own tag     9 number of tags
//!      10.. tags, in the record's order: id, flags|fork, spc, db, rel (absent with SAME_REL 0x80), block
//!       ..  image, if the own tag's flags have HAS_IMAGE: apply, bimg_info, hole offset u16,
//!           hole length u16, v length, bytes
//!       ..  v length of main data, main data
//!       ..  the block's own data, to the end
//! ```
//! The tags of all blocks of the record are kept since some redo functions need them: a btree split
//! writes the number of the right page into the left one.

use bytes::Bytes;
use types::{Fork, Lsn, RelTag};
use wal_decoder::{BlockImage, DecodedRecord};

use crate::bytes_reader::{Reader, put_varint};
use crate::error::{Fault, Place, RedoError};
use crate::native::NativeChange;
use crate::rmgr;

const FORMAT_VERSION: u8 = 1;
pub(crate) const KIND_POSTGRES: u8 = 0;

/// Bits of [`BlockTag::flags`], as in a WAL record (`BKPBLOCK_*` in xlogrecord.h).
pub const FLAG_HAS_IMAGE: u8 = 0x10;
pub const FLAG_HAS_DATA: u8 = 0x20;
pub const FLAG_WILL_INIT: u8 = 0x40;
const FLAG_SAME_REL: u8 = 0x80;
const FORK_MASK: u8 = 0x0f;

/// A change of one page.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// A block that a PostgreSQL record registers.
    Postgres(BlockChange),
    /// A change that no registered block carries.
    Native(NativeChange),
}

/// One record as far as it concerns one of its blocks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlockChange {
    pub rmid: u8,
    /// `xl_info` of the record.
    pub info: u8,
    pub xid: u32,
    /// Which of `blocks` is the one that this change is for.
    pub index: usize,
    /// All blocks of the record.
    pub blocks: Vec<BlockTag>,
    /// The full-page image to put in place of the page. An image that is only there to be compared with
    /// (`wal_consistency_checking`) is left out.
    pub image: Option<BlockImage>,
    pub main_data: Bytes,
    /// The data that the record holds for this block.
    pub data: Bytes,
}

/// A block reference of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockTag {
    /// Number by which the redo function asks for it.
    pub id: u8,
    /// `FLAG_*`
    pub flags: u8,
    pub rel: RelTag,
    pub blkno: u32,
}

impl BlockChange {
    /// What `record` says of its block number `index` (in the order of `record.blocks`, not its id).
    ///
    /// # Panics
    /// If the record has no such block.
    pub fn from_record(record: &DecodedRecord, index: usize) -> BlockChange {
        let own = &record.blocks[index];
        let image = own.image.as_ref().filter(|image| image.apply).cloned();
        let tag = |block: &wal_decoder::DecodedBlock| {
            let will_init = if block.will_init { FLAG_WILL_INIT } else { 0 };
            let flags = (block.flags & FLAG_HAS_DATA) | will_init;
            BlockTag { id: block.id, flags, rel: block.rel, blkno: block.blkno }
        };
        let mut blocks: Vec<BlockTag> = record.blocks.iter().map(tag).collect();
        if image.is_some() {
            blocks[index].flags |= FLAG_HAS_IMAGE;
        }
        BlockChange {
            rmid: record.header.rmid,
            info: record.header.info,
            xid: record.header.xid,
            index,
            blocks,
            // Kept beside an image too: a few redo functions touch the page after it was restored.
            main_data: record.main_data.clone(),
            data: own.data.clone(),
            image,
        }
    }

    /// The block that this change is for.
    pub fn own(&self) -> &BlockTag {
        &self.blocks[self.index]
    }

    /// The block with this id in the record.
    pub fn tag(&self, id: u8) -> Option<&BlockTag> {
        self.blocks.iter().find(|tag| tag.id == id)
    }

    fn encode(&self, out: &mut Vec<u8>) {
        out.extend([KIND_POSTGRES, self.rmid, self.info]);
        out.extend(self.xid.to_le_bytes());
        out.extend([self.index as u8, self.blocks.len() as u8]);
        let mut previous = None;
        for tag in &self.blocks {
            let same_rel = previous == Some(RelTag { fork: Fork::Main, ..tag.rel });
            previous = Some(RelTag { fork: Fork::Main, ..tag.rel });
            let flags = tag.flags & (FLAG_HAS_IMAGE | FLAG_HAS_DATA | FLAG_WILL_INIT) | tag.rel.fork.number();
            out.extend([tag.id, if same_rel { flags | FLAG_SAME_REL } else { flags }]);
            if !same_rel {
                out.extend(tag.rel.spc.to_le_bytes());
                out.extend(tag.rel.db.to_le_bytes());
                out.extend(tag.rel.rel.to_le_bytes());
            }
            out.extend(tag.blkno.to_le_bytes());
        }
        if let Some(image) = &self.image {
            out.extend([image.apply as u8, image.bimg_info]);
            out.extend(image.hole_offset.to_le_bytes());
            out.extend(image.hole_length.to_le_bytes());
            put_varint(out, image.data.len() as u32);
            out.extend(&image.data);
        }
        put_varint(out, self.main_data.len() as u32);
        out.extend(&self.main_data);
        out.extend(&self.data);
    }

    /// `reader` stands behind the kind; `whole` is what it reads from.
    fn decode(reader: &mut Reader<'_>, whole: &Bytes) -> Result<BlockChange, Fault> {
        let rmid = reader.u8("resource manager")?;
        let info = reader.u8("info")?;
        let xid = reader.u32("xid")?;
        let index = reader.u8("index of the block")? as usize;
        let count = reader.u8("number of blocks")? as usize;
        let mut blocks: Vec<BlockTag> = Vec::with_capacity(count);
        for _ in 0..count {
            let tag = decode_tag(reader, blocks.last())?;
            blocks.push(tag);
        }
        let own =
            blocks.get(index).ok_or(Fault::Malformed("index of the block beyond the number of blocks"))?;
        let image = if own.flags & FLAG_HAS_IMAGE != 0 { Some(decode_image(reader, whole)?) } else { None };
        let main_length = reader.varint("length of main data")? as usize;
        let main_data = take(reader, whole, main_length, "main data")?;
        let data = take(reader, whole, reader.rest().len(), "block data")?;
        Ok(BlockChange { rmid, info, xid, index, blocks, image, main_data, data })
    }
}

fn decode_tag(reader: &mut Reader<'_>, previous: Option<&BlockTag>) -> Result<BlockTag, Fault> {
    let id = reader.u8("block id")?;
    let flags = reader.u8("block flags")?;
    let fork = Fork::from_number(flags & FORK_MASK).ok_or(Fault::Malformed("fork number"))?;
    let rel = if flags & FLAG_SAME_REL != 0 {
        previous.ok_or(Fault::Malformed("first block without relation"))?.rel.with_fork(fork)
    } else {
        RelTag {
            spc: reader.u32("tablespace")?,
            db: reader.u32("database")?,
            rel: reader.u32("relation")?,
            fork,
        }
    };
    let blkno = reader.u32("block number")?;
    Ok(BlockTag { id, flags: flags & (FLAG_HAS_IMAGE | FLAG_HAS_DATA | FLAG_WILL_INIT), rel, blkno })
}

fn decode_image(reader: &mut Reader<'_>, whole: &Bytes) -> Result<BlockImage, Fault> {
    let apply = reader.u8("image's use")? != 0;
    let bimg_info = reader.u8("image's flags")?;
    let hole_offset = reader.u16("offset of the image's hole")?;
    let hole_length = reader.u16("length of the image's hole")?;
    let length = reader.varint("length of the image")? as usize;
    let data = take(reader, whole, length, "image")?;
    Ok(BlockImage { apply, hole_offset, hole_length, bimg_info, data })
}

/// The next bytes as a share of the whole, not a copy.
fn take(reader: &mut Reader<'_>, whole: &Bytes, count: usize, what: &'static str) -> Result<Bytes, Fault> {
    Ok(whole.slice_ref(reader.bytes(count, what)?))
}

impl Change {
    pub fn encode(&self) -> Bytes {
        let mut out = Vec::with_capacity(128);
        out.push(FORMAT_VERSION);
        match self {
            Change::Postgres(block) => block.encode(&mut out),
            Change::Native(native) => native.encode(&mut out),
        }
        out.into()
    }

    /// Reads what [`Change::encode`] wrote, with one copy of the bytes.
    pub fn decode(bytes: &[u8]) -> Result<Change, RedoError> {
        Change::decode_shared(Bytes::copy_from_slice(bytes))
    }

    /// As [`Change::decode`] without a copy: the change keeps `bytes` alive.
    pub fn decode_shared(bytes: Bytes) -> Result<Change, RedoError> {
        let mut reader = Reader::new(&bytes);
        Change::read(&mut reader, &bytes).map_err(RedoError::undecodable)
    }

    fn read(reader: &mut Reader<'_>, whole: &Bytes) -> Result<Change, Fault> {
        if reader.u8("format version of a change")? != FORMAT_VERSION {
            return Err(Fault::Unsupported("change has an unknown format version"));
        }
        match reader.u8("kind of change")? {
            KIND_POSTGRES => BlockChange::decode(reader, whole).map(Change::Postgres),
            kind => NativeChange::decode(kind, reader).map(Change::Native),
        }
    }

    /// The change makes the page from nothing: what the page was before does not matter.
    pub fn will_init(&self) -> bool {
        match self {
            Change::Postgres(block) => block.image.is_some() || block.own().flags & FLAG_WILL_INIT != 0,
            Change::Native(native) => native.will_init(),
        }
    }

    /// Name of the resource manager, for counters and messages.
    pub fn rmgr_name(&self) -> &'static str {
        match self {
            Change::Postgres(block) => rmgr::name(block.rmid),
            Change::Native(_) => rmgr::NATIVE,
        }
    }

    pub(crate) fn place(&self, lsn: Lsn) -> Place {
        match self {
            Change::Postgres(block) => Place {
                rmgr: rmgr::name(block.rmid),
                opcode: block.info & 0xf0,
                lsn,
                block: Some((block.own().rel, block.own().blkno)),
            },
            Change::Native(native) => Place { rmgr: rmgr::NATIVE, opcode: native.kind(), lsn, block: None },
        }
    }
}

#[cfg(test)]
mod tests;

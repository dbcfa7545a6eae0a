//! [`decode`]: a record's parts: header, block references, images, block data, main data.
//!
//! ```text
//!  header (24)
//!  block header*: id u8 (0..=32), fork | flags u8, data length u16
//!                 [image: length u16, hole offset u16, info u8, [hole length u16 if compressed with a hole]]
//!                 [tablespace, database, relation u32, unless SAME_REL]  block number u32
//!  253 origin u16 | 252 top-level xid u32 | 255 main data length u8 (last) | 254 main data length u32 (last)
//!  image and data of each block, then the main data
//! ```

use bytes::Bytes;
use pg_format::wal::{RECORD_HEADER_SIZE, RecordHeader};
use types::{BLCKSZ, Fork, Lsn, PgVersion, RelTag};

use crate::error::{DecodeError, Malformation};
use crate::image::{self, BlockImage};
use crate::reader::Reader;
use crate::stream::WalRecord;

/// Bits of [`DecodedBlock::flags`] (`BKPBLOCK_*`).
pub mod flags {
    pub const FORK_MASK: u8 = 0x0f;
    pub const HAS_IMAGE: u8 = 0x10;
    pub const HAS_DATA: u8 = 0x20;
    /// Redo makes the page from nothing.
    pub const WILL_INIT: u8 = 0x40;
    /// The relation is that of the block reference before.
    pub const SAME_REL: u8 = 0x80;
}

const MAX_BLOCK_ID: u8 = 32;
const ID_MAIN_DATA_SHORT: u8 = 255;
const ID_MAIN_DATA_LONG: u8 = 254;
const ID_ORIGIN: u8 = 253;
const ID_TOPLEVEL_XID: u8 = 252;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DecodedRecord {
    pub start_lsn: Lsn,
    /// See [`WalRecord::end_lsn`].
    pub end_lsn: Lsn,
    pub header: RecordHeader,
    /// Replication origin; 0 for none.
    pub origin: u16,
    /// Set only where logical decoding needs it.
    pub toplevel_xid: Option<u32>,
    pub main_data: Bytes,
    /// In the order of their ids, which may have gaps.
    pub blocks: Vec<DecodedBlock>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DecodedBlock {
    pub id: u8,
    pub rel: RelTag,
    pub blkno: u32,
    /// Fork and [`flags`], as in the record.
    pub flags: u8,
    pub will_init: bool,
    pub image: Option<BlockImage>,
    pub data: Bytes,
}

impl DecodedRecord {
    /// The resource manager's part of `info`.
    pub fn opcode(&self) -> u8 {
        self.header.info & pg_format::wal::RMGR_INFO_MASK
    }

    /// The block reference with this id.
    pub fn block(&self, id: u8) -> Option<&DecodedBlock> {
        self.blocks.iter().find(|block| block.id == id)
    }
}

/// Splits a record into its parts, without copying them.
pub fn decode(record: &WalRecord, version: PgVersion) -> Result<DecodedRecord, DecodeError> {
    match version {
        // Block references are laid out alike; only the bits of images differ between 14 and 15.
        PgVersion::V15 | PgVersion::V17 => decode_parts(record).map_err(|what| what.at(record.start_lsn)),
    }
}

/// Lengths that the headers announce, in the order in which the bytes follow.
#[derive(Clone, Copy, Default)]
struct BlockLengths {
    image: u16,
    data: u16,
}

fn decode_parts(record: &WalRecord) -> Result<DecodedRecord, Malformation> {
    let mut reader = Reader::new(record.bytes.clone());
    let header = RecordHeader::decode(&reader.array::<RECORD_HEADER_SIZE>("the record header")?);
    if header.tot_len as usize != record.bytes.len() {
        return Err(Malformation::RecordLength(header.tot_len));
    }
    let mut decoded = DecodedRecord {
        start_lsn: record.start_lsn,
        end_lsn: record.end_lsn,
        header,
        origin: 0,
        toplevel_xid: None,
        main_data: Bytes::new(),
        blocks: Vec::new(),
    };
    let mut lengths = [BlockLengths::default(); MAX_BLOCK_ID as usize + 1];
    let mut main_length = 0;
    // Bytes that must follow the headers: when only they are left, there are no more headers.
    let mut promised = 0;
    while reader.remaining() > promised {
        match reader.u8("a block header")? {
            ID_MAIN_DATA_SHORT => {
                main_length = reader.u8("the length of main data")? as usize;
                break;
            }
            ID_MAIN_DATA_LONG => {
                main_length = reader.u32("the length of main data")? as usize;
                break;
            }
            ID_ORIGIN => decoded.origin = reader.u16("the replication origin")?,
            ID_TOPLEVEL_XID => decoded.toplevel_xid = Some(reader.u32("the top-level xid")?),
            id if id <= MAX_BLOCK_ID => {
                let (block, length) = block_header(&mut reader, id, decoded.blocks.last())?;
                promised += usize::from(length.image) + usize::from(length.data);
                // No two blocks have one id.
                lengths[decoded.blocks.len()] = length;
                decoded.blocks.push(block);
            }
            id => return Err(Malformation::Field { what: "a block id", got: id.into() }),
        }
    }
    if reader.remaining() != promised + main_length {
        return Err(Malformation::Contradiction("parts of the record do not add up to its length"));
    }
    for (block, length) in decoded.blocks.iter_mut().zip(&lengths) {
        let image = reader.bytes(length.image.into(), "a page image")?;
        if let Some(block_image) = &mut block.image {
            block_image.data = image;
        }
        block.data = reader.bytes(length.data.into(), "block data")?;
    }
    decoded.main_data = reader.rest();
    Ok(decoded)
}

fn block_header(
    reader: &mut Reader,
    id: u8,
    previous: Option<&DecodedBlock>,
) -> Result<(DecodedBlock, BlockLengths), Malformation> {
    if previous.is_some_and(|block| block.id >= id) {
        return Err(Malformation::Contradiction("block ids are not in order"));
    }
    let fork_flags = reader.u8("a block header")?;
    let data = reader.u16("a block header")?;
    if (fork_flags & flags::HAS_DATA != 0) != (data > 0) {
        return Err(Malformation::Contradiction("block header and the length of its data disagree"));
    }
    let fork_number = fork_flags & flags::FORK_MASK;
    let fork = Fork::from_number(fork_number)
        .ok_or(Malformation::Field { what: "a fork", got: fork_number.into() })?;
    let (image, image_length) = if fork_flags & flags::HAS_IMAGE != 0 {
        let (image, length) = image_header(reader)?;
        (Some(image), length)
    } else {
        (None, 0)
    };
    let rel = if fork_flags & flags::SAME_REL == 0 {
        reader.rel(fork, "a block's relation")?
    } else {
        let same =
            previous.ok_or(Malformation::Contradiction("first block refers to the relation before it"))?;
        same.rel.with_fork(fork)
    };
    let blkno = reader.u32("a block number")?;
    let will_init = fork_flags & flags::WILL_INIT != 0;
    let block = DecodedBlock { id, rel, blkno, flags: fork_flags, will_init, image, data: Bytes::new() };
    Ok((block, BlockLengths { image: image_length, data }))
}

/// The image without its bytes, and how many they are.
fn image_header(reader: &mut Reader) -> Result<(BlockImage, u16), Malformation> {
    let image_length = reader.u16("an image header")?;
    let length = usize::from(image_length);
    let hole_offset = reader.u16("an image header")?;
    let bimg_info = reader.u8("an image header")?;
    let mut image = BlockImage {
        apply: bimg_info & image::APPLY != 0,
        hole_offset,
        hole_length: 0,
        bimg_info,
        data: Bytes::new(),
    };
    let has_hole = bimg_info & image::HAS_HOLE != 0;
    if length > BLCKSZ {
        return Err(Malformation::Contradiction("page image is longer than a page"));
    }
    if !image.is_compressed() {
        image.hole_length = (BLCKSZ - length) as u16;
    } else if has_hole {
        image.hole_length = reader.u16("an image header")?;
    }
    if has_hole && (hole_offset == 0 || image.hole_length == 0 || length == BLCKSZ) {
        return Err(Malformation::Contradiction("page image claims a hole and has none"));
    }
    if !has_hole && (hole_offset != 0 || image.hole_length != 0) {
        return Err(Malformation::Contradiction("page image has a hole and does not say so"));
    }
    if image.is_compressed() && length == BLCKSZ {
        return Err(Malformation::Contradiction("compressed page image is as long as a page"));
    }
    Ok((image, image_length))
}

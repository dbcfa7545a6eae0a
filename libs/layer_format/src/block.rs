//! Blocks: the unit that is compressed, checksummed and read.
//!
//! ```text
//!  0  u32  CRC-32C of the block's offset in the file (u64) and of all that follows here
//!  4  u8   kind: 1 entries, 2 index leaf, 3 index root, 4 filter
//!  5  u8   compression: 0 none, 1 lz4, 2 zstd
//!  6  u32  length n as stored
//! 10  u32  length when decompressed
//! 14  n    contents                                                  integers little-endian
//! ```
//! The offset is part of the checksum so that a block that was written to, or read from, the wrong place is found.

use bytes::Bytes;

/// How the blocks of a layer are compressed. A block that does not get smaller is stored as it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Compression {
    None,
    #[default]
    Lz4,
    /// With its level.
    Zstd(i32),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum BlockKind {
    Entries = 1,
    IndexLeaf = 2,
    IndexRoot = 3,
    Filter = 4,
}

impl BlockKind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            BlockKind::Entries => "block of entries",
            BlockKind::IndexLeaf => "index leaf",
            BlockKind::IndexRoot => "index root",
            BlockKind::Filter => "key filter",
        }
    }
}

pub(crate) const HEADER: usize = 14;

/// Nothing larger is ever written (a value is at most a WAL record's, 1 GiB, but in practice far below), and
/// nothing larger is believed when read.
pub(crate) const MAX_CONTENTS: usize = 1 << 30;

const NONE: u8 = 0;
const LZ4: u8 = 1;
const ZSTD: u8 = 2;

fn checksum(offset: u64, framed: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&offset.to_le_bytes()), framed)
}

/// The block as it goes to the file at `offset`.
pub(crate) fn encode(
    kind: BlockKind,
    compression: Compression,
    offset: u64,
    contents: &[u8],
) -> std::io::Result<Vec<u8>> {
    let (codec, packed) = match compression {
        Compression::None => (NONE, None),
        Compression::Lz4 => (LZ4, Some(lz4_flex::block::compress(contents))),
        Compression::Zstd(level) => (ZSTD, Some(zstd::bulk::compress(contents, level)?)),
    };
    let (codec, stored) = match &packed {
        Some(packed) if packed.len() < contents.len() => (codec, packed.as_slice()),
        Some(_) | None => (NONE, contents),
    };
    let mut out = Vec::with_capacity(HEADER + stored.len());
    out.extend_from_slice(&[0; 4]);
    out.push(kind as u8);
    out.push(codec);
    out.extend_from_slice(&(stored.len() as u32).to_le_bytes());
    out.extend_from_slice(&(contents.len() as u32).to_le_bytes());
    out.extend_from_slice(stored);
    let crc = checksum(offset, &out[4..]);
    out[..4].copy_from_slice(&crc.to_le_bytes());
    Ok(out)
}

/// Checks and unpacks a block that was read from `offset`. The reason, if it is not what was written.
pub(crate) fn decode(kind: BlockKind, offset: u64, framed: Bytes) -> Result<Bytes, String> {
    if framed.len() < HEADER {
        return Err("shorter than a block's header".to_owned());
    }
    let word = |at: usize| u32::from_le_bytes(framed[at..at + 4].try_into().expect("four bytes"));
    let (stored_crc, computed) = (word(0), checksum(offset, &framed[4..]));
    if stored_crc != computed {
        return Err(format!("checksum is {computed:08x}, should be {stored_crc:08x}"));
    }
    if framed[4] != kind as u8 {
        return Err(format!("a block of kind {} instead of {}", framed[4], kind as u8));
    }
    let (stored, length) = (word(6) as usize, word(10) as usize);
    if framed.len() - HEADER != stored || length > MAX_CONTENTS {
        return Err("lengths do not agree".to_owned());
    }
    let codec = framed[5];
    let unpacked = match codec {
        NONE => return Ok(framed.slice(HEADER..)),
        LZ4 => lz4_flex::block::decompress(&framed[HEADER..], length).map_err(|e| e.to_string())?,
        ZSTD => zstd::bulk::decompress(&framed[HEADER..], length).map_err(|e| e.to_string())?,
        other => return Err(format!("unknown compression {other}")),
    };
    if unpacked.len() != length {
        return Err(format!("{} bytes after decompression, should be {length}", unpacked.len()));
    }
    Ok(Bytes::from(unpacked))
}

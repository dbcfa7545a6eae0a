//! The index: where the block is that holds a key at an LSN.
//!
//! Two levels of the same thing: a leaf lists blocks of entries, the root lists leaves.
//! ```text
//!  18  first key of the block      18  u64 LSN of its first entry
//!  26  u64 offset                  34  u32 length       38  u32 the block's own checksum     (42 bytes, repeated)
//! ```

use bytes::Bytes;
use types::{Key, Lsn};

use crate::footer::Location;

const POINTER_SIZE: usize = Key::SIZE + 8 + 16;

/// Blocks that one leaf lists.
pub(crate) const LEAF_POINTERS: usize = 512;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pointer {
    pub(crate) key: Key,
    pub(crate) lsn: Lsn,
    pub(crate) location: Location,
}

pub(crate) fn encode(pointers: &[Pointer]) -> Vec<u8> {
    let mut out = Vec::with_capacity(pointers.len() * POINTER_SIZE);
    for pointer in pointers {
        out.extend_from_slice(pointer.key.as_bytes());
        out.extend_from_slice(&pointer.lsn.0.to_le_bytes());
        out.extend_from_slice(&pointer.location.offset.to_le_bytes());
        out.extend_from_slice(&pointer.location.length.to_le_bytes());
        out.extend_from_slice(&pointer.location.crc.to_le_bytes());
    }
    out
}

pub(crate) fn decode(contents: &Bytes) -> Result<Vec<Pointer>, String> {
    if !contents.len().is_multiple_of(POINTER_SIZE) {
        return Err("an index entry is cut off".to_owned());
    }
    let pointers: Vec<Pointer> = contents
        .chunks_exact(POINTER_SIZE)
        .map(|bytes| {
            let long = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"));
            let word = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"));
            Pointer {
                key: Key::from_bytes(bytes[..Key::SIZE].try_into().expect("a key's bytes")),
                lsn: Lsn(long(18)),
                location: Location { offset: long(26), length: word(34), crc: word(38) },
            }
        })
        .collect();
    if !pointers.is_sorted_by_key(|pointer| (pointer.key, pointer.lsn)) {
        return Err("index entries are out of order".to_owned());
    }
    Ok(pointers)
}

/// The last block that begins before (key, end): the one with the newest entry of `key` below `end`, if any.
///
/// Several blocks may begin at one (key, LSN) when a record's changes filled them; the last of them is meant.
pub(crate) fn last_before(pointers: &[Pointer], key: &Key, end: Lsn) -> Option<usize> {
    pointers.partition_point(|pointer| (pointer.key, pointer.lsn) < (*key, end)).checked_sub(1)
}

/// The first block that may hold entries of keys from `key` on.
pub(crate) fn first_from(pointers: &[Pointer], key: &Key) -> usize {
    pointers.partition_point(|pointer| pointer.key < *key).saturating_sub(1)
}

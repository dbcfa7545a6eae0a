//! Leaves of posting trees: segments of compressed item pointers (`ginRedoRecompress`, ginpostinglist.c).
//!
//! ```text
//!  segment:  0 first item (6 bytes)   6 length u16   8 bytes, padded to an even number
//!  bytes:    for each further item its distance from the one before, as a varint;
//!            an item as a number is block << 11 | offset
//! ```

use super::{DATA_AT, GIN_COMPRESSED, flags, opaque, set_data_size};
use crate::bytes_reader::Reader;
use crate::error::Fault;
use crate::page::Page;

const SEGMENT_DELETE: u8 = 1;
const SEGMENT_INSERT: u8 = 2;
const SEGMENT_REPLACE: u8 = 3;
const SEGMENT_ADD_ITEMS: u8 = 4;

const SEGMENT_HEADER: usize = 8;
const OFFSET_BITS: u32 = 11;
/// Seven bytes of seven bits hold block and offset.
const MAX_VARINT: usize = 7;

/// `ginRedoRecompress`: applies the record's actions to the segments of the page, in their order.
pub(super) fn recompress(page: &mut Page<'_>, mut data: Reader<'_>) -> Result<(), Fault> {
    if flags(page)? & GIN_COMPRESSED == 0 {
        return Err(Fault::Unsupported("GIN posting page in the format from before PostgreSQL 9.4"));
    }
    let space = opaque(page)?.saturating_sub(DATA_AT);
    let length =
        (page.lower() as usize).checked_sub(DATA_AT).ok_or(Fault::PageState("not a GIN posting page"))?;
    let old = page.slice(DATA_AT, length)?.to_vec();
    let mut old = Reader::new(&old);
    let mut new = Vec::with_capacity(space);
    let mut number: u16 = 0;
    for _ in 0..data.u16("number of actions")? {
        let target = u16::from(data.u8("segment of an action")?);
        let action = data.u8("action")?;
        while number < target {
            new.extend(segment(&mut old, "segment on the page")?);
            number += 1;
        }
        match action {
            SEGMENT_DELETE => {
                segment(&mut old, "segment to delete")?;
                number += 1;
            }
            SEGMENT_INSERT => new.extend(segment(&mut data, "segment to insert")?),
            SEGMENT_REPLACE => {
                new.extend(segment(&mut data, "segment to put in place")?);
                // PostgreSQL takes nothing off the page when there is no segment left.
                if !old.is_empty() {
                    segment(&mut old, "segment to replace")?;
                    number += 1;
                }
            }
            SEGMENT_ADD_ITEMS => {
                let added = added_items(&mut data)?;
                let items = merge(decode(segment(&mut old, "segment to add to")?)?, added)?;
                encode(&items, &mut new);
                number += 1;
            }
            _ => return Err(Fault::Malformed("unknown action on a GIN segment")),
        }
        if new.len() > space {
            return Err(Fault::PageState("GIN segments do not fit on the page"));
        }
    }
    new.extend(old.rest());
    set_data_size(page, new.len())?;
    page.write_at(DATA_AT, &new)
}

/// The next whole segment.
fn segment<'a>(reader: &mut Reader<'a>, what: &'static str) -> Result<&'a [u8], Fault> {
    let mut ahead = *reader;
    ahead.skip(6, what)?;
    let length = ahead.u16(what)? as usize;
    reader.bytes(SEGMENT_HEADER + length.next_multiple_of(2), what)
}

fn item(reader: &mut Reader<'_>) -> Result<u64, Fault> {
    const WHAT: &str = "item pointer";
    let (high, low, offset) = (reader.u16(WHAT)?, reader.u16(WHAT)?, reader.u16(WHAT)?);
    if offset >= 1 << OFFSET_BITS {
        return Err(Fault::Malformed("offset of an item pointer"));
    }
    Ok((u64::from(high) << 16 | u64::from(low)) << OFFSET_BITS | u64::from(offset))
}

fn added_items(data: &mut Reader<'_>) -> Result<Vec<u64>, Fault> {
    let count = data.u16("number of items")?;
    (0..count).map(|_| item(data)).collect()
}

/// `ginPostingListDecode`
fn decode(segment: &[u8]) -> Result<Vec<u64>, Fault> {
    let mut reader = Reader::new(segment);
    let mut value = item(&mut reader)?;
    let mut items = vec![value];
    let length = reader.u16("length of a segment")? as usize;
    let mut reader = Reader::new(reader.bytes(length, "segment")?);
    while !reader.is_empty() {
        value = value.wrapping_add(distance(&mut reader)?);
        if value >> (32 + OFFSET_BITS) != 0 {
            return Err(Fault::PageState("item pointer in a GIN segment is too large"));
        }
        items.push(value);
    }
    Ok(items)
}

fn distance(reader: &mut Reader<'_>) -> Result<u64, Fault> {
    let mut value = 0;
    for index in 0..MAX_VARINT {
        let byte = reader.u8("distance in a segment")?;
        value |= u64::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err(Fault::Malformed("distance in a segment"))
}

/// `ginMergeItemPointers`; the two lists have nothing in common.
fn merge(old: Vec<u64>, added: Vec<u64>) -> Result<Vec<u64>, Fault> {
    let mut items = old;
    items.extend(added);
    items.sort_unstable();
    if items.windows(2).any(|pair| pair[0] == pair[1]) {
        return Err(Fault::PageState("item to be added is there already"));
    }
    Ok(items)
}

/// `ginCompressPostingList`. `items` are in ascending order and at least one.
fn encode(items: &[u64], out: &mut Vec<u8>) {
    let Some((first, rest)) = items.split_first() else {
        return;
    };
    out.extend(super::block_bytes((first >> OFFSET_BITS) as u32));
    out.extend(((first & ((1 << OFFSET_BITS) - 1)) as u16).to_le_bytes());
    let length_at = out.len();
    out.extend([0, 0]);
    let mut previous = *first;
    for item in rest {
        let mut distance = item - previous;
        while distance > 0x7f {
            out.push(distance as u8 | 0x80);
            distance >>= 7;
        }
        out.push(distance as u8);
        previous = *item;
    }
    let length = out.len() - length_at - 2;
    out[length_at..length_at + 2].copy_from_slice(&(length as u16).to_le_bytes());
    if !length.is_multiple_of(2) {
        out.push(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_come_back() {
        let items = vec![
            5 << 11 | 1,
            5 << 11 | 2,
            6 << 11 | 7,
            900_000 << 11 | 3,
            u64::from(u32::MAX - 1) << 11 | 200,
        ];
        let mut bytes = Vec::new();
        encode(&items, &mut bytes);
        assert!(bytes.len().is_multiple_of(2));
        assert_eq!(decode(&bytes), Ok(items.clone()));
        let (odd, even): (Vec<u64>, Vec<u64>) = items.iter().partition(|item| *item % 2 == 1);
        assert_eq!(merge(odd.clone(), even), Ok(items));
        assert!(merge(odd.clone(), odd).is_err());
    }
}

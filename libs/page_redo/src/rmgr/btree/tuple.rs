//! Index tuples (itup.h) and the posting lists that B-tree keeps in them (nbtree.h, nbtdedup.c).
//!
//! ```text
//!  0 t_tid (block high u16, block low u16, offset u16)   6 t_info u16   8 key …
//!  t_info:  bits 0..13 size of the tuple   0x2000 t_tid is used for something else
//!  Then t_tid's offset has 0x2000 for a posting list: its low 12 bits count the heap TIDs, t_tid's block is
//!  where in the tuple they begin.
//! ```

use crate::error::Fault;
use crate::page::maxalign;

pub(super) const HEADER_SIZE: usize = 8;
const SIZE_MASK: u16 = 0x1fff;
const ALT_TID: u16 = 0x2000;
const OFFSET_MASK: u16 = 0x0fff;
const IS_POSTING: u16 = 0x2000;
pub(super) const TID_SIZE: usize = 6;

const SHORT: Fault = Fault::PageState("index tuple shorter than it says");

fn u16_at(tuple: &[u8], at: usize) -> Result<u16, Fault> {
    let bytes = tuple.get(at..at + 2).ok_or(SHORT)?;
    Ok(u16::from_le_bytes([bytes[0], bytes[1]]))
}

fn put(tuple: &mut [u8], at: usize, bytes: &[u8]) -> Result<(), Fault> {
    tuple.get_mut(at..at + bytes.len()).ok_or(SHORT)?.copy_from_slice(bytes);
    Ok(())
}

/// `IndexTupleSize`. At least the header, so that a walk over tuples gets on.
pub(super) fn size(tuple: &[u8]) -> Result<usize, Fault> {
    let size = (u16_at(tuple, 6)? & SIZE_MASK) as usize;
    if size < HEADER_SIZE { Err(Fault::Malformed("size of an index tuple")) } else { Ok(size) }
}

fn block(tuple: &[u8]) -> Result<u32, Fault> {
    Ok(u32::from(u16_at(tuple, 0)?) << 16 | u32::from(u16_at(tuple, 2)?))
}

fn set_block(tuple: &mut [u8], block: u32) -> Result<(), Fault> {
    put(tuple, 0, &((block >> 16) as u16).to_le_bytes())?;
    put(tuple, 2, &(block as u16).to_le_bytes())
}

/// `BTreeTupleGetDownLink`
pub(super) fn downlink(tuple: &[u8]) -> Result<u32, Fault> {
    block(tuple)
}

/// `BTreeTupleSetDownLink`
pub(super) fn set_downlink(tuple: &mut [u8], child: u32) -> Result<(), Fault> {
    set_block(tuple, child)
}

/// The high key of a half-dead leaf: no key at all, and the top parent in its t_tid (`BTreeTupleSetTopParent`).
pub(super) fn dummy_high_key(top_parent: u32) -> Result<[u8; HEADER_SIZE], Fault> {
    let mut tuple = [0; HEADER_SIZE];
    set_block(&mut tuple, top_parent)?;
    put(&mut tuple, 6, &(HEADER_SIZE as u16 | ALT_TID).to_le_bytes())?;
    Ok(tuple)
}

/// `BTreeTupleIsPosting`
pub(super) fn is_posting(tuple: &[u8]) -> Result<bool, Fault> {
    Ok(u16_at(tuple, 6)? & ALT_TID != 0 && u16_at(tuple, 4)? & IS_POSTING != 0)
}

/// Where the posting list begins (`BTreeTupleGetPostingOffset`) and how many heap TIDs it has; it lies
/// inside the tuple.
fn posting(tuple: &[u8]) -> Result<(usize, usize), Fault> {
    if !is_posting(tuple)? {
        return Err(Fault::PageState("index tuple has no posting list"));
    }
    let start = block(tuple)? as usize;
    let count = (u16_at(tuple, 4)? & OFFSET_MASK) as usize;
    if start < HEADER_SIZE || start.saturating_add(count * TID_SIZE) > tuple.len() || count == 0 {
        return Err(Fault::PageState("posting list reaches beyond its index tuple"));
    }
    Ok((start, count))
}

/// The heap TIDs of a tuple: those of its posting list, or its t_tid.
pub(super) fn heap_tids(tuple: &[u8]) -> Result<&[u8], Fault> {
    if is_posting(tuple)? {
        let (start, count) = posting(tuple)?;
        Ok(&tuple[start..start + count * TID_SIZE])
    } else {
        tuple.get(..TID_SIZE).ok_or(SHORT)
    }
}

/// Bytes of a tuple without its posting list.
pub(super) fn key_size(tuple: &[u8]) -> Result<usize, Fault> {
    let size = if is_posting(tuple)? { posting(tuple)?.0 } else { size(tuple)? };
    if size > tuple.len() { Err(SHORT) } else { Ok(size) }
}

/// `_bt_form_posting`: `base`'s key with these heap TIDs; a plain tuple if it is only one.
pub(super) fn form_posting(base: &[u8], heap_tids: &[u8]) -> Result<Vec<u8>, Fault> {
    let key_size = key_size(base)?;
    let count = heap_tids.len() / TID_SIZE;
    let new_size = if count > 1 { maxalign(key_size + heap_tids.len()) } else { key_size };
    if new_size > SIZE_MASK as usize || count > OFFSET_MASK as usize || count == 0 {
        return Err(Fault::PageState("posting list too long"));
    }
    let mut tuple = vec![0; new_size];
    tuple[..key_size].copy_from_slice(&base[..key_size]);
    let info = u16_at(base, 6)? & !SIZE_MASK & !ALT_TID | new_size as u16;
    if count > 1 {
        put(&mut tuple, 6, &(info | ALT_TID).to_le_bytes())?;
        put(&mut tuple, 4, &(count as u16 | IS_POSTING).to_le_bytes())?;
        set_block(&mut tuple, key_size as u32)?;
        put(&mut tuple, key_size, heap_tids)?;
    } else {
        put(&mut tuple, 6, &info.to_le_bytes())?;
        put(&mut tuple, 0, heap_tids)?;
    }
    Ok(tuple)
}

/// `_bt_update_posting`: the tuple without the heap TIDs at these places of its posting list.
pub(super) fn remove_from_posting(tuple: &[u8], deleted: &[u16]) -> Result<Vec<u8>, Fault> {
    let (start, count) = posting(tuple)?;
    let mut deleted = deleted.iter().map(|index| *index as usize).peekable();
    let mut kept = Vec::with_capacity(count * TID_SIZE);
    for (index, heap_tid) in tuple[start..start + count * TID_SIZE].chunks_exact(TID_SIZE).enumerate() {
        if deleted.next_if_eq(&index).is_none() {
            kept.extend_from_slice(heap_tid);
        }
    }
    if deleted.peek().is_some() {
        return Err(Fault::PageState("heap TIDs to delete are not in the posting list"));
    }
    form_posting(tuple, &kept)
}

/// `_bt_swap_posting`: puts the new item's heap TID into the posting list at its place, and the list's last
/// heap TID into the new item, whose key goes behind the list.
pub(super) fn swap_posting(new_item: &mut [u8], old_posting: &mut [u8], at: u16) -> Result<(), Fault> {
    let (start, count) = posting(old_posting)?;
    let at = at as usize;
    if at == 0 || at >= count {
        return Err(Fault::PageState("posting list cannot be split there"));
    }
    let new_tid = new_item.first_chunk_mut::<TID_SIZE>().ok_or(Fault::Malformed("index tuple"))?;
    let last_at = start + (count - 1) * TID_SIZE;
    let mut last = [0; TID_SIZE];
    last.copy_from_slice(&old_posting[last_at..last_at + TID_SIZE]);
    let gap = start + at * TID_SIZE;
    old_posting.copy_within(gap..last_at, gap + TID_SIZE);
    put(old_posting, gap, new_tid)?;
    *new_tid = last;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tid(number: u8) -> [u8; TID_SIZE] {
        [0, 0, number, 0, 1, 0]
    }

    fn plain(number: u8) -> Vec<u8> {
        let mut tuple = vec![0; 16];
        tuple[..6].copy_from_slice(&tid(number));
        tuple[6] = 16;
        tuple[8] = 0xaa;
        tuple
    }

    #[test]
    fn a_posting_list_grows_splits_and_shrinks() {
        let tids: Vec<u8> = [1, 3, 5].into_iter().flat_map(tid).collect();
        let mut list = form_posting(&plain(1), &tids).unwrap();
        assert_eq!((list.len(), size(&list).unwrap(), key_size(&list).unwrap()), (40, 40, 16));
        assert_eq!(heap_tids(&list).unwrap(), tids);

        let mut new_item = plain(2);
        swap_posting(&mut new_item, &mut list, 1).unwrap();
        assert_eq!(heap_tids(&list).unwrap(), [1, 2, 3].into_iter().flat_map(tid).collect::<Vec<u8>>());
        assert_eq!(heap_tids(&new_item).unwrap(), tid(5));
        assert!(swap_posting(&mut new_item, &mut list, 0).is_err());
        assert!(swap_posting(&mut new_item, &mut list, 3).is_err());

        assert_eq!(remove_from_posting(&list, &[0, 2]).unwrap(), plain(2));
        assert!(remove_from_posting(&list, &[3]).is_err());
        assert!(remove_from_posting(&list, &[0, 1, 2]).is_err());
    }
}

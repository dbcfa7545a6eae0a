//! What PostgreSQL ignores when it compares a page that redo made with the one of the primary
//! (bufmask.c and the `*_mask` functions of the resource managers): hints that are changed without WAL,
//! command ids, free space. Both pages are masked, then compared byte by byte.

use pg_format::rmgr as ids;
use types::{Fork, Lsn};

use crate::page::{
    FIRST_OFFSET, HEADER_SIZE, ItemId, LP_UNUSED, PD_ALL_VISIBLE, PD_HAS_FREE_LINES, PD_PAGE_FULL, Page,
    PageBytes, maxalign,
};

/// Masks a page of `fork` as the resource manager `rmid` does, to which its last record belonged.
///
/// Pages of the visibility map are an exception: PostgreSQL would mask all of it as free space, here only
/// the header's hints are.
pub fn mask(page: &mut PageBytes, rmid: u8, fork: Fork, blkno: u32) {
    let mut page = Page::new(page);
    page.set_lsn(Lsn::INVALID);
    page.set_checksum(0);
    if fork == Fork::Vm || fork == Fork::Fsm {
        return;
    }
    match rmid {
        ids::HEAP | ids::HEAP2 => heap(&mut page, blkno),
        ids::BTREE => btree(&mut page),
        ids::HASH => hash(&mut page),
        ids::GIN => gin(&mut page),
        ids::GIST => gist(&mut page),
        ids::SPGIST => spgist(&mut page),
        ids::BRIN => brin(&mut page),
        ids::SEQ | ids::GENERIC => unused_space(&mut page),
        _ => {}
    }
}

/// The resource manager that a page of a main fork belongs to, told from its special space: for pages whose
/// last record was a mere image, or is not known.
pub fn rmgr_of_page(page: &PageBytes) -> u8 {
    const SEQ_MAGIC: u16 = 0x1717;
    const HASH_PAGE_ID: u16 = 0xff80;
    const GIST_PAGE_ID: u16 = 0xff81;
    const SPGIST_PAGE_ID: u16 = 0xff82;
    const BRIN_PAGE_TYPES: std::ops::RangeInclusive<u16> = 0xf091..=0xf093;
    let u16_at = |at: usize| u16::from_le_bytes([page[at], page[at + 1]]);
    let special_size = page.len().saturating_sub(u16_at(16) as usize);
    let last = u16_at(page.len() - 2);
    match special_size {
        0 => ids::HEAP,
        16 if last == HASH_PAGE_ID => ids::HASH,
        16 if last == GIST_PAGE_ID => ids::GIST,
        16 => ids::BTREE,
        8 if last == SPGIST_PAGE_ID => ids::SPGIST,
        8 if BRIN_PAGE_TYPES.contains(&last) => ids::BRIN,
        8 if u16_at(page.len() - 8) == SEQ_MAGIC && u16_at(page.len() - 6) == 0 && last == 0 => ids::SEQ,
        8 => ids::GIN,
        _ => ids::GENERIC,
    }
}

/// `mask_page_hint_bits`
fn hint_bits(page: &mut Page<'_>) {
    page.set_prune_xid(0);
    page.clear_flag(PD_PAGE_FULL | PD_HAS_FREE_LINES | PD_ALL_VISIBLE);
}

/// `mask_unused_space`
fn unused_space(page: &mut Page<'_>) {
    if page.check_pointers().is_ok() {
        let (lower, upper) = (page.lower() as usize, page.upper() as usize);
        page.bytes[lower..upper].fill(0);
    }
}

/// `mask_lp_flags`
fn line_pointer_flags(page: &mut Page<'_>) {
    for offset in FIRST_OFFSET..=page.max_offset() {
        if let Ok(item_id) = page.item_id(offset) {
            let masked = ItemId::new(item_id.offset(), LP_UNUSED, item_id.length());
            page.set_item_id(offset, masked).expect("the line pointer was just read");
        }
    }
}

/// `mask_page_content`
fn content(page: &mut Page<'_>) {
    page.bytes[HEADER_SIZE..].fill(0);
    page.set_lower(0);
    page.set_upper(0);
}

/// Changes a 16-bit field of the special space, if there is one.
fn special_u16(page: &mut Page<'_>, at: usize, change: impl Fn(u16) -> u16) -> u16 {
    let at = page.special() as usize + at;
    let Ok(old) = page.u16_at(at) else { return 0 };
    page.write_at(at, &change(old).to_le_bytes()).expect("the field was just read");
    old
}

/// `heap_mask`
fn heap(page: &mut Page<'_>, blkno: u32) {
    hint_bits(page);
    unused_space(page);
    for offset in FIRST_OFFSET..=page.max_offset() {
        let Ok(item_id) = page.item_id(offset) else { continue };
        if item_id.is_normal()
            && let Ok(item) = page.item_mut(offset)
        {
            heap_tuple(item, blkno, offset);
        }
        if item_id.has_storage() {
            // Padding behind a tuple.
            let end = item_id.offset() + item_id.length();
            let aligned_end = item_id.offset() + maxalign(item_id.length());
            if let Some(padding) = page.bytes.get_mut(end..aligned_end) {
                padding.fill(0);
            }
        }
    }
}

fn heap_tuple(tuple: &mut [u8], blkno: u32, offset: u16) {
    const XMIN_FROZEN: u16 = 0x0300;
    const XMAX_HINTS: u16 = 0x0c00;
    const XACT_MASK: u16 = 0xfff0;
    const SPECULATIVE: u16 = 0xfffe;
    if tuple.len() < 23 {
        return;
    }
    let infomask = u16::from_le_bytes([tuple[20], tuple[21]]);
    let ignored = if infomask & XMIN_FROZEN == XMIN_FROZEN { XMAX_HINTS } else { XACT_MASK };
    tuple[20..22].copy_from_slice(&(infomask & !ignored).to_le_bytes());
    tuple[8..12].fill(0);
    if u16::from_le_bytes([tuple[16], tuple[17]]) == SPECULATIVE {
        tuple[12..14].copy_from_slice(&((blkno >> 16) as u16).to_le_bytes());
        tuple[14..16].copy_from_slice(&(blkno as u16).to_le_bytes());
        tuple[16..18].copy_from_slice(&offset.to_le_bytes());
    }
}

/// `btree_mask`
fn btree(page: &mut Page<'_>) {
    const LEAF: u16 = 1 << 0;
    const SPLIT_END: u16 = 1 << 5;
    const HAS_GARBAGE: u16 = 1 << 6;
    hint_bits(page);
    unused_space(page);
    let flags = special_u16(page, 12, |flags| flags & !(HAS_GARBAGE | SPLIT_END));
    special_u16(page, 14, |_| 0);
    if flags & LEAF != 0 {
        line_pointer_flags(page);
    }
}

/// `hash_mask`
fn hash(page: &mut Page<'_>) {
    const OVERFLOW_PAGE: u16 = 1 << 0;
    const BUCKET_PAGE: u16 = 1 << 1;
    const PAGE_TYPE: u16 = 0x000f;
    const HAS_DEAD_TUPLES: u16 = 1 << 7;
    hint_bits(page);
    unused_space(page);
    match special_u16(page, 12, |flag| flag & !HAS_DEAD_TUPLES) & PAGE_TYPE {
        0 => content(page),
        OVERFLOW_PAGE | BUCKET_PAGE => line_pointer_flags(page),
        _ => {}
    }
}

/// `gin_mask`
fn gin(page: &mut Page<'_>) {
    const DELETED: u16 = 1 << 2;
    hint_bits(page);
    if special_u16(page, 6, |flags| flags) & DELETED != 0 {
        content(page);
    } else if page.lower() as usize > HEADER_SIZE {
        unused_space(page);
    }
}

/// `gist_mask`
fn gist(page: &mut Page<'_>) {
    const LEAF: u16 = 1 << 0;
    const FOLLOW_RIGHT: u16 = 1 << 3;
    const HAS_GARBAGE: u16 = 1 << 4;
    hint_bits(page);
    unused_space(page);
    // The node sequence number is an LSN.
    for at in [0, 2, 4, 6] {
        special_u16(page, at, |_| 0);
    }
    let flags = special_u16(page, 12, |flags| (flags | FOLLOW_RIGHT) & !HAS_GARBAGE);
    if flags & LEAF != 0 {
        line_pointer_flags(page);
    }
}

/// `spg_mask`
fn spgist(page: &mut Page<'_>) {
    hint_bits(page);
    if page.lower() as usize >= HEADER_SIZE {
        unused_space(page);
    }
}

/// `brin_mask`
fn brin(page: &mut Page<'_>) {
    const META: u16 = 0xf091;
    const REGULAR: u16 = 0xf093;
    const EVACUATE_PAGE: u16 = 1 << 0;
    hint_bits(page);
    let page_type = special_u16(page, 6, |page_type| page_type);
    if page_type == REGULAR || page_type == META && page.lower() as usize > HEADER_SIZE {
        unused_space(page);
    }
    special_u16(page, 4, |flags| flags & !EVACUATE_PAGE);
}

//! [`Page`]: one 8 KiB page with PostgreSQL's page header, and what bufpage.c does with it.
//!
//! ```text
//!  0 pd_lsn (high u32, low u32)   8 pd_checksum   10 pd_flags   12 pd_lower   14 pd_upper   16 pd_special
//!  18 pd_pagesize_version         20 pd_prune_xid               24 line pointers … pd_lower
//!  free space … pd_upper          items … pd_special            special space … 8192
//!
//!  line pointer (u32):  bits 0..15 offset   15..17 flags   17..32 length
//! ```
//! All numbers are little-endian. Nothing here trusts the page: a bad header or line pointer is a
//! [`Fault::PageState`]. The results are byte for byte those of PostgreSQL 15, except in the free space,
//! which PostgreSQL leaves as it falls.

mod add;
mod compact;
mod delete;

pub use add::Placement;
use types::{BLCKSZ, Lsn};

use crate::error::Fault;

pub type PageBytes = [u8; BLCKSZ];

/// 1-based number of an item on a page.
pub type OffsetNumber = u16;

pub const FIRST_OFFSET: OffsetNumber = 1;

/// `SizeOfPageHeaderData`, also where `PageGetContents` begins.
pub const HEADER_SIZE: usize = 24;
pub const ITEM_ID_SIZE: usize = 4;

pub const PD_HAS_FREE_LINES: u16 = 0x0001;
pub const PD_PAGE_FULL: u16 = 0x0002;
pub const PD_ALL_VISIBLE: u16 = 0x0004;

/// `MaxHeapTuplesPerPage` for 8 KiB pages.
pub const MAX_HEAP_TUPLES: u16 = 291;

/// `PG_PAGE_LAYOUT_VERSION`
const LAYOUT_VERSION: u16 = 4;

pub const fn maxalign(size: usize) -> usize {
    (size + 7) & !7
}

/// A line pointer (`ItemIdData`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ItemId(pub u32);

/// Values of a line pointer's flags (`LP_UNUSED` …).
pub const LP_UNUSED: u32 = 0;
pub const LP_NORMAL: u32 = 1;
pub const LP_REDIRECT: u32 = 2;
pub const LP_DEAD: u32 = 3;

impl ItemId {
    pub const UNUSED: ItemId = ItemId::new(0, LP_UNUSED, 0);
    pub const DEAD: ItemId = ItemId::new(0, LP_DEAD, 0);

    /// Offset and length must be below 2^15.
    pub const fn new(offset: usize, flags: u32, length: usize) -> ItemId {
        ItemId((offset as u32 & 0x7fff) | flags << 15 | (length as u32) << 17)
    }

    pub const fn redirect(to: OffsetNumber) -> ItemId {
        ItemId::new(to as usize, LP_REDIRECT, 0)
    }

    pub const fn offset(self) -> usize {
        (self.0 & 0x7fff) as usize
    }

    pub const fn flags(self) -> u32 {
        (self.0 >> 15) & 3
    }

    pub const fn length(self) -> usize {
        (self.0 >> 17) as usize
    }

    pub const fn is_used(self) -> bool {
        self.flags() != LP_UNUSED
    }

    pub const fn is_normal(self) -> bool {
        self.flags() == LP_NORMAL
    }

    pub const fn has_storage(self) -> bool {
        self.length() != 0
    }

    pub const fn with_offset(self, offset: usize) -> ItemId {
        ItemId((self.0 & !0x7fff) | (offset as u32 & 0x7fff))
    }
}

/// See the head of this module.
pub struct Page<'a> {
    pub bytes: &'a mut PageBytes,
}

impl<'a> Page<'a> {
    pub fn new(bytes: &'a mut PageBytes) -> Page<'a> {
        Page { bytes }
    }

    /// `PageInit`
    pub fn init(&mut self, special_size: usize) {
        let special = (BLCKSZ - maxalign(special_size)) as u16;
        self.bytes.fill(0);
        self.set_lower(HEADER_SIZE as u16);
        self.set_upper(special);
        self.set_u16_field(16, special);
        self.set_u16_field(18, BLCKSZ as u16 | LAYOUT_VERSION);
    }

    /// `PageIsNew`: never initialised.
    pub fn is_new(&self) -> bool {
        self.upper() == 0
    }

    // Header fields: constant places inside the page, so that indexing cannot fail.

    fn u16_field(&self, at: usize) -> u16 {
        u16::from_le_bytes([self.bytes[at], self.bytes[at + 1]])
    }

    fn set_u16_field(&mut self, at: usize, value: u16) {
        self.bytes[at..at + 2].copy_from_slice(&value.to_le_bytes());
    }

    pub fn lsn(&self) -> Lsn {
        let half = |at: usize| u32::from_le_bytes(std::array::from_fn(|i| self.bytes[at + i]));
        Lsn(u64::from(half(0)) << 32 | u64::from(half(4)))
    }

    pub fn set_lsn(&mut self, lsn: Lsn) {
        self.bytes[0..4].copy_from_slice(&((lsn.0 >> 32) as u32).to_le_bytes());
        self.bytes[4..8].copy_from_slice(&(lsn.0 as u32).to_le_bytes());
    }

    pub fn set_checksum(&mut self, checksum: u16) {
        self.set_u16_field(8, checksum);
    }

    pub fn flags(&self) -> u16 {
        self.u16_field(10)
    }

    pub fn set_flag(&mut self, flag: u16) {
        self.set_u16_field(10, self.flags() | flag);
    }

    pub fn clear_flag(&mut self, flag: u16) {
        self.set_u16_field(10, self.flags() & !flag);
    }

    pub fn lower(&self) -> u16 {
        self.u16_field(12)
    }

    pub fn set_lower(&mut self, lower: u16) {
        self.set_u16_field(12, lower);
    }

    pub fn upper(&self) -> u16 {
        self.u16_field(14)
    }

    pub fn set_upper(&mut self, upper: u16) {
        self.set_u16_field(14, upper);
    }

    pub fn special(&self) -> u16 {
        self.u16_field(16)
    }

    pub fn prune_xid(&self) -> u32 {
        u32::from_le_bytes(std::array::from_fn(|i| self.bytes[20 + i]))
    }

    pub fn set_prune_xid(&mut self, xid: u32) {
        self.bytes[20..24].copy_from_slice(&xid.to_le_bytes());
    }

    /// The sanity check that bufpage.c makes before it moves anything: header, line pointers, free space,
    /// items and special space follow each other inside the page.
    pub fn check_pointers(&self) -> Result<(), Fault> {
        let (lower, upper, special) = (self.lower() as usize, self.upper() as usize, self.special() as usize);
        if lower < HEADER_SIZE
            || lower > upper
            || upper > special
            || special > BLCKSZ
            || !special.is_multiple_of(8)
        {
            return Err(Fault::PageState("corrupted page pointers"));
        }
        Ok(())
    }

    // Items.

    /// `PageGetMaxOffsetNumber`. Not more than fit on a page, whatever the header says.
    pub fn max_offset(&self) -> OffsetNumber {
        let lower = (self.lower() as usize).min(BLCKSZ);
        (lower.saturating_sub(HEADER_SIZE) / ITEM_ID_SIZE) as OffsetNumber
    }

    pub fn is_empty(&self) -> bool {
        self.max_offset() == 0
    }

    pub fn item_id(&self, offset: OffsetNumber) -> Result<ItemId, Fault> {
        if offset == 0 || offset > self.max_offset() {
            return Err(Fault::PageState("no such line pointer"));
        }
        Ok(ItemId(u32::from_le_bytes(self.array_at(item_id_place(offset))?)))
    }

    pub fn set_item_id(&mut self, offset: OffsetNumber, item_id: ItemId) -> Result<(), Fault> {
        if offset == 0 || offset > self.max_offset() {
            return Err(Fault::PageState("no such line pointer"));
        }
        self.write_at(item_id_place(offset), &item_id.0.to_le_bytes())
    }

    /// The bytes of an item, as long as its line pointer says.
    pub fn item(&self, offset: OffsetNumber) -> Result<&[u8], Fault> {
        let item_id = self.item_id(offset)?;
        self.slice(item_id.offset(), item_id.length())
    }

    pub fn item_mut(&mut self, offset: OffsetNumber) -> Result<&mut [u8], Fault> {
        let item_id = self.item_id(offset)?;
        let end = item_id.offset() + item_id.length();
        self.bytes.get_mut(item_id.offset()..end).ok_or(Fault::PageState("item reaches past the page"))
    }

    // Bytes at computed places.

    pub fn slice(&self, at: usize, length: usize) -> Result<&[u8], Fault> {
        self.bytes.get(at..at.saturating_add(length)).ok_or(Fault::PageState("place outside the page"))
    }

    pub fn array_at<const N: usize>(&self, at: usize) -> Result<[u8; N], Fault> {
        let bytes = self.bytes.get(at..).and_then(|rest| rest.first_chunk::<N>());
        bytes.copied().ok_or(Fault::PageState("place outside the page"))
    }

    pub fn u16_at(&self, at: usize) -> Result<u16, Fault> {
        self.array_at(at).map(u16::from_le_bytes)
    }

    pub fn u32_at(&self, at: usize) -> Result<u32, Fault> {
        self.array_at(at).map(u32::from_le_bytes)
    }

    pub fn write_at(&mut self, at: usize, bytes: &[u8]) -> Result<(), Fault> {
        let end = at.saturating_add(bytes.len());
        let place = self.bytes.get_mut(at..end).ok_or(Fault::PageState("place outside the page"))?;
        place.copy_from_slice(bytes);
        Ok(())
    }

    /// `PageGetTempPageCopySpecial`: an empty page with this one's special space.
    pub fn empty_copy_with_special(&self) -> Result<Box<PageBytes>, Fault> {
        self.check_pointers()?;
        let special = self.special() as usize;
        if special == BLCKSZ {
            return Err(Fault::PageState("page without special space"));
        }
        let mut bytes = Box::new([0; BLCKSZ]);
        Page::new(&mut bytes).init(BLCKSZ - special);
        bytes[special..].copy_from_slice(&self.bytes[special..]);
        Ok(bytes)
    }
}

fn item_id_place(offset: OffsetNumber) -> usize {
    HEADER_SIZE + (offset as usize - 1) * ITEM_ID_SIZE
}

#[cfg(test)]
mod tests;

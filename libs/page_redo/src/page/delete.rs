//! Taking items off an index page: `PageIndexTupleDelete`, `PageIndexMultiDelete`,
//! `PageIndexTupleDeleteNoCompact`.

use super::compact::Kept;
use super::{FIRST_OFFSET, HEADER_SIZE, ITEM_ID_SIZE, ItemId, OffsetNumber, Page, item_id_place, maxalign};
use crate::error::Fault;

impl Page<'_> {
    /// `PageIndexTupleDelete`: the line pointers behind it move down by one.
    pub fn delete_item(&mut self, offset: OffsetNumber) -> Result<(), Fault> {
        self.check_pointers()?;
        let item_id = self.item_id(offset)?;
        self.check_item_place(item_id)?;
        let (place, lower) = (item_id_place(offset), self.lower() as usize);
        self.bytes.copy_within(place + ITEM_ID_SIZE..lower, place);
        self.set_lower((lower - ITEM_ID_SIZE) as u16);
        self.close_gap(item_id)
    }

    /// `PageIndexTupleDeleteNoCompact`: the line pointer stays as an unused one, unless it was the last.
    pub fn delete_item_no_compact(&mut self, offset: OffsetNumber) -> Result<(), Fault> {
        self.check_pointers()?;
        let item_id = self.item_id(offset)?;
        self.check_item_place(item_id)?;
        if offset < self.max_offset() {
            self.set_item_id(offset, ItemId::UNUSED)?;
        } else {
            self.set_lower(self.lower() - ITEM_ID_SIZE as u16);
        }
        self.close_gap(item_id)
    }

    /// Moves the items that lie before a deleted one over it.
    fn close_gap(&mut self, deleted: ItemId) -> Result<(), Fault> {
        let upper = self.upper() as usize;
        let size = maxalign(deleted.length());
        self.bytes.copy_within(upper..deleted.offset(), upper + size);
        self.set_upper((upper + size) as u16);
        self.shift_items(deleted.offset(), |place| Some(place + size))
    }

    /// `PageIndexMultiDelete`: `offsets` must be in ascending order.
    pub fn delete_items(&mut self, offsets: &[OffsetNumber]) -> Result<(), Fault> {
        // As PostgreSQL does: the order of the remaining bytes may differ between the two ways.
        if offsets.len() <= 2 {
            return offsets.iter().rev().try_for_each(|offset| self.delete_item(*offset));
        }
        self.check_pointers()?;
        let mut deleted = offsets.iter().copied().peekable();
        let mut kept = Vec::with_capacity(self.max_offset() as usize);
        let mut kept_ids = Vec::with_capacity(self.max_offset() as usize);
        for offset in FIRST_OFFSET..=self.max_offset() {
            let item_id = self.item_id(offset)?;
            self.check_item_place(item_id)?;
            if deleted.next_if_eq(&offset).is_none() {
                kept_ids.push(item_id);
                kept.push(Kept::new(kept_ids.len() as OffsetNumber, item_id));
            }
        }
        if deleted.peek().is_some() {
            return Err(Fault::PageState("items to delete are not on the page"));
        }
        self.set_lower((HEADER_SIZE + kept_ids.len() * ITEM_ID_SIZE) as u16);
        for (index, item_id) in kept_ids.into_iter().enumerate() {
            self.set_item_id(index as OffsetNumber + 1, item_id)?;
        }
        self.compactify(&kept)
    }
}

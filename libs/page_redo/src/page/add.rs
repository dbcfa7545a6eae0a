//! Putting items on a page: `PageAddItemExtended`, `PageIndexTupleOverwrite`.

use super::{
    FIRST_OFFSET, ITEM_ID_SIZE, ItemId, LP_NORMAL, MAX_HEAP_TUPLES, OffsetNumber, PD_HAS_FREE_LINES, Page,
    item_id_place, maxalign,
};
use crate::error::Fault;

/// Where [`Page::add_item`] puts an item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Placement {
    /// At this number, moving the line pointers from there on up by one (`PageAddItem` of an index page).
    Insert(OffsetNumber),
    /// At this number, whose line pointer must be unused or one past the last (`PAI_OVERWRITE`).
    Unused(OffsetNumber),
    /// As `Unused`, with the limit of heap pages (`PAI_OVERWRITE | PAI_IS_HEAP`).
    HeapUnused(OffsetNumber),
    /// Wherever is a free line pointer, else behind the last one (`InvalidOffsetNumber`).
    Anywhere,
}

impl Page<'_> {
    /// `PageAddItemExtended`. Returns the number that the item got.
    pub fn add_item(&mut self, item: &[u8], placement: Placement) -> Result<OffsetNumber, Fault> {
        self.check_pointers()?;
        let limit = self.max_offset() + 1;
        let (offset, shuffle) = match placement {
            Placement::Insert(offset) => (offset, offset < limit),
            Placement::Unused(offset) | Placement::HeapUnused(offset) => {
                self.check_reusable(offset, limit)?;
                (offset, false)
            }
            Placement::Anywhere => (self.find_free_line_pointer(limit)?, false),
        };
        if offset < FIRST_OFFSET || offset > limit {
            return Err(Fault::PageState("item number is beyond the first free line pointer"));
        }
        if matches!(placement, Placement::HeapUnused(_)) && offset > MAX_HEAP_TUPLES {
            return Err(Fault::PageState("too many items on a heap page"));
        }

        let grow = if offset == limit || shuffle { ITEM_ID_SIZE } else { 0 };
        let lower = self.lower() as usize + grow;
        let upper = (self.upper() as usize)
            .checked_sub(maxalign(item.len()))
            .filter(|upper| lower <= *upper)
            .ok_or(Fault::PageState("no room for the item"))?;

        if shuffle {
            let place = item_id_place(offset);
            self.bytes.copy_within(place..item_id_place(limit), place + ITEM_ID_SIZE);
        }
        self.set_lower(lower as u16);
        self.set_upper(upper as u16);
        self.set_item_id(offset, ItemId::new(upper, LP_NORMAL, item.len()))?;
        self.write_at(upper, item)?;
        Ok(offset)
    }

    fn check_reusable(&self, offset: OffsetNumber, limit: OffsetNumber) -> Result<(), Fault> {
        if offset < limit {
            let item_id = self.item_id(offset)?;
            if item_id.is_used() || item_id.has_storage() {
                return Err(Fault::PageState("line pointer to be filled is in use"));
            }
        }
        Ok(())
    }

    fn find_free_line_pointer(&mut self, limit: OffsetNumber) -> Result<OffsetNumber, Fault> {
        if self.flags() & PD_HAS_FREE_LINES == 0 {
            return Ok(limit);
        }
        for offset in FIRST_OFFSET..limit {
            let item_id = self.item_id(offset)?;
            if !item_id.is_used() && !item_id.has_storage() {
                return Ok(offset);
            }
        }
        // The hint was wrong.
        self.clear_flag(PD_HAS_FREE_LINES);
        Ok(limit)
    }

    /// `PageIndexTupleOverwrite`: the new item takes the place of the old one; items before it in the page
    /// move by the difference in size.
    pub fn overwrite_item(&mut self, offset: OffsetNumber, item: &[u8]) -> Result<(), Fault> {
        self.check_pointers()?;
        let old = self.item_id(offset)?;
        let (upper, lower) = (self.upper() as usize, self.lower() as usize);
        self.check_item_place(old)?;
        let old_size = maxalign(old.length());
        let new_size = maxalign(item.len());
        if new_size > old_size + (upper - lower) {
            return Err(Fault::PageState("no room for the larger item"));
        }
        // Where the bytes from pd_upper to the item begin afterwards.
        let new_upper = upper + old_size - new_size;
        if new_size != old_size {
            self.bytes.copy_within(upper..old.offset(), new_upper);
            self.set_upper(new_upper as u16);
            self.shift_items(old.offset(), |place| (place + old_size).checked_sub(new_size))?;
        }
        let place = old.offset() + old_size - new_size;
        self.set_item_id(offset, ItemId::new(place, old.flags(), item.len()))?;
        self.write_at(place, item)
    }

    /// Corrects the line pointers of all items at or before `up_to` after their bytes were moved.
    pub(super) fn shift_items(
        &mut self,
        up_to: usize,
        moved: impl Fn(usize) -> Option<usize>,
    ) -> Result<(), Fault> {
        for offset in FIRST_OFFSET..=self.max_offset() {
            let item_id = self.item_id(offset)?;
            if item_id.has_storage() && item_id.offset() <= up_to {
                let place = moved(item_id.offset()).filter(|place| *place < self.bytes.len());
                let place = place.ok_or(Fault::PageState("corrupted line pointer"))?;
                self.set_item_id(offset, item_id.with_offset(place))?;
            }
        }
        Ok(())
    }

    /// An item of an index page must lie wholly in the item space, aligned.
    pub(super) fn check_item_place(&self, item_id: ItemId) -> Result<(), Fault> {
        let end = item_id.offset() + maxalign(item_id.length());
        let (upper, special) = (self.upper() as usize, self.special() as usize);
        if item_id.offset() < upper || end > special || !item_id.offset().is_multiple_of(8) {
            return Err(Fault::PageState("corrupted line pointer"));
        }
        Ok(())
    }
}

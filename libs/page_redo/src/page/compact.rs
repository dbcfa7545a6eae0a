//! Closing the gaps between items: `compactify_tuples`, `PageRepairFragmentation`,
//! `PageTruncateLinePointerArray`.

use super::{FIRST_OFFSET, ITEM_ID_SIZE, ItemId, OffsetNumber, PD_HAS_FREE_LINES, Page, maxalign};
use crate::error::Fault;

/// An item that stays, by its line pointer's number after the operation.
pub(super) struct Kept {
    offset: OffsetNumber,
    place: usize,
    aligned_length: usize,
}

impl Kept {
    pub(super) fn new(offset: OffsetNumber, item_id: ItemId) -> Kept {
        Kept { offset, place: item_id.offset(), aligned_length: maxalign(item_id.length()) }
    }
}

impl Page<'_> {
    /// `compactify_tuples`: lays the items out from the end of the item space downwards, in the order of
    /// their numbers. PostgreSQL has two ways to move the bytes; both end in this one layout.
    pub(super) fn compactify(&mut self, kept: &[Kept]) -> Result<(), Fault> {
        let (lower, old_upper, special) =
            (self.lower() as usize, self.upper() as usize, self.special() as usize);
        let total: usize = kept.iter().map(|item| item.aligned_length).sum();
        let inside = |item: &Kept| item.place >= old_upper && item.place + item.aligned_length <= special;
        if lower > old_upper || total > special - lower || !kept.iter().all(inside) {
            return Err(Fault::PageState("corrupted line pointers"));
        }
        // The items at the end are often where they belong.
        let mut upper = special;
        let in_place = kept.iter().take_while(|item| {
            let place = upper - item.aligned_length;
            let stays = place == item.place;
            if stays {
                upper = place;
            }
            stays
        });
        let moved = &kept[in_place.count()..];
        // Items in the order of their places move away from those that come after them.
        let ordered = moved.is_sorted_by(|item, next| item.place >= next.place + next.aligned_length);
        let old = if ordered { None } else { Some(*self.bytes) };
        for item in moved {
            upper -= item.aligned_length;
            let source = item.place..item.place + item.aligned_length;
            match &old {
                None => self.bytes.copy_within(source, upper),
                Some(old) => self.bytes[upper..upper + item.aligned_length].copy_from_slice(&old[source]),
            }
            let item_id = self.item_id(item.offset)?;
            self.set_item_id(item.offset, item_id.with_offset(upper))?;
        }
        self.set_upper(upper as u16);
        Ok(())
    }

    /// `PageRepairFragmentation`, after items of a heap page were marked dead or unused.
    pub fn repair_fragmentation(&mut self) -> Result<(), Fault> {
        self.check_pointers()?;
        let last = self.max_offset();
        let mut kept = Vec::with_capacity(last as usize);
        let mut last_used = 0;
        let mut unused = 0;
        for offset in FIRST_OFFSET..=last {
            let item_id = self.item_id(offset)?;
            if item_id.is_used() {
                if item_id.has_storage() {
                    kept.push(Kept::new(offset, item_id));
                }
                last_used = offset;
            } else {
                // Unused ones should have length 0 already; PostgreSQL makes sure.
                self.set_item_id(offset, ItemId::UNUSED)?;
                unused += 1;
            }
        }
        self.compactify(&kept)?;
        let trailing = last - last_used;
        self.set_lower(self.lower() - trailing * ITEM_ID_SIZE as u16);
        self.hint_free_lines(unused > trailing);
        Ok(())
    }

    /// `PageTruncateLinePointerArray`: drops unused line pointers at the end, all but the very first.
    pub fn truncate_line_pointers(&mut self) -> Result<(), Fault> {
        self.check_pointers()?;
        let mut trailing = 0;
        let mut counting = true;
        let mut unused_remain = false;
        for offset in (FIRST_OFFSET..=self.max_offset()).rev() {
            let used = self.item_id(offset)?.is_used();
            if counting && offset > FIRST_OFFSET {
                if used {
                    counting = false;
                } else {
                    trailing += 1;
                }
            } else if !used {
                unused_remain = true;
                break;
            }
        }
        self.set_lower(self.lower() - trailing * ITEM_ID_SIZE as u16);
        self.hint_free_lines(unused_remain);
        Ok(())
    }

    fn hint_free_lines(&mut self, free: bool) {
        if free {
            self.set_flag(PD_HAS_FREE_LINES);
        } else {
            self.clear_flag(PD_HAS_FREE_LINES);
        }
    }
}

//! The metapage of a hash index.
//!
//! ```text
//!  at 24:  0 magic   4 version   8 ntuples f64  16 ffactor u16  18 bsize u16  20 bmsize u16  22 bmshift u16
//!         24 maxbucket  28 highmask  32 lowmask  36 ovflpoint  40 firstfree  44 nmaps  48 procid
//!         52 spares u32 × 98  444 mapp u32 × 1024  4540 padding
//! ```

use super::{INVALID, LH_META_PAGE, init_page};
use crate::bytes_reader::Reader;
use crate::error::Fault;
use crate::page::{HEADER_SIZE, Page};

const MAGIC: u32 = 0x0644_0640;
const VERSION: u32 = 4;
const NTUPLES_AT: usize = HEADER_SIZE + 8;
const MAXBUCKET_AT: usize = HEADER_SIZE + 24;
const HIGHMASK_AT: usize = HEADER_SIZE + 28;
const LOWMASK_AT: usize = HEADER_SIZE + 32;
const OVFLPOINT_AT: usize = HEADER_SIZE + 36;
const FIRSTFREE_AT: usize = HEADER_SIZE + 40;
const NMAPS_AT: usize = HEADER_SIZE + 44;
const SPARES_AT: usize = HEADER_SIZE + 52;
const MAPP_AT: usize = HEADER_SIZE + 444;
/// `sizeof(HashMetaPageData)`
const META_SIZE: usize = 4544;
const MAX_SPLITPOINTS: u32 = 98;
const MAX_BITMAPS: u32 = 1024;

/// What fits on a page besides header and special space, and the largest power of two below it.
const BSIZE: u16 = 8152;
const BMSIZE: u16 = 4096;
const BMSHIFT: u16 = 15;

/// Splitpoint groups before this one have one phase each, later ones four.
const GROUPS_WITH_ONE_PHASE: u32 = 10;

const UPDATE_MASKS: u8 = 1 << 0;
const UPDATE_SPLITPOINT: u8 = 1 << 1;

fn write_u32(page: &mut Page<'_>, at: usize, value: u32) -> Result<(), Fault> {
    page.write_at(at, &value.to_le_bytes())
}

fn spare_at(index: u32) -> Result<usize, Fault> {
    if index >= MAX_SPLITPOINTS {
        return Err(Fault::PageState("splitpoint beyond the last"));
    }
    Ok(SPARES_AT + 4 * index as usize)
}

/// `_hash_init_metabuffer`
pub(super) fn init(page: &mut Page<'_>, mut main: Reader<'_>) -> Result<(), Fault> {
    let tuples = f64::from_bits(main.u64("number of tuples")?);
    let procedure = main.u32("hash function")?;
    let fill_factor = main.u16("fill factor")?;
    let buckets = bucket_count(tuples / f64::from(fill_factor));
    let spare_index = spare_index(buckets);

    init_page(page, INVALID, INVALID, LH_META_PAGE)?;
    write_u32(page, HEADER_SIZE, MAGIC)?;
    write_u32(page, HEADER_SIZE + 4, VERSION)?;
    for (at, value) in [(16, fill_factor), (18, BSIZE), (20, BMSIZE), (22, BMSHIFT)] {
        page.write_at(HEADER_SIZE + at, &value.to_le_bytes())?;
    }
    let high_mask = (buckets + 1).next_power_of_two() - 1;
    write_u32(page, MAXBUCKET_AT, buckets - 1)?;
    write_u32(page, HIGHMASK_AT, high_mask)?;
    write_u32(page, LOWMASK_AT, high_mask >> 1)?;
    write_u32(page, OVFLPOINT_AT, spare_index)?;
    write_u32(page, HEADER_SIZE + 48, procedure)?;
    write_u32(page, spare_at(spare_index)?, 1)?;
    page.set_lower((HEADER_SIZE + META_SIZE) as u16);
    Ok(())
}

/// Buckets that an index begins with: what is wanted, rounded up to the end of a splitpoint phase.
fn bucket_count(wanted: f64) -> u32 {
    const MOST: u32 = 0x4000_0000;
    if wanted.is_nan() || wanted <= 2.0 {
        2
    } else if wanted >= f64::from(MOST) {
        MOST
    } else {
        total_buckets(spare_index(wanted as u32))
    }
}

/// `_hash_spareindex`: the splitpoint phase that holds the last of so many buckets. At least one bucket.
fn spare_index(buckets: u32) -> u32 {
    let group = buckets.next_power_of_two().trailing_zeros();
    if group < GROUPS_WITH_ONE_PHASE {
        return group;
    }
    let phase = ((buckets - 1) >> (group - 3)) & 3;
    GROUPS_WITH_ONE_PHASE + ((group - GROUPS_WITH_ONE_PHASE) << 2) + phase
}

/// `_hash_get_totalbuckets`: how many buckets there are at the end of a phase.
fn total_buckets(phase: u32) -> u32 {
    if phase < GROUPS_WITH_ONE_PHASE {
        return 1 << phase;
    }
    let group = GROUPS_WITH_ONE_PHASE + ((phase - GROUPS_WITH_ONE_PHASE) >> 2);
    let before = 1 << (group - 1);
    let phases_in_group = ((phase - GROUPS_WITH_ONE_PHASE) & 3) + 1;
    before + (before >> 2) * phases_in_group
}

pub(super) fn change_tuple_count(page: &mut Page<'_>, change: impl Fn(f64) -> f64) -> Result<(), Fault> {
    let count = f64::from_le_bytes(page.array_at(NTUPLES_AT)?);
    page.write_at(NTUPLES_AT, &change(count).to_le_bytes())
}

fn add_bitmap(page: &mut Page<'_>, block: u32) -> Result<(), Fault> {
    let maps = page.u32_at(NMAPS_AT)?;
    if maps >= MAX_BITMAPS {
        return Err(Fault::PageState("hash index has too many bitmaps"));
    }
    write_u32(page, MAPP_AT + 4 * maps as usize, block)?;
    write_u32(page, NMAPS_AT, maps + 1)
}

/// The first bitmap comes behind the first buckets.
pub(super) fn add_first_bitmap(page: &mut Page<'_>) -> Result<(), Fault> {
    let last_bucket = page.u32_at(MAXBUCKET_AT)?;
    add_bitmap(page, last_bucket.wrapping_add(2))
}

pub(super) fn set_first_free(page: &mut Page<'_>, mut data: Reader<'_>) -> Result<(), Fault> {
    write_u32(page, FIRSTFREE_AT, data.u32("first free overflow page")?)
}

/// An overflow page, and perhaps a bitmap, was added at the end of the index.
pub(super) fn add_overflow_page(page: &mut Page<'_>, new_bitmap: Option<u32>) -> Result<(), Fault> {
    let spare = spare_at(page.u32_at(OVFLPOINT_AT)?)?;
    let mut pages = page.u32_at(spare)?.wrapping_add(1);
    if let Some(block) = new_bitmap {
        add_bitmap(page, block)?;
        pages = pages.wrapping_add(1);
    }
    write_u32(page, spare, pages)
}

/// `hash_xlog_split_allocate_page`, the metapage.
pub(super) fn split(
    page: &mut Page<'_>,
    new_bucket: u32,
    flags: u8,
    mut data: Reader<'_>,
) -> Result<(), Fault> {
    write_u32(page, MAXBUCKET_AT, new_bucket)?;
    if flags & UPDATE_MASKS != 0 {
        write_u32(page, LOWMASK_AT, data.u32("low mask")?)?;
        write_u32(page, HIGHMASK_AT, data.u32("high mask")?)?;
    }
    if flags & UPDATE_SPLITPOINT != 0 {
        let splitpoint = data.u32("splitpoint")?;
        write_u32(page, spare_at(splitpoint)?, data.u32("overflow pages")?)?;
        write_u32(page, OVFLPOINT_AT, splitpoint)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn phases_hold_the_buckets_that_they_end_with() {
        for phase in 1..MAX_SPLITPOINTS {
            let total = total_buckets(phase);
            assert_eq!(spare_index(total), phase, "{total} buckets");
        }
        assert_eq!(bucket_count(1000.0), 1024);
        assert_eq!(bucket_count(1025.0), 1280);
    }
}

//! One page on both sides.

use page_redo::mask::{mask, rmgr_of_page};
use page_redo::page::{HEADER_SIZE, PD_ALL_VISIBLE, PageBytes};
use page_redo::rmgr_name;
use pg_format::rmgr::{HEAP, SEQ, SPGIST};
use types::{Fork, Lsn};

use super::Theirs;

/// Where on its relation a page is.
#[derive(Clone, Copy)]
pub(super) struct Place {
    pub fork: Fork,
    pub block: u32,
    /// Whether initdb made the relation.
    pub of_catalog: bool,
}

/// What differs, in words.
pub(super) fn difference(ours: &PageBytes, theirs: &PageBytes, place: Place, side: Theirs) -> Option<String> {
    let mut expected = Box::new(*ours);
    match (side, place.fork) {
        (Theirs::Compute, Fork::Vm) if place.of_catalog => take_copied_bits(&mut expected, theirs),
        (Theirs::Compute, Fork::Main) if place.block == 0 => take_unlogged(&mut expected, theirs),
        (Theirs::Compute | Theirs::Standby, _) => {}
    }
    let text =
        under_masks(&expected, theirs, place).or_else(|| other_lsn(&expected, theirs).map(str::to_owned))?;
    let (kind, x, y) = (kind(theirs, place.fork), page_lsn(ours), page_lsn(theirs));
    Some(format!("block {} ({kind}, LSN {x} in the export, {y} in {side}): {text}", place.block))
}

pub(super) fn kind(page: &PageBytes, fork: Fork) -> &'static str {
    match fork {
        Fork::Main if page.iter().all(|byte| *byte == 0) => "zeros",
        Fork::Main => rmgr_name(rmgr_of_page(page)),
        Fork::Fsm => "FSM",
        Fork::Vm => "VM",
        Fork::Init => "init",
    }
}

/// Takes over what a running server changes on the first page of a relation without WAL, beyond what the masks cover.
fn take_unlogged(ours: &mut PageBytes, theirs: &PageBytes) {
    let unlogged = match rmgr_of_page(theirs) {
        // FormData_pg_sequence_data: WAL is ahead of the page by up to 32 values.
        SEQ => {
            let tuple =
                usize::from(u16::from_le_bytes([theirs[HEADER_SIZE], theirs[HEADER_SIZE + 1]]) & 0x7fff);
            let data = tuple + usize::from(*theirs.get(tuple + 22).unwrap_or(&0));
            data..data + 17
        }
        // SpGistMetaPageData.lastUsedPages: eight pages with free space, behind the magic number.
        SPGIST => HEADER_SIZE + 4..HEADER_SIZE + 4 + 64,
        _ => return,
    };
    if let (Some(ours), Some(theirs)) = (ours.get_mut(unlogged.clone()), theirs.get(unlogged)) {
        ours.copy_from_slice(theirs);
    }
}

/// CREATE DATABASE logs a copied visibility map as a page with a hole in it, which is all that there is: WAL has none
/// of its bits, and a record that clears one where there is none leaves the page's LSN. What WAL has besides must be on
/// the page, and the copied relations are those that initdb made.
fn take_copied_bits(ours: &mut PageBytes, theirs: &PageBytes) {
    if page_lsn(ours) <= page_lsn(theirs) {
        ours[..8].copy_from_slice(&theirs[..8]);
    }
    for (ours, theirs) in ours[HEADER_SIZE..].iter_mut().zip(&theirs[HEADER_SIZE..]) {
        if *ours & !*theirs == 0 {
            *ours = *theirs;
        }
    }
}

pub(super) fn page_lsn(page: &PageBytes) -> Lsn {
    let half = |at: usize| u32::from_le_bytes(*page[at..].first_chunk().expect("a page header"));
    Lsn(u64::from(half(0)) << 32 | u64::from(half(4)))
}

fn under_masks(ours: &PageBytes, theirs: &PageBytes, place: Place) -> Option<String> {
    let (mut a, mut b) = (Box::new(*ours), Box::new(*theirs));
    let rmid = rmgr_of_page(theirs);
    mask(&mut a, rmid, place.fork, place.block);
    mask(&mut b, rmid, place.fork, place.block);
    bytes_that_differ(&a, &b)
}

/// The masks leave out the LSN, but here it is the same, with one exception: redo gives a heap page that
/// becomes all-visible the LSN of that record, which PostgreSQL does only where hints are in WAL.
fn other_lsn(ours: &PageBytes, theirs: &PageBytes) -> Option<&'static str> {
    let all_visible_heap = rmgr_of_page(ours) == HEAP && ours[10] & PD_ALL_VISIBLE as u8 != 0;
    let (a, b) = (page_lsn(ours), page_lsn(theirs));
    (a != b && !(all_visible_heap && a > b)).then_some("the LSNs differ")
}

pub(super) fn bytes_that_differ(a: &PageBytes, b: &PageBytes) -> Option<String> {
    let mut differing = a.iter().zip(b).enumerate().filter(|(_, (x, y))| x != y).map(|(at, _)| at);
    let first = differing.next()?;
    Some(format!(
        "{} bytes differ, the first at {first}: {} and {}",
        1 + differing.count(),
        a[first],
        b[first]
    ))
}

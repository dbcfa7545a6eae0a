//! Whether two pages are the same where PostgreSQL says that they must be.

use page_redo::mask::{mask, rmgr_of_page};
use page_redo::page::{HEADER_SIZE, PageBytes};
use pg_format::rmgr;
use types::Fork;

/// The first byte that differs under the mask, and how many do.
pub fn difference(
    ours: &PageBytes,
    theirs: &PageBytes,
    rmid: u8,
    fork: Fork,
    block: u32,
) -> Option<(usize, usize)> {
    let rmid = if rmid == rmgr::XLOG { rmgr_of_page(theirs) } else { rmid };
    let (mut ours, mut theirs) = (Box::new(*ours), Box::new(*theirs));
    mask(&mut ours, rmid, fork, block);
    mask(&mut theirs, rmid, fork, block);
    let mut differing =
        ours.iter().zip(theirs.iter()).enumerate().filter(|(_, (a, b))| a != b).map(|(at, _)| at);
    let first = differing.next()?;
    Some((first, 1 + differing.count()))
}

/// A page of the visibility map that began as an image without content: PostgreSQL logs the maps of a
/// database that CREATE DATABASE copies block by block as if all of a map's page were free space. Bits that
/// are missing in ours then do no harm; bits that only ours has would.
pub fn with_bits_of(ours: &PageBytes, theirs: &PageBytes) -> Box<PageBytes> {
    // The header stays ours: a page whose LSN were mixed of two would look as if it had later changes already.
    Box::new(std::array::from_fn(|at| if at < HEADER_SIZE { ours[at] } else { ours[at] | theirs[at] }))
}

/// A page of the visibility map that went through PostgreSQL's recovery. That clears bits whatever the page's
/// LSN, but sets them only on pages that are older than the record: where the page on disk was newer, a bit that
/// was cleared and set again since the last checkpoint is lost. Bits that are missing in theirs do no harm; bits
/// that are missing in ours still differ.
pub fn without_bits_lost_in_recovery(ours: &PageBytes, theirs: &PageBytes) -> Box<PageBytes> {
    Box::new(std::array::from_fn(|at| if at < HEADER_SIZE { ours[at] } else { ours[at] & theirs[at] }))
}

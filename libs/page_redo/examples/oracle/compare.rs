//! Whether two pages are the same where PostgreSQL says that they must be.

use page_redo::mask::mask;
use page_redo::page::PageBytes;
use types::Fork;

/// The first byte that differs under the mask, and how many do.
pub fn difference(
    ours: &PageBytes,
    theirs: &PageBytes,
    rmid: u8,
    fork: Fork,
    block: u32,
) -> Option<(usize, usize)> {
    let (mut ours, mut theirs) = (Box::new(*ours), Box::new(*theirs));
    mask(&mut ours, rmid, fork, block);
    mask(&mut theirs, rmid, fork, block);
    let mut differing =
        ours.iter().zip(theirs.iter()).enumerate().filter(|(_, (a, b))| a != b).map(|(at, _)| at);
    let first = differing.next()?;
    Some((first, 1 + differing.count()))
}

//! Redo of GiST indexes (gistxlog.c).

use super::Record;
use crate::error::Fault;
use crate::page::Page;

pub(super) fn redo(_page: &mut Page<'_>, _record: &Record<'_>) -> Result<(), Fault> {
    Err(Fault::Unsupported("redo of GiST indexes"))
}

const XLOG_GIST_PAGE_UPDATE: u8 = 0x00;
const XLOG_GIST_PAGE_SPLIT: u8 = 0x30;

/// The left child gets its NSN even if it was restored from an image (`gistRedoClearFollowRight`).
pub(super) fn redo_restored(page: &mut Page<'_>, record: &Record<'_>) -> Result<(), Fault> {
    match (record.info(), record.block_id()) {
        (XLOG_GIST_PAGE_UPDATE, 1) | (XLOG_GIST_PAGE_SPLIT, 0) => clear_follow_right(page, record),
        _ => Ok(()),
    }
}

/// `gistRedoClearFollowRight`
fn clear_follow_right(page: &mut Page<'_>, record: &Record<'_>) -> Result<(), Fault> {
    const NSN_AT: usize = 0;
    const FLAGS_AT: usize = 12;
    const F_FOLLOW_RIGHT: u16 = 1 << 3;
    let special = page.special() as usize;
    page.write_at(special + NSN_AT, &((record.lsn.0 >> 32) as u32).to_le_bytes())?;
    page.write_at(special + NSN_AT + 4, &(record.lsn.0 as u32).to_le_bytes())?;
    let flags = page.u16_at(special + FLAGS_AT)? & !F_FOLLOW_RIGHT;
    page.write_at(special + FLAGS_AT, &flags.to_le_bytes())?;
    page.set_lsn(record.lsn);
    Ok(())
}

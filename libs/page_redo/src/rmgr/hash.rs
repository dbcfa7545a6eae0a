//! Redo of hash indexes (hash_xlog.c).

use super::Record;
use crate::error::Fault;
use crate::page::Page;

pub(super) fn redo(_page: &mut Page<'_>, _record: &Record<'_>) -> Result<(), Fault> {
    Err(Fault::Unsupported("redo of hash indexes"))
}

const XLOG_HASH_SPLIT_ALLOCATE_PAGE: u8 = 0x40;
const XLOG_HASH_SPLIT_COMPLETE: u8 = 0x60;

/// Splits set the special space of the buckets even if they were restored from an image.
pub(super) fn redo_restored(page: &mut Page<'_>, record: &Record<'_>) -> Result<(), Fault> {
    match (record.info(), record.block_id()) {
        (XLOG_HASH_SPLIT_ALLOCATE_PAGE, 0) | (XLOG_HASH_SPLIT_COMPLETE, 0 | 1) => redo(page, record),
        _ => Ok(()),
    }
}

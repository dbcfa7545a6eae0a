//! Redo of xlog.c's records: those with blocks are nothing but full-page images.

use super::Record;
use crate::error::Fault;
use crate::page::Page;

const XLOG_FPI_FOR_HINT: u8 = 0xa0;
const XLOG_FPI: u8 = 0xb0;

/// `xlog_redo`, for a block whose record has no image to apply.
pub(super) fn redo(_page: &mut Page<'_>, record: &Record<'_>) -> Result<(), Fault> {
    match record.info() {
        // With full_page_writes = off the image is left out, and the page stays as it is.
        XLOG_FPI_FOR_HINT => Ok(()),
        XLOG_FPI => Err(Fault::Malformed("full-page image record without an image")),
        _ => Err(Fault::Malformed("block in a record that has none")),
    }
}

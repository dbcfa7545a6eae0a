//! Redo of generic records (generic_xlog.c), which extensions such as bloom write.
//!
//! A block's data is a list of fragments: offset u16, length u16, the bytes to put there.

use super::Record;
use crate::error::Fault;
use crate::page::Page;

/// `generic_redo`
pub(super) fn redo(page: &mut Page<'_>, record: &Record<'_>) -> Result<(), Fault> {
    let mut data = record.data();
    while !data.is_empty() {
        let offset = data.u16("offset of a fragment")?;
        let length = data.u16("length of a fragment")?;
        page.write_at(offset.into(), data.bytes(length.into(), "fragment")?)?;
    }
    // The fragments say nothing of the free space, which the primary left as zeros.
    page.check_pointers()?;
    let (lower, upper) = (page.lower().into(), page.upper().into());
    page.bytes[lower..upper].fill(0);
    page.set_lsn(record.lsn);
    Ok(())
}

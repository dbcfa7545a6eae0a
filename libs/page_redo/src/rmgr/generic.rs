//! Redo of generic records (generic_xlog.c), which extensions such as bloom write.

use super::Record;
use crate::error::Fault;
use crate::page::Page;

pub(super) fn redo(_page: &mut Page<'_>, _record: &Record<'_>) -> Result<(), Fault> {
    Err(Fault::Unsupported("redo of generic records"))
}

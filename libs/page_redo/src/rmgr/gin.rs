//! Redo of GIN indexes (ginxlog.c).

use super::Record;
use crate::error::Fault;
use crate::page::Page;

pub(super) fn redo(_page: &mut Page<'_>, _record: &Record<'_>) -> Result<(), Fault> {
    Err(Fault::Unsupported("redo of GIN indexes"))
}

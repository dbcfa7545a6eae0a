//! Redo of BRIN indexes (brin_xlog.c).

use super::Record;
use crate::error::Fault;
use crate::page::Page;

pub(super) fn redo(_page: &mut Page<'_>, _record: &Record<'_>) -> Result<(), Fault> {
    Err(Fault::Unsupported("redo of BRIN indexes"))
}

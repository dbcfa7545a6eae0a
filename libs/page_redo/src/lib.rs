//! Page redo: one change of a WAL record applied to one 8 KiB page, as PostgreSQL would.
//!
//! [`apply`] is a pure function *(page, change) → page*: no I/O, no clock, no globals, no allocation that
//! a record can make large. What goes in is a [`Change`]: a block of a PostgreSQL record
//! ([`BlockChange`], applied by the module of its resource manager under `rmgr/`), or a
//! [`NativeChange`] that a record implies without naming the page ([`vm_clears`], [`slru_changes`],
//! [`truncated_maps`]).
//!
//! The result is byte for byte what PostgreSQL's own redo leaves, with two exceptions: the free space of a
//! page may hold other rubbish, and a heap page that becomes all-visible always gets the record's LSN.
//! The judge is PostgreSQL's `wal_consistency_checking`: see `examples/oracle.rs` and
//! `tests/redo_oracle`.
//!
//! Records and pages are hostile input: whatever they hold, the answer is a page or a [`RedoError`], never a
//! panic.

pub mod bytes_reader;
mod change;
mod error;
pub mod mask;
mod native;
pub mod page;
mod rmgr;
mod slru;
pub mod slru_truncation;
mod vm;

pub use change::{BlockChange, BlockTag, Change, FLAG_HAS_DATA, FLAG_HAS_IMAGE, FLAG_WILL_INIT};
pub use error::{Fault, Place, RedoError};
pub use native::{MultiXactMember, MultiXactStart, NativeChange, VmBits, XidStatus};
pub use rmgr::name as rmgr_name;
pub use slru::{SlruChange, slru_changes};
use types::{Lsn, PgVersion};
pub use vm::{TruncatedFork, truncated_maps, vm_block, vm_clears};

use crate::page::{Page, PageBytes};
use crate::rmgr::Record;

/// Applies `change` of a record that ends at `lsn`. After an error the page is of no use.
///
/// Changes of a page must be applied in the order of their LSNs. As in PostgreSQL's recovery, a page whose LSN
/// says that it has the change already stays as it is: that is how pages of a backup taken from a running
/// server come right. Where [`Change::will_init`] says so, it does not matter what the page was: zeros will do.
pub fn apply(page: &mut PageBytes, change: &Change, lsn: Lsn, version: PgVersion) -> Result<(), RedoError> {
    let mut page = Page::new(page);
    let result = match change {
        Change::Postgres(block) => apply_block(&mut page, block, lsn, version),
        Change::Native(native) => native.apply(&mut page),
    };
    result.map_err(|fault| RedoError::new(fault, change.place(lsn)))
}

/// `XLogReadBufferForRedo`, then redo.
fn apply_block(page: &mut Page<'_>, change: &BlockChange, lsn: Lsn, version: PgVersion) -> Result<(), Fault> {
    let record = Record::new(change, lsn, version);
    let Some(image) = &change.image else {
        if change.own().flags & FLAG_WILL_INIT == 0 {
            if page.is_new() && !rmgr::initialises_zeros(change) {
                return Err(Fault::PageState("page is not initialised"));
            }
            if lsn <= page.lsn() {
                return Ok(());
            }
        }
        return rmgr::redo(page, &record);
    };
    *page.bytes = *image.restore().map_err(|_| Fault::Malformed("full-page image"))?;
    // An image of a page that was never initialised stays one.
    if !page.is_new() {
        page.set_lsn(lsn);
    }
    rmgr::redo_restored(page, &record)
}

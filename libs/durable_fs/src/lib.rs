//! Files that are there after a crash: the few moves from which durable changes are made.
//!
//! A change to a directory (a new name, a rename, a removal) is durable only when the directory itself
//! has been fsynced; bytes of a file only after its own fsync. The functions here put these steps in the
//! right order, so that callers cannot forget one.
//!
//! **A failed fsync is final.** Linux may take the dirty pages for clean and report success the next time, so
//! retrying proves nothing. [`DurableFsError::SyncFailed`] therefore means: end the process and start
//! again ([`DurableFsError::is_sync_failure`]). What the next process reads proves no more: it may come from those very
//! pages, and not be on disk. So a file that is written in place is not believed because it can be read: what was not
//! known to be durable is **written again**, and fsynced, before anything is built on it. (What
//! [`DurableFs::write_atomically`] had not finished has no name, and is not read.)
//!
//! All goes through a [`DurableFs`], which asks its [`Faults`] before every step: [`NoFaults`] in a
//! daemon, a script of failures or of a crash in a test, a [`CrashPoint`] in a daemon that is to be tested. Nothing here knows what the bytes mean.

mod crash;
mod error;
mod faults;
mod fs;

pub use crash::{CrashPoint, ParseCrashPointError};
pub use error::{DurableFsError, is_storage_full};
pub use faults::{Faults, NoFaults, Step};
pub use fs::{DurableFs, REMOVED_SUFFIX, TEMPORARY_SUFFIX, run_blocking};

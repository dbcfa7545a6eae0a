//! Files that are there after a crash: the few moves from which durable changes are made.
//!
//! A change to a directory (a new name, a rename, a removal) is durable only when the directory itself
//! has been fsynced; bytes of a file only after its own fsync. The functions here put these steps in the
//! right order, so that callers cannot forget one.
//!
//! **A failed fsync is final.** Linux may drop the dirty pages and report success the next time, so
//! retrying proves nothing. [`DurableFsError::SyncFailed`] therefore means: end the process and start
//! again from what is really on disk ([`DurableFsError::is_sync_failure`]).
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

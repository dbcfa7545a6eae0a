//! What went wrong, with the path it went wrong at.

use std::io;
use std::path::{Path, PathBuf};

use crate::Step;

#[derive(Debug, thiserror::Error)]
pub enum DurableFsError {
    #[error("cannot {} {}: {source}", .step.verb(), .path.display())]
    Failed { step: Step, path: PathBuf, source: io::Error },
    /// What is on disk is unknown now. Never retried: see the head of the crate.
    #[error("fsync of {} failed, its state on disk is unknown and this process must end: {source}", .path.display())]
    SyncFailed { path: PathBuf, source: io::Error },
}

/// There is no room, on the disk or within a quota.
pub fn is_storage_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

impl DurableFsError {
    pub(crate) fn new(step: Step, path: &Path, source: io::Error) -> Self {
        let path = path.to_owned();
        match step {
            Step::SyncFile | Step::SyncDirectory => Self::SyncFailed { path, source },
            Step::CreateFile
            | Step::Open
            | Step::Write
            | Step::SetLength
            | Step::Rename
            | Step::Remove
            | Step::CreateDirectory => Self::Failed { step, path, source },
        }
    }

    /// True when the process must end rather than go on.
    pub fn is_sync_failure(&self) -> bool {
        matches!(self, Self::SyncFailed { .. })
    }

    /// True when waiting for free space may help. A full disk seen by fsync is a sync failure all the same.
    pub fn is_disk_full(&self) -> bool {
        match self {
            Self::Failed { source, .. } => is_storage_full(source),
            Self::SyncFailed { .. } => false,
        }
    }

    pub fn source_kind(&self) -> io::ErrorKind {
        match self {
            Self::Failed { source, .. } | Self::SyncFailed { source, .. } => source.kind(),
        }
    }
}

//! Errors as clients of the page service see them: the one place where they become SQLSTATEs.

use pg_backend::{QueryError, sqlstate};

use crate::basebackup::BackupError;
use crate::pages::PageError;
use crate::storage::StorageError;

fn storage(error: &StorageError) -> &'static str {
    match error {
        StorageError::TenantNotFound(_)
        | StorageError::TimelineNotFound(_)
        | StorageError::TenantDeleted(_)
        | StorageError::TimelineDeleted(_) => sqlstate::UNDEFINED_OBJECT,
        StorageError::BeforeHistory { .. }
        | StorageError::Collected { .. }
        | StorageError::BadBranchPoint { .. } => sqlstate::INVALID_PARAMETER_VALUE,
        StorageError::ShuttingDown => sqlstate::ADMIN_SHUTDOWN,
        StorageError::WaitLsnTimeout { .. }
        | StorageError::Archived(_)
        | StorageError::Superseded { .. }
        | StorageError::NotConfirmed { .. }
        | StorageError::NotGranted { .. }
        | StorageError::NotGrantedYet(_)
        | StorageError::NotLoaded { .. } => sqlstate::OBJECT_NOT_IN_PREREQUISITE_STATE,
        error if error.is_corruption() => sqlstate::DATA_CORRUPTED,
        StorageError::Io { .. } | StorageError::Remote(_) | StorageError::NotDurable(_) => sqlstate::IO_ERROR,
        StorageError::TenantExists(_)
        | StorageError::TimelineExists(_)
        | StorageError::HasBranches { .. }
        | StorageError::NotWhole { .. }
        | StorageError::BadBatch { .. }
        | StorageError::LayerExists { .. }
        | StorageError::KeyOrder { .. }
        | StorageError::Source(_)
        | StorageError::Layer(_)
        | StorageError::DamagedObject { .. } => sqlstate::INTERNAL_ERROR,
    }
}

pub(super) fn page_sqlstate(error: &PageError) -> &'static str {
    match error {
        PageError::Storage(error) => storage(error),
        PageError::Redo(_) | PageError::ImageLength { .. } => sqlstate::DATA_CORRUPTED,
    }
}

pub(super) fn query_error(error: &PageError) -> QueryError {
    QueryError::new(page_sqlstate(error), error.to_string())
}

pub(super) fn backup_error(error: &BackupError) -> QueryError {
    let code = match error {
        BackupError::Storage(error) => storage(error),
        BackupError::Page(error) => page_sqlstate(error),
        BackupError::NoStart(_) => sqlstate::INVALID_PARAMETER_VALUE,
        BackupError::NoCheckpoint { .. } => sqlstate::OBJECT_NOT_IN_PREREQUISITE_STATE,
        BackupError::Format(_) | BackupError::Missing { .. } => sqlstate::DATA_CORRUPTED,
        BackupError::Compression(_) => sqlstate::INTERNAL_ERROR,
        BackupError::Sink(_) => sqlstate::CONNECTION_FAILURE,
    };
    QueryError::new(code, error.to_string())
}

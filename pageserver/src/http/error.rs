//! Errors as statuses.

use axum::http::StatusCode;
use http_server::ApiError;

use crate::import::ImportError;
use crate::storage::StorageError;
use crate::walreceiver::ReplayError;

pub(super) fn storage(error: StorageError) -> ApiError {
    let message = error.to_string();
    match error {
        StorageError::TenantNotFound(_) | StorageError::TimelineNotFound(_) => ApiError::not_found(message),
        StorageError::TenantExists(_) | StorageError::TimelineExists(_) => ApiError::conflict(message),
        StorageError::BadBranchPoint { .. }
        | StorageError::BeforeHistory { .. }
        | StorageError::Collected { .. } => ApiError::not_acceptable(message),
        StorageError::Superseded { .. }
        | StorageError::TenantDeleted(_)
        | StorageError::TimelineDeleted(_) => ApiError::conflict(message),
        StorageError::HasBranches { .. } | StorageError::Archived(_) | StorageError::NotWhole { .. } => {
            ApiError::new(StatusCode::PRECONDITION_FAILED, message)
        }
        StorageError::ShuttingDown
        | StorageError::WaitLsnTimeout { .. }
        | StorageError::NotConfirmed { .. }
        | StorageError::NotGranted { .. }
        | StorageError::NotGrantedYet(_)
        | StorageError::NotLoaded { .. } => ApiError::unavailable(message),
        StorageError::BadBatch { .. }
        | StorageError::LayerExists { .. }
        | StorageError::KeyOrder { .. }
        | StorageError::Source(_)
        | StorageError::Layer(_)
        | StorageError::Remote(_)
        | StorageError::NotDurable(_)
        | StorageError::DamagedObject { .. }
        | StorageError::Io { .. } => ApiError::internal(message),
    }
}

pub(super) fn replay(error: ReplayError) -> ApiError {
    let message = error.to_string();
    match error {
        ReplayError::Connected(_) => ApiError::conflict(message),
        ReplayError::NotRunning(_) => ApiError::new(StatusCode::PRECONDITION_FAILED, message),
        ReplayError::Failed { .. } => ApiError::internal(message),
    }
}

pub(super) fn import(error: ImportError) -> ApiError {
    ApiError::bad_request(format!("this cannot be imported: {error}"))
}

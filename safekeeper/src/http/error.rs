//! Errors as statuses.

use axum::http::StatusCode;
use http_server::ApiError;

use crate::timeline::{CreateError, DeleteError, LookupError, OwnershipError, Stopped};

pub(super) fn lookup(error: LookupError) -> ApiError {
    let text = error.to_string();
    match error {
        LookupError::NotFound(_) => ApiError::not_found(text),
        LookupError::Broken { .. } => ApiError::internal(text),
        LookupError::NotNow { .. } => ApiError::unavailable(text),
    }
}

pub(super) fn stopped(error: Stopped) -> ApiError {
    ApiError::unavailable(error.to_string())
}

pub(super) fn ownership(error: OwnershipError) -> ApiError {
    match error {
        OwnershipError::Lookup(error) => lookup(error),
        OwnershipError::Stopped(error) => stopped(error),
        OwnershipError::Disk(error) if error.is_disk_full() => {
            ApiError::new(StatusCode::INSUFFICIENT_STORAGE, error.to_string())
        }
        OwnershipError::Disk(error) => ApiError::internal(error.to_string()),
    }
}

pub(super) fn create(error: CreateError) -> ApiError {
    let text = error.to_string();
    match error {
        CreateError::Invalid(_) => ApiError::bad_request(text),
        CreateError::Conflict(_) | CreateError::NotNew { .. } => ApiError::conflict(text),
        CreateError::AncestorUnavailable { .. } => ApiError::unavailable(text),
        CreateError::Disk(error) if error.is_disk_full() => {
            ApiError::new(StatusCode::INSUFFICIENT_STORAGE, text)
        }
        CreateError::Disk(_) | CreateError::Wal(_) => ApiError::internal(text),
    }
}

pub(super) fn delete(error: DeleteError) -> ApiError {
    match error {
        DeleteError::Disk { .. } => ApiError::internal(error.to_string()),
        DeleteError::Remote(_) => ApiError::unavailable(error.to_string()),
    }
}

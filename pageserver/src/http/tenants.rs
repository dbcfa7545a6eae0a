//! Tenants.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use http_server::ApiError;
use pageserver_api::models::{TenantCreateRequest, TenantInfo};

use super::{ApiState, error};
use crate::storage::StorageError;

pub(super) async fn list(State(state): State<ApiState>) -> Json<Vec<TenantInfo>> {
    let describe = |id| TenantInfo {
        id,
        state: "Active".to_owned(),
        timelines: state.manager.list_timelines(id).map_or(0, |list| list.len()),
    };
    Json(state.manager.list_tenants().into_iter().map(describe).collect())
}

/// One that exists already is fine.
pub(super) async fn create(
    State(state): State<ApiState>,
    Json(request): Json<TenantCreateRequest>,
) -> Result<(StatusCode, Json<TenantInfo>), ApiError> {
    let id = request.new_tenant_id;
    match state.manager.create_tenant(id).await {
        Ok(()) => tracing::info!(tenant = %id, "tenant created"),
        Err(StorageError::TenantExists(_)) => {}
        Err(failure) => return Err(error::storage(failure)),
    }
    let timelines = state.manager.list_timelines(id).map_or(0, |list| list.len());
    Ok((StatusCode::CREATED, Json(TenantInfo { id, state: "Active".to_owned(), timelines })))
}

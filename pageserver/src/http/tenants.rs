//! Tenants.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use http_server::ApiError;
use pageserver_api::models::{TenantCreateRequest, TenantInfo};
use types::TenantId;

use super::timelines::bad_id;
use super::{ApiState, error, to_the_end};
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

/// With all its timelines, and all that they have in remote storage.
pub(super) async fn delete(
    State(state): State<ApiState>,
    Path(tenant): Path<String>,
) -> Result<Json<()>, ApiError> {
    let tenant: TenantId = tenant.parse().map_err(bad_id)?;
    to_the_end(async move {
        let deleted = state.manager.delete_tenant(tenant).await;
        if !state.manager.list_tenants().contains(&tenant) {
            state.receivers.stop_all_of(tenant);
        }
        deleted
    })
    .await
}

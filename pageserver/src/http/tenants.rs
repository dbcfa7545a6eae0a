//! Tenants.

use axum::extract::State;
use axum::http::StatusCode;
use http_server::extract::{Json, Path};
use http_server::{ApiError, TenantPath};
use pageserver_api::models::{TenantCreateRequest, TenantInfo};

use super::{ApiState, error, to_the_end};
use crate::storage::StorageError;

/// All tenants
#[utoipa::path(get, path = "/v1/tenant", operation_id = "list_tenants", tag = "Tenants",
    responses((status = 200, description = "In the order of their ids.", body = Vec<TenantInfo>), ApiError))]
pub(super) async fn list(State(state): State<ApiState>) -> Json<Vec<TenantInfo>> {
    let describe = |id| TenantInfo {
        id,
        state: "Active".to_owned(),
        timelines: state.manager.list_timelines(id).map_or(0, |list| list.len()),
    };
    Json(state.manager.list_tenants().into_iter().map(describe).collect())
}

/// Create a tenant
///
/// One that exists already is fine.
#[utoipa::path(post, path = "/v1/tenant", operation_id = "create_tenant", tag = "Tenants", request_body = TenantCreateRequest,
    responses((status = 201, description = "It exists.", body = TenantInfo), ApiError))]
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

/// Delete a tenant
///
/// With all its timelines, and all that they have in remote storage. One that is deleted already is fine.
#[utoipa::path(delete, path = "/v1/tenant/{tenant}", operation_id = "delete_tenant", tag = "Tenants", params(TenantPath),
    responses((status = 200, description = "Nothing of it is left."), ApiError))]
pub(super) async fn delete(
    State(state): State<ApiState>,
    Path(TenantPath { tenant }): Path<TenantPath>,
) -> Result<Json<()>, ApiError> {
    to_the_end(async move {
        let deleted = state.manager.delete_tenant(tenant).await;
        if !state.manager.list_tenants().contains(&tenant) {
            state.receivers.stop_all_of(tenant);
        }
        deleted
    })
    .await
}

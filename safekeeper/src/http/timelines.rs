//! Timelines: made, looked at, deleted.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use consensus::{Configuration, TimelineIdentity};
use http_server::extract::{Json, Path, Query};
use http_server::{ApiError, TenantPath, TimelinePath};
use safekeeper_api::http::{
    TenantDeleteResult, TimelineCreateRequest, TimelineDeleteQuery, TimelineDeleteResult, TimelineListEntry,
    TimelineStatus,
};
use types::TenantTimelineId;

use super::{Api, error, status};
use crate::timeline::{Scope, TimelineSpec};

/// All timelines
#[utoipa::path(get, path = "/v1/tenant/timeline", operation_id = "list_timelines", tag = "Timelines",
    responses((status = 200, description = "In the order of their ids.", body = Vec<TimelineListEntry>), ApiError))]
pub(super) async fn list(State(api): State<Arc<Api>>) -> Json<Vec<TimelineListEntry>> {
    Json(api.manager.summaries().iter().map(status::entry).collect())
}

/// Create a timeline
///
/// With its first members, of whom this safekeeper is one; or, where others have it, with the configuration that it is
/// to join. One that exists already and is the same is fine; 409 if it differs, or if another of the first members has
/// been written to, so that this one must have lost it; 503 if its ancestor's last bytes cannot be had now.
#[utoipa::path(post, path = "/v1/tenant/timeline", operation_id = "create_timeline", tag = "Timelines", request_body = TimelineCreateRequest,
    responses(
        (status = 200, description = "It was there.", body = TimelineStatus),
        (status = 201, description = "It was made.", body = TimelineStatus),
        ApiError,
    ))]
pub(super) async fn create(
    State(api): State<Arc<Api>>,
    Json(request): Json<TimelineCreateRequest>,
) -> Result<(StatusCode, Json<TimelineStatus>), ApiError> {
    let (timeline, new) = api.manager.create(spec_of(request)?).await.map_err(error::create)?;
    let code = if new { StatusCode::CREATED } else { StatusCode::OK };
    let generation = api.manager.pageserver_generation(timeline.ttid().tenant_id);
    Ok((code, Json(status::of(&timeline, generation))))
}

fn spec_of(request: TimelineCreateRequest) -> Result<TimelineSpec, ApiError> {
    let joins = request.configuration.is_some();
    let configuration = match request.configuration {
        Some(configuration) if request.members.is_empty() => configuration,
        Some(_) => return Err(ApiError::bad_request("members and configuration exclude each other")),
        None => Configuration::initial(request.members)
            .map_err(|error| ApiError::bad_request(format!("members: {error}")))?,
    };
    Ok(TimelineSpec {
        identity: TimelineIdentity {
            ttid: TenantTimelineId { tenant_id: request.tenant_id, timeline_id: request.timeline_id },
            pg_version: request.pg_version,
            system_id: request.system_id,
            wal_seg_size: request.wal_seg_size,
        },
        start_lsn: request.start_lsn,
        configuration,
        joins,
        ancestor: request.ancestor.map(|ancestor| ancestor.timeline_id),
    })
}

/// A timeline
///
/// Looking at one that nobody uses does not wake it.
#[utoipa::path(get, path = "/", operation_id = "describe_timeline", tag = "Timelines", params(TimelinePath),
    responses((status = 200, description = "Its positions, and who reads and writes.", body = TimelineStatus), ApiError))]
pub(super) async fn describe(
    State(api): State<Arc<Api>>,
    Path(path): Path<TimelinePath>,
) -> Result<Json<TimelineStatus>, ApiError> {
    let id = path.id();
    let generation = api.manager.pageserver_generation(id.tenant_id);
    let status = match api.manager.resident(id).map_err(error::lookup)? {
        Some(timeline) => status::of(&timeline, generation),
        None => status::of_evicted(&api.manager.control_file(id).await.map_err(error::lookup)?, generation),
    };
    Ok(Json(status))
}

/// Delete a timeline
///
/// With its WAL in object storage. One that is not here is fine.
#[utoipa::path(delete, path = "/", operation_id = "delete_timeline", tag = "Timelines", params(TimelinePath, TimelineDeleteQuery),
    responses((status = 200, description = "Nothing of it is left.", body = TimelineDeleteResult), ApiError))]
pub(super) async fn delete(
    State(api): State<Arc<Api>>,
    Path(path): Path<TimelinePath>,
    Query(query): Query<TimelineDeleteQuery>,
) -> Result<Json<TimelineDeleteResult>, ApiError> {
    let scope = if query.only_local { Scope::OnlyLocal } else { Scope::Everything };
    let dir_existed = api.manager.delete(path.id(), scope).await.map_err(error::delete)?;
    Ok(Json(TimelineDeleteResult { dir_existed }))
}

/// Delete a tenant
///
/// With all its timelines, and all their WAL in object storage. One that is not here is fine.
#[utoipa::path(delete, path = "/v1/tenant/{tenant}", tag = "Timelines", params(TenantPath),
    responses((status = 200, description = "Nothing of it is left.", body = TenantDeleteResult), ApiError))]
pub(super) async fn delete_tenant(
    State(api): State<Arc<Api>>,
    Path(TenantPath { tenant }): Path<TenantPath>,
) -> Result<Json<TenantDeleteResult>, ApiError> {
    let timelines = api.manager.delete_tenant(tenant).await.map_err(error::delete)?;
    Ok(Json(TenantDeleteResult { timelines }))
}

//! Routes and handlers, and the one place where errors become HTTP.

use std::sync::Arc;

use axum::extract::rejection::JsonRejection;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Json, Router};
use consensus::{Configuration, MembershipAnswer, MembershipRequest, PeerLog, TimelineIdentity};
use http_server::ApiError;
use safekeeper_api::http::{SafekeeperStatus, TimelineCreateRequest, TimelineListEntry, TimelineStatus};
use types::{NodeId, TenantTimelineId};

use crate::http::status;
use crate::timeline::{CreateError, LookupError, Manager, Stopped, Timeline, TimelineSpec};

struct Api {
    node_id: NodeId,
    manager: Arc<Manager>,
}

pub fn routes(node_id: NodeId, manager: Arc<Manager>) -> Router {
    Router::new()
        .route("/v1/status", get(safekeeper_status))
        .route("/v1/tenant/timeline", post(create_timeline).get(list_timelines))
        .route("/v1/tenant/{tenant_id}/timeline/{timeline_id}", get(timeline_status))
        .route("/v1/tenant/{tenant_id}/timeline/{timeline_id}/membership", post(membership))
        .route("/v1/tenant/{tenant_id}/timeline/{timeline_id}/log", get(log))
        .with_state(Arc::new(Api { node_id, manager }))
}

async fn safekeeper_status(State(api): State<Arc<Api>>) -> Json<SafekeeperStatus> {
    Json(SafekeeperStatus {
        id: api.node_id,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        timelines: api.manager.summaries().len(),
    })
}

async fn list_timelines(State(api): State<Arc<Api>>) -> Json<Vec<TimelineListEntry>> {
    Json(api.manager.summaries().iter().map(status::entry).collect())
}

/// Looking at a timeline does not wake it.
async fn timeline_status(
    State(api): State<Arc<Api>>,
    Path((tenant, timeline)): Path<(String, String)>,
) -> Result<Json<TimelineStatus>, ApiError> {
    let ttid = parse(&tenant, &timeline)?;
    let status = match api.manager.resident(ttid).map_err(lookup_error)? {
        Some(timeline) => status::of(&timeline),
        None => status::of_evicted(&api.manager.control_file(ttid).await.map_err(lookup_error)?),
    };
    Ok(Json(status))
}

fn parse(tenant: &str, timeline: &str) -> Result<TenantTimelineId, ApiError> {
    let tenant_id = tenant.parse().map_err(|error| ApiError::bad_request(format!("{error}")))?;
    let timeline_id = timeline.parse().map_err(|error| ApiError::bad_request(format!("{error}")))?;
    Ok(TenantTimelineId { tenant_id, timeline_id })
}

async fn find(api: &Api, tenant: &str, timeline: &str) -> Result<Arc<Timeline>, ApiError> {
    api.manager.get(parse(tenant, timeline)?).await.map_err(lookup_error)
}

/// One step of a membership change. What decides is in the consensus crate.
async fn membership(
    State(api): State<Arc<Api>>,
    Path((tenant, timeline)): Path<(String, String)>,
    body: Result<Json<MembershipRequest>, JsonRejection>,
) -> Result<Json<MembershipAnswer>, ApiError> {
    let Json(request) = body.map_err(|error| ApiError::bad_request(error.body_text()))?;
    let timeline = find(&api, &tenant, &timeline).await?;
    Ok(Json(timeline.membership(request).await.map_err(stopped)?))
}

async fn log(
    State(api): State<Arc<Api>>,
    Path((tenant, timeline)): Path<(String, String)>,
) -> Result<Json<PeerLog>, ApiError> {
    let timeline = find(&api, &tenant, &timeline).await?;
    Ok(Json(timeline.log().await.map_err(stopped)?))
}

fn stopped(error: Stopped) -> ApiError {
    ApiError::unavailable(error.to_string())
}

async fn create_timeline(
    State(api): State<Arc<Api>>,
    body: Result<Json<TimelineCreateRequest>, JsonRejection>,
) -> Result<(StatusCode, Json<TimelineStatus>), ApiError> {
    let Json(request) = body.map_err(|error| ApiError::bad_request(error.body_text()))?;
    let (timeline, new) = api.manager.create(spec_of(request)?).await.map_err(create_error)?;
    let code = if new { StatusCode::CREATED } else { StatusCode::OK };
    Ok((code, Json(status::of(&timeline))))
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

fn lookup_error(error: LookupError) -> ApiError {
    let text = error.to_string();
    match error {
        LookupError::NotFound(_) => ApiError::not_found(text),
        LookupError::Broken { .. } => ApiError::internal(text),
        LookupError::NotNow { .. } => ApiError::unavailable(text),
    }
}

fn create_error(error: CreateError) -> ApiError {
    let text = error.to_string();
    match error {
        CreateError::Invalid(_) => ApiError::bad_request(text),
        CreateError::Conflict(_) => ApiError::conflict(text),
        CreateError::AncestorUnavailable { .. } => ApiError::unavailable(text),
        CreateError::Disk(error) if error.is_disk_full() => {
            ApiError::new(StatusCode::INSUFFICIENT_STORAGE, text)
        }
        CreateError::Disk(_) | CreateError::Wal(_) => ApiError::internal(text),
    }
}

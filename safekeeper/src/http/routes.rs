//! Routes and handlers, and the one place where errors become HTTP.

use std::sync::Arc;

use axum::extract::rejection::JsonRejection;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Json, Router};
use consensus::{Configuration, MembershipQuestion, MembershipReply, PeerLog, TimelineIdentity};
use http_server::ApiError;
use safekeeper_api::http::{
    OwnershipQuestion, OwnershipReply, SafekeeperStatus, TimelineCreateRequest, TimelineListEntry,
    TimelineStatus,
};
use types::{NodeId, TenantTimelineId};

use crate::http::status;
use crate::timeline::{CreateError, LookupError, Manager, OwnershipError, Stopped, Timeline, TimelineSpec};

struct Api {
    node_id: NodeId,
    manager: Arc<Manager>,
}

pub fn routes(node_id: NodeId, manager: Arc<Manager>) -> Router {
    Router::new()
        .route("/v1/status", get(safekeeper_status))
        .route("/v1/ownership", post(ownership))
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
    let generation = api.manager.pageserver_generation(ttid.tenant_id);
    let status = match api.manager.resident(ttid).map_err(lookup_error)? {
        Some(timeline) => status::of(&timeline, generation),
        None => status::of_evicted(&api.manager.control_file(ttid).await.map_err(lookup_error)?, generation),
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
    body: Result<Json<MembershipQuestion>, JsonRejection>,
) -> Result<Json<MembershipReply>, ApiError> {
    let Json(question) = body.map_err(|error| ApiError::bad_request(error.body_text()))?;
    let ttid = parse(&tenant, &timeline)?;
    Ok(Json(api.manager.membership(ttid, question).await.map_err(ownership_error)?))
}

/// A pageserver claims tenants, or asks whether they are still its own. What decides is in the consensus crate.
async fn ownership(
    State(api): State<Arc<Api>>,
    body: Result<Json<OwnershipQuestion>, JsonRejection>,
) -> Result<Json<OwnershipReply>, ApiError> {
    let Json(question) = body.map_err(|error| ApiError::bad_request(error.body_text()))?;
    let tenants = api.manager.ownership(question.tenants).await.map_err(ownership_error)?;
    Ok(Json(OwnershipReply { id: api.node_id, tenants }))
}

fn ownership_error(error: OwnershipError) -> ApiError {
    match error {
        OwnershipError::Lookup(error) => lookup_error(error),
        OwnershipError::Stopped(error) => stopped(error),
        OwnershipError::Disk(error) if error.is_disk_full() => {
            ApiError::new(StatusCode::INSUFFICIENT_STORAGE, error.to_string())
        }
        OwnershipError::Disk(error) => ApiError::internal(error.to_string()),
    }
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

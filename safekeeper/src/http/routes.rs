//! Routes and handlers, and the one place where errors become HTTP.

use std::sync::Arc;

use axum::extract::rejection::{JsonRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::routing::{delete, get, post};
use axum::{Json, Router};
use consensus::{Configuration, MembershipQuestion, MembershipReply, PeerLog, TimelineIdentity};
use http_server::ApiError;
use safekeeper_api::http::{
    OwnershipQuestion, OwnershipReply, SafekeeperStatus, TenantDeleteResult, TimelineCreateRequest,
    TimelineDeleteQuery, TimelineDeleteResult, TimelineListEntry, TimelineStatus,
};
use types::{NodeId, TenantTimelineId};

use crate::http::status;
use crate::timeline::{
    CreateError, DeleteError, LookupError, Manager, OwnershipError, Scope, Stopped, Timeline, TimelineSpec,
};

struct Api {
    node_id: NodeId,
    manager: Arc<Manager>,
}

pub fn routes(node_id: NodeId, manager: Arc<Manager>) -> Router {
    Router::new()
        .route("/v1/status", get(safekeeper_status))
        .route("/v1/ownership", post(ownership))
        .route("/v1/tenant/timeline", post(create_timeline).get(list_timelines))
        .route("/v1/tenant/{tenant_id}", delete(delete_tenant))
        .route("/v1/tenant/{tenant_id}/timeline/{timeline_id}", get(timeline_status).delete(delete_timeline))
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

async fn delete_timeline(
    State(api): State<Arc<Api>>,
    Path((tenant, timeline)): Path<(String, String)>,
    query: Result<Query<TimelineDeleteQuery>, QueryRejection>,
) -> Result<Json<TimelineDeleteResult>, ApiError> {
    let Query(query) = query.map_err(|error| ApiError::bad_request(error.body_text()))?;
    let scope = if query.only_local { Scope::OnlyLocal } else { Scope::Everything };
    let deleted = api.manager.delete(parse(&tenant, &timeline)?, scope).await;
    Ok(Json(TimelineDeleteResult { dir_existed: deleted.map_err(delete_error)? }))
}

async fn delete_tenant(
    State(api): State<Arc<Api>>,
    Path(tenant): Path<String>,
) -> Result<Json<TenantDeleteResult>, ApiError> {
    let tenant = tenant.parse().map_err(|error| ApiError::bad_request(format!("{error}")))?;
    let timelines = api.manager.delete_tenant(tenant).await.map_err(delete_error)?;
    Ok(Json(TenantDeleteResult { timelines }))
}

fn delete_error(error: DeleteError) -> ApiError {
    match error {
        DeleteError::Disk { .. } => ApiError::internal(error.to_string()),
        DeleteError::Remote(_) => ApiError::unavailable(error.to_string()),
    }
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

//! Timelines.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use http_server::extract::{Json, Path, Query};
use http_server::{ApiError, TenantPath, TimelinePath};
use pageserver_api::models::{
    AncestorDetached, ArchivalState, ExplainedLayer, ReadExplanation, TimelineArchivalConfig,
    TimelineCreateRequest, TimelineInfo, TimelineState,
};
use pg_format::wal::can_begin_record;
use serde::Deserialize;
use tokio::time::Instant;
use types::{BLCKSZ, Key, KeyKind, Lsn, PgVersion, TenantTimelineId, TimelineId};
use utoipa::IntoParams;

use super::{ApiState, error, templates, to_the_end, uninterrupted};
use crate::ingest::relation_size;
use crate::storage::{StorageError, Timeline, VisitedLayer};

pub(super) fn timeline(state: &ApiState, path: TimelinePath) -> Result<Arc<Timeline>, ApiError> {
    state.manager.get_timeline(path.id()).map_err(error::storage)
}

/// So long a list waits for sizes. A branch may wait for WAL of its ancestor that is not there, or never will be.
const PATIENCE_FOR_SIZES: Duration = Duration::from_secs(5);

/// All timelines of a tenant
///
/// One whose size cannot be told in time comes without it.
#[utoipa::path(get, path = "/v1/tenant/{tenant}/timeline", operation_id = "list_timelines", tag = "Timelines", params(TenantPath),
    responses((status = 200, description = "In the order of their ids.", body = Vec<TimelineInfo>), ApiError))]
pub(super) async fn list(
    State(state): State<ApiState>,
    Path(TenantPath { tenant }): Path<TenantPath>,
) -> Result<Json<Vec<TimelineInfo>>, ApiError> {
    let mut infos = Vec::new();
    let patience = Instant::now() + PATIENCE_FOR_SIZES;
    for timeline in state.manager.list_timelines(tenant).map_err(error::storage)? {
        let with_size = tokio::time::timeout_at(patience, info_with_size(&state, &timeline)).await;
        infos.push(with_size.ok().and_then(Result::ok).unwrap_or_else(|| info(&state, &timeline)));
    }
    Ok(Json(infos))
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct Wanted {
    /// `false` leaves the size out, for which each relation has to be looked at.
    #[serde(default = "wanted")]
    with_size: bool,
}

const fn wanted() -> bool {
    true
}

/// A timeline
#[utoipa::path(get, path = "/", operation_id = "describe_timeline", tag = "Timelines", params(TimelinePath, Wanted),
    responses((status = 200, description = "Its positions and sizes.", body = TimelineInfo), ApiError))]
pub(super) async fn describe(
    State(state): State<ApiState>,
    Path(path): Path<TimelinePath>,
    Query(Wanted { with_size }): Query<Wanted>,
) -> Result<Json<TimelineInfo>, ApiError> {
    let timeline = timeline(&state, path)?;
    Ok(Json(if with_size { info_with_size(&state, &timeline).await? } else { info(&state, &timeline) }))
}

/// Create a timeline
///
/// A root timeline if a PostgreSQL version is named, a branch if an ancestor is. One that exists already and is the
/// same is fine; 409 if it differs, 406 if the ancestor cannot be branched there.
#[utoipa::path(post, path = "/v1/tenant/{tenant}/timeline", operation_id = "create_timeline", tag = "Timelines", params(TenantPath),
    request_body = TimelineCreateRequest,
    responses((status = 201, description = "It exists.", body = TimelineInfo), ApiError))]
pub(super) async fn create(
    State(state): State<ApiState>,
    Path(TenantPath { tenant }): Path<TenantPath>,
    Json(request): Json<TimelineCreateRequest>,
) -> Result<(StatusCode, Json<TimelineInfo>), ApiError> {
    let id = TenantTimelineId::new(tenant, request.new_timeline_id);
    // Goes on when the client goes away: files that are half made must not meet the next attempt, and a timeline
    // that was made needs its receiver.
    uninterrupted(make(state, id, request)).await
}

/// Archive a timeline, or take it back
///
/// 412 if its branches, or its ancestor, are not in the same state.
#[utoipa::path(put, path = "/archival_config", operation_id = "archive_timeline", tag = "Timelines", params(TimelinePath),
    request_body = TimelineArchivalConfig,
    responses((status = 200, description = "It is in that state."), ApiError))]
pub(super) async fn archive(
    State(state): State<ApiState>,
    Path(path): Path<TimelinePath>,
    Json(TimelineArchivalConfig { state: wanted }): Json<TimelineArchivalConfig>,
) -> Result<Json<()>, ApiError> {
    let id = path.id();
    to_the_end(async move {
        match wanted {
            ArchivalState::Archived => {
                state.manager.archive_timeline(id).await?;
                state.receivers.stop(id);
                // Somebody may have taken it back meanwhile, and have found the receiver running still.
                if !state.manager.is_archived(id)
                    && let Ok(timeline) = state.manager.get_timeline(id)
                {
                    state.receivers.start(timeline);
                }
            }
            ArchivalState::Unarchived => {
                let timeline = state.manager.unarchive_timeline(id).await?;
                state.receivers.start(timeline);
            }
        }
        Ok(())
    })
    .await
}

/// Make a branch independent of its ancestors
///
/// Copies what it has from them, which takes as long as that takes. Asked again after a failure, it goes on.
#[utoipa::path(put, path = "/detach_ancestor", tag = "Timelines", params(TimelinePath),
    responses((status = 200, description = "It has no ancestor.", body = AncestorDetached), ApiError))]
pub(super) async fn detach_ancestor(
    State(state): State<ApiState>,
    Path(path): Path<TimelinePath>,
) -> Result<Json<AncestorDetached>, ApiError> {
    let id = path.id();
    to_the_end(async move {
        let ancestor_timeline_id = state.manager.detach_ancestor(id).await?;
        Ok(AncestorDetached { ancestor_timeline_id })
    })
    .await
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct KeyAtLsn {
    key: Key,
    lsn: Lsn,
}

/// What a read goes through
#[utoipa::path(get, path = "/explain_read", tag = "Operation", params(TimelinePath, KeyAtLsn),
    responses((status = 200, description = "Layers and changes.", body = ReadExplanation), ApiError))]
pub(super) async fn explain_read(
    State(state): State<ApiState>,
    Path(path): Path<TimelinePath>,
    Query(KeyAtLsn { key, lsn }): Query<KeyAtLsn>,
) -> Result<Json<ReadExplanation>, ApiError> {
    let timeline = timeline(&state, path)?;
    let plan = timeline.explain_read(key, lsn).await.map_err(error::storage)?;
    let explained = |layer: VisitedLayer| ExplainedLayer {
        timeline_id: layer.timeline.timeline_id,
        file: layer.file,
        start_lsn: layer.lsns.start,
        end_lsn: layer.lsns.end,
        images: layer.images,
        changes: layer.changes,
    };
    Ok(Json(ReadExplanation {
        key,
        lsn,
        layers: plan.layers.into_iter().map(explained).collect(),
        image_lsn: plan.image_lsn,
        changes: plan.changes,
        change_bytes: plan.change_bytes,
    }))
}

/// Delete a timeline
///
/// With all that it has in remote storage. 412 if it has branches.
#[utoipa::path(delete, path = "/", operation_id = "delete_timeline", tag = "Timelines", params(TimelinePath),
    responses((status = 200, description = "Nothing of it is left."), ApiError))]
pub(super) async fn delete(
    State(state): State<ApiState>,
    Path(path): Path<TimelinePath>,
) -> Result<Json<()>, ApiError> {
    let id = path.id();
    to_the_end(async move {
        let deleted = state.manager.delete_timeline(id).await;
        if state.manager.get_timeline(id).is_err() {
            state.receivers.stop(id);
        }
        deleted
    })
    .await
}

async fn make(
    state: ApiState,
    id: TenantTimelineId,
    request: TimelineCreateRequest,
) -> Result<(StatusCode, Json<TimelineInfo>), ApiError> {
    let made = match (request.ancestor_timeline_id, request.pg_version) {
        (Some(ancestor), _) => branch(&state, id, ancestor, request.ancestor_start_lsn).await,
        (None, Some(version)) => root(&state, id, version).await,
        (None, None) => Err(ApiError::bad_request("name a pg_version or an ancestor_timeline_id")),
    };
    let timeline = made?;
    state.receivers.start(Arc::clone(&timeline));
    Ok((StatusCode::CREATED, Json(info(&state, &timeline))))
}

async fn root(state: &ApiState, id: TenantTimelineId, version: PgVersion) -> Result<Arc<Timeline>, ApiError> {
    if let Ok(existing) = state.manager.get_timeline(id) {
        return same_root(existing, version);
    }
    let imported = templates::load(state, version).await?;
    let entries = imported.entries.into_iter().map(Ok::<_, Infallible>);
    let made =
        state.manager.create_root_timeline(id, imported.metadata, imported.prev_record_lsn, entries).await;
    match made {
        Ok(timeline) => {
            tracing::info!(timeline = %id, lsn = %timeline.start_lsn(), "root timeline created");
            Ok(timeline)
        }
        Err(StorageError::TimelineExists(_)) => {
            same_root(state.manager.get_timeline(id).map_err(error::storage)?, version)
        }
        Err(failure) => Err(error::storage(failure)),
    }
}

fn same_root(existing: Arc<Timeline>, version: PgVersion) -> Result<Arc<Timeline>, ApiError> {
    if existing.ancestor().is_none() && existing.metadata().pg_version == version {
        return Ok(existing);
    }
    Err(ApiError::conflict(format!("timeline {} exists already and is another", existing.id())))
}

async fn branch(
    state: &ApiState,
    id: TenantTimelineId,
    ancestor: TimelineId,
    lsn: Option<Lsn>,
) -> Result<Arc<Timeline>, ApiError> {
    if let Ok(existing) = state.manager.get_timeline(id) {
        return same_branch(existing, ancestor, lsn);
    }
    // What goes on there would be refused by safekeepers, when the branch is there already.
    let ancestor_id = TenantTimelineId::new(id.tenant_id, ancestor);
    let seg_size = state.manager.get_timeline(ancestor_id).map(|ancestor| ancestor.metadata().wal_seg_size);
    if let (Some(lsn), Ok(seg_size)) = (lsn, seg_size)
        && !can_begin_record(lsn, seg_size)
    {
        return Err(ApiError::bad_request(format!("no branch can begin at {lsn}: no WAL record can")));
    }
    match state.manager.branch_timeline(id, ancestor, lsn).await {
        Ok(timeline) => {
            tracing::info!(timeline = %id, %ancestor, lsn = %timeline.start_lsn(), "timeline branched");
            Ok(timeline)
        }
        Err(StorageError::TimelineExists(_)) => {
            same_branch(state.manager.get_timeline(id).map_err(error::storage)?, ancestor, lsn)
        }
        Err(failure) => Err(error::storage(failure)),
    }
}

fn same_branch(
    existing: Arc<Timeline>,
    ancestor: TimelineId,
    lsn: Option<Lsn>,
) -> Result<Arc<Timeline>, ApiError> {
    match existing.ancestor() {
        Some((of, at)) if of == ancestor && lsn.is_none_or(|lsn| lsn == at) => Ok(existing),
        Some(_) | None => {
            Err(ApiError::conflict(format!("timeline {} exists already and is another", existing.id())))
        }
    }
}

async fn info_with_size(state: &ApiState, timeline: &Timeline) -> Result<TimelineInfo, ApiError> {
    let info = info(state, timeline);
    let sizes = timeline.scan(Key::kind_range(KeyKind::RelSize), info.last_record_lsn).await;
    let sizes = sizes.map_err(error::storage)?;
    let blocks: u64 = sizes
        .iter()
        .filter_map(|(key, image)| relation_size(key, image))
        .map(|(_, size)| u64::from(size.blocks))
        .sum();
    Ok(TimelineInfo { current_logical_size: Some(blocks * BLCKSZ as u64), ..info })
}

/// Takes no longer the larger the timeline is: whoever makes a branch, or waits for an LSN, waits for this.
pub(super) fn info(state: &ApiState, timeline: &Timeline) -> TimelineInfo {
    let (last_record_lsn, prev_record_lsn) = timeline.last_and_prev_record_lsn();
    let id = timeline.id();
    let metadata = timeline.metadata();
    let receiver = state.receivers.status(id);
    let is_archived = state.manager.is_archived(id);
    let walreceiver_status = if is_archived { "archived".to_owned() } else { receiver.text };
    TimelineInfo {
        tenant_id: id.tenant_id,
        timeline_id: id.timeline_id,
        ancestor_timeline_id: timeline.ancestor().map(|(ancestor, _)| ancestor),
        ancestor_lsn: timeline.ancestor().map(|(_, lsn)| lsn),
        last_record_lsn,
        prev_record_lsn,
        disk_consistent_lsn: timeline.disk_consistent_lsn(),
        remote_consistent_lsn: timeline.remote_consistent_lsn(),
        initdb_lsn: timeline.start_lsn(),
        gc_cutoff_lsn: timeline.gc_cutoff(),
        current_logical_size: None,
        current_physical_size: timeline.stats().physical_size,
        pg_version: metadata.pg_version,
        system_identifier: metadata.system_identifier.to_string(),
        wal_seg_size: metadata.wal_seg_size,
        is_archived,
        walreceiver_status,
        state: if receiver.broken { TimelineState::Broken } else { TimelineState::Active },
    }
}

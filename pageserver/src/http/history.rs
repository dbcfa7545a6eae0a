//! What is kept of the past, and when was what; and, for operators and tests, work that otherwise is done by and by.

use axum::extract::State;
use http_server::extract::{Json, Path, Query};
use http_server::{ApiError, TenantPath, TimelinePath};
use jiff::Timestamp;
use pageserver_api::history::{
    GcResult, Interval, LsnByTimestamp, LsnLease, LsnLeaseRequest, POSTGRES_EPOCH, ReplayResult,
    TenantConfig, TenantConfigRequest, TenantConfigResponse,
};
use pageserver_api::models::CompactionResult;
use serde::Deserialize;
use types::Lsn;
use utoipa::IntoParams;

use super::timelines::timeline;
use super::{ApiState, error, to_the_end, uninterrupted};
use crate::history::{commit_time, lsn_of_time};
use crate::storage::Reach;

/// How long a tenant's history is kept
#[utoipa::path(get, path = "/v1/tenant/{tenant}/config", operation_id = "tenant_config", tag = "Tenants", params(TenantPath),
    responses((status = 200, description = "What is set, and what counts.", body = TenantConfigResponse), ApiError))]
pub(super) async fn config(
    State(state): State<ApiState>,
    Path(TenantPath { tenant }): Path<TenantPath>,
) -> Result<Json<TenantConfigResponse>, ApiError> {
    let overrides = state.manager.tenant_config(tenant).map_err(error::storage)?;
    let effective = state.gc.defaults().with(overrides);
    Ok(Json(TenantConfigResponse {
        tenant_specific_overrides: overrides,
        effective_config: TenantConfig {
            pitr_interval: Some(Interval(effective.pitr_interval)),
            gc_horizon: Some(effective.gc_horizon),
        },
    }))
}

/// Say how long a tenant's history is kept
///
/// Takes the place of all that was set before.
#[utoipa::path(put, path = "/v1/tenant/config", operation_id = "set_tenant_config", tag = "Tenants", request_body = TenantConfigRequest,
    responses((status = 200, description = "It is set."), ApiError))]
pub(super) async fn set_config(
    State(state): State<ApiState>,
    Json(request): Json<TenantConfigRequest>,
) -> Result<Json<()>, ApiError> {
    let config = request.config();
    state.manager.set_tenant_config(request.tenant_id, config).await.map_err(error::storage)?;
    tracing::info!(tenant = %request.tenant_id, ?config, "configured a tenant");
    Ok(Json(()))
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct AtTime {
    #[param(example = "2026-11-22T10:00:00Z")]
    timestamp: String,
}

/// Which LSN was when
#[utoipa::path(get, path = "/get_lsn_by_timestamp", tag = "History", params(TimelinePath, AtTime),
    responses((status = 200, description = "The LSN.", body = LsnByTimestamp), ApiError))]
pub(super) async fn lsn_by_timestamp(
    State(state): State<ApiState>,
    Path(path): Path<TimelinePath>,
    Query(AtTime { timestamp }): Query<AtTime>,
) -> Result<Json<LsnByTimestamp>, ApiError> {
    let timeline = timeline(&state, path)?;
    let time: Timestamp = timestamp.parse().map_err(|error| {
        ApiError::bad_request(format!("timestamp {timestamp:?} is none as 2026-11-22T10:00:00Z is: {error}"))
    })?;
    let time = time.as_microsecond().saturating_sub(POSTGRES_EPOCH);
    lsn_of_time(&timeline, time).await.map(Json).map_err(error::storage)
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct AtLsn {
    lsn: Lsn,
}

/// When an LSN was
///
/// The latest time of a commit up to that LSN. 404 if there is none.
#[utoipa::path(get, path = "/get_timestamp_of_lsn", tag = "History", params(TimelinePath, AtLsn),
    responses((status = 200, description = "The time, as in RFC 3339.", body = String, content_type = "application/json"), ApiError))]
pub(super) async fn timestamp_of_lsn(
    State(state): State<ApiState>,
    Path(path): Path<TimelinePath>,
    Query(AtLsn { lsn }): Query<AtLsn>,
) -> Result<Json<String>, ApiError> {
    let timeline = timeline(&state, path)?;
    let Some((time, _)) = commit_time(&timeline, lsn).await.map_err(error::storage)? else {
        return Err(ApiError::not_found(format!("there is no commit up to {lsn}")));
    };
    match Timestamp::from_microsecond(time.saturating_add(POSTGRES_EPOCH)) {
        Ok(time) => Ok(Json(time.to_string())),
        Err(error) => Err(ApiError::internal(format!("the commit up to {lsn}: {error}"))),
    }
}

/// Lease an LSN
///
/// What can be read at it stays readable for a while. 406 if it is gone already.
#[utoipa::path(post, path = "/lsn_lease", tag = "History", params(TimelinePath),
    request_body = LsnLeaseRequest,
    responses((status = 200, description = "It is leased.", body = LsnLease), ApiError))]
pub(super) async fn lease_lsn(
    State(state): State<ApiState>,
    Path(path): Path<TimelinePath>,
    Json(LsnLeaseRequest { lsn }): Json<LsnLeaseRequest>,
) -> Result<Json<LsnLease>, ApiError> {
    let timeline = timeline(&state, path)?;
    let length = state.gc.lease_length();
    // Before the lease begins, so that it does not end before that.
    let valid_until = Timestamp::now()
        .checked_add(jiff::SignedDuration::try_from(length).unwrap_or(jiff::SignedDuration::MAX));
    timeline.lease_lsn(lsn, Reach::At, length).map_err(error::storage)?;
    let valid_until = valid_until.map_err(|error| ApiError::internal(error.to_string()))?.to_string();
    tracing::info!(timeline = %timeline.id(), %lsn, valid_until, "leased an LSN");
    Ok(Json(LsnLease { valid_until }))
}

/// Bring all into remote storage
///
/// All that was ingested is there when this returns.
#[utoipa::path(put, path = "/checkpoint", tag = "Operation", params(TimelinePath),
    responses((status = 200, description = "All is there."), ApiError))]
pub(super) async fn checkpoint(
    State(state): State<ApiState>,
    Path(path): Path<TimelinePath>,
) -> Result<Json<()>, ApiError> {
    let timeline = timeline(&state, path)?;
    to_the_end(async move { timeline.flush_and_upload().await }).await
}

/// Take in the WAL that is in object storage
///
/// For a timeline whose WAL no safekeeper has any more: whole segments that were put there come after what the timeline
/// has. 409 if a safekeeper sends it WAL.
#[utoipa::path(put, path = "/replay_offloaded_wal", tag = "Operation", params(TimelinePath),
    responses((status = 200, description = "Where the timeline ends.", body = ReplayResult), ApiError))]
pub(super) async fn replay_offloaded_wal(
    State(state): State<ApiState>,
    Path(path): Path<TimelinePath>,
) -> Result<Json<ReplayResult>, ApiError> {
    let id = timeline(&state, path)?.id();
    uninterrupted(async move {
        let last_record_lsn = state.receivers.replay_offloaded(id).await.map_err(error::replay)?;
        Ok(Json(ReplayResult { last_record_lsn }))
    })
    .await
}

/// Merge layers and make images, as far as there is need
#[utoipa::path(put, path = "/compact", tag = "Operation", params(TimelinePath),
    responses((status = 200, description = "What was done.", body = CompactionResult), ApiError))]
pub(super) async fn compact(
    State(state): State<ApiState>,
    Path(path): Path<TimelinePath>,
) -> Result<Json<CompactionResult>, ApiError> {
    let timeline = timeline(&state, path)?;
    to_the_end(async move {
        let done = timeline.compact().await?;
        Ok(CompactionResult { merges: done.merges, images: done.images })
    })
    .await
}

/// Collect what nothing needs any more
///
/// Of the whole tenant, since branches pin what their ancestors have. The body counts this once, instead of the
/// tenant's configuration.
#[utoipa::path(put, path = "/do_gc", tag = "Operation", params(TimelinePath), request_body = TenantConfig,
    responses((status = 200, description = "What was done.", body = GcResult), ApiError))]
pub(super) async fn do_gc(
    State(state): State<ApiState>,
    Path(path): Path<TimelinePath>,
    Json(this_once): Json<TenantConfig>,
) -> Result<Json<GcResult>, ApiError> {
    let timeline = timeline(&state, path)?;
    let tenant = timeline.id().tenant_id;
    let retention = state.gc.retention(tenant).map_err(error::storage)?.with(this_once);
    to_the_end(async move {
        let layers_removed = state.gc.collect(tenant, retention).await?;
        Ok(GcResult { gc_cutoff: timeline.gc_cutoff(), layers_removed })
    })
    .await
}

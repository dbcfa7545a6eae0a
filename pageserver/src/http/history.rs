//! What is kept of the past, and when was what; and, for operators and tests, work that otherwise is done by and by.

use axum::Json;
use axum::extract::{Path, Query, State};
use http_server::ApiError;
use jiff::Timestamp;
use pageserver_api::history::{
    GcResult, Interval, LsnByTimestamp, LsnLease, LsnLeaseRequest, POSTGRES_EPOCH, TenantConfig,
    TenantConfigRequest, TenantConfigResponse,
};
use pageserver_api::models::CompactionResult;
use serde::Deserialize;
use types::{Lsn, TenantId};

use super::timelines::{Ids, bad_id, timeline};
use super::{ApiState, error, to_the_end};
use crate::history::{commit_time, lsn_of_time};

pub(super) async fn config(
    State(state): State<ApiState>,
    Path(tenant): Path<String>,
) -> Result<Json<TenantConfigResponse>, ApiError> {
    let tenant: TenantId = tenant.parse().map_err(bad_id)?;
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

pub(super) async fn set_config(
    State(state): State<ApiState>,
    Json(request): Json<TenantConfigRequest>,
) -> Result<Json<()>, ApiError> {
    let config = request.config();
    state.manager.set_tenant_config(request.tenant_id, config).await.map_err(error::storage)?;
    tracing::info!(tenant = %request.tenant_id, ?config, "configured a tenant");
    Ok(Json(()))
}

#[derive(Deserialize)]
pub(super) struct AtTime {
    timestamp: String,
}

pub(super) async fn lsn_by_timestamp(
    State(state): State<ApiState>,
    ids: Ids,
    Query(AtTime { timestamp }): Query<AtTime>,
) -> Result<Json<LsnByTimestamp>, ApiError> {
    let timeline = timeline(&state, ids)?;
    let time: Timestamp = timestamp.parse().map_err(|error| {
        ApiError::bad_request(format!("timestamp {timestamp:?} is none as 2026-11-22T10:00:00Z is: {error}"))
    })?;
    let time = time.as_microsecond().saturating_sub(POSTGRES_EPOCH);
    lsn_of_time(&timeline, time).await.map(Json).map_err(error::storage)
}

#[derive(Deserialize)]
pub(super) struct AtLsn {
    lsn: String,
}

/// The latest time of a commit up to that LSN.
pub(super) async fn timestamp_of_lsn(
    State(state): State<ApiState>,
    ids: Ids,
    Query(AtLsn { lsn }): Query<AtLsn>,
) -> Result<Json<String>, ApiError> {
    let timeline = timeline(&state, ids)?;
    let lsn: Lsn =
        lsn.parse().map_err(|error: types::ParseLsnError| ApiError::bad_request(error.to_string()))?;
    let Some((time, _)) = commit_time(&timeline, lsn).await.map_err(error::storage)? else {
        return Err(ApiError::not_found(format!("there is no commit up to {lsn}")));
    };
    match Timestamp::from_microsecond(time.saturating_add(POSTGRES_EPOCH)) {
        Ok(time) => Ok(Json(time.to_string())),
        Err(error) => Err(ApiError::internal(format!("the commit up to {lsn}: {error}"))),
    }
}

pub(super) async fn lease_lsn(
    State(state): State<ApiState>,
    ids: Ids,
    Json(LsnLeaseRequest { lsn }): Json<LsnLeaseRequest>,
) -> Result<Json<LsnLease>, ApiError> {
    let timeline = timeline(&state, ids)?;
    let length = state.gc.lease_length();
    // Before the lease begins, so that it does not end before that.
    let valid_until = Timestamp::now()
        .checked_add(jiff::SignedDuration::try_from(length).unwrap_or(jiff::SignedDuration::MAX));
    timeline.lease_lsn(lsn, length).map_err(error::storage)?;
    let valid_until = valid_until.map_err(|error| ApiError::internal(error.to_string()))?.to_string();
    tracing::info!(timeline = %timeline.id(), %lsn, valid_until, "leased an LSN");
    Ok(Json(LsnLease { valid_until }))
}

/// All that was ingested is in remote storage when this returns.
pub(super) async fn checkpoint(State(state): State<ApiState>, ids: Ids) -> Result<Json<()>, ApiError> {
    let timeline = timeline(&state, ids)?;
    to_the_end(async move { timeline.flush_and_upload().await }).await
}

pub(super) async fn compact(
    State(state): State<ApiState>,
    ids: Ids,
) -> Result<Json<CompactionResult>, ApiError> {
    let timeline = timeline(&state, ids)?;
    to_the_end(async move {
        let done = timeline.compact().await?;
        Ok(CompactionResult { merges: done.merges, images: done.images })
    })
    .await
}

/// Of the whole tenant, since branches pin what their ancestors have.
pub(super) async fn do_gc(
    State(state): State<ApiState>,
    ids: Ids,
    Json(this_once): Json<TenantConfig>,
) -> Result<Json<GcResult>, ApiError> {
    let timeline = timeline(&state, ids)?;
    let tenant = timeline.id().tenant_id;
    let retention = state.gc.retention(tenant).map_err(error::storage)?.with(this_once);
    to_the_end(async move {
        let layers_removed = state.gc.collect(tenant, retention).await?;
        Ok(GcResult { gc_cutoff: timeline.gc_cutoff(), layers_removed })
    })
    .await
}

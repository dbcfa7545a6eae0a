//! Root timelines of data directories that were stopped cleanly.

use std::path::{Path as FilePath, PathBuf};

use axum::body::Body;
use axum::extract::State;
use axum::http::StatusCode;
use durable_fs::run_blocking;
use futures_util::StreamExt;
use http_server::extract::{Json, Path, Query};
use http_server::{ApiError, TimelinePath};
use pageserver_api::models::TimelineInfo;
use serde::Deserialize;
use tokio::io::AsyncWriteExt;
use types::{PgVersion, TenantTimelineId};
use utoipa::IntoParams;

use super::archive::Archive;
use super::timelines::info;
use super::{ApiState, error, uninterrupted};
use crate::import::{NewIdentity, import_data_directory};

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct Version {
    pg_version: PgVersion,
}

/// Removed when dropped.
struct Scratch(PathBuf);

impl Scratch {
    fn new(state: &ApiState, id: TenantTimelineId) -> std::io::Result<Self> {
        let path = state.scratch.join(format!("{}-{}", id.tenant_id, id.timeline_id));
        // One directory for one import at a time; what a crash left is in the way of none.
        match std::fs::remove_dir_all(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => std::fs::create_dir_all(path.join("files"))?,
        }
        Ok(Self(path))
    }

    fn archive(&self) -> PathBuf {
        self.0.join("archive.tar.zst")
    }

    fn files(&self) -> PathBuf {
        self.0.join("files")
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // Best effort: the next start removes all.
        drop(std::fs::remove_dir_all(&self.0));
    }
}

/// Whether a data directory could be imported now
///
/// 409 if the timeline exists or was deleted, 503 while another one is imported.
#[utoipa::path(get, path = "/import_basebackup", operation_id = "check_import", tag = "Timelines", params(TimelinePath),
    responses((status = 200, description = "It could."), ApiError))]
pub(super) async fn check(
    State(state): State<ApiState>,
    Path(path): Path<TimelinePath>,
) -> Result<Json<()>, ApiError> {
    state.manager.check_new_timeline(path.id()).map_err(error::storage)?;
    if state.importing.available_permits() == 0 {
        return Err(busy());
    }
    Ok(Json(()))
}

fn busy() -> ApiError {
    ApiError::unavailable("another import is under way: try again when it has ended")
}

/// Import a data directory
///
/// The body is a tar, compressed with zstd, of a data directory that was stopped cleanly. It becomes a root timeline.
#[utoipa::path(put, path = "/import_basebackup", operation_id = "import_timeline", tag = "Timelines", params(TimelinePath, Version),
    request_body(content = Archive, content_type = "application/zstd"),
    responses((status = 201, description = "The timeline exists.", body = TimelineInfo), ApiError))]
pub(super) async fn import(
    State(state): State<ApiState>,
    Path(path): Path<TimelinePath>,
    Query(Version { pg_version }): Query<Version>,
    body: Body,
) -> Result<(StatusCode, Json<TimelineInfo>), ApiError> {
    let id = path.id();
    // Early, since an archive may be large.
    state.manager.check_new_timeline(id).map_err(error::storage)?;
    let alone = state.importing.clone().try_acquire_owned().map_err(|_| busy())?;
    let scratch = Scratch::new(&state, id)
        .map_err(|error| ApiError::internal(format!("no room to import: {error}")))?;
    receive(body, &scratch.archive()).await?;
    // Goes on when the client goes away: files that are half made must not meet the next attempt.
    uninterrupted(async move {
        let _alone = alone;
        make(state, id, pg_version, scratch).await
    })
    .await
}

async fn receive(body: Body, target: &FilePath) -> Result<(), ApiError> {
    let here =
        |error: std::io::Error| ApiError::internal(format!("cannot write {}: {error}", target.display()));
    let mut file = tokio::fs::File::create(target).await.map_err(here)?;
    let mut chunks = body.into_data_stream();
    while let Some(chunk) = chunks.next().await {
        let chunk =
            chunk.map_err(|error| ApiError::bad_request(format!("the archive ends early: {error}")))?;
        file.write_all(&chunk).await.map_err(here)?;
    }
    file.flush().await.map_err(here)
}

async fn make(
    state: ApiState,
    id: TenantTimelineId,
    pg_version: PgVersion,
    scratch: Scratch,
) -> Result<(StatusCode, Json<TimelineInfo>), ApiError> {
    let (archive, files) = (scratch.archive(), scratch.files());
    let imported = run_blocking(move || {
        let archive = std::fs::File::open(archive)?;
        import_data_directory(archive, pg_version, NewIdentity::generate(), &files)
    })
    .await
    .map_err(error::import)?;
    let (metadata, prev) = (imported.metadata, imported.prev_record_lsn);
    let made = state.manager.create_root_timeline(id, metadata, prev, imported.entries).await;
    let timeline = made.map_err(error::storage)?;
    tracing::info!(timeline = %id, lsn = %timeline.start_lsn(), "imported a data directory");
    state.receivers.start(timeline.clone());
    Ok((StatusCode::CREATED, Json(info(&state, &timeline))))
}

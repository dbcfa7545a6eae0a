//! The HTTP API: templates, tenants, timelines. Errors become statuses in error.rs. What describes a handler stands
//! above it, and is what users read at `/v1/doc`.

#![allow(unused_qualifications, reason = "utoipa's attributes name types once more")]

mod archive;
mod error;
mod history;
mod imports;
mod layers;
mod templates;
mod tenants;
mod timelines;

use std::path::PathBuf;
use std::sync::Arc;

use axum::extract::{DefaultBodyLimit, State};
use http_server::ApiError;
use http_server::extract::Json;
use pageserver_api::models::StatusResponse;
use tokio::sync::Semaphore;
use tracing::Instrument;
use types::NodeId;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::gc::GarbageCollector;
use crate::ingest::IngestMetrics;
use crate::storage::{StorageError, TenantManager};
use crate::walreceiver::WalReceivers;

/// A template is a few MiB.
const MOST_TEMPLATE_BYTES: usize = 256 << 20;

#[derive(Clone)]
pub struct ApiState {
    pub node: NodeId,
    pub manager: Arc<TenantManager>,
    pub receivers: Arc<WalReceivers>,
    pub ingest: IngestMetrics,
    pub gc: Arc<GarbageCollector>,
    /// A directory for what is on its way into a timeline.
    pub scratch: PathBuf,
    /// Taken while something is imported.
    pub importing: Arc<Semaphore>,
}

pub fn routes(state: ApiState) -> OpenApiRouter {
    let document = http_server::document(
        "Varve pageserver",
        "Tenants, their timelines, and what is kept of the past. Lengths are in bytes, LSNs as PostgreSQL writes them.",
    );
    let timeline = OpenApiRouter::new()
        .routes(routes!(timelines::describe, timelines::delete))
        .routes(routes!(timelines::archive))
        .routes(routes!(timelines::detach_ancestor))
        .routes(routes!(timelines::explain_read))
        .routes(routes!(layers::list))
        .routes(routes!(history::lsn_by_timestamp))
        .routes(routes!(history::timestamp_of_lsn))
        .routes(routes!(history::lease_lsn))
        .routes(routes!(history::checkpoint))
        .routes(routes!(history::replay_offloaded_wal))
        .routes(routes!(history::compact))
        .routes(routes!(history::do_gc))
        .merge(
            OpenApiRouter::new()
                .routes(routes!(imports::check, imports::import))
                .layer(DefaultBodyLimit::disable()),
        );
    let template = OpenApiRouter::new()
        .routes(routes!(templates::describe, templates::store))
        .layer(DefaultBodyLimit::max(MOST_TEMPLATE_BYTES));
    OpenApiRouter::with_openapi(document)
        .routes(routes!(status))
        .merge(template)
        .routes(routes!(tenants::list, tenants::create))
        .routes(routes!(tenants::delete))
        .routes(routes!(history::set_config))
        .routes(routes!(history::config))
        .routes(routes!(timelines::list, timelines::create))
        .nest("/v1/tenant/{tenant}/timeline/{timeline}", timeline)
        .with_state(state)
}

/// What this pageserver holds
#[utoipa::path(get, path = "/v1/status", tag = "Pageserver",
    responses((status = 200, description = "It is up.", body = StatusResponse), ApiError))]
async fn status(State(state): State<ApiState>) -> Json<StatusResponse> {
    let tenants = state.manager.list_tenants();
    let timelines = tenants
        .iter()
        .filter_map(|tenant| state.manager.list_timelines(*tenant).ok())
        .map(|list| list.len())
        .sum();
    Json(StatusResponse {
        id: state.node,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        tenants: tenants.len(),
        timelines,
    })
}

/// Goes on when the client goes away: files that are half made must not meet the next attempt. It is part of the client's trace.
async fn uninterrupted<T: Send + 'static>(
    work: impl Future<Output = Result<T, ApiError>> + Send + 'static,
) -> Result<T, ApiError> {
    tokio::spawn(work.in_current_span()).await.unwrap_or_else(|_| Err(ApiError::unavailable("shutting down")))
}

/// The same of work of the storage engine.
async fn to_the_end<T: Send + 'static>(
    work: impl Future<Output = Result<T, StorageError>> + Send + 'static,
) -> Result<Json<T>, ApiError> {
    uninterrupted(async move { work.await.map(Json).map_err(error::storage) }).await
}

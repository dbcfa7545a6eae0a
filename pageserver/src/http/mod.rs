//! The HTTP API: templates, tenants, timelines. Errors become statuses in error.rs.

mod error;
mod history;
mod imports;
mod templates;
mod tenants;
mod timelines;

use std::path::PathBuf;
use std::sync::Arc;

use axum::extract::{DefaultBodyLimit, State};
use axum::routing::{delete, get, post, put};
use axum::{Json, Router};
use http_server::ApiError;
use pageserver_api::models::StatusResponse;
use types::NodeId;

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
    /// Held while something is imported.
    pub importing: Arc<tokio::sync::Mutex<()>>,
}

pub fn routes(state: ApiState) -> Router {
    let template =
        put(templates::store).layer(DefaultBodyLimit::max(MOST_TEMPLATE_BYTES)).get(templates::describe);
    Router::new()
        .route("/v1/status", get(status))
        .route("/v1/template/{pg_version}", template)
        .route("/v1/tenant", get(tenants::list).post(tenants::create))
        .route("/v1/tenant/{tenant}/timeline", get(timelines::list).post(timelines::create))
        .route("/v1/tenant/{tenant}", delete(tenants::delete))
        .route("/v1/tenant/{tenant}/timeline/{timeline}", get(timelines::describe).delete(timelines::delete))
        .route("/v1/tenant/config", put(history::set_config))
        .route("/v1/tenant/{tenant}/config", get(history::config))
        .route("/v1/tenant/{tenant}/timeline/{timeline}/get_lsn_by_timestamp", get(history::lsn_by_timestamp))
        .route("/v1/tenant/{tenant}/timeline/{timeline}/get_timestamp_of_lsn", get(history::timestamp_of_lsn))
        .route("/v1/tenant/{tenant}/timeline/{timeline}/archival_config", put(timelines::archive))
        .route("/v1/tenant/{tenant}/timeline/{timeline}/detach_ancestor", put(timelines::detach_ancestor))
        .route("/v1/tenant/{tenant}/timeline/{timeline}/explain_read", get(timelines::explain_read))
        .route(
            "/v1/tenant/{tenant}/timeline/{timeline}/import_basebackup",
            put(imports::import).layer(DefaultBodyLimit::disable()),
        )
        .route("/v1/tenant/{tenant}/timeline/{timeline}/lsn_lease", post(history::lease_lsn))
        .route("/v1/tenant/{tenant}/timeline/{timeline}/checkpoint", put(history::checkpoint))
        .route("/v1/tenant/{tenant}/timeline/{timeline}/compact", put(history::compact))
        .route("/v1/tenant/{tenant}/timeline/{timeline}/do_gc", put(history::do_gc))
        .with_state(state)
}

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

/// Goes on when the client goes away: files that are half made must not meet the next attempt.
async fn uninterrupted<T: Send + 'static>(
    work: impl Future<Output = Result<T, ApiError>> + Send + 'static,
) -> Result<T, ApiError> {
    tokio::spawn(work).await.unwrap_or_else(|_| Err(ApiError::unavailable("shutting down")))
}

/// The same of work of the storage engine.
async fn to_the_end<T: Send + 'static>(
    work: impl Future<Output = Result<T, StorageError>> + Send + 'static,
) -> Result<Json<T>, ApiError> {
    uninterrupted(async move { work.await.map(Json).map_err(error::storage) }).await
}

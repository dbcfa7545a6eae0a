//! The HTTP API: status, creating timelines, looking at them, deleting them; what consensus asks of safekeepers. Errors
//! become statuses in error.rs. What describes a handler stands above it, and is what users read at `/v1/doc`.

#![allow(unused_qualifications, reason = "utoipa's attributes name types once more")]

mod consent;
mod error;
mod status;
mod timelines;

use std::sync::Arc;

use axum::extract::State;
use http_server::ApiError;
use http_server::extract::Json;
use safekeeper_api::http::SafekeeperStatus;
use types::NodeId;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::timeline::Manager;

struct Api {
    node_id: NodeId,
    manager: Arc<Manager>,
}

pub fn routes(node_id: NodeId, manager: Arc<Manager>) -> OpenApiRouter {
    let document = http_server::document(
        "Varve safekeeper",
        "Timelines, the WAL of which it keeps, and who may write and read it. LSNs are as PostgreSQL writes them.",
    );
    let timeline = OpenApiRouter::new()
        .routes(routes!(timelines::describe, timelines::delete))
        .routes(routes!(consent::membership))
        .routes(routes!(consent::log));
    OpenApiRouter::with_openapi(document)
        .routes(routes!(safekeeper_status))
        .routes(routes!(consent::ownership))
        .routes(routes!(timelines::list, timelines::create))
        .routes(routes!(timelines::delete_tenant))
        .nest("/v1/tenant/{tenant}/timeline/{timeline}", timeline)
        .with_state(Arc::new(Api { node_id, manager }))
}

/// What this safekeeper holds
#[utoipa::path(get, path = "/v1/status", tag = "Safekeeper",
    responses((status = 200, description = "It is up.", body = SafekeeperStatus), ApiError))]
async fn safekeeper_status(State(api): State<Arc<Api>>) -> Json<SafekeeperStatus> {
    Json(SafekeeperStatus {
        id: api.node_id,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        timelines: api.manager.summaries().len(),
    })
}

//! The HTTP API. It reads the status and passes wishes on to the task that runs the compute; it decides
//! nothing itself. What describes a handler stands above it, and is what users read at `/v1/doc`.

#![allow(unused_qualifications, reason = "utoipa's attributes name types once more")]

#[cfg(test)]
mod tests;

use axum::extract::State;
use axum::http::StatusCode;
use compute_api::{ComputeStatus, ConfigureRequest, ConfigureResponse};
use http_server::ApiError;
use http_server::extract::Json;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::error::ComputeError;

/// A new configuration and where the result is to go.
pub struct Configure {
    pub request: ConfigureRequest,
    pub done: oneshot::Sender<Result<ConfigureResponse, ComputeError>>,
}

#[derive(Clone)]
pub struct Api {
    pub status: watch::Receiver<ComputeStatus>,
    pub configure: mpsc::Sender<Configure>,
    pub terminate: CancellationToken,
}

pub fn routes(api: Api) -> OpenApiRouter {
    let document = http_server::document(
        "Varve compute_ctl",
        "One compute: how its PostgreSQL is, and what it is to be. LSNs are as PostgreSQL writes them.",
    );
    OpenApiRouter::with_openapi(document)
        .routes(routes!(status))
        .routes(routes!(configure))
        .routes(routes!(terminate))
        .with_state(api)
}

/// How the compute is
#[utoipa::path(get, path = "/v1/status", tag = "Compute",
    responses((status = 200, description = "It is up, be PostgreSQL so or not.", body = ComputeStatus), ApiError))]
async fn status(State(api): State<Api>) -> Json<ComputeStatus> {
    Json(api.status.borrow().clone())
}

/// Change roles, databases and settings
///
/// The lists take the place of those in force; nothing is dropped for it. Waits until all is in force. 400 if PostgreSQL
/// refuses any of it: settings then stay as they were.
#[utoipa::path(post, path = "/v1/configure", tag = "Compute", request_body = ConfigureRequest,
    responses((status = 200, description = "It is in force.", body = ConfigureResponse), ApiError))]
async fn configure(
    State(api): State<Api>,
    Json(request): Json<ConfigureRequest>,
) -> Result<Json<ConfigureResponse>, ApiError> {
    request.check().map_err(|error| ApiError::bad_request(error.to_string()))?;
    let stopping = || ApiError::unavailable("the compute is stopping");
    let (done, result) = oneshot::channel();
    api.configure.send(Configure { request, done }).await.map_err(|_| stopping())?;
    let result = result.await.map_err(|_| stopping())?;
    result.map(Json).map_err(|error| {
        let message = error.to_string();
        if error.is_refusal() {
            ApiError::bad_request(message)
        } else if error.is_retryable() {
            ApiError::unavailable(message)
        } else {
            ApiError::internal(message)
        }
    })
}

/// Stop
///
/// As SIGTERM does: PostgreSQL ends, and all its WAL goes to a quorum. Does not wait for it.
#[utoipa::path(post, path = "/v1/terminate", tag = "Compute",
    responses((status = 202, description = "It is about to stop."), ApiError))]
async fn terminate(State(api): State<Api>) -> (StatusCode, Json<()>) {
    tracing::info!("asked over HTTP to stop");
    api.terminate.cancel();
    (StatusCode::ACCEPTED, Json(()))
}

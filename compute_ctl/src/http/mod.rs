//! The HTTP API. It reads the status and passes wishes on to the task that runs the compute; it decides
//! nothing itself.

use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Json, Router};
use compute_api::{ComputeStatus, ConfigureRequest, ConfigureResponse};
use http_server::ApiError;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

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

pub fn routes(api: Api) -> Router {
    Router::new()
        .route("/v1/status", get(status))
        .route("/v1/configure", post(configure))
        .route("/v1/terminate", post(terminate))
        .with_state(api)
}

async fn status(State(api): State<Api>) -> Json<ComputeStatus> {
    Json(api.status.borrow().clone())
}

async fn configure(
    State(api): State<Api>,
    Json(request): Json<ConfigureRequest>,
) -> Result<Json<ConfigureResponse>, ApiError> {
    request.check().map_err(|error| ApiError::bad_request(error.to_string()))?;
    let stopping = || ApiError::unavailable("the compute is stopping");
    let (done, result) = oneshot::channel();
    api.configure.send(Configure { request, done }).await.map_err(|_| stopping())?;
    let result = result.await.map_err(|_| stopping())?;
    result.map(Json).map_err(|error| match error {
        refused @ ComputeError::Setting { .. } => ApiError::bad_request(refused.to_string()),
        other => ApiError::internal(other.to_string()),
    })
}

async fn terminate(State(api): State<Api>) -> StatusCode {
    tracing::info!("asked over HTTP to stop");
    api.terminate.cancel();
    StatusCode::ACCEPTED
}

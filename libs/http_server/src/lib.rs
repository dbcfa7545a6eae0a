//! What the HTTP APIs of all daemons share: the check of tokens, `/metrics`, errors as JSON, connections within bounds
//! and with a graceful end, over TLS where there is a certificate; what describes them by OpenAPI. No route of any daemon
//! is known here, only the variables that routes of several have.

mod connections;
mod error;
pub mod extract;
mod guard;
mod openapi;
mod path;
mod span;
mod tls;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::http::header::CONNECTION;
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use prometheus::{Registry, TextEncoder};

pub use connections::{Known, serve};
pub use error::ApiError;
pub use guard::Guard;
pub use openapi::{DOCUMENT, described, document};
pub use path::{TenantPath, TimelinePath};

/// Adds `GET /metrics`, and the guard before every route, unknown ones included: without a token nobody learns
/// even which routes there are.
pub fn router(app: Router, guard: Guard, registry: Registry) -> Router {
    app.route("/metrics", get(move || metrics(registry.clone())))
        .fallback(|request: Request| async move {
            ApiError::not_found(format!("there is no {} {}", request.method(), request.uri().path()))
        })
        .method_not_allowed_fallback(|request: Request| async move {
            let (method, path) = (request.method(), request.uri().path());
            ApiError::new(StatusCode::METHOD_NOT_ALLOWED, format!("{path} cannot be asked by {method}"))
        })
        // Behind the guard: what nobody may ask begins no trace.
        .layer(middleware::from_fn(span::traced))
        .layer(middleware::from_fn_with_state(guard, check_token))
}

async fn metrics(registry: Registry) -> Result<String, ApiError> {
    // On a thread for that: some of them ask a disk, which may be a slow one.
    let encode = move || TextEncoder::new().encode_to_string(&registry.gather());
    let encoded = tokio::task::spawn_blocking(encode).await.map_err(|error| error.to_string());
    encoded
        .and_then(|text| text.map_err(|error| error.to_string()))
        .map_err(|error| ApiError::internal(format!("cannot encode the metrics: {error}")))
}

async fn check_token(State(guard): State<Guard>, request: Request, next: Next) -> Response {
    match guard.check(&request) {
        Ok(()) => {
            if let Some(connection) = request.extensions().get::<Known>() {
                connection.set();
            }
            next.run(request).await
        }
        // Who asks again does it on another connection: this one may be about to end as a stranger's.
        Err(error) => ([(CONNECTION, "close")], error).into_response(),
    }
}

#[cfg(test)]
mod tests;

//! [`ApiError`]: how a handler says no. The one place where errors become HTTP.

use std::collections::BTreeMap;

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use utoipa::openapi::{ContentBuilder, Ref, RefOr, Response as Description, ResponseBuilder};
use utoipa::{IntoResponses, ToSchema};

/// An error as the caller sees it: a status and `{"code": 404, "msg": "…"}`.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{message}")]
pub struct ApiError {
    pub status: StatusCode,
    pub message: String,
}

/// What documents call the body.
pub(crate) const SCHEMA: &str = "Error";

#[derive(serde::Serialize, ToSchema)]
pub(crate) struct Body<'a> {
    /// The status once more.
    code: u16,
    /// What is wrong, and what to do.
    msg: &'a str,
}

impl ApiError {
    pub fn new(status: StatusCode, message: impl Into<String>) -> ApiError {
        ApiError { status, message: message.into() }
    }

    /// 400: the request itself is wrong.
    pub fn bad_request(message: impl Into<String>) -> ApiError {
        ApiError::new(StatusCode::BAD_REQUEST, message)
    }

    /// 401: no token, or a wrong one.
    pub fn unauthorized(message: impl Into<String>) -> ApiError {
        ApiError::new(StatusCode::UNAUTHORIZED, message)
    }

    /// 403: the token is good, but not for this.
    pub fn forbidden(message: impl Into<String>) -> ApiError {
        ApiError::new(StatusCode::FORBIDDEN, message)
    }

    /// 404: what it names does not exist.
    pub fn not_found(message: impl Into<String>) -> ApiError {
        ApiError::new(StatusCode::NOT_FOUND, message)
    }

    /// 406: it exists, but not as asked for.
    pub fn not_acceptable(message: impl Into<String>) -> ApiError {
        ApiError::new(StatusCode::NOT_ACCEPTABLE, message)
    }

    /// 409: it exists already, and differs.
    pub fn conflict(message: impl Into<String>) -> ApiError {
        ApiError::new(StatusCode::CONFLICT, message)
    }

    /// 503: not now; trying again later may work.
    pub fn unavailable(message: impl Into<String>) -> ApiError {
        ApiError::new(StatusCode::SERVICE_UNAVAILABLE, message)
    }

    /// 500: our fault.
    pub fn internal(message: impl Into<String>) -> ApiError {
        ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, message)
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        if self.status.is_server_error() {
            tracing::warn!(status = self.status.as_u16(), "request failed: {}", self.message);
        }
        let body = Body { code: self.status.as_u16(), msg: &self.message };
        (self.status, Json(body)).into_response()
    }
}

impl IntoResponses for ApiError {
    /// Whatever the status, the body is the same.
    fn responses() -> BTreeMap<String, RefOr<Description>> {
        let body = ContentBuilder::new().schema(Some(Ref::from_schema_name(SCHEMA))).build();
        let response = |statuses: &str, description: &str| {
            let response = ResponseBuilder::new().description(description);
            (statuses.to_owned(), response.content("application/json", body.clone()).build().into())
        };
        BTreeMap::from([
            response("4XX", "It is refused."),
            response("5XX", "It cannot be done now (503, 507), or went wrong here."),
        ])
    }
}

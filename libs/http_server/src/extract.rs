//! What handlers take from a request. axum's own say in plain text what is wrong; these say it as an
//! [`ApiError`]. They have axum's names because utoipa knows by them where a type comes from.

use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::ApiError;

/// The variables of the route. 400 if one is not of its type.
#[derive(Clone, Copy, Debug)]
pub struct Path<T>(pub T);

/// 400 if a parameter is missing or not of its type.
#[derive(Clone, Copy, Debug)]
pub struct Query<T>(pub T);

/// The body, of a request or of an answer. 400 if it is no JSON, 422 if it is none of this type, 415 if it is not
/// said to be JSON, 413 if it is too long.
#[derive(Clone, Copy, Debug)]
pub struct Json<T>(pub T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Path<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let path = axum::extract::Path::from_request_parts(parts, state).await;
        path.map(|path| Self(path.0)).map_err(|error| ApiError::new(error.status(), error.body_text()))
    }
}

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Query<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let query = axum::extract::Query::from_request_parts(parts, state).await;
        query.map(|query| Self(query.0)).map_err(|error| ApiError::new(error.status(), error.body_text()))
    }
}

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Json<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        let json = axum::Json::from_request(request, state).await;
        json.map(|json| Self(json.0)).map_err(|error| ApiError::new(error.status(), error.body_text()))
    }
}

impl<T: Serialize> IntoResponse for Json<T> {
    fn into_response(self) -> Response {
        axum::Json(self.0).into_response()
    }
}

//! The pages, a module for each with what its forms do.

mod branch;
mod branches;
mod endpoints;
mod layers;
pub mod positions;
mod query;
mod schema;

use std::sync::Arc;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Extension, Query, Request, State};
use axum::http::StatusCode;
use axum::http::header::SET_COOKIE;
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use serde::Deserialize;

use super::guard::{MOST_BYTES, Posted, guard};
use super::layout::{Failure, Shared, who_are_you};
use super::sessions::Visitor;
use super::{Console, assets};

pub(super) fn router(console: Arc<Console>) -> Router {
    Router::new()
        .route("/", get(branches::show).post(branches::create))
        .route("/branch", get(branch::show))
        .route("/branch/restore", post(branch::restore))
        .route("/branch/delete", post(branch::delete))
        .route("/endpoints", get(endpoints::show).post(endpoints::create))
        .route("/endpoints/start", post(endpoints::start))
        .route("/endpoints/stop", post(endpoints::stop))
        .route("/endpoints/delete", post(endpoints::delete))
        .route("/positions", get(positions::show))
        .route("/positions/live", get(positions::live))
        .route("/layers", get(layers::show))
        .route("/query", get(query::show).post(query::run))
        .route("/schema", get(schema::show).post(schema::compare))
        .route("/login", get(log_in))
        .route("/logout", post(log_out))
        .merge(assets::router())
        .fallback(async |request: Request| Failure::not_found(request.uri().path()))
        .layer(middleware::from_fn(to_its_end))
        .layer(middleware::from_fn_with_state(Arc::clone(&console), guard))
        .layer(DefaultBodyLimit::max(MOST_BYTES))
        .with_state(console)
}

/// A browser that goes leaves nothing half done: no branch that only the pageserver has, no compute that nobody ends.
async fn to_its_end(request: Request, next: Next) -> Response {
    match tokio::spawn(next.run(request)).await {
        Ok(response) => response,
        // It panicked, and has said so.
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

/// The branch that a link names.
#[derive(Deserialize)]
pub struct OfBranch {
    #[serde(default)]
    branch: String,
    #[serde(default)]
    tenant: String,
}

#[derive(Deserialize)]
pub struct OfTenant {
    #[serde(default)]
    tenant: String,
}

#[derive(Deserialize)]
struct Ticket {
    #[serde(default)]
    token: String,
}

async fn log_in(State(console): Shared, Query(Ticket { token }): Query<Ticket>) -> Response {
    let Some(cookie) = console.sessions.log_in(&token) else {
        return (StatusCode::UNAUTHORIZED, who_are_you()).into_response();
    };
    console.output.progress(format!("A browser has logged in; for another one:\n\n  {}\n", console.link()));
    // A redirect, so that the ticket is not in the address of a page.
    ([(SET_COOKIE, cookie)], Redirect::to("/")).into_response()
}

#[derive(Deserialize)]
struct Nothing {}

async fn log_out(
    State(console): Shared,
    Extension(visitor): Extension<Visitor>,
    Posted(Nothing {}): Posted<Nothing>,
) -> Response {
    let cookie = console.sessions.log_out(&visitor);
    ([(SET_COOKIE, cookie)], who_are_you()).into_response()
}

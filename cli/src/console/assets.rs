//! Files that are part of this program.

use axum::Router;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::routing::get;

const STYLE: &str = include_str!("assets/console.css");
const SCRIPT: &str = include_str!("assets/console.js");
const ICON: &str = include_str!("assets/icon.svg");

/// They are the same for everybody, and asked for again when the program is another one.
pub fn router<S: Clone + Send + Sync + 'static>() -> Router<S> {
    let file = |kind: &'static str, text: &'static str| {
        get(move || async move { ([(CONTENT_TYPE, kind), (CACHE_CONTROL, "no-cache")], text) })
    };
    Router::new()
        .route("/static/console.css", file("text/css; charset=utf-8", STYLE))
        .route("/static/console.js", file("text/javascript; charset=utf-8", SCRIPT))
        .route("/static/icon.svg", file("image/svg+xml", ICON))
}

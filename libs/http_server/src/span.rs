//! Spans of requests.

use axum::extract::{MatchedPath, Request};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, HeaderValue};
use axum::middleware::Next;
use axum::response::Response;
use telemetry::trace_span;
use telemetry::traces::span::is_on;
use tracing::field::Empty;
use tracing::{Instrument, Span};
use types::TraceParent;

/// What looks at a daemon now and then. Begun by lot, such traces would be nearly all.
const LOOKS: [&str; 3] = ["/metrics", "/status", "/v1/status"];

pub async fn traced(request: Request, next: Next) -> Response {
    let span = if is_on() { of(&request) } else { Span::none() };
    if span.is_none() {
        return next.run(request).await;
    }
    let response = next.run(request).instrument(span.clone()).await;
    span.record("http.response.status_code", response.status().as_u16());
    if response.status().is_server_error() {
        span.record("otel.status_code", "ERROR");
    }
    response
}

/// Named as OpenTelemetry's conventions for HTTP have it.
fn of(request: &Request) -> Span {
    let parent = parent(request.headers());
    let path = request.uri().path();
    // A stream of gRPC goes on for ever, and its span with it.
    let content = request.headers().get(CONTENT_TYPE).map(HeaderValue::as_bytes).unwrap_or_default();
    if content.starts_with(b"application/grpc") || parent.is_none() && LOOKS.contains(&path) {
        return Span::none();
    }
    let route = request.extensions().get::<MatchedPath>().map_or("", MatchedPath::as_str);
    let method = request.method().as_str();
    trace_span!(
        parent,
        "HTTP request",
        otel.name = format!("{method} {route}").trim_end(),
        otel.kind = "server",
        http.request.method = method,
        http.route = route,
        url.path = path,
        http.response.status_code = Empty,
        otel.status_code = Empty,
    )
}

/// None also if it is not understood: a trace is nothing to refuse a request for.
fn parent(headers: &HeaderMap) -> Option<TraceParent> {
    headers.get("traceparent")?.to_str().ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_that_is_not_understood_is_none() {
        let text = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let headers =
            |value: &str| HeaderMap::from_iter([("traceparent".parse().unwrap(), value.parse().unwrap())]);
        assert_eq!(parent(&headers(text)).unwrap().to_string(), text);
        assert_eq!(parent(&headers("01")), None);
        assert_eq!(parent(&HeaderMap::new()), None);
    }
}

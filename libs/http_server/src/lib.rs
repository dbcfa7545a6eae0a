//! What the HTTP APIs of all daemons share: the token check, `/metrics`, errors as JSON, serving with
//! a graceful end. No route of any daemon is known here.

mod error;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::header;
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use prometheus::{Registry, TextEncoder};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use auth::ClusterToken;
pub use error::ApiError;

/// Adds `GET /metrics` and the token check on every route, unknown ones included: without the token
/// nobody learns even which routes there are.
pub fn router(app: Router, token: ClusterToken, registry: Registry) -> Router {
    app.route("/metrics", get(move || metrics(registry.clone())))
        .fallback(|request: Request| async move {
            ApiError::not_found(format!("there is no {} {}", request.method(), request.uri().path()))
        })
        .layer(middleware::from_fn_with_state(token, check_token))
}

async fn metrics(registry: Registry) -> Result<String, ApiError> {
    TextEncoder::new()
        .encode_to_string(&registry.gather())
        .map_err(|error| ApiError::internal(format!("cannot encode the metrics: {error}")))
}

async fn check_token(State(token): State<ClusterToken>, request: Request, next: Next) -> Response {
    let presented = request.headers().get(header::AUTHORIZATION).map(|value| value.as_bytes());
    match token.verify_bearer(presented) {
        Ok(()) => next.run(request).await,
        Err(error) => ApiError::unauthorized(error.to_string()).into_response(),
    }
}

/// Serves until `shutdown` is cancelled, then lets requests under way finish.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    shutdown: CancellationToken,
) -> std::io::Result<()> {
    axum::serve(listener, router).with_graceful_shutdown(async move { shutdown.cancelled().await }).await
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;

    use super::*;

    async fn request(address: std::net::SocketAddr, path: &str, token: Option<&ClusterToken>) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let authorization = token.map(|t| format!("Authorization: {}\r\n", t.bearer())).unwrap_or_default();
        let head = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{authorization}\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    #[tokio::test]
    async fn nothing_is_told_without_the_token() {
        let registry = Registry::new();
        registry.register(Box::new(prometheus::IntCounter::new("seen_total", "help").unwrap())).unwrap();
        let (token, shutdown) = (ClusterToken::generate(), CancellationToken::new());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let app =
            router(Router::new().route("/v1/status", get(|| async { "fine" })), token.clone(), registry);
        let server = tokio::spawn(serve(listener, app, shutdown.clone()));

        for path in ["/v1/status", "/metrics", "/unknown"] {
            assert!(request(address, path, None).await.starts_with("HTTP/1.1 401"), "{path}");
            let wrong = ClusterToken::generate();
            assert!(request(address, path, Some(&wrong)).await.starts_with("HTTP/1.1 401"), "{path}");
        }
        assert!(request(address, "/v1/status", Some(&token)).await.ends_with("fine"));
        assert!(request(address, "/metrics", Some(&token)).await.contains("seen_total 0"));
        assert!(request(address, "/unknown", Some(&token)).await.contains("there is no GET /unknown"));
        shutdown.cancel();
        server.await.unwrap().unwrap();
    }
}

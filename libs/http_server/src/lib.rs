//! What the HTTP APIs of all daemons share: the check of tokens, `/metrics`, errors as JSON, serving with
//! a graceful end, over TLS where there is a certificate; what describes them by OpenAPI. No route of any daemon is known here, only the variables
//! that routes of several have.

mod error;
pub mod extract;
mod guard;
mod listen;
mod openapi;
mod path;
mod span;

use std::pin::pin;
use std::time::Duration;

use auth::Certificate;
use axum::Router;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::serve::Listener;
use prometheus::{Registry, TextEncoder};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use listen::TlsListener;

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
        Ok(()) => next.run(request).await,
        Err(error) => error.into_response(),
    }
}

/// How long requests under way may take once the service is to end. A client whose host went away without
/// a word is never finished with: TCP would wait for it a quarter of an hour.
const FAREWELL: Duration = Duration::from_secs(5);

/// Serves until `shutdown` is cancelled, then lets requests under way finish, for some seconds. With a certificate it
/// speaks TLS, and nothing else.
pub async fn serve(
    listener: TcpListener,
    certificate: Option<Certificate>,
    router: Router,
    shutdown: CancellationToken,
) -> std::io::Result<()> {
    match certificate {
        None => serve_with(listener, router, shutdown, FAREWELL).await,
        Some(certificate) => {
            serve_with(TlsListener::new(listener, certificate)?, router, shutdown, FAREWELL).await
        }
    }
}

async fn serve_with<L: Listener<Addr: std::fmt::Debug>>(
    listener: L,
    router: Router,
    shutdown: CancellationToken,
    farewell: Duration,
) -> std::io::Result<()> {
    let serving = axum::serve(listener, router).with_graceful_shutdown(shutdown.clone().cancelled_owned());
    let mut serving = pin!(serving.into_future());
    tokio::select! {
        served = &mut serving => return served,
        () = shutdown.cancelled() => {}
    }
    match tokio::time::timeout(farewell, serving).await {
        Ok(served) => served,
        Err(_) => {
            tracing::warn!("requests were still under way {farewell:?} after the end was asked for");
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use auth::{Claims, Credentials, Scope, SigningKey};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;

    use super::*;

    async fn request(address: std::net::SocketAddr, path: &str, token: Option<&Credentials>) -> String {
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
        let (key, shutdown) = (SigningKey::generate(), CancellationToken::new());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let guard = Guard { verifier: key.verifier(), part: Scope::Pageserver };
        let app = router(Router::new().route("/v1/status", get(|| async { "fine" })), guard, registry);
        let token = key.credentials(&Claims::new([Scope::Pageserver])).unwrap();
        let other = key.credentials(&Claims::new([Scope::Safekeeper])).unwrap();
        let strange = SigningKey::generate().credentials(&Claims::new([Scope::Admin])).unwrap();
        let server = tokio::spawn(serve(listener, None, app, shutdown.clone()));

        for path in ["/v1/status", "/metrics", "/unknown"] {
            assert!(request(address, path, None).await.starts_with("HTTP/1.1 401"), "{path}");
            assert!(request(address, path, Some(&strange)).await.starts_with("HTTP/1.1 401"), "{path}");
            let forbidden = request(address, path, Some(&other)).await;
            assert!(forbidden.starts_with("HTTP/1.1 403") && forbidden.contains("pageserver"), "{forbidden}");
        }
        assert!(request(address, "/v1/status", Some(&token)).await.ends_with("fine"));
        assert!(request(address, "/metrics", Some(&token)).await.contains("seen_total 0"));
        assert!(request(address, "/unknown", Some(&token)).await.contains("there is no GET /unknown"));
        shutdown.cancel();
        server.await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn a_client_that_is_never_finished_with_does_not_hold_up_the_end() {
        let (key, shutdown) = (SigningKey::generate(), CancellationToken::new());
        let token = key.credentials(&Claims::new([Scope::Admin])).unwrap();
        let guard = Guard { verifier: key.verifier(), part: Scope::Safekeeper };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let arrived = std::sync::Arc::new(tokio::sync::Notify::new());
        let told = arrived.clone();
        let never = move || async move {
            told.notify_one();
            std::future::pending::<()>().await;
        };
        let app = router(Router::new().route("/never", get(never)), guard, Registry::new());
        let farewell = Duration::from_millis(50);
        let server = tokio::spawn(serve_with(listener, app, shutdown.clone(), farewell));
        let asking = tokio::spawn(async move { request(address, "/never", Some(&token)).await });
        arrived.notified().await;
        shutdown.cancel();
        server.await.unwrap().unwrap();
        asking.abort();
    }
}

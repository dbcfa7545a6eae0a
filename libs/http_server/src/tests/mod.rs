//! A port with routes of which each is one of those that matter here.

mod bounds;
mod end;
mod tls;
mod tokens;

use std::net::SocketAddr;
use std::time::Duration;

use auth::{Certificate, CertificateFiles, Claims, Credentials, Scope, SigningKey, Trust};
use axum::Router;
use axum::body::{Body, Bytes};
use axum::routing::{get, post};
use prometheus::{IntCounter, Registry};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_util::io::ReaderStream;
use tokio_util::sync::CancellationToken;

use crate::connections::{LIMITS, Limits, serve_within};
use crate::{Guard, router};

/// Longer than anything takes here that ends at all, and shorter than the patience of a port outside.
const LONG: Duration = Duration::from_secs(8);

struct Port {
    address: SocketAddr,
    key: SigningKey,
    place: tempfile::TempDir,
    shutdown: CancellationToken,
    serving: JoinHandle<()>,
}

impl Port {
    async fn open(limits: Limits) -> Port {
        Port::begin(limits, |_| None).await
    }

    async fn open_with_tls(limits: Limits) -> Port {
        Port::begin(limits, |place| Some(certificate(place))).await
    }

    async fn begin(limits: Limits, certificate: impl Fn(&tempfile::TempDir) -> Option<Certificate>) -> Port {
        let place = tempfile::tempdir().unwrap();
        let key = SigningKey::generate();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, shutdown) = (listener.local_addr().unwrap(), CancellationToken::new());
        let routes = routes(Guard { verifier: key.verifier(), part: Scope::Pageserver });
        let serving = serve_within(limits, listener, certificate(&place), routes, shutdown.clone());
        Port { address, key, place, shutdown, serving: tokio::spawn(serving) }
    }

    fn token(&self) -> Credentials {
        self.key.credentials(&Claims::new([Scope::Pageserver])).unwrap()
    }

    fn trust(&self) -> Trust {
        Trust::load(&self.place.path().join("cert.pem")).unwrap()
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// On a connection of its own.
    async fn ask(&self, path: &str, token: Option<&Credentials>) -> String {
        let mut stream = self.connect().await;
        stream.write_all(get_request(path, token, "Connection: close\r\n").as_bytes()).await.unwrap();
        to_the_end(&mut stream).await
    }

    async fn stop(self) {
        self.shutdown.cancel();
        tokio::time::timeout(LONG, self.serving).await.unwrap().unwrap();
    }
}

fn certificate(place: &tempfile::TempDir) -> Certificate {
    let at = |name: &str| place.path().join(name);
    let key = rcgen::KeyPair::generate().unwrap();
    let params = rcgen::CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    std::fs::write(at("cert.pem"), params.self_signed(&key).unwrap().pem()).unwrap();
    std::fs::write(at("key.pem"), key.serialize_pem()).unwrap();
    Certificate::load(&CertificateFiles { certificate: at("cert.pem"), key: at("key.pem") }).unwrap()
}

/// `/open` needs no token.
fn routes(guard: Guard) -> Router {
    let registry = Registry::new();
    registry.register(Box::new(IntCounter::new("seen_total", "help").unwrap())).unwrap();
    let late = |after| async move {
        tokio::time::sleep(after).await;
        "late"
    };
    let app = Router::new()
        .route("/v1/status", get(|| async { "fine" }))
        .route("/late", get(move || late(Duration::from_millis(500))))
        .route("/never", get(std::future::pending::<()>))
        .route("/drops", get(|| async { drops() }))
        .route("/length", post(|body: Bytes| async move { format!("{} bytes", body.len()) }));
    router(app, guard, registry).route("/open", get(|| async { "open" }))
}

/// Ten bytes in two seconds.
fn drops() -> Body {
    let (mut pen, paper) = tokio::io::duplex(1);
    tokio::spawn(async move {
        for _ in 0..10 {
            tokio::time::sleep(Duration::from_millis(200)).await;
            // Nobody reads any more.
            if pen.write_all(b".").await.is_err() {
                return;
            }
        }
    });
    Body::from_stream(ReaderStream::new(paper))
}

fn get_request(path: &str, token: Option<&Credentials>, more: &str) -> String {
    let authorization =
        token.map(|token| format!("Authorization: {}\r\n", token.bearer())).unwrap_or_default();
    format!("GET {path} HTTP/1.1\r\nHost: x\r\n{more}{authorization}\r\n")
}

/// What comes until the other side ends the connection, in good order or not.
async fn to_the_end(stream: &mut (impl AsyncRead + Unpin)) -> String {
    let mut said = Vec::new();
    let _ = tokio::time::timeout(LONG, stream.read_to_end(&mut said)).await.expect("an end");
    String::from_utf8_lossy(&said).into_owned()
}

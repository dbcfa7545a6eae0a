//! Serving with a certificate: who is answered, who is sent away, and that nobody holds up the others.

use std::net::SocketAddr;
use std::time::Duration;

use auth::{Certificate, CertificateFiles, Trust};
use axum::Router;
use axum::routing::get;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

struct Server {
    place: tempfile::TempDir,
    address: SocketAddr,
    shutdown: CancellationToken,
    serving: JoinHandle<std::io::Result<()>>,
}

impl Server {
    async fn start() -> Server {
        let place = tempfile::tempdir().unwrap();
        let at = |name: &str| place.path().join(name);
        let key = rcgen::KeyPair::generate().unwrap();
        let params = rcgen::CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
        std::fs::write(at("cert.pem"), params.self_signed(&key).unwrap().pem()).unwrap();
        std::fs::write(at("key.pem"), key.serialize_pem()).unwrap();
        let files = CertificateFiles { certificate: at("cert.pem"), key: at("key.pem") };
        let certificate = Certificate::load(&files).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, shutdown) = (listener.local_addr().unwrap(), CancellationToken::new());
        let slow = || async {
            tokio::time::sleep(Duration::from_millis(500)).await;
            "late"
        };
        let app = Router::new().route("/", get(|| async { "fine" })).route("/slow", get(slow));
        let serving = http_server::serve(listener, Some(certificate), app, shutdown.clone());
        Server { place, address, shutdown, serving: tokio::spawn(serving) }
    }

    fn trust(&self) -> Trust {
        Trust::load(&self.place.path().join("cert.pem")).unwrap()
    }

    async fn ask(&self, path: &str) -> String {
        let http = http_client::client(Some(&self.trust()));
        let answer = http.get(format!("https://{}{path}", self.address)).send().await;
        let answer = answer.unwrap_or_else(|error| panic!("{error:?}"));
        answer.text().await.unwrap()
    }
}

#[tokio::test]
async fn those_who_do_not_finish_their_handshake_hold_up_nobody() {
    let server = Server::start().await;
    let mut idle = Vec::new();
    for n in 0..40 {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        if n % 2 == 0 {
            stream.write_all(&[22, 3, 1]).await.unwrap();
        }
        idle.push(stream);
    }
    let answer = tokio::time::timeout(Duration::from_secs(5), server.ask("/")).await.unwrap();
    assert_eq!(answer, "fine");
    // Nor the end; and a request under way is answered.
    let (answer, ()) = tokio::join!(server.ask("/slow"), async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        server.shutdown.cancel();
    });
    assert_eq!(answer, "late");
    tokio::time::timeout(Duration::from_secs(4), server.serving).await.unwrap().unwrap().unwrap();
}

#[tokio::test]
async fn plain_text_is_refused_in_words() {
    let server = Server::start().await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    let mut said = String::new();
    stream.read_to_string(&mut said).await.unwrap();
    assert!(said.starts_with("HTTP/1.1 400 ") && said.contains("speaks TLS only"), "{said}");
    assert!(!said.contains("fine"), "{said}");
}

#[tokio::test]
async fn both_versions_of_http_are_to_be_had() {
    let server = Server::start().await;
    for protocol in ["h2", "http/1.1"] {
        let stream = TcpStream::connect(server.address).await.unwrap();
        let stream = server.trust().connect("127.0.0.1", stream, &[protocol]).await.unwrap();
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(protocol.as_bytes()));
    }
}

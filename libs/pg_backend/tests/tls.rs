//! A server with a certificate: who gets in, and what those hear who want to go on without TLS.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use auth::{Certificate, CertificateFiles, Claims, Credentials, Scope, SigningKey, Trust};
use bytes::Bytes;
use pg_backend::{Handler, Limits, QueryError, Session, serve};
use pg_frontend::{Address, ConnectParams, PgClient, PgError};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

struct Echo;

impl Handler for Echo {
    async fn handle_query(&self, session: &mut Session, _query: &str) -> Result<(), QueryError> {
        let (mut reader, mut writer) = session.copy_both().await?.split();
        while let Some(data) = reader.next().await? {
            writer.send(data).await?;
            writer.flush().await?;
        }
        Ok(())
    }
}

struct Server {
    place: tempfile::TempDir,
    address: SocketAddr,
    credentials: Credentials,
}

/// A certificate that is its own authority.
fn write_certificate(place: &Path, name: &str) {
    let key = rcgen::KeyPair::generate().unwrap();
    let params = rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap();
    std::fs::write(place.join("cert.pem"), params.self_signed(&key).unwrap().pem()).unwrap();
    std::fs::write(place.join("key.pem"), key.serialize_pem()).unwrap();
}

impl Server {
    async fn start(limits: Limits) -> Server {
        let place = tempfile::tempdir().unwrap();
        write_certificate(place.path(), "127.0.0.1");
        let at = |name: &str| place.path().join(name);
        let files = CertificateFiles { certificate: at("cert.pem"), key: at("key.pem") };
        let certificate = Certificate::load(&files).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, key) = (listener.local_addr().unwrap(), SigningKey::generate());
        let credentials = key.credentials(&Claims::new([Scope::Admin])).unwrap();
        let served = serve(
            listener,
            Some(certificate),
            key.verifier(),
            Arc::new(Echo),
            CancellationToken::new(),
            limits,
        );
        tokio::spawn(served);
        Server { place, address, credentials }
    }

    fn trust(&self) -> Trust {
        Trust::load(&self.place.path().join("cert.pem")).unwrap()
    }

    async fn connect(&self, host: &str, trust: Option<Trust>) -> Result<PgClient, PgError> {
        let address = Address::parse(&format!("{host}:{}", self.address.port())).unwrap();
        let credentials = self.credentials.clone().believing(trust);
        PgClient::connect(&ConnectParams::new(address, "me").credentials(&credentials)).await
    }

    /// What the server says to these bytes, until it closes.
    async fn hears(&self, bytes: &[u8]) -> Vec<u8> {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        let mut said = Vec::new();
        let all = stream.read_to_end(&mut said);
        tokio::time::timeout(Duration::from_secs(5), all).await.unwrap().unwrap();
        said
    }
}

const SSL_REQUEST: &[u8] = &[0, 0, 0, 8, 4, 210, 22, 47];

#[tokio::test]
async fn much_goes_both_ways_over_tls() {
    let server = Server::start(Limits::default()).await;
    let client = server.connect("127.0.0.1", Some(server.trust())).await.unwrap();
    let (mut reader, mut writer) = client.copy_both("echo").await.unwrap().split();
    let message = |n: usize| Bytes::from(vec![n as u8; n * 1777 % 100_000]);
    let sending = async {
        for n in 0..300 {
            writer.send(&message(n)).await.unwrap();
        }
        writer.finish().await.unwrap();
    };
    let receiving = async {
        for n in 0..300 {
            assert_eq!(reader.next().await.unwrap(), Some(message(n)), "{n}");
        }
        assert_eq!(reader.next().await.unwrap(), None);
    };
    tokio::join!(sending, receiving);
}

#[tokio::test]
async fn the_wrong_authority_and_the_wrong_name_are_refused_by_the_client() {
    let (server, other) = (Server::start(Limits::default()).await, Server::start(Limits::default()).await);
    let refused = |answer: Result<PgClient, PgError>| match answer.err().unwrap() {
        PgError::Tls { reason, .. } => reason,
        error => panic!("{error}"),
    };
    let unknown = refused(server.connect("127.0.0.1", Some(other.trust())).await);
    assert!(unknown.contains("invalid peer certificate"), "{unknown}");
    let misnamed = refused(server.connect("localhost", Some(server.trust())).await);
    assert!(misnamed.contains("not valid for"), "{misnamed}");
}

#[tokio::test]
async fn nobody_goes_on_in_clear() {
    let server = Server::start(Limits::default()).await;
    let error = server.connect("127.0.0.1", None).await.err().unwrap();
    assert_eq!(error.sqlstate(), Some("28000"), "{error}");
    assert!(error.to_string().contains("speaks TLS only"), "{error}");
    // Refused before the token was asked for.
    let said = server.hears(b"\0\0\0\x0e\0\x03\0\0user\0\0").await;
    assert_eq!(said[0], b'E', "{said:?}");
    // A request to cancel something, and one for GSSAPI.
    assert_eq!(server.hears(&[0, 0, 0, 16, 4, 210, 22, 46, 0, 0, 0, 1, 0, 0, 0, 1]).await, b"");
    let gss = [0, 0, 0, 8, 4, 210, 22, 48];
    assert!(server.hears(&[&gss[..], b"\0\0\0\x0e\0\x03\0\0user\0\0"].concat()).await.starts_with(b"NE"));
    assert_eq!(server.hears(&gss.repeat(3)).await, b"NNN", "and the connection is closed");
}

/// Somebody between client and server could put it there, and it would be taken for the client's own.
#[tokio::test]
async fn what_comes_before_the_handshake_is_not_taken_for_what_comes_after() {
    let server = Server::start(Limits::default()).await;
    let stuffed = [SSL_REQUEST, b"\0\0\0\x0e\0\x03\0\0user\0\0"].concat();
    assert_eq!(server.hears(&stuffed).await, b"");
}

#[tokio::test]
async fn who_begins_with_tls_names_the_protocol() {
    let server = Server::start(Limits::default()).await;
    let begin = async |protocols: &[&str]| {
        let stream = TcpStream::connect(server.address).await.unwrap();
        let mut stream = server.trust().connect("127.0.0.1", stream, protocols).await?;
        stream.write_all(b"\0\0\0\x0e\0\x03\0\0user\0\0").await?;
        let mut asked = [0; 9];
        stream.read_exact(&mut asked).await.map(|_| asked)
    };
    assert_eq!(&begin(&["postgresql"]).await.unwrap(), b"R\0\0\0\x08\0\0\0\x03", "the password is asked for");
    assert!(begin(&["http/1.1"]).await.is_err());
    assert!(begin(&[]).await.is_err());
}

#[tokio::test]
async fn a_handshake_that_is_not_finished_does_not_keep_its_place() {
    let limits =
        Limits { max_connections: 1, startup_timeout: Duration::from_millis(300), ..Limits::default() };
    let server = Server::start(limits).await;
    assert_eq!(server.hears(SSL_REQUEST).await, b"S", "and is then closed");
    assert_eq!(server.hears(&[22, 3, 1]).await, b"");
    server.connect("127.0.0.1", Some(server.trust())).await.unwrap();
}

#[tokio::test]
async fn a_client_that_wants_tls_hears_where_there_is_none() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, key) = (listener.local_addr().unwrap(), SigningKey::generate());
    let token = key.credentials(&Claims::new([Scope::Admin])).unwrap();
    let (stop, limits) = (CancellationToken::new(), Limits::default());
    tokio::spawn(serve(listener, None, key.verifier(), Arc::new(Echo), stop, limits));
    let with_certificate = Server::start(Limits::default()).await;
    let credentials = token.believing(Some(with_certificate.trust()));
    let address = Address::parse(&address.to_string()).unwrap();
    let answer = PgClient::connect(&ConnectParams::new(address, "me").credentials(&credentials)).await;
    let error = answer.err().unwrap().to_string();
    assert!(error.contains("speaks no TLS"), "{error}");
}

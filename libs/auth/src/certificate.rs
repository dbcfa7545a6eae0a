//! [`Certificate`]: what a part shows to who connects to it, and the handshake from its side.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::{ClientHello, ResolvesServerCert};
use tokio_rustls::rustls::sign::CertifiedKey;
use tokio_rustls::server::TlsStream;

use crate::AuthError;
use crate::watched::Watched;

/// Bytes in one record of ours, its header counted. libpq makes room for 8 KiB and reads, and its users wait for the socket
/// then: the rest of a longer record would be in OpenSSL, where no socket tells of it.
const MOST_IN_A_RECORD: usize = 8192 + 5;
/// The first byte of a TLS connection: a record of the handshake (RFC 8446 §5.1).
const HANDSHAKE: u8 = 22;

/// Where a certificate lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFiles {
    /// In PEM, with those that lead to its root.
    pub certificate: PathBuf,
    /// Its key, in PEM.
    pub key: PathBuf,
}

/// A certificate with its key, read from their files again when these change: connections from then on see the new one.
/// Cheap to clone.
#[derive(Clone)]
pub struct Certificate {
    config: Arc<ServerConfig>,
    /// The same with HTTP/2 and HTTP/1.1 to choose from.
    http: Arc<ServerConfig>,
}

impl CertificateFiles {
    /// Of a command line on which the two go together.
    pub fn of(certificate: Option<PathBuf>, key: Option<PathBuf>) -> Option<CertificateFiles> {
        certificate.zip(key).map(|(certificate, key)| CertificateFiles { certificate, key })
    }
}

impl Certificate {
    pub fn load(files: &CertificateFiles) -> Result<Certificate, AuthError> {
        let CertificateFiles { certificate, key } = files.clone();
        let paths = vec![certificate.clone(), key.clone()];
        let shown = Arc::new(Shown(Watched::of_files(paths, move || read(&certificate, &key))?));
        let config = |protocols: &[&str]| {
            let builder = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()));
            let builder = builder.with_safe_default_protocol_versions().expect("ring has TLS 1.2 and 1.3");
            let mut config = builder.with_no_client_auth().with_cert_resolver(shown.clone());
            config.max_fragment_size = Some(MOST_IN_A_RECORD);
            config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
            Arc::new(config)
        };
        Ok(Certificate { config: config(&["postgresql"]), http: config(&["h2", "http/1.1"]) })
    }

    /// From [`CertificateFiles::of`]. `None` without them.
    pub fn of(certificate: Option<PathBuf>, key: Option<PathBuf>) -> Result<Option<Certificate>, AuthError> {
        CertificateFiles::of(certificate, key).map(|files| Certificate::load(&files)).transpose()
    }

    /// The handshake of a client that speaks PostgreSQL's protocol, and whose next byte is TLS.
    pub async fn accept(&self, stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        TlsAcceptor::from(self.config.clone()).accept(stream).await
    }

    /// The handshake of one that speaks HTTP.
    pub async fn accept_http(&self, stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        TlsAcceptor::from(self.http.clone()).accept(stream).await
    }
}

/// Whether what comes is TLS, once something has come. False also if the client has left.
pub async fn begins_with_tls(stream: &TcpStream) -> io::Result<bool> {
    let mut first = [0];
    Ok(stream.peek(&mut first).await? == 1 && first[0] == HANDSHAKE)
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Certificate(…)")
    }
}

/// The pair as it is at the moment of a handshake.
struct Shown(Watched<Arc<CertifiedKey>>);

impl ResolvesServerCert for Shown {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0.get()))
    }
}

impl fmt::Debug for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Shown(…)")
    }
}

fn read(certificate: &Path, key: &Path) -> Result<Arc<CertifiedKey>, AuthError> {
    let chain = certificates(certificate, &bytes(certificate)?)?;
    let path = key.to_owned();
    let secret = PrivateKeyDer::from_pem_slice(&bytes(key)?)
        .map_err(|_| AuthError::NotACertificatesKey { path: path.clone() })?;
    let pair = CertifiedKey::from_der(chain, secret, &ring::default_provider());
    pair.map(Arc::new).map_err(|error| AuthError::PairDoesNotFit {
        certificate: certificate.to_owned(),
        key: path,
        why: error.to_string(),
    })
}

/// One at least of what the file holds.
pub(crate) fn certificates(path: &Path, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, AuthError> {
    let none = || AuthError::NotACertificate { path: path.to_owned() };
    let found: Vec<_> = CertificateDer::pem_slice_iter(pem).collect::<Result<_, _>>().map_err(|_| none())?;
    if found.is_empty() { Err(none()) } else { Ok(found) }
}

pub(crate) fn bytes(path: &Path) -> Result<Vec<u8>, AuthError> {
    std::fs::read(path).map_err(|source| AuthError::Unreadable { path: path.to_owned(), source })
}

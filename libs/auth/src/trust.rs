//! [`Trust`]: whom a part believes that it connects to, and the handshake from its side.

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;

use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use tokio_rustls::rustls::client::{Resumption, WebPkiServerVerifier};
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use tokio_rustls::rustls::{
    ClientConfig, ConfigBuilder, DigitallySignedStruct, Error, RootCertStore, SignatureScheme, WantsVerifier,
};

use crate::AuthError;
use crate::certificate::{bytes, certificates};
use crate::watched::Watched;

/// Authorities whose certificates are believed, read from their file again when that changes. Cheap to clone.
///
/// A certificate has to be of one of them, to be good now, and to bear the name or the address that was asked for.
#[derive(Clone)]
pub struct Trust {
    path: Arc<Path>,
    verifier: Arc<Verifier>,
}

impl Trust {
    /// From a file in PEM with one certificate or several.
    pub fn load(path: &Path) -> Result<Trust, AuthError> {
        Ok(Trust { path: path.into(), verifier: Arc::new(Verifier(Watched::open(path, read)?)) })
    }

    /// Of clients that connect without TLS alone, but whose library wants to know.
    pub fn nobody() -> ClientConfig {
        client_builder().with_root_certificates(RootCertStore::empty()).with_no_client_auth()
    }

    /// What the file holds, as it is believed now: for others who are to believe the same.
    pub fn pem(&self) -> Arc<[u8]> {
        Arc::clone(&self.verifier.0.get().pem)
    }

    /// For clients of HTTP, with the protocols that they speak over it.
    pub fn client_config(&self, protocols: &[&str]) -> ClientConfig {
        let believing = client_builder().dangerous().with_custom_certificate_verifier(self.verifier.clone());
        let mut config = believing.with_no_client_auth();
        config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
        // In a resumed session no certificate is shown, and whom we believe may have changed.
        config.resumption = Resumption::disabled();
        config
    }

    /// The handshake with who should be `host`.
    pub async fn connect(
        &self,
        host: &str,
        stream: TcpStream,
        protocols: &[&str],
    ) -> io::Result<TlsStream<TcpStream>> {
        let name = ServerName::try_from(host.to_owned()).map_err(|_| {
            io::Error::new(io::ErrorKind::InvalidInput, format!("no certificate can be of {host:?}"))
        })?;
        TlsConnector::from(Arc::new(self.client_config(protocols))).connect(name, stream).await
    }
}

fn client_builder() -> ConfigBuilder<ClientConfig, WantsVerifier> {
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
    builder.with_safe_default_protocol_versions().expect("ring has TLS 1.2 and 1.3")
}

impl fmt::Debug for Trust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Trust").field(&self.path).finish()
    }
}

/// What a file said.
struct Believed {
    pem: Arc<[u8]>,
    verifier: Arc<WebPkiServerVerifier>,
}

fn read(path: &Path) -> Result<Believed, AuthError> {
    let pem = bytes(path)?;
    let verifier = verifier(path, certificates(path, &pem)?)?;
    Ok(Believed { pem: pem.into(), verifier })
}

/// Believes those of the file.
pub(crate) fn verifier(
    path: &Path,
    authorities: Vec<CertificateDer<'static>>,
) -> Result<Arc<WebPkiServerVerifier>, AuthError> {
    let wrong = || AuthError::NotACertificate { path: path.to_owned() };
    let mut roots = RootCertStore::empty();
    for certificate in authorities {
        roots.add(certificate).map_err(|_| wrong())?;
    }
    let provider = Arc::new(ring::default_provider());
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build();
    verifier.map_err(|_| wrong())
}

/// Asks who is believed at the moment of a handshake.
struct Verifier(Watched<Believed>);

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Verifier(…)")
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.0.get().verifier.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.get().verifier.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.get().verifier.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.get().verifier.supported_verify_schemes()
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;
    use crate::{Certificate, CertificateFiles};

    /// An authority, and a directory for what it signs.
    struct Authority {
        place: tempfile::TempDir,
        issuer: Issuer<'static, KeyPair>,
    }

    impl Authority {
        fn new() -> Authority {
            let place = tempfile::tempdir().unwrap();
            let mut params = CertificateParams::new(Vec::new()).unwrap();
            params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
            let key = KeyPair::generate().unwrap();
            std::fs::write(place.path().join("ca.pem"), params.self_signed(&key).unwrap().pem()).unwrap();
            Authority { place, issuer: Issuer::new(params, key) }
        }

        fn trust(&self) -> Trust {
            Trust::load(&self.place.path().join("ca.pem")).unwrap()
        }

        fn files(&self) -> CertificateFiles {
            let at = |name: &str| self.place.path().join(name);
            CertificateFiles { certificate: at("cert.pem"), key: at("key.pem") }
        }

        fn sign(&self, name: &str) {
            let key = KeyPair::generate().unwrap();
            let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
            let certificate = params.signed_by(&key, &self.issuer).unwrap();
            std::fs::write(self.files().key, key.serialize_pem()).unwrap();
            std::fs::write(self.files().certificate, certificate.pem()).unwrap();
        }
    }

    /// What a client that asks for `host` hears: one byte, and the certificate that it was shown.
    async fn greet(certificate: &Certificate, trust: &Trust, host: &str) -> Result<Vec<u8>, String> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (accepted, _) = listener.accept().await.unwrap();
        let server = async {
            let mut stream = certificate.accept(accepted).await.ok()?;
            stream.write_all(b"!").await.ok()?;
            stream.shutdown().await.ok()
        };
        let client = async {
            let mut stream = trust.connect(host, stream, &[]).await.map_err(|error| error.to_string())?;
            assert_eq!(stream.read_u8().await.unwrap(), b'!');
            Ok(stream.get_ref().1.peer_certificates().unwrap()[0].to_vec())
        };
        tokio::join!(server, client).1
    }

    #[tokio::test]
    async fn who_is_believed_has_the_name_and_is_of_the_authority() {
        let (ours, others) = (Authority::new(), Authority::new());
        ours.sign("127.0.0.1");
        let certificate = Certificate::load(&ours.files()).unwrap();
        greet(&certificate, &ours.trust(), "127.0.0.1").await.unwrap();
        let unknown = greet(&certificate, &others.trust(), "127.0.0.1").await.unwrap_err();
        assert!(unknown.contains("invalid peer certificate"), "{unknown}");
        let misnamed = greet(&certificate, &ours.trust(), "localhost").await.unwrap_err();
        assert!(misnamed.contains("not valid for"), "{misnamed}");
        let nameless = greet(&certificate, &ours.trust(), "no name").await.unwrap_err();
        assert!(nameless.contains("no certificate can be of"), "{nameless}");
    }

    #[tokio::test]
    async fn a_replaced_pair_is_shown_and_one_that_does_not_fit_is_not() {
        let authority = Authority::new();
        authority.sign("localhost");
        let (certificate, trust) = (Certificate::load(&authority.files()).unwrap(), authority.trust());
        let first = greet(&certificate, &trust, "localhost").await.unwrap();
        let later = || tokio::time::sleep(std::time::Duration::from_millis(1100));

        let good = std::fs::read(authority.files().key).unwrap();
        std::fs::write(authority.files().key, KeyPair::generate().unwrap().serialize_pem()).unwrap();
        let refused = Certificate::load(&authority.files()).unwrap_err().to_string();
        assert!(refused.contains("do not fit") && refused.contains("key.pem"), "{refused}");
        later().await;
        assert_eq!(greet(&certificate, &trust, "localhost").await.unwrap(), first);

        std::fs::write(authority.files().key, good).unwrap();
        authority.sign("localhost");
        later().await;
        assert_ne!(greet(&certificate, &trust, "localhost").await.unwrap(), first);
    }

    #[tokio::test]
    async fn authorities_come_and_go() {
        let (old, new) = (Authority::new(), Authority::new());
        new.sign("localhost");
        let (certificate, trust) = (Certificate::load(&new.files()).unwrap(), old.trust());
        greet(&certificate, &trust, "localhost").await.unwrap_err();
        let both: String =
            [&old, &new].map(|of| std::fs::read_to_string(of.place.path().join("ca.pem")).unwrap()).concat();
        std::fs::write(old.place.path().join("ca.pem"), both).unwrap();
        tokio::time::sleep(std::time::Duration::from_millis(1100)).await;
        greet(&certificate, &trust, "localhost").await.unwrap();
    }

    #[test]
    fn files_that_hold_something_else_are_named() {
        let authority = Authority::new();
        authority.sign("localhost");
        let CertificateFiles { certificate, key } = authority.files();
        let empty = authority.place.path().join("empty");
        std::fs::write(&empty, "").unwrap();
        for (certificate, key, says) in [
            (&certificate, &certificate, "key: expected PEM"),
            (&key, &key, "does not hold a certificate"),
            (&empty, &key, "does not hold a certificate"),
            (&certificate, &empty.join("none"), "cannot read"),
        ] {
            let files = CertificateFiles { certificate: certificate.clone(), key: key.clone() };
            let refused = Certificate::load(&files).unwrap_err().to_string();
            assert!(refused.contains(says), "{refused}");
        }
        assert!(Trust::load(&key).unwrap_err().to_string().contains("does not hold a certificate"));
    }
}

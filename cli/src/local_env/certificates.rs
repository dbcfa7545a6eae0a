//! The certificates of a cluster's endpoints, which PostgreSQL shows to its clients.
//!
//! ```text
//! tls/ca.pem              whom clients believe: sslrootcert
//! tls/server.pem          what endpoints show; a certificate of one's own may take its place
//! tls/server-key.pem      the key of that one (mode 0600)
//! auth/private/ca-key.pem signs certificates of endpoints; nobody needs it but this command
//! ```
//! Endpoints show a certificate if there is one, take a replaced one on while they run, and then let nobody in
//! without TLS.

use std::path::{Path, PathBuf};

use anyhow::Context;
use durable_fs::DurableFs;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, date_time_ymd,
};

use super::write_secret;

/// Names under which endpoints are reached on their own machine.
const HERE: [&str; 3] = ["localhost", "127.0.0.1", "::1"];
/// Years for which a certificate is good. It is a private one: nobody but this cluster's clients believe it.
const YEARS: i32 = 10;

#[derive(Clone, Debug)]
pub struct Certificates {
    directory: PathBuf,
    ca_key: PathBuf,
}

impl Certificates {
    pub fn new(directory: &Path) -> Certificates {
        Certificates { directory: directory.join("tls"), ca_key: directory.join("auth/private/ca-key.pem") }
    }

    /// Whom clients believe.
    pub fn authority(&self) -> PathBuf {
        self.directory.join("ca.pem")
    }

    /// Certificate and key of endpoints, if they have any.
    pub fn of_endpoints(&self) -> Option<(PathBuf, PathBuf)> {
        self.certificate().exists().then(|| (self.certificate(), self.directory.join("server-key.pem")))
    }

    /// Signs a certificate for endpoints that are reached under these names, and on this machine. What signs it is made the
    /// first time.
    pub fn sign(&self, names: &[String]) -> anyhow::Result<()> {
        std::fs::create_dir_all(&self.directory)
            .with_context(|| format!("cannot make {}", self.directory.display()))?;
        let issuer = Issuer::new(authority()?, self.authority_key()?);
        let mut all: Vec<String> = HERE.map(str::to_owned).into();
        all.extend(names.iter().filter(|name| !HERE.contains(&name.as_str())).cloned());
        let mut parameters =
            lasting(CertificateParams::new(all).context("a name that no certificate can have")?);
        parameters.distinguished_name = called("Varve endpoint");
        parameters.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        parameters.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        parameters.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate()?;
        let certificate = parameters.signed_by(&key, &issuer)?;
        // A server that sees one of the two replaced keeps what it has until the other one is too.
        write_secret(&self.directory.join("server-key.pem"), &key.serialize_pem())?;
        write_secret(&self.certificate(), &certificate.pem())
    }

    /// The same, where there is none yet.
    pub fn complete(&self, names: &[String]) -> anyhow::Result<()> {
        if self.of_endpoints().is_some() { Ok(()) } else { self.sign(names) }
    }

    fn certificate(&self) -> PathBuf {
        self.directory.join("server.pem")
    }

    /// The key of who signs, with its own certificate beside it.
    fn authority_key(&self) -> anyhow::Result<KeyPair> {
        if self.ca_key.exists() {
            let pem = std::fs::read_to_string(&self.ca_key)
                .with_context(|| format!("cannot read {}", self.ca_key.display()))?;
            return KeyPair::from_pem(&pem)
                .with_context(|| format!("{} is not a key", self.ca_key.display()));
        }
        let key = KeyPair::generate()?;
        write_secret(&self.ca_key, &key.serialize_pem())?;
        // Everybody may read this one.
        let certificate = authority()?.self_signed(&key)?;
        DurableFs::default().write_atomically(&self.authority(), certificate.pem().as_bytes())?;
        Ok(key)
    }
}

fn authority() -> anyhow::Result<CertificateParams> {
    let mut parameters = lasting(CertificateParams::new(Vec::new())?);
    parameters.distinguished_name = called("Varve cluster");
    parameters.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    Ok(parameters)
}

fn lasting(mut parameters: CertificateParams) -> CertificateParams {
    let today = jiff::tz::Offset::UTC.to_datetime(jiff::Timestamp::now()).date();
    // Since yesterday, for clocks that are behind; never on the 29th of February.
    let since = today.yesterday().unwrap_or(today);
    let (month, day) = (since.month().unsigned_abs(), since.day().unsigned_abs().min(28));
    parameters.not_before = date_time_ymd(i32::from(since.year()), month, day);
    parameters.not_after = date_time_ymd(i32::from(since.year()) + YEARS, month, day);
    parameters
}

fn called(name: &str) -> DistinguishedName {
    let mut called = DistinguishedName::new();
    called.push(DnType::CommonName, name);
    called
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    fn openssl(arguments: &[&str]) -> String {
        let output = Command::new("openssl").args(arguments).output().expect("openssl runs");
        String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
    }

    /// As OpenSSL sees them, which is what libpq goes by.
    #[test]
    fn openssl_believes_what_was_signed_and_for_these_names_alone() {
        let place = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(place.path().join("auth/private")).unwrap();
        let certificates = Certificates::new(place.path());
        assert!(certificates.of_endpoints().is_none());
        certificates.sign(&["db.example.com".to_owned(), "10.1.2.3".to_owned()]).unwrap();
        let (certificate, _) = certificates.of_endpoints().unwrap();
        let (certificate, authority) =
            (certificate.display().to_string(), certificates.authority().display().to_string());
        let verify = |extra: &[&str]| {
            openssl(&[&["verify", "-x509_strict", "-CAfile", &authority], extra, &[&certificate]].concat())
        };
        for names in [
            ["-verify_hostname", "localhost"],
            ["-verify_hostname", "db.example.com"],
            ["-verify_ip", "127.0.0.1"],
            ["-verify_ip", "10.1.2.3"],
            ["-verify_ip", "::1"],
        ] {
            assert!(verify(&names).contains(": OK"), "{names:?}: {}", verify(&names));
        }
        assert!(!verify(&["-verify_hostname", "other.example.com"]).contains(": OK"));

        // The next one is signed by the same: clients need nothing new.
        let first = std::fs::read(&certificate).unwrap();
        let believed = std::fs::read(&authority).unwrap();
        certificates.sign(&["db2.example.com".to_owned()]).unwrap();
        assert_eq!(std::fs::read(&authority).unwrap(), believed);
        assert_ne!(std::fs::read(&certificate).unwrap(), first);
        assert!(verify(&["-verify_hostname", "db2.example.com"]).contains(": OK"));
        assert!(!verify(&["-verify_hostname", "db.example.com"]).contains(": OK"));
    }
}

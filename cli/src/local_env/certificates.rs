//! The certificates of a cluster: those that PostgreSQL shows to its clients, and those that the parts show to each other.
//!
//! ```text
//! tls/ca.pem                    whom clients believe: sslrootcert
//! tls/server.pem                what endpoints show; a certificate of one's own may take its place
//! tls/server-key.pem            the key of that one (mode 0600)
//! tls/parts-ca.pem              whom the parts believe, and this command
//! tls/parts.pem                 what the parts show, if they speak TLS
//! tls/parts-key.pem             the key of that one (mode 0600)
//! auth/private/ca-key.pem       signs certificates of endpoints; nobody needs it but this command
//! auth/private/parts-ca-key.pem signs those of parts
//! ```
//! Where parts have hosts of their own, each host has a pair of its own instead of tls/parts: see hosts.rs.
//!
//! There are two authorities, since whoever is a superuser of a database can read its endpoint's key, and must not be able to
//! pass for a part with it. A certificate is shown if there is one, a replaced one is taken on while everything runs, and
//! nobody is let in without TLS then.

mod hosts;

use std::path::{Path, PathBuf};

use anyhow::Context;
use durable_fs::DurableFs;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, date_time_ymd,
};

use super::write_secret;
pub use hosts::{LOCAL, bare, check_host};

/// Names under which everything is reached on its own machine.
const HERE: [&str; 3] = ["localhost", "127.0.0.1", "::1"];
/// Years for which a certificate is good. It is a private one: nobody but this cluster's parts and clients believe it.
const YEARS: i32 = 10;

/// Who shows a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whose {
    /// PostgreSQL, to clients.
    Endpoints,
    /// The storage broker, safekeepers, pageserver and the HTTP APIs of computes, to each other and to `varve`.
    Parts,
}

impl Whose {
    const fn authority(self) -> &'static str {
        match self {
            Whose::Endpoints => "ca",
            Whose::Parts => "parts-ca",
        }
    }

    const fn file(self) -> &'static str {
        match self {
            Whose::Endpoints => "server",
            Whose::Parts => "parts",
        }
    }

    const fn called(self) -> &'static str {
        match self {
            Whose::Endpoints => "Varve endpoint",
            Whose::Parts => "Varve part",
        }
    }
}

#[derive(Clone, Debug)]
pub struct Certificates {
    directory: PathBuf,
    private: PathBuf,
    hosts: PathBuf,
}

impl Certificates {
    pub fn new(directory: &Path) -> Certificates {
        let at = |place| directory.join(place);
        Certificates { directory: at("tls"), private: at("auth/private"), hosts: at("auth/hosts") }
    }

    /// Whom the others believe.
    pub fn authority(&self, whose: Whose) -> PathBuf {
        self.directory.join(format!("{}.pem", whose.authority()))
    }

    /// Certificate and key, if there are any.
    pub fn of(&self, whose: Whose) -> Option<(PathBuf, PathBuf)> {
        let (certificate, key) = self.pair(whose);
        certificate.exists().then_some((certificate, key))
    }

    fn pair(&self, whose: Whose) -> (PathBuf, PathBuf) {
        let at = |rest: &str| self.directory.join(format!("{}{rest}.pem", whose.file()));
        (at(""), at("-key"))
    }

    /// Signs a certificate for those who are reached under these names, and on this machine. What signs it is made the first
    /// time.
    pub fn sign(&self, whose: Whose, names: &[String]) -> anyhow::Result<()> {
        self.issue(whose, names, &self.pair(whose))
    }

    /// The same, where it is to lie.
    fn issue(&self, whose: Whose, names: &[String], pair: &(PathBuf, PathBuf)) -> anyhow::Result<()> {
        let issuer = Issuer::new(authority(whose)?, self.authority_key(whose)?);
        let mut all: Vec<String> = HERE.map(str::to_owned).into();
        all.extend(names.iter().filter(|name| !HERE.contains(&name.as_str())).cloned());
        let mut parameters =
            lasting(CertificateParams::new(all).context("a name that no certificate can have")?);
        parameters.distinguished_name = called(whose.called());
        parameters.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        parameters.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        parameters.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate()?;
        let signed = parameters.signed_by(&key, &issuer)?;
        // A server that sees one of the two replaced keeps what it has until the other one is too. With the certificate the
        // pair is complete.
        let (certificate_file, key_file) = pair;
        let directory = key_file.parent().context("a file in a directory")?;
        std::fs::create_dir_all(directory).with_context(|| format!("cannot make {}", directory.display()))?;
        write_secret(key_file, &key.serialize_pem())?;
        write_secret(certificate_file, &signed.pem())
    }

    /// The same, where there is none yet.
    pub fn complete(&self, whose: Whose, names: &[String]) -> anyhow::Result<()> {
        if self.of(whose).is_some() { Ok(()) } else { self.sign(whose, names) }
    }

    /// The key of who signs, with its own certificate beside it.
    fn authority_key(&self, whose: Whose) -> anyhow::Result<KeyPair> {
        let file = self.authority_key_file(whose);
        let key = if file.exists() {
            let pem =
                std::fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
            KeyPair::from_pem(&pem).with_context(|| format!("{} is not a key", file.display()))?
        } else {
            let key = KeyPair::generate()?;
            write_secret(&file, &key.serialize_pem())?;
            key
        };
        let shown = self.authority(whose);
        if !shown.exists() {
            std::fs::create_dir_all(&self.directory)
                .with_context(|| format!("cannot make {}", self.directory.display()))?;
            // Everybody may read this one.
            let certificate = authority(whose)?.self_signed(&key)?;
            DurableFs::default().write_atomically(&shown, certificate.pem().as_bytes())?;
        }
        Ok(key)
    }

    fn authority_key_file(&self, whose: Whose) -> PathBuf {
        self.private.join(format!("{}-key.pem", whose.authority()))
    }
}

fn authority(whose: Whose) -> anyhow::Result<CertificateParams> {
    let mut parameters = lasting(CertificateParams::new(Vec::new())?);
    parameters.distinguished_name = called(match whose {
        Whose::Endpoints => "Varve cluster",
        Whose::Parts => "Varve cluster, parts",
    });
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

    pub fn openssl(arguments: &[&str]) -> String {
        let output = Command::new("openssl").args(arguments).output().expect("openssl runs");
        String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
    }

    /// As OpenSSL sees them, which is what libpq goes by.
    #[test]
    fn openssl_believes_what_was_signed_and_for_these_names_alone() {
        let place = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(place.path().join("auth/private")).unwrap();
        let certificates = Certificates::new(place.path());
        assert!(certificates.of(Whose::Endpoints).is_none());
        certificates.sign(Whose::Endpoints, &["db.example.com".to_owned(), "10.1.2.3".to_owned()]).unwrap();
        let (certificate, _) = certificates.of(Whose::Endpoints).unwrap();
        let (certificate, authority) = (
            certificate.display().to_string(),
            certificates.authority(Whose::Endpoints).display().to_string(),
        );
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
        certificates.sign(Whose::Endpoints, &["db2.example.com".to_owned()]).unwrap();
        assert_eq!(std::fs::read(&authority).unwrap(), believed);
        assert_ne!(std::fs::read(&certificate).unwrap(), first);
        assert!(verify(&["-verify_hostname", "db2.example.com"]).contains(": OK"));
        assert!(!verify(&["-verify_hostname", "db.example.com"]).contains(": OK"));
    }

    #[test]
    fn what_an_endpoint_has_makes_no_part() {
        let place = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(place.path().join("auth/private")).unwrap();
        let certificates = Certificates::new(place.path());
        for whose in [Whose::Endpoints, Whose::Parts] {
            certificates.complete(whose, &[]).unwrap();
            let (certificate, _) = certificates.of(whose).unwrap();
            for authority in [Whose::Endpoints, Whose::Parts] {
                let file = certificates.authority(authority).display().to_string();
                let said = openssl(&["verify", "-CAfile", &file, certificate.to_str().unwrap()]);
                assert_eq!(said.contains(": OK"), whose == authority, "{whose:?} by {authority:?}: {said}");
            }
        }
    }
}

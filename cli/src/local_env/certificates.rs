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
//! What neither of them has signed is the user's own, and nothing here takes its place.
//!
//! There are two authorities, since whoever is a superuser of a database can read its endpoint's key, and must not be able to
//! pass for a part with it. A certificate is shown if there is one, a replaced one is taken on while everything runs, and
//! nobody is let in without TLS then.

mod hosts;

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use auth::is_signed_by;
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

    /// Whether what is shown was signed here.
    pub fn has_signed(&self, whose: Whose) -> anyhow::Result<bool> {
        self.is_its(whose, &self.pair(whose).0)
    }

    /// Whether the authority has signed it. What others have signed may be believed as well: the file of whom they believe does
    /// not tell.
    fn is_its(&self, whose: Whose, certificate: &Path) -> anyhow::Result<bool> {
        if !self.can_sign(whose) {
            return Ok(false);
        }
        let authority = authority(whose)?.self_signed(&self.authority_key(whose)?)?;
        Ok(is_signed_by(certificate, &authority.pem()).unwrap_or(false))
    }

    /// Signs one for whoever shows what lies there.
    fn issue(&self, whose: Whose, names: &[String], pair: &(PathBuf, PathBuf)) -> anyhow::Result<()> {
        let (certificate_file, key_file) = pair;
        if certificate_file.exists() && !self.is_its(whose, certificate_file)? {
            bail!(
                "{} was not signed by this cluster's authority, and stays: move it and {} away, and the same command makes another \
                 one in its place",
                certificate_file.display(),
                key_file.display()
            );
        }
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
    fn what_others_have_signed_stays() {
        let (here, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let [ours, theirs] = [&here, &there].map(|place| {
            std::fs::create_dir_all(place.path().join("auth/private")).unwrap();
            Certificates::new(place.path())
        });
        theirs.sign(Whose::Parts, &[]).unwrap();
        let (certificate, key) = ours.pair(Whose::Parts);
        let refused = || {
            let before = [&certificate, &key].map(|file| std::fs::read(file).unwrap());
            let said = ours.sign(Whose::Parts, &[]).unwrap_err().to_string();
            assert!(
                said.contains("tls/parts.pem was not signed by") && said.contains("parts-key.pem"),
                "{said}"
            );
            assert_eq!([&certificate, &key].map(|file| std::fs::read(file).unwrap()), before);
        };
        let put = || {
            let (their_certificate, their_key) = theirs.of(Whose::Parts).unwrap();
            std::fs::copy(their_certificate, &certificate).unwrap();
            std::fs::copy(their_key, &key).unwrap();
        };
        // Before anything was signed here, and after.
        std::fs::create_dir(here.path().join("tls")).unwrap();
        put();
        refused();
        std::fs::remove_file(&certificate).unwrap();
        ours.sign(Whose::Parts, &[]).unwrap();
        assert!(ours.has_signed(Whose::Parts).unwrap() && !ours.has_signed(Whose::Endpoints).unwrap());
        put();
        refused();
        // Who is believed makes no difference.
        let believed = std::fs::read(theirs.authority(Whose::Parts)).unwrap();
        std::fs::write(ours.authority(Whose::Parts), believed).unwrap();
        refused();
        std::fs::write(&certificate, "no certificate").unwrap();
        refused();
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

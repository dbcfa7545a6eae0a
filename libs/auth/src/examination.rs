//! What would be said of a certificate that lies in a file: when it runs out, who has signed it, and whether whoever is shown it
//! would believe it. The one who says it is the verifier of those who connect.

use std::path::Path;
use std::time::{Duration, SystemTime};

use tokio_rustls::rustls::client::WebPkiServerVerifier;
use tokio_rustls::rustls::client::danger::ServerCertVerifier;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use tokio_rustls::rustls::{CertificateError, Error};

use crate::AuthError;
use crate::certificate::{bytes, certificates};
use crate::trust::verifier;

/// The end of the year 9999, which a certificate says that never runs out (RFC 5280 §4.1.2.5).
const NEVER: Duration = Duration::from_secs(253_402_300_799);

/// Why a certificate would not be believed, apart from the dates in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Doubt {
    /// None of those who are believed has signed it.
    Issuer,
    /// It is of others.
    Name,
    Other(String),
}

/// When the first of the certificates in a file runs out. `None`: never.
pub fn runs_out(file: &Path) -> Result<Option<SystemTime>, AuthError> {
    let chain = certificates(file, &bytes(file)?)?;
    let ends = chain.into_iter().map(|certificate| end_of(file, &certificate));
    Ok(ends.collect::<Result<Vec<_>, _>>()?.into_iter().flatten().min())
}

/// A verifier looks at the dates before anything else, and says which one it did not like.
fn end_of(file: &Path, certificate: &CertificateDer<'static>) -> Result<Option<SystemTime>, AuthError> {
    let verifier = verifier(file, vec![certificate.clone()])?;
    let anybody = ServerName::try_from("localhost").expect("a name");
    let at = UnixTime::since_unix_epoch(NEVER);
    match verifier.verify_server_cert(certificate, &[], &anybody, &[], at) {
        Err(Error::InvalidCertificate(CertificateError::ExpiredContext { not_after, .. })) => {
            Ok(Some(SystemTime::UNIX_EPOCH + Duration::from_secs(not_after.as_secs())))
        }
        Ok(_) | Err(_) => Ok(None),
    }
}

/// Whether an authority has signed it, whenever it was good and whoever's it is. `authority` is that one's own, in PEM.
pub fn is_signed_by(file: &Path, authority: &str) -> Result<bool, AuthError> {
    let certificate = certificates(file, &bytes(file)?)?.swap_remove(0);
    let verifier = verifier(file, certificates(file, authority.as_bytes())?)?;
    // In its last second it was good.
    let end = end_of(file, &certificate)?.and_then(|end| end.duration_since(SystemTime::UNIX_EPOCH).ok());
    let at = end.map_or_else(UnixTime::now, UnixTime::since_unix_epoch);
    Ok(matches!(verdict(&verifier, &[certificate], "localhost", at), None | Some(Doubt::Name)))
}

/// What who believes these authorities would say now if `host` showed that certificate. `None`: nothing against it.
pub fn doubt(file: &Path, authorities: &Path, host: &str) -> Result<Option<Doubt>, AuthError> {
    let chain = certificates(file, &bytes(file)?)?;
    let verifier = verifier(authorities, certificates(authorities, &bytes(authorities)?)?)?;
    Ok(verdict(&verifier, &chain, host, UnixTime::now()))
}

fn verdict(
    verifier: &WebPkiServerVerifier,
    chain: &[CertificateDer<'static>],
    host: &str,
    at: UnixTime,
) -> Option<Doubt> {
    let Ok(name) = ServerName::try_from(host) else { return Some(Doubt::Name) };
    match verifier.verify_server_cert(&chain[0], &chain[1..], &name, &[], at) {
        Ok(_) => None,
        Err(Error::InvalidCertificate(error)) => match error {
            // The second is that of another one who is called the same.
            CertificateError::UnknownIssuer | CertificateError::BadSignature => Some(Doubt::Issuer),
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                Some(Doubt::Name)
            }
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => None,
            other => Some(Doubt::Other(other.to_string())),
        },
        Err(other) => Some(Doubt::Other(other.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, date_time_ymd};

    use super::*;

    struct Place(tempfile::TempDir);

    impl Place {
        fn file(&self, name: &str, text: &str) -> PathBuf {
            let path = self.0.path().join(name);
            std::fs::write(&path, text).unwrap();
            path
        }

        /// An authority whose certificate runs out with that year.
        fn authority(&self, name: &str, year: i32) -> (Issuer<'static, KeyPair>, PathBuf) {
            let mut params = CertificateParams::new(Vec::new()).unwrap();
            params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
            params.distinguished_name.push(DnType::CommonName, "the same for all");
            params.not_after = date_time_ymd(year, 12, 31);
            let key = KeyPair::generate().unwrap();
            let file = self.file(name, &params.self_signed(&key).unwrap().pem());
            (Issuer::new(params, key), file)
        }
    }

    fn certificate(of: &Issuer<'static, KeyPair>, name: &str, year: i32) -> String {
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.not_after = date_time_ymd(year, 6, 1);
        params.signed_by(&KeyPair::generate().unwrap(), of).unwrap().pem()
    }

    #[test]
    fn the_first_date_counts_of_authorities_too() {
        let place = Place(tempfile::tempdir().unwrap());
        let (ours, authority) = place.authority("ca.pem", 2090);
        let day = |file: &Path| {
            let end = runs_out(file).unwrap()?.duration_since(SystemTime::UNIX_EPOCH).unwrap();
            Some(end.as_secs() / 86_400)
        };
        let days = |year: i32, month: u8, day: u8| {
            Some(date_time_ymd(year, month, day).unix_timestamp().unsigned_abs() / 86_400)
        };
        assert_eq!(day(&authority), days(2090, 12, 31));
        let first = certificate(&ours, "a", 2080);
        assert_eq!(day(&place.file("one", &first)), days(2080, 6, 1));
        let several = [first, certificate(&ours, "b", 2001), certificate(&ours, "c", 2085)].concat();
        assert_eq!(day(&place.file("several", &several)), days(2001, 6, 1));
        let refused = runs_out(&place.file("none", "nothing")).unwrap_err().to_string();
        assert!(refused.contains("does not hold a certificate"), "{refused}");
    }

    #[test]
    fn doubts_are_told_apart() {
        let place = Place(tempfile::tempdir().unwrap());
        let ((ours, believed), (theirs, _)) =
            (place.authority("ca.pem", 2090), place.authority("other.pem", 2090));
        let doubt = |text: &str, host: &str| doubt(&place.file("shown", text), &believed, host).unwrap();
        let good = certificate(&ours, "storage_broker", 2080);
        assert_eq!(doubt(&good, "storage_broker"), None);
        assert_eq!(doubt(&good, "pageserver"), Some(Doubt::Name));
        assert_eq!(
            doubt(&certificate(&theirs, "storage_broker", 2080), "storage_broker"),
            Some(Doubt::Issuer)
        );
        // Dates are said elsewhere.
        assert_eq!(doubt(&certificate(&ours, "storage_broker", 2001), "storage_broker"), None);
        let authority = std::fs::read_to_string(&believed).unwrap();
        assert!(matches!(doubt(&authority, "storage_broker"), Some(Doubt::Other(_))));

        let ours_signed = |text: &str| is_signed_by(&place.file("shown", text), &authority);
        let other = certificate(&theirs, "storage_broker", 2080);
        assert!(ours_signed(&good).unwrap() && !ours_signed(&other).unwrap());
        assert!(ours_signed(&certificate(&ours, "storage_broker", 2001)).unwrap());
        assert!(!ours_signed(&certificate(&theirs, "storage_broker", 2001)).unwrap());
        // What comes behind it only leads to whom others believe.
        assert!(!ours_signed(&[other, good].concat()).unwrap());
        assert!(!ours_signed(&authority).unwrap() && ours_signed("nothing").is_err());
    }
}

//! What can be wrong with keys, tokens and certificates.

use std::path::PathBuf;

use crate::scope::Need;

/// A file that should hold a key, a token or a certificate does not.
#[derive(Debug, thiserror::Error)]
pub enum AuthError {
    #[error("cannot read {}: {source}", path.display())]
    Unreadable { path: PathBuf, source: std::io::Error },
    #[error(
        "{} does not hold a token: expected a JSON Web Token in one line, three parts with a dot between them",
        path.display()
    )]
    NotAToken { path: PathBuf },
    #[error("{} does not hold an Ed25519 public key: expected PEM, -----BEGIN PUBLIC KEY-----", path.display())]
    NotAPublicKey { path: PathBuf },
    #[error("{} does not hold an Ed25519 private key: expected PEM, -----BEGIN PRIVATE KEY-----", path.display())]
    NotAPrivateKey { path: PathBuf },
    #[error("{} has no public key in it: expected at least one file that ends in .pem", path.display())]
    NoKeys { path: PathBuf },
    #[error("{} does not hold a certificate: expected PEM, -----BEGIN CERTIFICATE-----", path.display())]
    NotACertificate { path: PathBuf },
    #[error("{} does not hold a certificate's key: expected PEM, -----BEGIN PRIVATE KEY-----", path.display())]
    NotACertificatesKey { path: PathBuf },
    #[error("the certificate in {} and the key in {} do not fit: {why}", certificate.display(), key.display())]
    PairDoesNotFit { certificate: PathBuf, key: PathBuf, why: String },
    #[error("cannot sign a token: {0}")]
    Signing(#[from] jsonwebtoken::errors::Error),
}

/// Why a request is refused. It says nothing of what there is to be had.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("no token was presented, or none that this cluster signed")]
    NotAuthenticated,
    #[error("the token has expired")]
    Expired,
    #[error("the token does not open this: it takes one of scope {}", words(*need))]
    NotPermitted { need: Need },
}

fn words(need: Need) -> String {
    match need {
        Need::Part(part) => part.to_string(),
        Need::Data { part, .. } => format!("{part}, or tenant for this tenant"),
        Need::Look { tenant: None, part } => format!("{part} or monitor"),
        Need::Look { tenant: Some(_), part } => format!("{part} or monitor, or tenant for this tenant"),
    }
}

//! Who may talk to the parts: one token for a whole cluster, made by `varve init`.
//!
//! Every port of every part asks for it: as clear-text password on PostgreSQL-protocol ports, as
//! `Authorization: Bearer` on HTTP, and in the same-named metadata on gRPC. It never appears in a log,
//! an error or a `Debug` output. Scoped tokens (per tenant, per role) will take its place.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

#[derive(Debug, thiserror::Error)]
pub enum AuthError {
    #[error("cannot read the cluster token {}: {source}", path.display())]
    Unreadable { path: PathBuf, source: std::io::Error },
    #[error(
        "{} does not hold a cluster token: expected at least {MIN_LENGTH} letters, digits, '-' or '_' in one line",
        path.display()
    )]
    NotAToken { path: PathBuf },
    #[error("no token was presented, or not this cluster's")]
    Refused,
}

const MIN_LENGTH: usize = 32;
const MAX_LENGTH: usize = 4096;

/// The secret that all parts of one cluster share.
#[derive(Clone)]
pub struct ClusterToken(Arc<str>);

impl ClusterToken {
    /// 256 random bits in hex.
    pub fn generate() -> ClusterToken {
        ClusterToken(hex::encode(rand::random::<[u8; 32]>()).into())
    }

    /// Reads the token from its file. White space around it is ignored.
    pub fn load(path: &Path) -> Result<ClusterToken, AuthError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| AuthError::Unreadable { path: path.to_owned(), source })?;
        ClusterToken::parse(text.trim()).ok_or_else(|| AuthError::NotAToken { path: path.to_owned() })
    }

    /// None unless the text has the form of a token: it goes into HTTP headers and must not break them.
    pub fn parse(text: &str) -> Option<ClusterToken> {
        let plain = text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
        (plain && (MIN_LENGTH..=MAX_LENGTH).contains(&text.len())).then(|| ClusterToken(text.into()))
    }

    /// Compares in a time that does not tell how much of the presented token was right.
    pub fn verify(&self, presented: &[u8]) -> Result<(), AuthError> {
        let expected = self.0.as_bytes();
        let mut difference = expected.len() ^ presented.len();
        for (at, byte) in expected.iter().enumerate() {
            difference |= usize::from(byte ^ presented.get(at).copied().unwrap_or(0));
        }
        if std::hint::black_box(difference) == 0 { Ok(()) } else { Err(AuthError::Refused) }
    }

    /// Checks the value of an `Authorization` header.
    pub fn verify_bearer(&self, header: Option<&[u8]>) -> Result<(), AuthError> {
        let presented = header.and_then(|value| value.strip_prefix(b"Bearer ")).ok_or(AuthError::Refused)?;
        self.verify(presented)
    }

    /// The secret itself, for the side that presents it.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The value of an `Authorization` header.
    pub fn bearer(&self) -> String {
        format!("Bearer {}", self.0)
    }
}

impl fmt::Debug for ClusterToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClusterToken(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_token_itself_is_let_in() {
        let token = ClusterToken::generate();
        assert!(token.verify(token.as_str().as_bytes()).is_ok());
        assert!(token.verify_bearer(Some(token.bearer().as_bytes())).is_ok());
        let longer = format!("{}0", token.as_str());
        for wrong in ["", "x", &token.as_str()[1..], &longer, ClusterToken::generate().as_str()] {
            assert!(token.verify(wrong.as_bytes()).is_err(), "{wrong:?}");
        }
        assert!(token.verify_bearer(None).is_err());
        assert!(token.verify_bearer(Some(token.as_str().as_bytes())).is_err());
    }

    #[test]
    fn a_file_without_a_token_is_named() {
        let missing = ClusterToken::load(Path::new("/nonexistent/token")).unwrap_err();
        assert!(missing.to_string().contains("/nonexistent/token"));
        assert!(ClusterToken::parse("short").is_none());
        assert!(ClusterToken::parse(&"x\n".repeat(40)).is_none());
        assert!(!format!("{:?}", ClusterToken::generate()).contains("0"));
    }
}

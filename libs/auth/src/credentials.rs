//! [`Credentials`]: the token that a part presents to others.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use crate::AuthError;
use crate::watched::Watched;

/// A token goes into a start-up packet and into a header line.
const MOST_BYTES: usize = 4096;

/// The token that a part presents, read from its file again when that changes. Cheap to clone.
#[derive(Clone)]
pub struct Credentials(Arc<Watched<Arc<str>>>);

impl Credentials {
    /// White space around the token is ignored.
    pub fn load(path: &Path) -> Result<Credentials, AuthError> {
        Watched::open(path, read).map(|token| Credentials(Arc::new(token)))
    }

    /// A token that nobody will change. None unless the text has the form of one.
    pub fn fixed(token: &str) -> Option<Credentials> {
        is_token(token).then(|| Credentials(Arc::new(Watched::fixed(token.into()))))
    }

    /// The secret itself, as it is now.
    pub fn token(&self) -> Arc<str> {
        Arc::clone(&self.0.get())
    }

    /// The value of an `Authorization` header.
    pub fn bearer(&self) -> String {
        format!("Bearer {}", self.0.get())
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credentials(…)")
    }
}

fn read(path: &Path) -> Result<Arc<str>, AuthError> {
    let text = std::fs::read_to_string(path)
        .map_err(|source| AuthError::Unreadable { path: path.to_owned(), source })?;
    let token = text.trim();
    is_token(token).then(|| token.into()).ok_or_else(|| AuthError::NotAToken { path: path.to_owned() })
}

/// Three parts in base64url (RFC 7515 §3.1). Nothing else gets into headers and password files.
fn is_token(text: &str) -> bool {
    let part = |part: &str| {
        !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    text.len() <= MOST_BYTES && text.split('.').count() == 3 && text.split('.').all(part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_without_a_token_is_named() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("token");
        let missing = Credentials::load(&path).unwrap_err().to_string();
        assert!(missing.contains(path.to_str().unwrap()), "{missing}");
        for bad in ["", "short", "a.b", "a.b.c\nd.e.f", "a..c", "a.b.c d"] {
            std::fs::write(&path, bad).unwrap();
            assert!(Credentials::load(&path).is_err(), "{bad:?}");
        }
        std::fs::write(&path, " aa.b_-.cc\n").unwrap();
        let credentials = Credentials::load(&path).unwrap();
        assert_eq!(&*credentials.token(), "aa.b_-.cc");
        assert_eq!(credentials.bearer(), "Bearer aa.b_-.cc");
        assert!(!format!("{credentials:?}").contains("aa"));
        assert!(Credentials::fixed(&"a.b.c".repeat(1000)).is_none());
    }
}

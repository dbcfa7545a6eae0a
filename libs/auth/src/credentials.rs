//! [`Credentials`]: what a part needs to talk to others: the token that it presents, and whom it believes.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use crate::watched::Watched;
use crate::{AuthError, Trust};

/// A token goes into a start-up packet and into a header line.
const MOST_BYTES: usize = 4096;

/// The token that a part presents, read from its file again when that changes, and whom it believes to be who it means.
/// Cheap to clone.
#[derive(Clone)]
pub struct Credentials {
    token: Arc<Watched<Arc<str>>>,
    /// Without one, connections are plain text.
    trust: Option<Trust>,
}

impl Credentials {
    /// White space around the token is ignored.
    pub fn load(path: &Path) -> Result<Credentials, AuthError> {
        Watched::open(path, read).map(Credentials::of)
    }

    /// A token that nobody will change. None unless the text has the form of one.
    pub fn fixed(token: &str) -> Option<Credentials> {
        is_token(token).then(|| Credentials::of(Watched::fixed(token.into())))
    }

    fn of(token: Watched<Arc<str>>) -> Credentials {
        Credentials { token: Arc::new(token), trust: None }
    }

    /// From now on every connection is TLS, to who shows a certificate that is believed; `None`: none is.
    #[must_use]
    pub fn believing(self, trust: Option<Trust>) -> Credentials {
        Credentials { trust, ..self }
    }

    /// Whom connections are made to; without one they are plain text.
    pub fn trust(&self) -> Option<&Trust> {
        self.trust.as_ref()
    }

    /// The secret itself, as it is now.
    pub fn token(&self) -> Arc<str> {
        Arc::clone(&self.token.get())
    }

    /// The value of an `Authorization` header.
    pub fn bearer(&self) -> String {
        format!("Bearer {}", self.token.get())
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

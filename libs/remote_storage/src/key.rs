//! Names of objects.

use std::fmt;
use std::str::FromStr;

/// A relative path with `/` between its parts: letters, digits and `._-`, no part empty or beginning with a
/// dot, at most 900 bytes. So it is good as a file name and needs no quoting in a URL.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectKey(String);

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{0:?} cannot be the key of an object")]
pub struct BadKeyError(pub String);

impl ObjectKey {
    pub const MAX_LENGTH: usize = 900;

    pub fn new(text: impl Into<String>) -> Result<Self, BadKeyError> {
        let text = text.into();
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        let good = |part: &str| !part.is_empty() && !part.starts_with('.') && part.bytes().all(plain);
        if text.len() <= Self::MAX_LENGTH && text.split('/').all(good) {
            Ok(Self(text))
        } else {
            Err(BadKeyError(text))
        }
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The key of something below this one.
    pub fn join(&self, rest: &str) -> Result<ObjectKey, BadKeyError> {
        ObjectKey::new(format!("{}/{rest}", self.0))
    }

    /// The last part.
    pub fn file_name(&self) -> &str {
        self.0.rsplit('/').next().unwrap_or(&self.0)
    }
}

impl FromStr for ObjectKey {
    type Err = BadKeyError;

    fn from_str(text: &str) -> Result<Self, BadKeyError> {
        ObjectKey::new(text)
    }
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_stay_below_their_root() {
        for good in ["a", "templates/pg15.tar.zst", "tenants/00ff/timelines/01/index_part.json-00000001"] {
            assert_eq!(good.parse::<ObjectKey>().unwrap().as_str(), good);
        }
        for bad in [
            "",
            "/",
            "/a",
            "a/",
            "a//b",
            "..",
            "a/../b",
            "./a",
            "a/.hidden",
            "a b",
            "a\0",
            "ä",
            &"x".repeat(901),
        ] {
            assert!(bad.parse::<ObjectKey>().is_err(), "{bad}");
        }
    }
}

//! How a safekeeper keeps small things in files: as JSON, for people with an editor in a bad night, within a frame that
//! shows damage.
//!
//! ```text
//!  0        4         8        12          12+n
//!  magic    version   n        body        CRC-32C of all before        integers little-endian
//! ```

use serde::Serialize;
use serde::de::DeserializeOwned;

pub const FORMAT_VERSION: u32 = 1;

const HEAD: usize = 12;

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum FrameError {
    #[error("damaged: {0}")]
    Damaged(String),
    #[error("it has the format version {0}, this program reads {FORMAT_VERSION}")]
    Version(u32),
}

/// What is in a file of its kind alone.
pub trait Framed: Serialize + DeserializeOwned {
    const MAGIC: &[u8; 4];
    /// As in "it does not begin like …".
    const WHAT: &str;

    fn encode(&self) -> Vec<u8> {
        let body = serde_json::to_vec(self).expect("plain data always becomes JSON");
        let mut bytes = Vec::with_capacity(HEAD + body.len() + 4);
        bytes.extend(Self::MAGIC);
        bytes.extend(FORMAT_VERSION.to_le_bytes());
        bytes.extend(u32::try_from(body.len()).expect("far less than 4 GiB").to_le_bytes());
        bytes.extend(body);
        bytes.extend(crc32c::crc32c(&bytes).to_le_bytes());
        bytes
    }

    fn decode(bytes: &[u8]) -> Result<Self, FrameError> {
        let damaged = |reason: &str| FrameError::Damaged(reason.to_owned());
        let (content, crc) = bytes.split_last_chunk().ok_or_else(|| damaged("too short"))?;
        let body = content.get(HEAD..).ok_or_else(|| damaged("too short"))?;
        if &content[..4] != Self::MAGIC {
            return Err(damaged(&format!("it does not begin like {}", Self::WHAT)));
        }
        let word =
            |at: usize| u32::from_le_bytes([content[at], content[at + 1], content[at + 2], content[at + 3]]);
        // The version first: another version may have its checksum elsewhere.
        if word(4) != FORMAT_VERSION {
            return Err(FrameError::Version(word(4)));
        }
        if crc32c::crc32c(content) != u32::from_le_bytes(*crc) || word(8) as usize != body.len() {
            return Err(damaged("wrong checksum"));
        }
        serde_json::from_slice(body).map_err(|error| FrameError::Damaged(error.to_string()))
    }
}

//! What can go wrong with a layer file.

use types::{Key, Lsn};

#[derive(Debug, thiserror::Error)]
pub enum LayerError {
    /// The bytes are not those that were written.
    #[error("layer {file} is damaged at byte {offset} ({part}): {reason}")]
    Corrupt { file: String, offset: u64, part: &'static str, reason: String },
    /// The file is whole, but it is not the one that was asked for.
    #[error("layer {file} is not what its name says: {reason}")]
    WrongLayer { file: String, reason: String },
    #[error("layer {file} has format version {version}; this program reads version {known}")]
    UnknownVersion { file: String, version: u16, known: u16 },
    #[error("cannot read layer {file} at byte {offset}: {source}")]
    Read { file: String, offset: u64, source: std::io::Error },
    #[error("cannot write a layer: {0}")]
    Write(#[from] std::io::Error),
    #[error("entry {key:?} at {lsn} cannot be put into the layer: {reason}")]
    BadEntry { key: Key, lsn: Lsn, reason: &'static str },
}

impl LayerError {
    /// The stored bytes are wrong; reading them again will not help, fetching the layer again may.
    pub fn is_corruption(&self) -> bool {
        self.damaged_file().is_some()
    }

    /// What the system said.
    pub fn io_error(&self) -> Option<&std::io::Error> {
        match self {
            LayerError::Read { source, .. } | LayerError::Write(source) => Some(source),
            LayerError::Corrupt { .. }
            | LayerError::WrongLayer { .. }
            | LayerError::UnknownVersion { .. }
            | LayerError::BadEntry { .. } => None,
        }
    }

    /// What the file is called whose bytes are wrong.
    pub fn damaged_file(&self) -> Option<&str> {
        match self {
            LayerError::Corrupt { file, .. } | LayerError::WrongLayer { file, .. } => Some(file),
            LayerError::UnknownVersion { .. }
            | LayerError::Read { .. }
            | LayerError::Write(_)
            | LayerError::BadEntry { .. } => None,
        }
    }
}

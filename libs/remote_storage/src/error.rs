//! What can go wrong with object storage.

use crate::ObjectKey;

#[derive(Debug, thiserror::Error)]
pub enum RemoteError {
    #[error("object {0} does not exist")]
    NotFound(ObjectKey),
    #[error("object {key} has {size} bytes; bytes {start} to {end} were asked for")]
    BadRange { key: ObjectKey, size: u64, start: u64, end: u64 },
    #[error("cannot {action} object {key}: {source}")]
    Io { action: &'static str, key: String, source: std::io::Error },
    #[error("cannot {action} object {key}: {source}")]
    NotDurable { action: &'static str, key: String, source: durable_fs::DurableFsError },
    /// Only ever from [`crate::Faulty`].
    #[error("cannot {action} object {key}: this fault was asked for")]
    Injected { action: &'static str, key: String },
}

impl RemoteError {
    pub fn is_not_found(&self) -> bool {
        matches!(self, RemoteError::NotFound(_))
    }

    /// The same request may succeed later.
    pub fn is_retryable(&self) -> bool {
        match self {
            RemoteError::NotFound(_) | RemoteError::BadRange { .. } => false,
            RemoteError::Io { .. } | RemoteError::NotDurable { .. } | RemoteError::Injected { .. } => true,
        }
    }
}

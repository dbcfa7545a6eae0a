//! What can go wrong with object storage.

use durable_fs::is_storage_full;

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
    /// `status`: what the store answered, if it did.
    #[error("cannot {action} object {key}: the store says{}: {source}", said(*status))]
    S3 {
        action: &'static str,
        key: String,
        status: Option<u16>,
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    #[error("cannot use bucket {bucket:?}: the store says{}: {source}", said(*status))]
    Bucket { bucket: String, status: Option<u16>, source: Box<dyn std::error::Error + Send + Sync> },
    /// Only ever from [`crate::Faulty`].
    #[error("cannot {action} object {key}: this fault was asked for")]
    Injected { action: &'static str, key: String },
}

impl RemoteError {
    pub fn is_not_found(&self) -> bool {
        matches!(self, RemoteError::NotFound(_))
    }

    /// There is no room for a file here, or in a store that is a directory.
    pub fn is_disk_full(&self) -> bool {
        match self {
            RemoteError::Io { source, .. } => is_storage_full(source),
            RemoteError::NotDurable { source, .. } => source.is_disk_full(),
            RemoteError::NotFound(_)
            | RemoteError::BadRange { .. }
            | RemoteError::S3 { .. }
            | RemoteError::Bucket { .. }
            | RemoteError::Injected { .. } => false,
        }
    }

    /// The same request may succeed later.
    pub fn is_retryable(&self) -> bool {
        match self {
            RemoteError::NotFound(_) | RemoteError::BadRange { .. } => false,
            // 4xx says that the request is wrong, or who asks; except for time-outs and too many requests.
            RemoteError::S3 { status: Some(status), .. }
            | RemoteError::Bucket { status: Some(status), .. } => {
                !(400..500).contains(status) || [408, 409, 429].contains(status)
            }
            RemoteError::S3 { status: None, .. } | RemoteError::Bucket { status: None, .. } => true,
            RemoteError::Io { .. } | RemoteError::NotDurable { .. } | RemoteError::Injected { .. } => true,
        }
    }
}

fn said(status: Option<u16>) -> String {
    status.map_or_else(|| " nothing".to_owned(), |status| format!(" {status}"))
}

//! What can go wrong with WAL on disk.

use std::io;
use std::path::PathBuf;

use durable_fs::DurableFsError;
use types::Lsn;
use wal_decoder::DecodeError;

use crate::wal_store::RemoteWalError;

#[derive(Debug, thiserror::Error)]
pub enum WalStoreError {
    #[error(transparent)]
    Disk(#[from] DurableFsError),
    #[error("cannot read {}: {source}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("WAL at {lsn} is not what PostgreSQL writes, so it is not taken in: {source}")]
    NotWal { lsn: Lsn, source: DecodeError },
    #[error("WAL from {got} does not continue the WAL here, which ends at {expected}")]
    NotContiguous { expected: Lsn, got: Lsn },
    #[error("an append failed before, so the WAL must be truncated to a known end before it goes on")]
    Interrupted,
    #[error("cannot truncate to {lsn}: WAL here goes from {start} to {end}")]
    TruncateOutside { lsn: Lsn, start: Lsn, end: Lsn },
    #[error("WAL from {lsn}: {} is not here, and was not to be had from object storage: {source}", path.display())]
    Remote { lsn: Lsn, path: PathBuf, source: Box<RemoteWalError> },
    #[error("WAL up to {expected} was durable here once, but {} is missing or too short", path.display())]
    Lost { expected: Lsn, path: PathBuf },
}

impl WalStoreError {
    /// The process must end: what is on disk is unknown.
    pub fn is_sync_failure(&self) -> bool {
        matches!(self, WalStoreError::Disk(error) if error.is_sync_failure())
    }

    pub fn is_disk_full(&self) -> bool {
        matches!(self, WalStoreError::Disk(error) if error.is_disk_full())
    }
}

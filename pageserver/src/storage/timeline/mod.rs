//! SEAM SIGNATURES (bodies follow).
use std::sync::Arc;
use std::time::Duration;
use types::{Key, KeyRange, Lsn, TenantTimelineId, TimelineId};
use bytes::Bytes;
use super::{Reconstruct, StorageError, TimelineMetadata, WriteBatch};

/// Numbers about a timeline for status pages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TimelineStats {
    /// Bytes of its own layer files.
    pub physical_size: u64,
    pub layers: usize,
    pub open_layer_bytes: u64,
    pub frozen_layers: usize,
}

pub struct Timeline {}

impl Timeline {
    pub fn id(&self) -> TenantTimelineId { todo!() }
    pub fn metadata(&self) -> &TimelineMetadata { todo!() }
    pub fn ancestor(&self) -> Option<(TimelineId, Lsn)> { todo!() }
    /// Where its own WAL starts: the end of initdb's, or the branch point.
    pub fn start_lsn(&self) -> Lsn { todo!() }
    pub fn last_record_lsn(&self) -> Lsn { todo!() }
    pub fn prev_record_lsn(&self) -> Lsn { todo!() }
    pub fn disk_consistent_lsn(&self) -> Lsn { todo!() }
    pub fn remote_consistent_lsn(&self) -> Lsn { todo!() }
    pub fn stats(&self) -> TimelineStats { todo!() }
    pub async fn put_batch(&self, _batch: WriteBatch) -> Result<(), StorageError> { todo!() }
    pub async fn wait_lsn(&self, _lsn: Lsn, _timeout: Duration) -> Result<(), StorageError> { todo!() }
    pub async fn get_reconstruct(&self, _key: Key, _lsn: Lsn) -> Result<Reconstruct, StorageError> { todo!() }
    pub async fn get_reconstruct_run(&self, _first: Key, _count: u32, _lsn: Lsn) -> Result<Vec<Reconstruct>, StorageError> { todo!() }
    pub async fn scan(&self, _range: KeyRange, _lsn: Lsn) -> Result<Vec<(Key, Bytes)>, StorageError> { todo!() }
    pub async fn flush_and_upload(&self) -> Result<(), StorageError> { todo!() }
    #[doc(hidden)]
    pub fn subscribe(&self) -> tokio::sync::watch::Receiver<Lsn> { todo!() }
    #[doc(hidden)]
    fn _arc(self: &Arc<Self>) {}
}

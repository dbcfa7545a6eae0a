//! SEAM SIGNATURES (bodies follow).
use std::sync::Arc;
use bytes::Bytes;
use remote_storage::{ObjectKey, RemoteStorage};
use types::{Key, Lsn, PgVersion, TenantId, TenantTimelineId, TimelineId};
use super::{StorageConfig, StorageError, StorageMetrics, Timeline, TimelineMetadata};

pub struct TenantManager {}

/// Key of the template of a new root timeline: `initdb`'s output.
pub fn template_key(_version: PgVersion) -> ObjectKey { todo!() }

impl TenantManager {
    /// Loads all tenants and timelines that are in remote storage.
    pub async fn open(_config: StorageConfig, _remote: Arc<dyn RemoteStorage>, _metrics: StorageMetrics) -> Result<Arc<Self>, StorageError> { todo!() }
    pub fn remote(&self) -> &Arc<dyn RemoteStorage> { todo!() }
    pub async fn create_tenant(&self, _tenant: TenantId) -> Result<(), StorageError> { todo!() }
    pub fn list_tenants(&self) -> Vec<TenantId> { todo!() }
    /// `entries` in ascending order of keys, each key once. All stored as of `metadata.initdb_lsn`.
    pub async fn create_root_timeline<E, I>(&self, _id: TenantTimelineId, _metadata: TimelineMetadata, _prev_record_lsn: Lsn, _entries: I) -> Result<Arc<Timeline>, StorageError>
    where I: Iterator<Item = Result<(Key, Bytes), E>> + Send + 'static, E: Into<Box<dyn std::error::Error + Send + Sync>> { todo!() }
    /// At the ancestor's last record LSN if none is given.
    pub async fn branch_timeline(&self, _id: TenantTimelineId, _ancestor: TimelineId, _lsn: Option<Lsn>) -> Result<Arc<Timeline>, StorageError> { todo!() }
    pub fn get_timeline(&self, _id: TenantTimelineId) -> Result<Arc<Timeline>, StorageError> { todo!() }
    pub fn list_timelines(&self, _tenant: TenantId) -> Result<Vec<Arc<Timeline>>, StorageError> { todo!() }
    /// Flushes and uploads all, then stops all background work.
    pub async fn shutdown(&self) -> Result<(), StorageError> { todo!() }
}

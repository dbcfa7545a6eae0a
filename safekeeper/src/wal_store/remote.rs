//! Segments in object storage, under their own names ([`safekeeper_api::offloaded`]), so that PostgreSQL's tools read them from
//! there too.
//!
//! Whole segments are the same on all safekeepers, so it does not matter who puts them there, or how many do. One that
//! is there is never replaced: it is compared. How far the last segment goes, and of which term it is, may differ from
//! safekeeper to safekeeper, so each has its own.

use std::sync::Arc;

use bytes::Bytes;
use remote_storage::{BadKeyError, ObjectKey, RemoteError, RemoteStorage};
use safekeeper_api::control_file::PartialSegment;
use safekeeper_api::offloaded;
use types::{Lsn, NodeId, TenantId, TenantTimelineId};

use crate::wal_store::Segments;

#[derive(Debug, thiserror::Error)]
pub enum RemoteWalError {
    #[error(transparent)]
    Remote(#[from] RemoteError),
    #[error(transparent)]
    Key(#[from] BadKeyError),
    #[error(
        "object {key} differs from the WAL here from {lsn} on: one of the two is damaged, and neither is touched"
    )]
    Differs { key: ObjectKey, lsn: Lsn },
    #[error(
        "object {key} is damaged: it has {found} bytes with the checksum {crc32c:08x}, expected were {expected}"
    )]
    Damaged { key: ObjectKey, found: u64, crc32c: u32, expected: String },
}

/// Where all segments of a tenant are.
pub fn tenant_prefix(tenant: TenantId) -> ObjectKey {
    ObjectKey::new(offloaded::tenant_prefix(tenant)).expect("made of characters that keys may have")
}

/// Where all segments of a timeline are.
pub fn timeline_prefix(ttid: TenantTimelineId) -> ObjectKey {
    ObjectKey::new(offloaded::timeline_prefix(ttid)).expect("made of characters that keys may have")
}

/// Those of one timeline.
#[derive(Clone, Debug)]
pub struct RemoteSegments {
    storage: Arc<dyn RemoteStorage>,
    node_id: NodeId,
    ttid: TenantTimelineId,
    segments: Segments,
}

impl RemoteSegments {
    pub fn new(
        storage: Arc<dyn RemoteStorage>,
        node_id: NodeId,
        ttid: TenantTimelineId,
        segments: Segments,
    ) -> Self {
        Self { storage, node_id, ttid, segments }
    }

    fn key(&self, number: u64, suffix: &str) -> Result<ObjectKey, RemoteWalError> {
        Ok(ObjectKey::new(offloaded::segment(self.ttid, &self.segments.file_name(number)) + suffix)?)
    }

    pub async fn exists(&self, number: u64) -> Result<bool, RemoteWalError> {
        Ok(self.storage.exists(&self.key(number, "")?).await?)
    }

    /// A part of a whole segment.
    pub async fn read(&self, number: u64, offset: u64, length: u64) -> Result<Bytes, RemoteWalError> {
        Ok(self.storage.get_range(&self.key(number, "")?, offset..offset + length).await?)
    }

    /// Stores a whole segment. It counts only when [`RemoteSegments::compare`] has read it back.
    pub async fn put(&self, number: u64, segment: Bytes) -> Result<(), RemoteWalError> {
        Ok(self.storage.put(&self.key(number, "")?, segment).await?)
    }

    /// Reads a whole segment back and compares it with the one here.
    pub async fn compare(&self, number: u64, segment: &Bytes) -> Result<(), RemoteWalError> {
        let key = self.key(number, "")?;
        let stored = self.storage.get(&key).await?;
        if stored == segment {
            return Ok(());
        }
        let same = stored.iter().zip(segment).take_while(|(there, here)| there == here).count();
        Err(RemoteWalError::Differs { key, lsn: self.segments.start(number) + same as u64 })
    }

    /// Stores the beginning of a segment and reads it back.
    pub async fn put_partial(&self, number: u64, wal: Bytes) -> Result<PartialSegment, RemoteWalError> {
        let key = self.key(number, &format!(".sk{}.partial", self.node_id))?;
        let partial = PartialSegment { key: key.to_string(), crc32c: crc32c::crc32c(&wal) };
        let length = wal.len() as u64;
        self.storage.put(&key, wal).await?;
        self.get_partial(&partial, length).await?;
        Ok(partial)
    }

    pub async fn get_partial(&self, partial: &PartialSegment, length: u64) -> Result<Bytes, RemoteWalError> {
        let key = ObjectKey::new(partial.key.clone())?;
        let wal = self.storage.get(&key).await?;
        let crc32c = crc32c::crc32c(&wal);
        if wal.len() as u64 == length && crc32c == partial.crc32c {
            return Ok(wal);
        }
        let expected = format!("{length} with {:08x}", partial.crc32c);
        Err(RemoteWalError::Damaged { key, found: wal.len() as u64, crc32c, expected })
    }

    pub async fn delete_partial(&self, partial: &PartialSegment) -> Result<(), RemoteWalError> {
        Ok(self.storage.delete(&ObjectKey::new(partial.key.clone())?).await?)
    }
}

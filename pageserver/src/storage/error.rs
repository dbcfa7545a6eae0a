//! What can go wrong in the storage engine, told so that the caller knows whose fault it is.

use std::path::{Path, PathBuf};
use std::time::Duration;

use durable_fs::is_storage_full;
use types::{Generation, Key, Lsn, TenantId, TenantTimelineId, TimelineId};

#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    #[error("tenant {0} does not exist")]
    TenantNotFound(TenantId),
    #[error("timeline {0} does not exist")]
    TimelineNotFound(TenantTimelineId),
    #[error("tenant {0} exists already")]
    TenantExists(TenantId),
    #[error("timeline {0} exists already")]
    TimelineExists(TenantTimelineId),
    #[error("tenant {0} was deleted: take another id")]
    TenantDeleted(TenantId),
    #[error("timeline {0} was deleted: take another id")]
    TimelineDeleted(TenantTimelineId),
    #[error("timeline {0} is archived: `varve timeline unarchive` brings it back")]
    Archived(TenantTimelineId),
    #[error("timeline {timeline} has branches that need what it has, they go first: {}", list(.branches))]
    HasBranches { timeline: TenantTimelineId, branches: Vec<TimelineId> },
    #[error("timeline {timeline} cannot leave its ancestor: the value of {key:?} as of {lsn} cannot be made")]
    NotWhole { timeline: TenantTimelineId, key: Key, lsn: Lsn },
    #[error("timeline {timeline} cannot be branched at {lsn}: {reason}")]
    BadBranchPoint { timeline: TenantTimelineId, lsn: Lsn, reason: String },
    #[error("timeline {timeline} has no history at {lsn}: it starts at {start}")]
    BeforeHistory { timeline: TenantTimelineId, lsn: Lsn, start: Lsn },
    #[error(
        "timeline {timeline} has no history at {lsn} any more: garbage was collected up to {cutoff} (pitr_interval)"
    )]
    Collected { timeline: TenantTimelineId, lsn: Lsn, cutoff: Lsn },
    #[error("timeline {timeline} has a layer {layer} already, or had it a moment ago")]
    LayerExists { timeline: TenantTimelineId, layer: String },
    #[error("timeline {timeline} waited {timeout:?} for WAL up to {wanted} and has only {last_record_lsn}")]
    WaitLsnTimeout { timeline: TenantTimelineId, wanted: Lsn, last_record_lsn: Lsn, timeout: Duration },
    #[error("timeline {timeline} refuses a batch that ends at {end_lsn}: {reason}")]
    BadBatch { timeline: TenantTimelineId, end_lsn: Lsn, reason: String },
    #[error("key {key:?} does not come after {previous:?} in the data of a new timeline")]
    KeyOrder { previous: Key, key: Key },
    #[error("the data of the new timeline cannot be read: {0}")]
    Source(Box<dyn std::error::Error + Send + Sync>),
    #[error(transparent)]
    Layer(#[from] layer_format::LayerError),
    #[error(transparent)]
    Remote(#[from] remote_storage::RemoteError),
    #[error("object {key} is damaged: {reason}")]
    DamagedObject { key: String, reason: String },
    #[error("cannot {action} {}: {source}", .path.display())]
    Io { action: &'static str, path: PathBuf, source: std::io::Error },
    #[error(transparent)]
    NotDurable(#[from] durable_fs::DurableFsError),
    #[error(
        "tenant {tenant} belongs to another pageserver now: a generation above {generation}, which this one has, was \
         granted"
    )]
    Superseded { tenant: TenantId, generation: Generation },
    #[error("timeline {timeline}: no quorum of its safekeepers confirms generation {generation}: {reason}")]
    NotConfirmed { timeline: TenantTimelineId, generation: Generation, reason: String },
    #[error("tenant {tenant}: no quorum of safekeepers has granted a generation within {timeout:?}")]
    NotGranted { tenant: TenantId, timeout: Duration },
    #[error(
        "tenant {0} is not served yet: no quorum of safekeepers has granted it to this pageserver since its start"
    )]
    NotGrantedYet(TenantId),
    #[error(
        "tenant {tenant} is not served: what is in object storage cannot be loaded, which is tried again: {reason}"
    )]
    NotLoaded { tenant: TenantId, reason: String },
    #[error("the storage engine is shutting down")]
    ShuttingDown,
}

fn list(timelines: &[TimelineId]) -> String {
    timelines.iter().map(TimelineId::to_string).collect::<Vec<_>>().join(", ")
}

impl StorageError {
    pub(super) fn io(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> StorageError {
        let path = path.to_owned();
        move |source| StorageError::Io { action, path, source }
    }

    /// A file or an object is not there.
    pub fn is_not_found(&self) -> bool {
        match self {
            StorageError::Remote(error) => error.is_not_found(),
            StorageError::Io { source, .. } => source.kind() == std::io::ErrorKind::NotFound,
            _ => false,
        }
    }

    /// There is no room for a file.
    pub fn is_disk_full(&self) -> bool {
        match self {
            StorageError::Remote(error) => error.is_disk_full(),
            StorageError::NotDurable(error) => error.is_disk_full(),
            StorageError::Io { source, .. } => is_storage_full(source),
            StorageError::Layer(error) => error.io_error().is_some_and(is_storage_full),
            _ => false,
        }
    }

    /// The stored bytes are not what was written: no retry will help.
    pub fn is_corruption(&self) -> bool {
        match self {
            StorageError::Layer(error) => error.is_corruption(),
            StorageError::DamagedObject { .. } => true,
            StorageError::TenantNotFound(_)
            | StorageError::TimelineNotFound(_)
            | StorageError::TenantExists(_)
            | StorageError::TimelineExists(_)
            | StorageError::TenantDeleted(_)
            | StorageError::TimelineDeleted(_)
            | StorageError::Archived(_)
            | StorageError::HasBranches { .. }
            | StorageError::NotWhole { .. }
            | StorageError::BadBranchPoint { .. }
            | StorageError::BeforeHistory { .. }
            | StorageError::Collected { .. }
            | StorageError::LayerExists { .. }
            | StorageError::WaitLsnTimeout { .. }
            | StorageError::BadBatch { .. }
            | StorageError::KeyOrder { .. }
            | StorageError::Source(_)
            | StorageError::Remote(_)
            | StorageError::Io { .. }
            | StorageError::NotDurable(_)
            | StorageError::Superseded { .. }
            | StorageError::NotConfirmed { .. }
            | StorageError::NotGranted { .. }
            | StorageError::NotGrantedYet(_)
            | StorageError::NotLoaded { .. }
            | StorageError::ShuttingDown => false,
        }
    }
}

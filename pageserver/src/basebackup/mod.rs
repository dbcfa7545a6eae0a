//! A timeline at an LSN as a data directory, in one tar: for compute_ctl without pages, or all of it for anybody.
//!
//! ```text
//! archive.rs   tar entries into a stream of bounded pieces, compressed or not
//! cluster.rs   what there is at the LSN: databases, relations, SLRU segments, maps …
//! contents.rs  which files, in which order
//! settings.rs  the configuration files of an export (pure)
//! ```
//! `global/pg_control` comes last, so that a torn backup does not start.

mod archive;
mod cluster;
mod contents;
mod settings;

use types::{Key, Lsn, TenantTimelineId};

use crate::ingest::WrittenCheckpoint;
use crate::pages::{PageError, PageReader};
use crate::storage::{StorageError, Timeline};
use archive::Archive;
pub use archive::ChunkSink;
use cluster::Cluster;

#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    #[error(transparent)]
    Storage(#[from] StorageError),
    #[error(transparent)]
    Page(#[from] PageError),
    #[error(transparent)]
    Format(#[from] pg_format::FormatError),
    #[error("nothing can start at {0}: no WAL record can begin there")]
    NoStart(Lsn),
    #[error("timeline {timeline} has no {what} at {lsn}")]
    Missing { timeline: TenantTimelineId, what: &'static str, lsn: Lsn },
    #[error(
        "timeline {timeline} has no checkpoint of its own up to {lsn}, where a replica could begin: start a read-write \
         endpoint of it first"
    )]
    NoCheckpoint { timeline: TenantTimelineId, lsn: Lsn },
    #[error("compressing a backup: {0}")]
    Compression(std::io::Error),
    #[error("sending a backup: {0}")]
    Sink(#[source] Box<dyn std::error::Error + Send + Sync>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BackupKind {
    /// All but the pages of relations: what compute_ctl starts from.
    Sparse,
    /// All, with a configuration, so that stock PostgreSQL starts on it.
    Full,
    /// As [`BackupKind::Sparse`], for a standby that begins with a checkpoint in WAL, which it fetches itself.
    Standby(WrittenCheckpoint),
}

/// Where a standby begins that is to see all that was written up to `lsn`: the backup's LSN is where redo begins.
pub async fn standby(timeline: &Timeline, lsn: Lsn) -> Result<(BackupKind, Lsn), BackupError> {
    own_checkpoint(timeline, lsn)
        .await?
        .map(|written| (BackupKind::Standby(written), written.checkpoint.redo))
        .ok_or(BackupError::NoCheckpoint { timeline: timeline.id(), lsn })
}

/// The last checkpoint in this timeline's own WAL up to `lsn`. An ancestor's is none: its WAL is not this timeline's.
pub async fn own_checkpoint(
    timeline: &Timeline,
    lsn: Lsn,
) -> Result<Option<WrittenCheckpoint>, StorageError> {
    let image = timeline.get_reconstruct(Key::last_checkpoint(), lsn).await?.image;
    let version = timeline.metadata().pg_version;
    Ok(image
        .and_then(|(_, image)| WrittenCheckpoint::decode(&image, version))
        .filter(|written| written.checkpoint.redo >= timeline.start_lsn()))
}

/// Which backup.
#[derive(Clone, Copy, Debug)]
pub struct BackupOptions {
    pub kind: BackupKind,
    /// All records that end at or before it; they have been ingested.
    pub lsn: Lsn,
    /// Start of the last record before `lsn`, zero if unknown.
    pub prev_lsn: Lsn,
    pub zstd: bool,
}

/// Writes the whole tar into `sink`.
pub async fn write_backup<S: ChunkSink>(
    timeline: &Timeline,
    pages: &PageReader,
    options: BackupOptions,
    sink: S,
) -> Result<(), BackupError> {
    let cluster = Cluster::load(timeline, pages, options.lsn).await?;
    let mut archive = Archive::new(sink, options.zstd)?;
    contents::write(&cluster, &options, &mut archive).await?;
    archive.finish().await
}

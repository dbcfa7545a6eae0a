//! The knobs of the storage engine.

use std::path::PathBuf;
use std::time::Duration;

use super::compaction::Limits;
use super::layers::Spacing;

#[derive(Clone, Debug)]
pub struct StorageConfig {
    /// The pageserver's directory; tenants live in `tenants/` below it.
    pub workdir: PathBuf,
    /// Bytes of an open layer at which it is frozen and written to disk.
    pub checkpoint_distance: u64,
    /// Age of an open layer at which it is frozen even if it is small, so that safekeepers can drop WAL.
    pub checkpoint_timeout: Duration,
    /// Frozen layers that may wait in memory to be written; then ingest waits.
    pub max_frozen_layers: usize,
    /// Bytes at which an image layer is closed and the next one begun.
    pub image_layer_size: u64,
    /// Bytes at which a delta layer that compaction makes is closed and the next one begun.
    pub target_layer_size: u64,
    /// Changes of one page in a layer flushed from memory from which on an image of it follows them.
    pub image_after_changes: usize,
    /// The same in a layer that compaction makes.
    pub merged_image_after_changes: usize,
    /// Changes of one page without an image between them, in the midst of its history.
    pub most_changes_between_images: usize,
    /// Layers flushed from memory that make compaction worth while.
    pub level0_threshold: usize,
    /// Layers flushed from memory at which ingest waits for compaction.
    pub max_level0_layers: usize,
    /// Delta layers made by compaction, on top of each other, that make more of it worth while.
    pub run_threshold: usize,
    /// Bytes of layers that one job of compaction reads, about.
    pub compaction_job_bytes: u64,
    /// Jobs of compaction at once, of all timelines.
    pub background_jobs: usize,
    /// Layer files that are open at once.
    pub max_open_layers: usize,
    /// How long a read of a branch waits for its ancestor to have ingested WAL up to the branch point.
    pub ancestor_wait_timeout: Duration,
    /// What leases of before a start are good for, from then on.
    pub lease_length: Duration,
}

impl StorageConfig {
    pub fn new(workdir: impl Into<PathBuf>) -> Self {
        Self {
            workdir: workdir.into(),
            checkpoint_distance: 256 << 20,
            checkpoint_timeout: Duration::from_secs(600),
            max_frozen_layers: 2,
            image_layer_size: 256 << 20,
            target_layer_size: 128 << 20,
            image_after_changes: 12,
            merged_image_after_changes: 4,
            most_changes_between_images: 32,
            level0_threshold: 4,
            max_level0_layers: 24,
            run_threshold: 3,
            compaction_job_bytes: 2 << 30,
            background_jobs: 1,
            max_open_layers: 512,
            ancestor_wait_timeout: Duration::from_secs(60),
            lease_length: Duration::from_secs(600),
        }
    }
    /// Level 0 at which ingest waits: never so low that no merge would come.
    pub(super) fn most_level0_layers(&self) -> usize {
        self.max_level0_layers.max(2 * self.level0_threshold)
    }

    /// Of layers flushed from memory.
    pub(super) fn spacing(&self) -> Spacing {
        let within = self.most_changes_between_images.max(1);
        Spacing { at_end: self.image_after_changes.max(1), within }
    }

    /// Of layers that compaction makes.
    pub(super) fn merged_spacing(&self) -> Spacing {
        Spacing { at_end: self.merged_image_after_changes.max(1), ..self.spacing() }
    }

    pub(super) fn limits(&self, makes_images: bool) -> Limits {
        Limits {
            level0_threshold: self.level0_threshold.max(1),
            run_threshold: self.run_threshold.max(2),
            job_bytes: self.compaction_job_bytes,
            makes_images,
        }
    }
}

//! The knobs of the storage engine.

use std::path::PathBuf;
use std::time::Duration;

use types::Generation;

#[derive(Clone, Debug)]
pub struct StorageConfig {
    /// The pageserver's directory; tenants live in `tenants/` below it.
    pub workdir: PathBuf,
    /// Number of this pageserver's ownership of its tenants; part of the name of every object it writes.
    pub generation: Generation,
    /// Bytes of an open layer at which it is frozen and written to disk.
    pub checkpoint_distance: u64,
    /// Age of an open layer at which it is frozen even if it is small, so that safekeepers can drop WAL.
    pub checkpoint_timeout: Duration,
    /// Frozen layers that may wait in memory to be written; then ingest waits.
    pub max_frozen_layers: usize,
    /// Bytes at which an image layer is closed and the next one begun.
    pub image_layer_size: u64,
    /// Changes of one page in a layer from which on the layer also gets an image of the page.
    pub image_after_changes: usize,
    /// Layer files that are open at once.
    pub max_open_layers: usize,
    /// How long a read of a branch waits for its ancestor to have ingested WAL up to the branch point.
    pub ancestor_wait_timeout: Duration,
}

impl StorageConfig {
    pub fn new(workdir: impl Into<PathBuf>) -> Self {
        Self {
            workdir: workdir.into(),
            generation: Generation(1),
            checkpoint_distance: 256 << 20,
            checkpoint_timeout: Duration::from_secs(600),
            max_frozen_layers: 2,
            image_layer_size: 256 << 20,
            image_after_changes: 64,
            max_open_layers: 512,
            ancestor_wait_timeout: Duration::from_secs(60),
        }
    }
}

//! Layers whose files may go from the local disk. Which of them do is decided by whoever knows how full it is.

use std::sync::Arc;

use super::TenantManager;
use crate::storage::layers::DiskLayer;

/// A layer that is on the local disk and in remote storage.
#[derive(Clone)]
pub struct EvictableLayer(pub(super) Arc<DiskLayer>);

impl EvictableLayer {
    /// When it was read last; higher is later.
    pub fn last_access(&self) -> u64 {
        self.0.last_access()
    }

    /// Bytes.
    pub fn size(&self) -> u64 {
        self.0.file_size
    }

    /// Removes the file; whoever reads it just now reads on. Bytes; none if it is needed just now, or could not be
    /// removed. Blocks.
    pub fn evict(&self) -> Option<u64> {
        match self.0.evict() {
            Ok(true) => Some(self.size()),
            Ok(false) => None,
            Err(error) => {
                tracing::warn!(layer = %self.0.file_name, %error, "a layer is not evicted");
                None
            }
        }
    }
}

impl TenantManager {
    /// Bytes of layer files on the local disk.
    pub fn local_layer_bytes(&self) -> u64 {
        u64::try_from(self.environment.metrics.local_layer_bytes.get()).unwrap_or(0)
    }

    pub fn evictable_layers(&self) -> Vec<EvictableLayer> {
        let timelines = self.all_timelines();
        timelines.iter().flat_map(|timeline| timeline.evictable_layers()).map(EvictableLayer).collect()
    }

    /// Waits until a file does not fit on the local disk. Its bytes.
    pub async fn room_wanted(&self) -> u64 {
        self.environment.room.wanted().await
    }

    /// Those whose files did not fit may try again.
    pub fn room_made(&self) {
        self.environment.room.made();
    }
}

//! Frozen layers become files.

use std::sync::Arc;

use durable_fs::run_blocking;

use super::view::{FrozenLayer, View};
use super::{Timeline, extent};
use crate::storage::StorageError;
use crate::storage::layers::{DiskLayer, write_delta_layer};

impl Timeline {
    /// Writes all frozen layers to disk, oldest first. An error leaves the layer frozen and the disk consistent LSN
    /// where it was.
    pub(super) async fn flush_frozen(&self) -> Result<(), StorageError> {
        let _flushing = self.flushing.lock().await;
        loop {
            let Some(oldest) = self.view.load().frozen.first().cloned() else { return Ok(()) };
            let timer = self.environment.metrics.flush_seconds.start_timer();
            let written = self.write_frozen(&oldest).await?;
            timer.observe_duration();
            self.replace_frozen(&oldest, written.map(Arc::new));
        }
    }

    async fn write_frozen(&self, frozen: &Arc<FrozenLayer>) -> Result<Option<DiskLayer>, StorageError> {
        let images = self.shortening_images(frozen).await;
        let (environment, id, frozen) = (Arc::clone(&self.environment), self.id, Arc::clone(frozen));
        run_blocking(move || write_delta_layer(&environment, id, &frozen.layer, frozen.end.last, images))
            .await
    }

    /// In one step: a reader sees the frozen layer or the file.
    fn replace_frozen(&self, oldest: &Arc<FrozenLayer>, written: Option<Arc<DiskLayer>>) {
        if let Some(layer) = &written {
            tracing::info!(timeline = %self.id, layer = %layer.file_name, bytes = layer.file_size, "wrote a layer");
        }
        self.change_view(|view| View {
            open: Arc::clone(&view.open),
            frozen: view.frozen.iter().filter(|frozen| !Arc::ptr_eq(frozen, oldest)).cloned().collect(),
            layers: view.layers.with_changes(&[], written.map(|layer| (extent(&layer.identity.name), layer))),
            durable: oldest.end,
        });
        self.disk_consistent_lsn.send_replace(oldest.end.last);
    }
}

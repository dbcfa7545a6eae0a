//! Frozen layers become files.

use std::sync::Arc;
use std::time::Duration;

use durable_fs::run_blocking;
use telemetry::timeline_span;
use tracing::Instrument;
use types::Lsn;

use super::compact::TimelineImages;
use super::view::{FrozenLayer, View};
use super::{Timeline, extent};
use crate::storage::StorageError;
use crate::storage::layers::{DiskLayer, Images, write_delta_layer};

impl Timeline {
    /// Writes all frozen layers to disk, oldest first. An error leaves the layer frozen and the disk consistent LSN
    /// where it was.
    pub(super) async fn flush_frozen(self: &Arc<Self>) -> Result<(), StorageError> {
        let _flushing = self.flushing.lock().await;
        loop {
            let Some(oldest) = self.view.load().frozen.first().cloned() else { return Ok(()) };
            let timer = self.environment.metrics.flush_seconds.start_timer();
            let span = timeline_span!(None, self.id, "flush", varve.lsn = %oldest.end.last);
            let written = self.write_frozen(&oldest).instrument(span).await?;
            timer.observe_duration();
            self.replace_frozen(&oldest, written.map(Arc::new));
        }
    }

    /// Writes all that was put to disk.
    pub(super) async fn flush(self: &Arc<Self>) -> Result<(), StorageError> {
        {
            let writing = self.writing.lock().await;
            self.freeze(&writing);
        }
        self.flush_frozen().await
    }

    /// Writes everything up to `lsn` to disk. An error if that has not come yet, as after a restart.
    pub(super) async fn ensure_durable(self: &Arc<Self>, lsn: Lsn) -> Result<(), StorageError> {
        if self.disk_consistent_lsn() < lsn {
            self.flush().await?;
        }
        self.check_arrived(self.disk_consistent_lsn(), lsn)
    }

    /// For who does not wait: an error if the timeline has come only to `reached`, and not to `wanted`.
    pub(super) fn check_arrived(&self, reached: Lsn, wanted: Lsn) -> Result<(), StorageError> {
        if reached >= wanted {
            return Ok(());
        }
        let (last_record_lsn, timeout) = (self.last_record_lsn(), Duration::ZERO);
        Err(StorageError::WaitLsnTimeout { timeline: self.id, wanted, last_record_lsn, timeout })
    }

    async fn write_frozen(
        self: &Arc<Self>,
        frozen: &Arc<FrozenLayer>,
    ) -> Result<Option<DiskLayer>, StorageError> {
        let (timeline, frozen) = (Arc::clone(self), Arc::clone(frozen));
        run_blocking(move || {
            let (environment, generation) = (&timeline.environment, timeline.ownership.generation);
            let images = TimelineImages::new(&timeline);
            let images = environment.redo.is_some().then_some(&images as &dyn Images);
            write_delta_layer(environment, timeline.id, generation, &frozen.layer, frozen.end.last, images)
        })
        .await
    }

    /// In one step: a reader sees the frozen layer or the file.
    fn replace_frozen(&self, oldest: &Arc<FrozenLayer>, written: Option<Arc<DiskLayer>>) {
        if let Some(layer) = &written {
            tracing::info!(timeline = %self.id, layer = %layer.file_name, bytes = layer.file_size, "wrote a layer");
        }
        self.change_view(|view| View {
            frozen: view.frozen.iter().filter(|frozen| !Arc::ptr_eq(frozen, oldest)).cloned().collect(),
            layers: view.layers.with_changes(&[], written.map(|layer| (extent(&layer.identity.name), layer))),
            durable: oldest.end,
            ..view.clone()
        });
        self.disk_consistent_lsn.send_replace(oldest.end.last);
    }
}

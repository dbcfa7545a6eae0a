//! The way in: batches go to the open layer, which is frozen when it is large or old.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use tokio::sync::MutexGuard;
use types::{Key, Lsn};

use super::Timeline;
use super::view::{FrozenLayer, Position, View};
use crate::storage::layers::MemoryLayer;
use crate::storage::{StorageError, WriteBatch};

impl Timeline {
    /// Takes the changes of a run of records; they can be read when this returns. Waits while too many layers
    /// have not been written to disk, or have not been merged. After an error nothing of the batch is there.
    pub async fn put_batch(&self, batch: WriteBatch) -> Result<(), StorageError> {
        self.ownership.check()?;
        self.wait_for_room().await?;
        let writing = self.writing.lock().await;
        if self.closed.is_cancelled() {
            return Err(StorageError::ShuttingDown);
        }
        self.check(&batch)?;
        let view = self.view.load_full();
        view.open.append(&batch.entries);
        self.last_record.send_replace(Position { last: batch.end_lsn, prev: batch.prev_record_lsn });
        if view.open.bytes() >= self.environment.config.checkpoint_distance {
            self.freeze(&writing);
        }
        Ok(())
    }

    fn check(&self, batch: &WriteBatch) -> Result<(), StorageError> {
        let last = self.last_record_lsn();
        let bad = |reason: String| {
            Err(StorageError::BadBatch { timeline: self.id, end_lsn: batch.end_lsn, reason })
        };
        if batch.end_lsn < last || (batch.end_lsn == last && !batch.entries.is_empty()) {
            return bad(format!("WAL up to {last} is there already"));
        }
        match batch.entries.iter().find(|(_, lsn, _)| *lsn <= last || *lsn > batch.end_lsn) {
            Some((key, lsn, _)) => {
                bad(format!("its change of {key:?} at {lsn} is not above {last} and within it"))
            }
            None => Ok(()),
        }
    }

    /// Takes an image that a read had to make of many changes, so that the next read need not. `lsn` is that of the last
    /// of them. Only where they are in memory: in files compaction sees to it.
    pub fn keep_image(&self, key: Key, lsn: Lsn, image: &Bytes) {
        // Of a batch that is just being put, not all changes of a record may be there.
        if lsn > self.last_record_lsn() {
            return;
        }
        let view = self.view.load();
        let layers = view.frozen.iter().map(|frozen| &frozen.layer).chain([&view.open]);
        if let Some(layer) = layers.rev().find(|layer| layer.base < lsn)
            && layer.keep_image(key, lsn, image)
        {
            self.environment.metrics.kept_images.inc();
        }
    }

    /// Memory waits to be written, or files to be merged: whoever brings more waits, and by and by the compute. A merge
    /// that fails does not stop ingest: layers of level 0 cost time, not memory.
    fn is_full(&self) -> bool {
        let config = &self.environment.config;
        let view = self.view.load();
        view.frozen.len() >= config.max_frozen_layers
            || (self.level0_layers.load(Ordering::Relaxed) >= config.most_level0_layers()
                && !self.compaction_fails.load(Ordering::Relaxed))
    }

    async fn wait_for_room(&self) -> Result<(), StorageError> {
        if !self.is_full() {
            return Ok(());
        }
        self.environment.metrics.put_batch_waits.inc();
        // Subscribed before the check: a change in between is not missed.
        let mut changed = self.view_changed.subscribe();
        while self.is_full() {
            tokio::select! {
                _ = changed.changed() => {}
                () = self.closed.cancelled() => return Err(StorageError::ShuttingDown),
                () = self.ownership.lost.cancelled() => return Err(self.ownership.error()),
            }
        }
        Ok(())
    }

    /// Closes the open layer and opens the next. A layer that saw records but no change is frozen too: flushing it
    /// writes nothing and moves the LSNs.
    pub(super) fn freeze(&self, _writing: &MutexGuard<'_, ()>) {
        let end = *self.last_record.borrow();
        if self.view.load().open.base == end.last {
            return;
        }
        let gauge = self.environment.metrics.memory_layer_bytes.clone();
        let next = Arc::new(MemoryLayer::new(end.last, gauge));
        self.change_view(|view| View {
            open: next,
            frozen: {
                let last = Arc::new(FrozenLayer { layer: Arc::clone(&view.open), end });
                view.frozen.iter().cloned().chain([last]).collect()
            },
            ..view.clone()
        });
        self.frozen.notify_one();
    }

    pub(super) async fn freeze_if_old(&self) {
        let writing = self.writing.lock().await;
        if self.view.load().open.age() >= self.environment.config.checkpoint_timeout {
            self.freeze(&writing);
        }
    }
}

//! Layer files and the index that names them go to remote storage.

use std::collections::BTreeMap;
use std::sync::Arc;

use remote_storage::ObjectKey;
use telemetry::timeline_span;
use tracing::Instrument;

use super::view::View;
use super::{Obsolete, Timeline};
use crate::storage::StorageError;
use crate::storage::environment::with_generation;
use crate::storage::upload::{INDEX_STEM, IndexLayer, IndexPart, Said, plan};

impl Timeline {
    /// Uploads what is on disk and not yet in remote storage. It counts only when it was confirmed.
    pub(super) async fn upload_durable(&self) -> Result<(), StorageError> {
        let _uploading = self.uploading.lock().await;
        let view = self.view.load_full();
        // After the view: layers are removed when the cutoff that allows it is set, so an index never lacks what its
        // cutoff says can be read.
        let gc_cutoff = self.gc_cutoff();
        let layers = view.layers.iter().map(|(_, layer)| (layer, layer.is_uploaded()));
        let mut leased = self.leased();
        leased.retain(|lsn| *lsn < gc_cutoff);
        let now = Said { durable: view.durable.last, changes: view.changes, gc_cutoff, leased };
        let plan = plan(layers, &now, self.said().as_ref());
        if !plan.index {
            return Ok(());
        }
        let span = timeline_span!(None, self.id, "upload", varve.lsn = %now.durable);
        let put = async {
            for layer in plan.layers {
                // An object of that name, left by an attempt that no index came to name, is replaced and stays. One of a
                // layer that was merged away since this upload began goes all the same, after the next index.
                let is_replaced = |object: &Obsolete| object.is_orphan && object.key == layer.remote_key;
                self.obsolete.lock().expect("no holder panics").retain(|object| !is_replaced(object));
                // WAL goes when it is said to be there: what is put must be what was written.
                layer.verify().await?;
                self.environment.remote.put_file(&layer.remote_key, &layer.path).await?;
                layer.set_uploaded();
                self.environment.metrics.layer_uploaded_bytes.inc_by(layer.file_size);
            }
            self.upload_index(&self.index_part(&view, &now)).await
        };
        put.instrument(span).await?;
        *self.said.lock().expect("no holder panics") = Some(now);
        Ok(())
    }

    fn index_part(&self, view: &View, said: &Said) -> IndexPart {
        let generation = self.ownership.generation;
        let layers: BTreeMap<String, IndexLayer> = view
            .layers
            .iter()
            .map(|(_, layer)| (layer.file_name.name.to_string(), IndexLayer::of(layer)))
            .collect();
        let ancestor = self.ancestor().filter(|_| !self.is_whole());
        IndexPart {
            disk_consistent_lsn: said.durable,
            prev_record_lsn: view.durable.prev,
            gc_cutoff: said.gc_cutoff,
            leased: said.leased.clone(),
            layers,
            ..IndexPart::new(self.id, generation, self.metadata.clone(), ancestor)
        }
    }

    async fn upload_index(&self, index: &IndexPart) -> Result<(), StorageError> {
        let name = with_generation(INDEX_STEM, index.generation);
        let key = self.environment.timeline_object(self.id, &name);
        self.environment.remote.put(&key, index.encode()).await?;
        Ok(())
    }

    /// Moves the remote consistent LSN to what is uploaded, and deletes the objects that the uploaded index names no
    /// more, if nobody has come after this pageserver: whoever comes from now on begins with that index. An error
    /// leaves all where it was.
    pub(super) async fn confirm_uploaded(&self) -> Result<(), StorageError> {
        let Some(Said { durable, changes, .. }) = self.said() else { return Ok(()) };
        if durable <= self.remote_consistent_lsn() && self.deletable(changes).is_empty() {
            return Ok(());
        }
        self.ownership.confirm(&self.environment, self.id).await?;
        if durable > self.remote_consistent_lsn() {
            self.remote_consistent_lsn.send_replace(durable);
            tracing::debug!(timeline = %self.id, remote_consistent_lsn = %durable, "uploaded the index");
        }
        self.delete_objects(changes).await
    }

    /// What the index says that was put last by this pageserver, or by another and needs no other.
    pub(super) fn said(&self) -> Option<Said> {
        self.said.lock().expect("no holder panics").clone()
    }

    fn deletable(&self, changes: u64) -> Vec<ObjectKey> {
        let obsolete = self.obsolete.lock().expect("no holder panics");
        obsolete.iter().filter(|object| object.change <= changes).map(|object| object.key.clone()).collect()
    }

    async fn delete_objects(&self, changes: u64) -> Result<(), StorageError> {
        // A put of one of them that began before it was obsolete has ended, and none begins.
        let _uploading = self.uploading.lock().await;
        for key in self.deletable(changes) {
            self.environment.remote.delete(&key).await?;
            self.environment.metrics.deleted_objects.inc();
            self.obsolete.lock().expect("no holder panics").retain(|object| object.key != key);
        }
        Ok(())
    }

    /// All that was put is in remote storage when this returns.
    pub async fn flush_and_upload(self: &Arc<Self>) -> Result<(), StorageError> {
        self.flush_and_put().await?;
        self.confirm_uploaded().await
    }

    /// The same at a shutdown, when nobody needs to know any more and safekeepers may be gone.
    pub(super) async fn flush_and_put(self: &Arc<Self>) -> Result<(), StorageError> {
        self.flush().await?;
        self.upload_durable().await
    }
}

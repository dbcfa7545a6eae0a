//! Layer files and the index that names them go to remote storage.

use std::collections::BTreeMap;

use super::Timeline;
use super::view::View;
use crate::storage::StorageError;
use crate::storage::environment::with_generation;
use crate::storage::upload::{INDEX_STEM, IndexLayer, IndexPart, plan};

impl Timeline {
    /// Uploads what is on disk and not yet in remote storage. An error leaves the remote consistent LSN where it was.
    pub(super) async fn upload_durable(&self) -> Result<(), StorageError> {
        let _uploading = self.uploading.lock().await;
        let view = self.view.load_full();
        let layers = view.layers.iter().map(|(_, layer)| (layer, layer.is_uploaded()));
        let plan = plan(layers, view.durable.last, self.remote_consistent_lsn());
        for layer in plan.layers {
            self.environment.remote.put_file(&layer.remote_key, &layer.path).await?;
            layer.set_uploaded();
            self.environment.metrics.layer_bytes_uploaded.inc_by(layer.file_size);
        }
        if plan.index {
            self.upload_index(&self.index_part(&view)).await?;
        }
        Ok(())
    }

    fn index_part(&self, view: &View) -> IndexPart {
        let generation = self.environment.config.generation;
        let layers: BTreeMap<String, IndexLayer> = view
            .layers
            .iter()
            .map(|(_, layer)| {
                let entry = IndexLayer { file_size: layer.file_size, generation: layer.file_name.generation };
                (layer.file_name.name.to_string(), entry)
            })
            .collect();
        IndexPart {
            disk_consistent_lsn: view.durable.last,
            prev_record_lsn: view.durable.prev,
            layers,
            ..IndexPart::new(self.id, generation, self.metadata.clone(), self.ancestor())
        }
    }

    async fn upload_index(&self, index: &IndexPart) -> Result<(), StorageError> {
        let name = with_generation(INDEX_STEM, index.generation);
        let key = self.environment.timeline_object(self.id, &name);
        self.environment.remote.put(&key, index.encode()).await?;
        self.remote_consistent_lsn.send_replace(index.disk_consistent_lsn);
        tracing::debug!(timeline = %self.id, remote_consistent_lsn = %index.disk_consistent_lsn, "uploaded the index");
        Ok(())
    }

    /// All that was put is in remote storage when this returns: at a shutdown, after an import.
    pub async fn flush_and_upload(&self) -> Result<(), StorageError> {
        {
            let writing = self.writing.lock().await;
            self.freeze(&writing);
        }
        self.flush_frozen().await?;
        self.upload_durable().await
    }
}

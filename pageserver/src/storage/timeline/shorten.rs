//! Images of the pages that a frozen layer changed often: made when the layer is written, and written into it behind
//! the changes that they sum up. So a read meets the image first and stops there.

use std::collections::BTreeMap;

use bytes::Bytes;
use durable_fs::run_blocking;
use types::{Key, Lsn};

use super::Timeline;
use super::view::FrozenLayer;
use crate::storage::StorageError;

/// At most so many images are in memory at once, those with the longest histories: 32 MiB of pages.
const MAX_IMAGES: usize = 4096;

impl Timeline {
    /// A key's value as of the end of the frozen layer, for keys with many changes in it and no base after them. Best
    /// effort: where a value cannot be made, reads go the long way.
    pub(super) async fn shortening_images(&self, frozen: &FrozenLayer) -> BTreeMap<Key, Bytes> {
        let mut images = BTreeMap::new();
        if self.environment.redo.is_none() {
            return images;
        }
        let threshold = self.environment.config.image_after_changes.max(1);
        for key in frozen.layer.longest_histories(threshold, MAX_IMAGES) {
            match self.value(key, frozen.end.last).await {
                Ok(Some(image)) if !image.is_empty() => drop(images.insert(key, image)),
                Ok(_) => {}
                Err(error) => {
                    tracing::warn!(timeline = %self.id, ?key, %error, "no images for a layer: its history cannot be read");
                    break;
                }
            }
        }
        images
    }

    async fn value(&self, key: Key, lsn: Lsn) -> Result<Option<Bytes>, StorageError> {
        let Some(redo) = self.environment.redo.clone() else { return Ok(None) };
        let found = self.get_reconstruct(key, lsn).await?;
        let metadata = self.metadata.clone();
        Ok(run_blocking(move || redo.value_of(&metadata, key, &found)).await)
    }
}

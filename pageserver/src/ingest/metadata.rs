//! Sizes of relations and SLRU segments as of the last record taken in, with storage behind.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use types::{Key, RelTag, SlruKind};

use super::rel_size::RelSize;
use crate::storage::{StorageError, Timeline};

/// Most entries kept from one batch to the next.
const MOST_ENTRIES: usize = 100_000;

pub(super) struct MetadataCache {
    timeline: Arc<Timeline>,
    relations: HashMap<RelTag, Option<RelSize>>,
    slru_segments: HashMap<(SlruKind, u32), u32>,
}

impl MetadataCache {
    pub(super) fn new(timeline: Arc<Timeline>) -> Self {
        Self { timeline, relations: HashMap::new(), slru_segments: HashMap::new() }
    }

    /// A metadata key as of the last batch put; None if it was never there, empty if it was dropped.
    pub(super) async fn read(&self, key: Key) -> Result<Option<Bytes>, StorageError> {
        let found = self.timeline.get_reconstruct(key, self.timeline.last_record_lsn()).await?;
        Ok(found.image.map(|(_, image)| image))
    }

    /// None if the relation fork is not there.
    pub(super) async fn relation(&mut self, rel: RelTag) -> Result<Option<RelSize>, StorageError> {
        if let Some(size) = self.relations.get(&rel) {
            return Ok(size.clone());
        }
        let size = self.read(Key::rel_size(rel)).await?.as_deref().and_then(RelSize::decode);
        self.relations.insert(rel, size.clone());
        Ok(size)
    }

    pub(super) fn set_relation(&mut self, rel: RelTag, size: Option<RelSize>) {
        self.relations.insert(rel, size);
    }

    /// Blocks of a segment; 0 if it is not there.
    pub(super) async fn slru_segment(&mut self, slru: SlruKind, segment: u32) -> Result<u32, StorageError> {
        if let Some(blocks) = self.slru_segments.get(&(slru, segment)) {
            return Ok(*blocks);
        }
        let image = self.read(Key::slru_seg_size(slru, segment)).await?;
        let blocks = image.as_deref().and_then(size_of).unwrap_or(0);
        self.slru_segments.insert((slru, segment), blocks);
        Ok(blocks)
    }

    pub(super) fn set_slru_segment(&mut self, slru: SlruKind, segment: u32, blocks: u32) {
        self.slru_segments.insert((slru, segment), blocks);
    }

    /// Called when a batch was put, so that all that is known is in storage too.
    pub(super) fn trim(&mut self) {
        if self.relations.len() > MOST_ENTRIES {
            self.relations.clear();
        }
        if self.slru_segments.len() > MOST_ENTRIES {
            self.slru_segments.clear();
        }
    }
}

/// The value of the size key of an SLRU segment.
pub fn size_of(image: &[u8]) -> Option<u32> {
    image.try_into().ok().map(u32::from_le_bytes)
}

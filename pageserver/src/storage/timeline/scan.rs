//! All keys of a range at an LSN: how relations, databases and segments are listed.

use std::collections::BTreeMap;

use bytes::Bytes;
use layer_format::Value;
use types::{Key, KeyRange, Lsn};

use super::Timeline;
use super::read::{Level, Progress};
use crate::storage::StorageError;
use crate::storage::layers::LayerSession;

/// The newest image found of each key.
type Found = BTreeMap<Key, (Lsn, Bytes)>;

impl Timeline {
    /// The value of each key of `keys` as of `lsn`, in order; keys that were dropped are left out.
    ///
    /// Meant for keys whose values are always whole. Changes are passed over: of a key that has them, this is the
    /// newest image.
    pub async fn scan(&self, keys: KeyRange, lsn: Lsn) -> Result<Vec<(Key, Bytes)>, StorageError> {
        let levels = self.levels(lsn).await?;
        let found = self.blocking(levels, move |levels| scan_levels(levels, &keys)).await?;
        Ok(found
            .into_iter()
            .filter(|(_, (_, image))| !image.is_empty())
            .map(|(key, (_, image))| (key, image))
            .collect())
    }
}

fn note(found: &mut Found, key: Key, lsn: Lsn, image: &Bytes) {
    // Entries of one key at one LSN come in their order: the last counts.
    if found.get(&key).is_none_or(|(newest, _)| *newest <= lsn) {
        found.insert(key, (lsn, image.clone()));
    }
}

fn scan_levels(levels: &[Level], keys: &KeyRange) -> Result<Progress<Found>, StorageError> {
    let mut found = Found::new();
    let mut session = LayerSession::default();
    for Level { view, end } in levels {
        let frozen = view.frozen.iter().map(|frozen| &frozen.layer);
        for layer in frozen.chain([&view.open]) {
            layer.newest_images(keys, *end, |key, lsn, image| note(&mut found, key, lsn, &image));
        }
        for step in view.layers.overlapping(keys, *end) {
            let Some((reader, _)) = session.open(&step.layer)? else {
                return Ok(Progress::Missing(step.layer));
            };
            reader.scan(keys, |entry| match &entry.value {
                Value::Image(image) if entry.lsn < *end => note(&mut found, entry.key, entry.lsn, image),
                Value::Image(_) | Value::Delta { .. } => {}
            })?;
        }
    }
    Ok(Progress::Done(found))
}

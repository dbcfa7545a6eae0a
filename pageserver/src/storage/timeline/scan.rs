//! All keys of a range at an LSN: how relations, databases and segments are listed.

use std::collections::BTreeMap;

use bytes::Bytes;
use layer_format::Value;
use types::{Key, KeyRange, Lsn};

use super::Timeline;
use super::compact::ends_in_images;
use super::read::{Level, Stop, open};
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
        let scan = |levels| {
            let keys = keys.clone();
            self.blocking(levels, move |levels| scan_levels(levels, &keys))
        };
        let found = self.read_at(lsn, scan).await?;
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

fn scan_levels(levels: &[Level], keys: &KeyRange) -> Result<Found, Stop> {
    let mut found = Found::new();
    scan_below(levels, keys, &mut LayerSession::default(), &mut found)?;
    Ok(found)
}

/// A timeline's own layers, and those of its ancestors where its own do not end in images: these leave out what was dropped, and
/// below them it is still there.
fn scan_below(
    levels: &[Level],
    keys: &KeyRange,
    session: &mut LayerSession,
    found: &mut Found,
) -> Result<(), Stop> {
    let Some((Level { view, end, .. }, ancestors)) = levels.split_first() else { return Ok(()) };
    let frozen = view.frozen.iter().map(|frozen| &frozen.layer);
    for layer in frozen.chain([&view.open]) {
        layer.newest_images(keys, *end, |key, lsn, image| note(found, key, lsn, &image));
    }
    for descent in view.layers.plan(keys, *end) {
        let goes_deeper = !ends_in_images(&descent);
        for step in descent.steps {
            let (reader, _) = open(session, &step.layer)?;
            for entry in reader.entries_in(descent.keys.clone()) {
                let entry = entry.map_err(Stop::at(&step.layer))?;
                if let Value::Image(image) = &entry.value
                    && step.lsns.contains(&entry.lsn)
                {
                    note(found, entry.key, entry.lsn, image);
                }
            }
        }
        if goes_deeper {
            scan_below(ancestors, &descent.keys, session, found)?;
        }
    }
    Ok(())
}

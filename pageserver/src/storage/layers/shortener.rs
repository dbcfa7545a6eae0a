//! Images among the changes of a layer: how reads are kept short whatever the history of a page is.
//!
//! Entries pass through here on their way to a layer file. Where a key has had many changes in a row, an image of it
//! follows the last of them, at the same LSN: a read meets the image first and stops there.

use bytes::Bytes;
use layer_format::Value;
use types::{Key, Lsn};

use super::writer::EntrySink;
use crate::storage::{Reconstruct, StorageError};

/// After how many changes an image follows.
#[derive(Clone, Copy, Debug)]
pub(in crate::storage) struct Spacing {
    /// Behind a key's last entry of the layer: reads of today begin there.
    pub(in crate::storage) at_end: usize,
    /// In the midst of its history, where only reads of the past begin.
    pub(in crate::storage) within: usize,
}

/// Who makes images. Both may fail, and then the changes stand as they are.
pub(in crate::storage) trait Images {
    /// The LSN of the newest image layer, at or below `lsn`, that covers the key.
    fn floor(&self, key: Key, lsn: Lsn) -> Option<Lsn>;
    /// What the layers below have of a key as of `lsn`.
    fn below(&self, key: Key, lsn: Lsn) -> Option<Reconstruct>;
    fn make(&self, key: Key, found: &Reconstruct) -> Option<Bytes>;
}

/// The changes of the present key since its last base.
struct Chain {
    key: Key,
    last: Lsn,
    /// None: it lies in layers below.
    base: Option<Reconstruct>,
    changes: Vec<(Lsn, Bytes)>,
    hopeless: bool,
}

impl Chain {
    fn new(key: Key) -> Self {
        Self { key, last: Lsn::INVALID, base: None, changes: Vec::new(), hopeless: false }
    }

    fn take(&mut self, lsn: Lsn, value: &Value) {
        self.last = lsn;
        match value {
            Value::Image(image) => {
                self.base = Some(Reconstruct { image: Some((lsn, image.clone())), deltas: Vec::new() });
                self.changes.clear();
                self.hopeless = false;
            }
            Value::Delta { will_init: true, change } => {
                self.base = Some(Reconstruct::default());
                self.changes = vec![(lsn, change.clone())];
                self.hopeless = false;
            }
            // Nothing is collected that will not be used.
            Value::Delta { will_init: false, .. } if self.hopeless => {}
            Value::Delta { will_init: false, change } => self.changes.push((lsn, change.clone())),
        }
    }

    /// Forgets what lies below an image layer in the midst of the chain. There the layer counts and nothing else: once
    /// it is there, what is needed only below it may be removed, and a value made of the rest would be wrong.
    fn cut(&mut self, images: &dyn Images) {
        let base = self.base.as_ref().and_then(|base| base.image.as_ref()).map(|(lsn, _)| *lsn);
        let Some(start) = base.or(self.changes.first().map(|(lsn, _)| *lsn)) else { return };
        if let Some(floor) = images.floor(self.key, self.last).filter(|floor| *floor >= start) {
            self.base = None;
            self.changes.retain(|(lsn, _)| *lsn > floor);
        }
    }

    fn image(&mut self, images: &dyn Images) -> Option<Bytes> {
        let first = self.changes.first()?.0;
        let mut found = match self.base.take() {
            Some(base) => base,
            None => images.below(self.key, Lsn(first.0.checked_sub(1)?))?,
        };
        found.deltas.append(&mut self.changes);
        images.make(self.key, &found).filter(|image| !image.is_empty())
    }
}

pub(in crate::storage) struct Shortener<'a, S> {
    sink: S,
    images: &'a dyn Images,
    spacing: Spacing,
    chain: Option<Chain>,
}

impl<'a, S: EntrySink> Shortener<'a, S> {
    pub(in crate::storage) fn new(sink: S, images: &'a dyn Images, spacing: Spacing) -> Self {
        Self { sink, images, spacing, chain: None }
    }

    /// The present key has no more entries.
    fn end_key(&mut self) -> Result<(), StorageError> {
        if self.chain.as_ref().is_some_and(|chain| chain.changes.len() >= self.spacing.at_end) {
            self.put_image()?;
        }
        self.chain = None;
        Ok(())
    }

    fn put_image(&mut self) -> Result<(), StorageError> {
        let Some(chain) = &mut self.chain else { return Ok(()) };
        chain.cut(self.images);
        if chain.changes.is_empty() {
            return Ok(());
        }
        match chain.image(self.images) {
            Some(image) => {
                let (key, lsn, value) = (chain.key, chain.last, Value::Image(image));
                chain.take(lsn, &value);
                self.sink.put(key, lsn, &value)
            }
            None => {
                chain.changes.clear();
                chain.hopeless = true;
                Ok(())
            }
        }
    }

    pub(in crate::storage) fn finish(mut self) -> Result<S, StorageError> {
        self.end_key()?;
        Ok(self.sink)
    }
}

impl<S: EntrySink> EntrySink for Shortener<'_, S> {
    fn put(&mut self, key: Key, lsn: Lsn, value: &Value) -> Result<(), StorageError> {
        match &self.chain {
            Some(chain) if chain.key != key => self.end_key()?,
            // Only between two LSNs: what one record does to a page is not torn apart.
            Some(chain) if chain.last != lsn && chain.changes.len() >= self.spacing.within => {
                self.put_image()?;
            }
            Some(_) | None => {}
        }
        self.sink.put(key, lsn, value)?;
        self.chain.get_or_insert_with(|| Chain::new(key)).take(lsn, value);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A value is the text of its base and its changes.
    struct Texts {
        floor: Option<Lsn>,
        below: &'static str,
    }

    impl Images for Texts {
        fn floor(&self, _key: Key, lsn: Lsn) -> Option<Lsn> {
            self.floor.filter(|floor| *floor <= lsn)
        }

        fn below(&self, _key: Key, lsn: Lsn) -> Option<Reconstruct> {
            let image = format!("{}@{}", self.below, lsn.0);
            Some(Reconstruct { image: Some((lsn, image.into())), deltas: Vec::new() })
        }

        fn make(&self, _key: Key, found: &Reconstruct) -> Option<Bytes> {
            let parts = found.image.iter().chain(&found.deltas).map(|(_, bytes)| bytes.as_ref());
            Some(parts.collect::<Vec<_>>().concat().into())
        }
    }

    #[derive(Default)]
    struct Written(Vec<String>);

    impl EntrySink for &mut Written {
        fn put(&mut self, _key: Key, lsn: Lsn, value: &Value) -> Result<(), StorageError> {
            let text = String::from_utf8_lossy(value.bytes());
            let kind = if value.is_base() { "image" } else { "change" };
            self.0.push(format!("{} {kind} {text}", lsn.0));
            Ok(())
        }
    }

    fn shorten(images: &Texts, spacing: Spacing, changes: &[(u64, &'static str)]) -> Vec<String> {
        let mut written = Written::default();
        let mut shortener = Shortener::new(&mut written, images, spacing);
        for (lsn, text) in changes {
            let value = Value::Delta { will_init: false, change: Bytes::from_static(text.as_bytes()) };
            shortener.put(Key::checkpoint(), Lsn(*lsn), &value).unwrap();
        }
        shortener.finish().unwrap();
        written.0.retain(|text| text.contains("image"));
        written.0
    }

    const CHANGES: [(u64, &str); 6] = [(11, "a"), (12, "b"), (12, "c"), (13, "d"), (14, "e"), (15, "f")];

    #[test]
    fn images_follow_the_last_change_and_stand_between_lsns() {
        let images = Texts { floor: None, below: "base" };
        let spacing = |at_end, within| Spacing { at_end, within };
        assert_eq!(shorten(&images, spacing(6, 100), &CHANGES), ["15 image base@10abcdef"]);
        assert_eq!(shorten(&images, spacing(7, 100), &CHANGES), [""; 0]);
        let both = ["12 image base@10abc", "14 image base@10abcde", "15 image base@10abcdef"];
        assert_eq!(shorten(&images, spacing(1, 2), &CHANGES), both);
    }

    #[test]
    fn what_lies_below_an_image_layer_in_the_midst_counts_no_more() {
        // At 13 an image layer covers the key. What lies below it may be gone, so only the layer can be believed.
        let images = Texts { floor: Some(Lsn(13)), below: "layer" };
        let spacing = |within| Spacing { at_end: 1, within };
        assert_eq!(shorten(&images, spacing(100), &CHANGES), ["15 image layer@13ef"]);
        let both = ["12 image layer@10abc", "15 image layer@13ef"];
        assert_eq!(shorten(&images, spacing(3), &CHANGES), both);
        // Nothing after it: the layer is all that is needed.
        assert_eq!(shorten(&Texts { floor: Some(Lsn(15)), below: "layer" }, spacing(100), &CHANGES), [""; 0]);
    }
}

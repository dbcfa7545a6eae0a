//! The layer in memory that new versions go to, and that is frozen when it is full.
//!
//! Values are copied into an arena: the bytes they come in are slices of whole WAL messages, which would stay in
//! memory, uncounted, as long as one of their slices lives.

use std::collections::BTreeMap;
use std::sync::{RwLock, RwLockReadGuard};
use std::time::{Duration, Instant};

use bytes::Bytes;
use layer_format::Value;
use prometheus::IntGauge;
use types::{Key, KeyRange, Lsn};

const CHUNK: usize = 1 << 20;

/// Bytes that a key and an entry cost besides the value: their places in the index, with its slack.
const KEY_COST: u64 = 160;
const ENTRY_COST: u64 = 40;

/// Entries that are put in while the lock is held once; readers get in between.
const ENTRIES_PER_LOCK: usize = 256;

/// All versions with LSNs above `base`, up to where the timeline's last record was when it was frozen.
pub(in crate::storage) struct MemoryLayer {
    /// The timeline's last record LSN when this layer was opened.
    pub(in crate::storage) base: Lsn,
    opened_at: Instant,
    contents: RwLock<Contents>,
    gauge: IntGauge,
}

/// One version: its LSN and where its value lies in the arena.
#[derive(Clone, Copy)]
struct Slot {
    lsn: Lsn,
    chunk: u32,
    offset: u32,
    length: u32,
    tag: u8,
}

/// LSN, tag and bytes of a version.
type Version<'a> = (Lsn, u8, &'a [u8]);

#[derive(Default)]
pub(super) struct Contents {
    /// The versions of each key in order of their LSNs; those of one LSN in the order in which they came.
    index: BTreeMap<Key, Vec<Slot>>,
    arena: Vec<Vec<u8>>,
    bytes: u64,
}

impl Contents {
    fn push(&mut self, key: Key, lsn: Lsn, value: &Value) -> u64 {
        let bytes = value.bytes();
        let full = self.arena.last().is_none_or(|chunk| chunk.capacity() - chunk.len() < bytes.len());
        if full {
            self.arena.push(Vec::with_capacity(bytes.len().max(CHUNK)));
        }
        let chunk = self.arena.len() - 1;
        let offset = self.arena[chunk].len();
        self.arena[chunk].extend_from_slice(bytes);
        let (chunk, offset, length) = (chunk as u32, offset as u32, bytes.len() as u32);
        let slot = Slot { lsn, chunk, offset, length, tag: value.tag() };

        let slots = self.index.entry(key).or_default();
        let cost = bytes.len() as u64 + ENTRY_COST + if slots.is_empty() { KEY_COST } else { 0 };
        // Nearly always the end: WAL comes in order.
        slots.insert(slots.iter().rposition(|other| other.lsn <= lsn).map_or(0, |last| last + 1), slot);
        self.bytes += cost;
        cost
    }

    fn slice(&self, slot: Slot) -> &[u8] {
        &self.arena[slot.chunk as usize][slot.offset as usize..][..slot.length as usize]
    }

    fn value(&self, slot: Slot) -> Value {
        let bytes = Bytes::copy_from_slice(self.slice(slot));
        Value::from_tag(slot.tag, bytes).expect("tags come from Value::tag")
    }

    /// In order of keys, each with its versions from old to new.
    pub(super) fn keys(&self) -> impl Iterator<Item = (Key, impl ExactSizeIterator<Item = Version<'_>>)> {
        self.index
            .iter()
            .map(|(key, slots)| (*key, slots.iter().map(|slot| (slot.lsn, slot.tag, self.slice(*slot)))))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.index.is_empty()
    }
}

/// Those of a key's versions that lie below `end`.
fn below(slots: &[Slot], end: Lsn) -> &[Slot] {
    &slots[..slots.partition_point(|slot| slot.lsn < end)]
}

impl MemoryLayer {
    pub(in crate::storage) fn new(base: Lsn, gauge: IntGauge) -> Self {
        Self { base, opened_at: Instant::now(), contents: RwLock::default(), gauge }
    }

    pub(super) fn contents(&self) -> RwLockReadGuard<'_, Contents> {
        self.contents.read().expect("no writer panics")
    }

    pub(in crate::storage) fn append(&self, entries: &[(Key, Lsn, Value)]) {
        for some in entries.chunks(ENTRIES_PER_LOCK) {
            let mut contents = self.contents.write().expect("no writer panics");
            let added: u64 = some.iter().map(|(key, lsn, value)| contents.push(*key, *lsn, value)).sum();
            self.gauge.add(added as i64);
        }
    }

    /// Puts an image of a key behind its last change at `lsn`. False if that is not here, if there is one already, or
    /// if the layer is just being written to disk.
    pub(in crate::storage) fn keep_image(&self, key: Key, lsn: Lsn, image: &Bytes) -> bool {
        let Ok(mut contents) = self.contents.try_write() else { return false };
        let last = contents.index.get(&key).and_then(|slots| below(slots, lsn + 1).last()).copied();
        if last.is_none_or(|slot| slot.lsn != lsn || slot.tag == Value::IMAGE_TAG) {
            return false;
        }
        let added = contents.push(key, lsn, &Value::Image(image.clone()));
        self.gauge.add(added as i64);
        true
    }

    pub(in crate::storage) fn bytes(&self) -> u64 {
        self.contents().bytes
    }

    pub(in crate::storage) fn age(&self) -> Duration {
        self.opened_at.elapsed()
    }

    /// The versions of `key` below `end`, newest first, until `visit` returns false.
    pub(in crate::storage) fn visit_newest_first(
        &self,
        key: Key,
        end: Lsn,
        mut visit: impl FnMut(Lsn, &Value) -> bool,
    ) {
        let contents = self.contents();
        let Some(slots) = contents.index.get(&key) else { return };
        for slot in below(slots, end).iter().rev() {
            if !visit(slot.lsn, &contents.value(*slot)) {
                return;
            }
        }
    }

    /// The newest image of each key of `keys` below `end`.
    pub(in crate::storage) fn newest_images(
        &self,
        keys: &KeyRange,
        end: Lsn,
        mut visit: impl FnMut(Key, Lsn, Bytes),
    ) {
        if end <= self.base || keys.is_empty() {
            return;
        }
        let contents = self.contents();
        for (key, slots) in contents.index.range(keys.start..keys.end) {
            if let Some(slot) = below(slots, end).iter().rfind(|slot| slot.tag == Value::IMAGE_TAG) {
                visit(*key, slot.lsn, Bytes::copy_from_slice(contents.slice(*slot)));
            }
        }
    }
}

impl Drop for MemoryLayer {
    fn drop(&mut self) {
        self.gauge.sub(self.bytes() as i64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layer() -> MemoryLayer {
        MemoryLayer::new(Lsn(100), IntGauge::new("bytes", "bytes").unwrap())
    }

    fn image(text: &'static str) -> Value {
        Value::Image(Bytes::from_static(text.as_bytes()))
    }

    fn change(text: &'static str) -> Value {
        Value::Delta { will_init: false, change: Bytes::from_static(text.as_bytes()) }
    }

    #[test]
    fn entries_of_one_key_and_lsn_keep_their_order() {
        let layer = layer();
        let key = Key::checkpoint();
        layer.append(&[
            (key, Lsn(110), image("one")),
            (key, Lsn(110), change("two")),
            (key, Lsn(110), change("three")),
        ]);
        layer.append(&[(key, Lsn(120), change("later"))]);
        let read = |end| {
            let mut found = Vec::new();
            layer.visit_newest_first(key, end, |_, value| {
                found.push(value.clone());
                !value.is_base()
            });
            found
        };
        assert_eq!(read(Lsn(111)), [change("three"), change("two"), image("one")]);
        assert_eq!(read(Lsn(121)).len(), 4);
        assert_eq!(read(Lsn(110)), []);
    }

    #[test]
    fn an_image_is_kept_behind_the_change_that_it_is_of() {
        let layer = layer();
        let key = Key::checkpoint();
        layer.append(&[(key, Lsn(110), change("one")), (key, Lsn(110), change("two"))]);
        layer.append(&[(key, Lsn(120), change("three"))]);
        let page = Bytes::from_static(b"page");
        assert!(layer.keep_image(key, Lsn(110), &page));
        assert!(!layer.keep_image(key, Lsn(110), &page), "there is one");
        assert!(!layer.keep_image(key, Lsn(115), &page), "nothing changed there");
        assert!(!layer.keep_image(Key::control_file(), Lsn(110), &page), "another key");
        let mut found = Vec::new();
        layer.visit_newest_first(key, Lsn(121), |_, value| {
            found.push(value.clone());
            !value.is_base()
        });
        assert_eq!(found, [change("three"), image("page")]);
        let reading = layer.contents();
        assert!(!layer.keep_image(key, Lsn(120), &page), "it is being read for as long as it takes");
        drop(reading);
    }

    #[test]
    fn the_gauge_returns_to_zero() {
        let layer = layer();
        let gauge = layer.gauge.clone();
        layer.append(&[(Key::checkpoint(), Lsn(110), Value::Image(vec![7; 3 << 20].into()))]);
        assert!(gauge.get() > 3 << 20);
        drop(layer);
        assert_eq!(gauge.get(), 0);
    }
}

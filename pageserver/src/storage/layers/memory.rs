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

/// Bytes that an entry costs besides its value: its place in the index, with the tree's slack.
const ENTRY_COST: u64 = 96;

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

/// Where a value lies in the arena.
#[derive(Clone, Copy)]
struct Slot {
    chunk: u32,
    offset: u32,
    length: u32,
    tag: u8,
}

#[derive(Default)]
pub(super) struct Contents {
    /// The third part of the key numbers entries as they come: it keeps the order of entries of one key at one LSN.
    index: BTreeMap<(Key, Lsn, u32), Slot>,
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
        let slot =
            Slot { chunk: chunk as u32, offset: offset as u32, length: bytes.len() as u32, tag: value.tag() };
        self.index.insert((key, lsn, self.index.len() as u32), slot);
        let cost = bytes.len() as u64 + ENTRY_COST;
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

    /// All entries in the order in which a layer file has them: key, LSN, tag and bytes of each.
    pub(super) fn iter(&self) -> impl Iterator<Item = (Key, Lsn, u8, &[u8])> {
        self.index.iter().map(|((key, lsn, _), slot)| (*key, *lsn, slot.tag, self.slice(*slot)))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.index.is_empty()
    }
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
        if end <= self.base {
            return;
        }
        let contents = self.contents();
        for ((_, lsn, _), slot) in contents.index.range((key, Lsn(0), 0)..(key, end, 0)).rev() {
            if !visit(*lsn, &contents.value(*slot)) {
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
        let range = (keys.start, Lsn(0), 0)..(keys.end, Lsn(0), 0);
        let mut newest: Option<(Key, Lsn, Slot)> = None;
        let image_tag = Value::Image(Bytes::new()).tag();
        for ((key, lsn, _), slot) in contents.index.range(range) {
            if *lsn >= end || slot.tag != image_tag {
                continue;
            }
            if let Some((last_key, last_lsn, last)) = newest.filter(|(last_key, _, _)| last_key != key) {
                visit(last_key, last_lsn, Bytes::copy_from_slice(contents.slice(last)));
            }
            newest = Some((*key, *lsn, *slot));
        }
        if let Some((key, lsn, slot)) = newest {
            visit(key, lsn, Bytes::copy_from_slice(contents.slice(slot)));
        }
    }

    /// Keys with at least `threshold` changes since their last base in this layer; at most `count` of them, those
    /// with the most.
    pub(in crate::storage) fn longest_histories(&self, threshold: usize, count: usize) -> Vec<Key> {
        let contents = self.contents();
        let image_tag = Value::Image(Bytes::new()).tag();
        let base_tag = Value::Delta { will_init: true, change: Bytes::new() }.tag();
        let mut long: Vec<(usize, Key)> = Vec::new();
        let mut entries = contents.index.iter().peekable();
        let mut changes = 0;
        while let Some(((key, _, _), slot)) = entries.next() {
            changes = match slot.tag {
                tag if tag == image_tag => 0,
                tag if tag == base_tag => 1,
                _ => changes + 1,
            };
            if entries.peek().is_none_or(|((next, _, _), _)| next != key) {
                long.extend((changes >= threshold).then_some((changes, *key)));
                changes = 0;
            }
        }
        long.sort_unstable_by(|a, b| b.cmp(a));
        long.truncate(count);
        long.into_iter().map(|(_, key)| key).collect()
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
    fn the_gauge_returns_to_zero() {
        let layer = layer();
        let gauge = layer.gauge.clone();
        layer.append(&[(Key::checkpoint(), Lsn(110), Value::Image(vec![7; 3 << 20].into()))]);
        assert!(gauge.get() > 3 << 20);
        drop(layer);
        assert_eq!(gauge.get(), 0);
    }
}

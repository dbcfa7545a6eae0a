//! Which keys anybody reads at an LSN: of a relation the blocks that it has there by its size, and all that is no block.
//!
//! A table that is dropped or truncated leaves pages that nothing takes the place of. Nobody reads them from then on, and
//! when a relation comes to have such a block again, that begins with a base. So what lies below is garbage as soon as no LSN
//! is read at which it was live.

use std::ops::Range;

use types::{Key, KeyKind, KeyRange, Lsn, RelTag};

/// See the head of this module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::storage) struct LiveKeys {
    pub(in crate::storage) at: Lsn,
    /// In order, none overlaps another. None: all that there are.
    blocks: Option<Vec<KeyRange>>,
}

impl LiveKeys {
    /// For want of anybody who knows what a size means.
    pub(in crate::storage) fn all(at: Lsn) -> Self {
        Self { at, blocks: None }
    }

    /// Of relations, in the order of their keys, the blocks that each one has. What is not named is not there.
    pub(in crate::storage) fn of_relations(
        at: Lsn,
        relations: impl IntoIterator<Item = (RelTag, Vec<Range<u32>>)>,
    ) -> Self {
        let keys = |rel: RelTag| {
            move |blocks: Range<u32>| Key::rel_block(rel, blocks.start)..Key::rel_block(rel, blocks.end)
        };
        let blocks = relations.into_iter().flat_map(|(rel, blocks)| blocks.into_iter().map(keys(rel)));
        Self { at, blocks: Some(blocks.filter(|keys| !keys.is_empty()).collect()) }
    }

    /// Whether somebody may read one of these.
    pub(in crate::storage) fn meet(&self, keys: &KeyRange) -> bool {
        let Some(blocks) = &self.blocks else { return true };
        let next = blocks.partition_point(|live| live.end <= keys.start);
        keys.end > end_of_blocks() || blocks.get(next).is_some_and(|live| live.start < keys.end)
    }

    pub(in crate::storage) fn contain(&self, key: Key) -> bool {
        key.kind() != Some(KeyKind::RelBlock) || self.meet(&(key..key.next().unwrap_or(Key::MAX)))
    }

    /// How many there are of `keys`, which are those of blocks.
    fn count(&self, keys: &KeyRange) -> u64 {
        let Some(blocks) = &self.blocks else { return u64::MAX };
        let first = blocks.partition_point(|live| live.end <= keys.start);
        let within = blocks[first..].iter().take_while(|live| live.start < keys.end);
        within
            .map(|live| {
                let (start, end) = (live.start.max(keys.start), live.end.min(keys.end));
                u64::from(end.block().saturating_sub(start.block()))
            })
            .sum()
    }

    /// Of an image layer's bytes, those of blocks that nobody reads: at least so many, if all its values are about as long
    /// as each other. `entries` are the values that it has.
    pub(in crate::storage) fn dead_bytes(&self, keys: &KeyRange, entries: Option<u64>, bytes: u64) -> u64 {
        match entries {
            Some(entries) if entries > 0 && keys.end <= end_of_blocks() => {
                let dead = entries.saturating_sub(self.count(keys));
                u64::try_from(u128::from(bytes) * u128::from(dead) / u128::from(entries)).unwrap_or(bytes)
            }
            _ => 0,
        }
    }
}

/// Behind the keys of all blocks of relations; there are no keys before them.
pub(in crate::storage) fn end_of_blocks() -> Key {
    Key::kind_range(KeyKind::RelBlock).end
}

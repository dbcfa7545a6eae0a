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
    /// In order, none overlaps another; each with how many there are before it. None: all that there can be.
    blocks: Option<Vec<(KeyRange, u64)>>,
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
        let mut live = Vec::new();
        let mut before = 0;
        for (rel, blocks) in relations {
            for blocks in blocks.into_iter().filter(|blocks| !blocks.is_empty()) {
                live.push((Key::rel_block(rel, blocks.start)..Key::rel_block(rel, blocks.end), before));
                before += u64::from(blocks.end - blocks.start);
            }
        }
        Self { at, blocks: Some(live) }
    }

    /// As of another LSN, for which it counts as well.
    pub(in crate::storage) fn for_images(self, at: Lsn) -> Self {
        Self { at, ..self }
    }

    /// Whether somebody may read one of these.
    pub(in crate::storage) fn meet(&self, keys: &KeyRange) -> bool {
        let Some(blocks) = &self.blocks else { return true };
        let next = blocks.partition_point(|(live, _)| live.end <= keys.start);
        keys.end > end_of_blocks() || blocks.get(next).is_some_and(|(live, _)| live.start < keys.end)
    }

    pub(in crate::storage) fn contain(&self, key: Key) -> bool {
        key.kind() != Some(KeyKind::RelBlock) || self.meet(&(key..key.next().unwrap_or(Key::MAX)))
    }

    /// How many blocks there are of `keys`.
    fn count(&self, keys: &KeyRange) -> u64 {
        let Some(blocks) = &self.blocks else { return u64::MAX };
        let before = |key: Key| match blocks.partition_point(|(live, _)| live.start < key).checked_sub(1) {
            Some(last) => {
                let (live, before) = &blocks[last];
                before + u64::from(live.end.min(key).block() - live.start.block())
            }
            None => 0,
        };
        before(keys.end).saturating_sub(before(keys.start))
    }

    /// Of an image layer's bytes, those of blocks that nobody reads: at least so many, if all its values are about as long
    /// as each other. `entries` are the values that it has, if that is known.
    pub(in crate::storage) fn dead_bytes(&self, keys: &KeyRange, entries: Option<u64>, bytes: u64) -> u64 {
        if keys.end > end_of_blocks() {
            return 0;
        }
        match (entries, self.count(keys)) {
            (Some(0), _) => 0,
            (_, 0) => bytes,
            (Some(entries), live) => {
                let dead = u128::from(entries.saturating_sub(live));
                u64::try_from(u128::from(bytes) * dead / u128::from(entries)).unwrap_or(bytes)
            }
            (None, _) => 0,
        }
    }
}

/// Behind the keys of all blocks of relations; there are no keys before them.
pub(in crate::storage) fn end_of_blocks() -> Key {
    Key::kind_range(KeyKind::RelBlock).end
}

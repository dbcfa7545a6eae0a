//! What the storage engine asks of those who know what a change means, and a size.

use std::ops::Range;

use bytes::Bytes;
use types::Key;

use super::{Reconstruct, TimelineMetadata};

/// Makes values of bases and the changes on top of them, and says what nobody reads.
///
/// With it, the layer that is written from memory also gets an image of each page that was changed often, so that
/// reads need not apply all of history. Without it, or where it says none, the changes stand as they are.
pub trait Redo: Send + Sync + 'static {
    /// The whole value, or none if it cannot be made. Called on a thread for blocking work.
    fn value_of(&self, timeline: &TimelineMetadata, key: Key, found: &Reconstruct) -> Option<Bytes>;

    /// The blocks that a relation has while its size has this value, in order. While its size is none, or an empty value, it
    /// has none. Others are never read at such an LSN, and begin with a base when the relation comes to have them again:
    /// their versions from before that may be removed.
    fn written_blocks(&self, size: &[u8]) -> Vec<Range<u32>>;
}

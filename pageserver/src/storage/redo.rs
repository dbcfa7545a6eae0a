//! The one thing that the storage engine asks of those who know what a change means.

use bytes::Bytes;
use types::Key;

use super::{Reconstruct, TimelineMetadata};

/// Makes a value of a base and the changes on top of it.
///
/// With it, the layer that is written from memory also gets an image of each page that was changed often, so that
/// reads need not apply all of history. Without it, or where it says none, the changes stand as they are.
pub trait Redo: Send + Sync + 'static {
    /// The whole value, or none if it cannot be made. Called on a thread for blocking work.
    fn value_of(&self, timeline: &TimelineMetadata, key: Key, found: &Reconstruct) -> Option<Bytes>;
}

//! What to do with layers so that reads stay short and nothing is kept for ever: chosen here, from extents and sizes
//! alone; done by `timeline::compact` and `timeline::collect`.
//!
//! *Level 0* are the layers that memory is flushed to: all keys, a few LSNs. Merged, and cut by keys, they become a
//! *run* of level 1: delta layers of the same LSNs that lie beside each other. Runs lie on top of each other; those of
//! about one size are merged again, so that there are few, each at least twice as large as the next newer. Where the
//! changes are no longer few beside the values that they change, *image layers* end the descent of reads.
//!
//! ```text
//!        keys ─▶
//!  LSN   ████████████████████████████  level 0, at rest fewer than `level0_threshold`
//!   ▲    ▒▒▒▒▒▒ ▒▒▒▒▒▒▒▒ ▒▒▒▒ ▒▒▒▒▒▒   a run
//!   │    ▒▒▒▒▒▒▒▒▒ ▒▒▒▒▒▒▒▒▒▒ ▒▒▒▒▒▒▒  an older one: it holds at least twice as much
//!   │    ▒▒▒▒▒▒▒▒▒ ▒▒▒▒▒▒▒▒▒▒ ▒▒▒▒▒▒▒
//!        ━━━━━━━━━━━━━━━━━━━━━━━━━━━━  image layers
//! ```

mod garbage;
mod live;
mod plan;
#[cfg(test)]
mod tests;

pub(super) use garbage::{garbage, read_lsns, rewrite};
pub(super) use live::{LiveKeys, end_of_blocks};
pub(super) use plan::{Job, Limits, first_run, is_unmakeable, level0, next_job};

use layer_map::Extent;
use types::{Key, KeyRange};

/// Every key that there can be.
pub(super) const ALL: KeyRange = Key::MIN..Key::MAX;

/// What planning knows of a layer.
pub(super) trait Layer: Clone {
    fn extent(&self) -> Extent;
    /// Length of its file.
    fn bytes(&self) -> u64;
    /// How many it holds. None: that is not known.
    fn entries(&self) -> Option<u64>;
}

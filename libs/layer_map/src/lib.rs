//! Which layers to read, and in which order, for a key at an LSN.
//!
//! A map knows of each layer only the rectangle it covers (keys × LSNs) and whether it is a *delta* layer, which
//! holds all changes of its rectangle, or an *image* layer, which holds whole values as of one LSN. The layers
//! themselves are opaque (`L`). Where rectangles of delta layers overlap, both hold the same changes, as between the
//! moments at which a merged layer comes in and those it replaces go out.
//!
//! Maps are immutable: changing one makes another that shares the layers, so a reader's snapshot never moves. There
//! is no I/O here, and nothing that knows what a timeline is; ancestors are the caller's business.
//!
//! A lookup skips the layers above its LSN by a binary search and ends where nothing below can reach; between, it is
//! linear, as is changing a map. The interface is made so that a better structure can come without changing a caller.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use types::{Key, KeyRange, Lsn};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Coverage {
    Delta,
    Image,
}

/// What a layer covers.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Extent {
    pub keys: KeyRange,
    /// One LSN wide for an image layer.
    pub lsns: Range<Lsn>,
    pub coverage: Coverage,
}

impl fmt::Debug for Extent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Extent { keys, lsns, coverage } = self;
        write!(f, "{coverage:?} {}-{} {}..{}", keys.start, keys.end, lsns.start, lsns.end)
    }
}

/// The next step of a read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step<L> {
    pub layer: L,
    pub coverage: Coverage,
    /// Entries of the layer with LSNs in this range count. After it the read goes on below `lsns.start`, unless a
    /// base was found; an image layer always ends the read, for a key that it lacks does not exist.
    pub lsns: Range<Lsn>,
}

/// See the head of this crate.
pub struct LayerMap<L> {
    /// Newest end first, so that a search may stop early.
    layers: Arc<[(Extent, L)]>,
    /// For each of `layers` the lowest start of it and those before it, so that a search may begin late.
    lowest_starts: Arc<[Lsn]>,
}

impl<L> Clone for LayerMap<L> {
    fn clone(&self) -> Self {
        Self { layers: Arc::clone(&self.layers), lowest_starts: Arc::clone(&self.lowest_starts) }
    }
}

impl<L> Default for LayerMap<L> {
    fn default() -> Self {
        Self { layers: Arc::new([]), lowest_starts: Arc::new([]) }
    }
}

impl<L: Clone> LayerMap<L> {
    /// The map without the layers whose extents are in `remove` and with those of `add`, in one step.
    pub fn with_changes(&self, remove: &[Extent], add: impl IntoIterator<Item = (Extent, L)>) -> Self {
        let kept = self.layers.iter().filter(|(extent, _)| !remove.contains(extent)).cloned();
        let mut layers: Vec<(Extent, L)> = kept.chain(add).collect();
        layers.sort_by(|(a, _), (b, _)| b.lsns.end.cmp(&a.lsns.end).then(b.lsns.start.cmp(&a.lsns.start)));
        let lowest = layers.iter().scan(Lsn::MAX, |lowest, (extent, _)| {
            *lowest = extent.lsns.start.min(*lowest);
            Some(*lowest)
        });
        Self { lowest_starts: lowest.collect(), layers: layers.into() }
    }

    /// The layer with the newest versions of `key` below `end`; none if no layer covers anything there.
    pub fn search(&self, key: &Key, end: Lsn) -> Option<Step<L>> {
        let mut best: Option<(&Extent, &L)> = None;
        let mut image_floor = Lsn::INVALID;
        let skipped = self.lowest_starts.partition_point(|lowest| *lowest >= end);
        for (extent, layer) in &self.layers[skipped..] {
            let reach = |extent: &Extent| extent.lsns.end.min(end);
            // Sorted by end: what follows reaches no higher than what was found, and cannot cut it short either.
            if best.is_some_and(|(found, _)| extent.lsns.end <= found.lsns.start) {
                break;
            }
            if extent.lsns.start >= end || !extent.keys.contains(key) {
                continue;
            }
            if extent.coverage == Coverage::Image {
                image_floor = image_floor.max(extent.lsns.end);
            }
            let better = best.is_none_or(|(found, _)| {
                (reach(extent), extent.coverage, extent.lsns.start)
                    > (reach(found), found.coverage, found.lsns.start)
            });
            if better {
                best = Some((extent, layer));
            }
        }
        let (extent, layer) = best?;
        let start = match extent.coverage {
            Coverage::Image => extent.lsns.start,
            // What an image inside the delta layer's range already has need not be read again.
            Coverage::Delta => extent.lsns.start.max(image_floor),
        };
        Some(Step { layer: layer.clone(), coverage: extent.coverage, lsns: start..extent.lsns.end.min(end) })
    }

    /// All layers that may hold a version below `end` of some key in `keys`; those that reach highest first.
    ///
    /// Layers that lie wholly under an image layer covering all of `keys` are left out.
    pub fn overlapping(&self, keys: &KeyRange, end: Lsn) -> Vec<Step<L>> {
        let overlaps = |extent: &Extent| {
            extent.lsns.start < end && extent.keys.start < keys.end && keys.start < extent.keys.end
        };
        let covers = |extent: &Extent| {
            extent.coverage == Coverage::Image
                && extent.keys.start <= keys.start
                && keys.end <= extent.keys.end
        };
        let candidates = || self.layers.iter().filter(|(extent, _)| overlaps(extent));
        let floor =
            candidates().filter(|(e, _)| covers(e)).map(|(e, _)| e.lsns.start).max().unwrap_or(Lsn::INVALID);
        candidates()
            .filter(|(extent, _)| extent.lsns.end > floor)
            .map(|(extent, layer)| Step {
                layer: layer.clone(),
                coverage: extent.coverage,
                lsns: extent.lsns.start..extent.lsns.end.min(end),
            })
            .collect()
    }

    pub fn iter(&self) -> impl Iterator<Item = &(Extent, L)> {
        self.layers.iter()
    }

    pub fn len(&self) -> usize {
        self.layers.len()
    }

    pub fn is_empty(&self) -> bool {
        self.layers.is_empty()
    }
}

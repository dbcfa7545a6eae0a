//! Which layers to read, and in which order, for a key at an LSN.
//!
//! A map knows of each layer only the rectangle it covers (keys × LSNs) and whether it is a *delta* layer, which
//! holds all changes of its rectangle, or an *image* layer, which holds whole values as of one LSN. The layers
//! themselves are opaque (`L`). Where rectangles of delta layers overlap, both hold the same changes.
//!
//! Maps are immutable: changing one makes another that shares what did not change, so a reader's snapshot never
//! moves. There is no I/O here, and nothing that knows what a timeline is; ancestors are the caller's business.
//!
//! ```text
//! with_changes, search, plan    here: versions of the coverage, one for each LSN at which some layer begins
//! coverage.rs                   one version: of each key, the layers that reach highest
//! ```
//! A search finds its version, and in it the key: logarithmic in the number of layers, twice. A change makes the
//! versions anew from the lowest LSN on at which something changes, so it is cheap at the new end of history, where
//! nearly all changes are.

mod coverage;

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use rpds::RedBlackTreeMapSync;
use types::{Key, KeyRange, Lsn};

use coverage::Coverages;

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

impl Extent {
    /// Layers are taken into the coverage in this order.
    fn order(&self) -> Order {
        (self.lsns.start, self.lsns.end, self.coverage, self.keys.start, self.keys.end)
    }
}

impl fmt::Debug for Extent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Extent { keys, lsns, coverage } = self;
        write!(f, "{coverage:?} {}-{} {}..{}", keys.start, keys.end, lsns.start, lsns.end)
    }
}

type Order = (Lsn, Lsn, Coverage, Key, Key);

/// A layer with what it covers, as a map holds it.
type Placed<L> = Arc<(Extent, L)>;

/// The next step of a read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step<L> {
    pub layer: L,
    pub coverage: Coverage,
    /// Entries of the layer with LSNs in this range count. After it the read goes on below `lsns.start`, unless a
    /// base was found; an image layer always ends the read, for a key that it lacks does not exist.
    pub lsns: Range<Lsn>,
}

/// How to read all keys of a range: the same steps for each of them, from new to old.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Descent<L> {
    pub keys: KeyRange,
    pub steps: Vec<Step<L>>,
}

/// See the head of this crate.
pub struct LayerMap<L> {
    layers: RedBlackTreeMapSync<Order, Placed<L>>,
    /// By the LSN at which some layer begins: what covers each key, of the layers that begin there or below.
    versions: RedBlackTreeMapSync<Lsn, Coverages<L>>,
}

impl<L> Clone for LayerMap<L> {
    fn clone(&self) -> Self {
        Self { layers: self.layers.clone(), versions: self.versions.clone() }
    }
}

impl<L> Default for LayerMap<L> {
    fn default() -> Self {
        Self { layers: RedBlackTreeMapSync::new_sync(), versions: RedBlackTreeMapSync::new_sync() }
    }
}

impl<L: Clone> LayerMap<L> {
    /// The map without the layers whose extents are in `remove` and with those of `add`, in one step.
    pub fn with_changes(&self, remove: &[Extent], add: impl IntoIterator<Item = (Extent, L)>) -> Self {
        let mut next = self.clone();
        let mut lowest = None;
        let mut touch = |lsn: Lsn| lowest = Some(lowest.map_or(lsn, |lowest: Lsn| lowest.min(lsn)));
        for extent in remove {
            next.layers.remove_mut(&extent.order());
            touch(extent.lsns.start);
        }
        for (extent, layer) in add {
            touch(extent.lsns.start);
            next.layers.insert_mut(extent.order(), Arc::new((extent, layer)));
        }
        if let Some(lowest) = lowest {
            next.cover_anew(lowest);
        }
        next
    }

    fn cover_anew(&mut self, lowest: Lsn) {
        let stale: Vec<Lsn> = self.versions.range(lowest..).map(|(lsn, _)| *lsn).collect();
        for lsn in stale {
            self.versions.remove_mut(&lsn);
        }
        let mut head = self.versions.last().map(|(_, coverages)| coverages.clone()).unwrap_or_default();
        let from = (lowest, Lsn(0), Coverage::Delta, Key::MIN, Key::MIN);
        let mut above = self.layers.range(from..).map(|(_, placed)| placed).peekable();
        while let Some(placed) = above.next() {
            let start = placed.0.lsns.start;
            head.cover(placed);
            if above.peek().is_none_or(|next| next.0.lsns.start > start) {
                self.versions.insert_mut(start, head.clone());
            }
        }
    }

    /// The layers that begin below `end`.
    fn below(&self, end: Lsn) -> Option<&Coverages<L>> {
        self.versions.range(..end).next_back().map(|(_, coverages)| coverages)
    }

    /// The layer with the newest versions of `key` below `end`; none if no layer covers anything there.
    pub fn search(&self, key: &Key, end: Lsn) -> Option<Step<L>> {
        let coverages = self.below(end)?;
        step(coverages.images.at(key), coverages.deltas.at(key), end)
    }

    /// The newest image layer below `end` that covers `key`.
    pub fn image(&self, key: &Key, end: Lsn) -> Option<&Extent> {
        self.below(end)?.images.at(key).map(|placed| &placed.0)
    }

    /// How to read all keys of `keys` as they were just below `end`: in order of keys, without gaps. Of a part that
    /// no layer covers, the descent has no steps.
    pub fn plan(&self, keys: &KeyRange, end: Lsn) -> Vec<Descent<L>> {
        let mut done = Vec::new();
        if keys.is_empty() {
            return done;
        }
        // What is on top has the lowest keys.
        let mut open = vec![(Descent { keys: keys.clone(), steps: Vec::new() }, end)];
        while let Some((descent, end)) = open.pop() {
            let parts = match self.below(end) {
                Some(coverages) => coverages.parts(&descent.keys),
                None => Vec::new(),
            };
            if parts.iter().all(|(_, image, delta)| image.is_none() && delta.is_none()) {
                done.push(descent);
                continue;
            }
            for (keys, image, delta) in parts.into_iter().rev() {
                let mut deeper = Descent { keys, steps: descent.steps.clone() };
                let next = match step(image, delta, end) {
                    None => Lsn::INVALID,
                    Some(step) => {
                        let next = match step.coverage {
                            Coverage::Image => Lsn::INVALID,
                            Coverage::Delta => step.lsns.start,
                        };
                        deeper.steps.push(step);
                        next
                    }
                };
                open.push((deeper, next));
            }
        }
        done
    }

    /// In order of the LSNs at which they begin.
    pub fn iter(&self) -> impl Iterator<Item = &(Extent, L)> {
        self.layers.values().map(|placed| &**placed)
    }

    pub fn contains(&self, extent: &Extent) -> bool {
        self.layers.contains_key(&extent.order())
    }

    pub fn len(&self) -> usize {
        self.layers.size()
    }

    pub fn is_empty(&self) -> bool {
        self.layers.is_empty()
    }
}

/// What to read first, of the image and the delta layer that reach highest among those that begin below `end`.
fn step<L: Clone>(image: Option<&Placed<L>>, delta: Option<&Placed<L>>, end: Lsn) -> Option<Step<L>> {
    let reach = |placed: &Placed<L>| placed.0.lsns.end.min(end);
    let (placed, floor) = match (image, delta) {
        (None, None) => return None,
        (Some(image), Some(delta)) if reach(image) < reach(delta) => (delta, image.0.lsns.end),
        (Some(image), _) => (image, Lsn::INVALID),
        (None, Some(delta)) => (delta, Lsn::INVALID),
    };
    let (extent, layer) = &**placed;
    // What an image inside the delta layer's range already has need not be read again.
    let lsns = extent.lsns.start.max(floor)..reach(placed);
    Some(Step { layer: layer.clone(), coverage: extent.coverage, lsns })
}

//! One version of what covers each key: a line of keys, cut where the answer changes.

use rpds::RedBlackTreeMapSync;
use types::{Key, KeyRange};

use crate::{Coverage, Placed};

/// Of each key the layer that reaches highest, of one kind.
pub(crate) struct Line<L>(
    /// The layer of the keys from this one up to the next that is here.
    RedBlackTreeMapSync<Key, Option<Placed<L>>>,
);

impl<L> Clone for Line<L> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<L> Line<L> {
    pub(crate) fn at(&self, key: &Key) -> Option<&Placed<L>> {
        self.0.range(..=key).next_back().and_then(|(_, placed)| placed.as_ref())
    }

    /// Where a layer reaches as high as another, it takes its place: it is the one that begins later.
    fn cover(&mut self, placed: &Placed<L>) {
        let (KeyRange { start, end }, reach) = (&placed.0.keys, placed.0.lsns.end);
        if start >= end {
            return;
        }
        if !self.0.contains_key(end) {
            self.0.insert_mut(*end, self.at(end).cloned());
        }
        if !self.0.contains_key(start) {
            self.0.insert_mut(*start, self.at(start).cloned());
        }
        let cuts: Vec<(Key, bool)> = self
            .0
            .range(start..end)
            .map(|(key, other)| (*key, other.as_ref().is_none_or(|other| other.0.lsns.end <= reach)))
            .collect();
        let mut before_is_ours = false;
        for (key, ours) in cuts {
            match (ours, before_is_ours) {
                (true, true) => {
                    self.0.remove_mut(&key);
                }
                (true, false) => self.0.insert_mut(key, Some(placed.clone())),
                (false, _) => {}
            }
            before_is_ours = ours;
        }
    }

    fn cuts<'a>(&'a self, keys: &'a KeyRange) -> impl Iterator<Item = Key> + 'a {
        self.0.range(keys.start..keys.end).map(|(key, _)| *key)
    }
}

/// A run of keys with the image and the delta layer that reach highest.
type Part<'a, L> = (KeyRange, Option<&'a Placed<L>>, Option<&'a Placed<L>>);

pub(crate) struct Coverages<L> {
    pub(crate) deltas: Line<L>,
    pub(crate) images: Line<L>,
}

impl<L> Clone for Coverages<L> {
    fn clone(&self) -> Self {
        Self { deltas: self.deltas.clone(), images: self.images.clone() }
    }
}

impl<L> Default for Coverages<L> {
    fn default() -> Self {
        let line = || Line(RedBlackTreeMapSync::new_sync());
        Self { deltas: line(), images: line() }
    }
}

impl<L> Coverages<L> {
    pub(crate) fn cover(&mut self, placed: &Placed<L>) {
        match placed.0.coverage {
            Coverage::Delta => self.deltas.cover(placed),
            Coverage::Image => self.images.cover(placed),
        }
    }

    /// `keys` cut where the answer changes; in order, without gaps.
    pub(crate) fn parts(&self, keys: &KeyRange) -> Vec<Part<'_, L>> {
        if keys.is_empty() {
            return Vec::new();
        }
        let mut cuts: Vec<Key> = [keys.start]
            .into_iter()
            .chain(self.deltas.cuts(keys))
            .chain(self.images.cuts(keys))
            .chain([keys.end])
            .collect();
        cuts.sort_unstable();
        cuts.dedup();
        let parts = cuts.windows(2).map(|pair| pair[0]..pair[1]);
        parts.map(|part| (part.clone(), self.images.at(&part.start), self.deltas.at(&part.start))).collect()
    }
}

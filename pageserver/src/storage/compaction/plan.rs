//! Which layers to merge, and where reads need images.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use layer_map::{Coverage, Descent, Extent, LayerMap};
use types::{Key, KeyRange, Lsn};

use super::{ALL, Layer};

#[derive(Clone, Copy, Debug)]
pub(in crate::storage) struct Limits {
    /// Layers of level 0 that make a merge worth while.
    pub(in crate::storage) level0_threshold: usize,
    /// Delta layers of level 1 on top of each other from which on something is done about it.
    pub(in crate::storage) run_threshold: usize,
    /// Bytes of layers that one job reads, about: what a crash or a stop undoes, and how long others wait.
    pub(in crate::storage) job_bytes: u64,
    /// There is somebody who makes values of changes.
    pub(in crate::storage) makes_images: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::storage) enum Job {
    /// Make one run of these delta layers, which hold everything of their LSNs.
    Merge(Vec<Extent>),
    /// Make images of these keys as of that LSN.
    Images { keys: KeyRange, at: Lsn },
}

fn is_level0(extent: &Extent) -> bool {
    extent.coverage == Coverage::Delta && extent.keys == ALL
}

/// Level 0, oldest first.
pub(in crate::storage) fn level0<L: Layer>(map: &LayerMap<L>) -> Vec<&(Extent, L)> {
    map.iter().filter(|(extent, _)| is_level0(extent)).collect()
}

/// What is most urgent: to merge level 0, for every read goes through all of it; then images, then runs. `durable` is
/// the LSN up to which layers hold everything; no image can be made of keys in `unmakeable`.
pub(in crate::storage) fn next_job<L: Layer>(
    map: &LayerMap<L>,
    durable: Lsn,
    unmakeable: &BTreeSet<Key>,
    limits: &Limits,
) -> Option<Job> {
    let level0 = level0(map);
    if level0.len() >= limits.level0_threshold {
        let mut bytes = 0;
        let some = level0.iter().enumerate().take_while(|(number, (_, layer))| {
            bytes += layer.bytes();
            // At least as many as are at rest, or the pile would never get lower.
            *number < limits.level0_threshold || bytes <= limits.job_bytes
        });
        return Some(Job::Merge(some.map(|(_, (extent, _))| extent.clone()).collect()));
    }
    let end = level0.first().map_or(durable + 1, |(extent, _)| extent.lsns.start);
    // From the top: where collection has made images above, as of a cutoff among the flushed layers, nobody comes below.
    let mut descents = map.plan(&ALL, durable + 1);
    descents.iter_mut().for_each(|descent| descent.steps.retain(|step| !is_level0(&step.layer.extent())));
    let is_deep = |descent: &Descent<L>| {
        limits.makes_images
            && depth(descent) >= limits.run_threshold
            && !is_unmakeable(&descent.keys, unmakeable)
    };
    let mut rest = descents.as_slice();
    while let Some(keys) = first_run(rest, is_deep, limits.job_bytes) {
        let (within, beyond) = split(rest, &keys);
        let Weight { deltas, images, .. } = weigh(within, |_| true, |_| 0);
        // Without any image of their own, values lie in the ancestor, and nobody knows here how large they are.
        if images > 0 && deltas.saturating_mul(CHANGES_TO_VALUES) >= images {
            return Some(Job::Images { keys, at: Lsn(end.0.checked_sub(1)?) });
        }
        rest = beyond;
    }
    merge_of_runs(map, limits).map(Job::Merge)
}

/// Images are made where there is at least one byte of changes to so many of the values that they change: that bounds
/// what is written for a byte of changes, as the threshold bounds what is read.
const CHANGES_TO_VALUES: u64 = 3;

/// A run takes part in a merge if it is at most so many times as large as all newer ones that do.
const ALIKE: u64 = 2;

fn depth<L>(descent: &Descent<L>) -> usize {
    descent.steps.iter().filter(|step| step.coverage == Coverage::Delta).count()
}

/// The delta layers of the newest runs of about one size, if there are enough.
fn merge_of_runs<L: Layer>(map: &LayerMap<L>, limits: &Limits) -> Option<Vec<Extent>> {
    let mut runs: BTreeMap<(Lsn, Lsn), (u64, Vec<Extent>)> = BTreeMap::new();
    for (extent, layer) in map.iter().filter(|(e, _)| e.coverage == Coverage::Delta && !is_level0(e)) {
        let (bytes, layers) = runs.entry((extent.lsns.start, extent.lsns.end)).or_default();
        *bytes += layer.bytes();
        layers.push(extent.clone());
    }
    let runs: Vec<(u64, Vec<Extent>)> = runs.into_values().rev().collect();
    for newest in 0..runs.len() {
        let mut bytes = runs[newest].0;
        let mut last = newest;
        while let Some((older, _)) = runs.get(last + 1)
            && *older <= bytes.saturating_mul(ALIKE)
        {
            bytes += older;
            last += 1;
        }
        if last + 1 - newest >= limits.run_threshold {
            return Some(runs[newest..=last].iter().rev().flat_map(|(_, layers)| layers.clone()).collect());
        }
    }
    None
}

/// The range has only keys whose values cannot be made.
pub(in crate::storage) fn is_unmakeable(keys: &KeyRange, unmakeable: &BTreeSet<Key>) -> bool {
    let mut key = keys.start;
    while key < keys.end && unmakeable.contains(&key) {
        key = key.next().unwrap_or(keys.end);
    }
    key >= keys.end
}

/// The first descents without gap that are all `wanted`, up to about so many bytes of layers.
pub(in crate::storage) fn first_run<L: Layer>(
    descents: &[Descent<L>],
    wanted: impl Fn(&Descent<L>) -> bool,
    most_bytes: u64,
) -> Option<KeyRange> {
    let first = descents.iter().position(&wanted)?;
    let mut keys = descents[first].keys.clone();
    let (mut seen, mut bytes) = (HashSet::new(), 0);
    for descent in descents[first..].iter().take_while(|descent| wanted(descent)) {
        for step in &descent.steps {
            if seen.insert(step.layer.extent()) {
                bytes += step.layer.bytes();
            }
        }
        if bytes > most_bytes && descent.keys.start > keys.start {
            break;
        }
        keys.end = descent.keys.end;
    }
    Some(keys)
}

/// The descents within `keys`, which they begin with, and those behind.
pub(super) fn split<'a, L>(
    descents: &'a [Descent<L>],
    keys: &KeyRange,
) -> (&'a [Descent<L>], &'a [Descent<L>]) {
    let first =
        descents.iter().position(|descent| descent.keys.start >= keys.start).unwrap_or(descents.len());
    let end = descents.iter().position(|descent| descent.keys.start >= keys.end).unwrap_or(descents.len());
    (&descents[first..end], &descents[end..])
}

/// Bytes of layers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Weight {
    /// Of those delta layers that count.
    pub(super) deltas: u64,
    pub(super) images: u64,
    /// Of `images`, what nobody reads.
    pub(super) dead: u64,
}

/// Of the layers that the descents meet, each once.
pub(super) fn weigh<L: Layer>(
    descents: &[Descent<L>],
    counts: impl Fn(&Extent) -> bool,
    dead: impl Fn(&L) -> u64,
) -> Weight {
    let mut seen = HashSet::new();
    let mut weight = Weight::default();
    for step in descents.iter().flat_map(|descent| &descent.steps) {
        let extent = step.layer.extent();
        let counts = counts(&extent);
        if seen.insert(extent) {
            match step.coverage {
                Coverage::Delta if !counts => {}
                Coverage::Delta => weight.deltas += step.layer.bytes(),
                Coverage::Image => {
                    weight.images += step.layer.bytes();
                    weight.dead += dead(&step.layer);
                }
            }
        }
    }
    weight
}

//! Which layers nobody can need any more, and where images would set more of them free.
//!
//! What may be read is everything from the *cutoff* on, and below it the *pins*: exact LSNs at which branches begin or
//! that somebody has leased. A layer is needed if a read at one of those meets it; a read at any LSN above the cutoff
//! meets layers that reach above it, and from there on the layers that a read at the cutoff meets.

use std::collections::{BTreeSet, HashSet};

use layer_map::{Coverage, Descent, Extent, LayerMap};
use types::{Key, KeyRange, Lsn};

use super::plan::{first_run, is_unmakeable, split, weigh};
use super::{ALL, Job, Layer, Limits};

/// The layers that no read meets. `pins` above the cutoff do no harm.
pub(in crate::storage) fn garbage<L: Layer>(map: &LayerMap<L>, cutoff: Lsn, pins: &[Lsn]) -> Vec<Extent> {
    let mut needed = HashSet::new();
    let mut meet = |keys: &KeyRange, end: Lsn| {
        let descents = map.plan(keys, end);
        let steps = descents.iter().flat_map(|descent| &descent.steps);
        needed.extend(steps.map(|step| step.layer.extent()));
    };
    for lsn in read_lsns(cutoff, pins) {
        meet(&ALL, lsn + 1);
    }
    let is_above = |extent: &Extent| extent.lsns.end > cutoff + 1;
    for (extent, _) in map.iter().filter(|(extent, _)| is_above(extent) && extent.lsns.start <= cutoff) {
        meet(&extent.keys, extent.lsns.start);
    }
    let is_garbage = |extent: &Extent| !is_above(extent) && !needed.contains(extent);
    map.iter().map(|(extent, _)| extent).filter(|extent| is_garbage(extent)).cloned().collect()
}

/// From old to new.
pub(in crate::storage) fn read_lsns(cutoff: Lsn, pins: &[Lsn]) -> Vec<Lsn> {
    let mut lsns: Vec<Lsn> = pins.iter().copied().filter(|pin| *pin < cutoff).chain([cutoff]).collect();
    lsns.sort_unstable();
    lsns.dedup();
    lsns
}

/// Images as of the cutoff or a pin that would make garbage of delta layers, where those are at least as large as the
/// images that they lie on. The oldest first, since others then rest on its images.
pub(in crate::storage) fn rewrite<L: Layer>(
    map: &LayerMap<L>,
    cutoff: Lsn,
    pins: &[Lsn],
    unmakeable: &BTreeSet<Key>,
    limits: &Limits,
) -> Option<Job> {
    for at in read_lsns(cutoff, pins).into_iter().filter(|_| limits.makes_images) {
        let descents = map.plan(&ALL, at + 1);
        // One that reaches above stays in any case.
        let below = |extent: &Extent| extent.coverage == Coverage::Delta && extent.lsns.end <= at + 1;
        let has_garbage = |descent: &Descent<L>| {
            descent.steps.iter().any(|step| below(&step.layer.extent()))
                && !is_unmakeable(&descent.keys, unmakeable)
        };
        let mut rest = descents.as_slice();
        while let Some(keys) = first_run(rest, has_garbage, limits.job_bytes) {
            let (within, beyond) = split(rest, &keys);
            let (deltas, images) = weigh(within, below);
            if images > 0 && deltas >= images {
                return Some(Job::Images { keys, at });
            }
            rest = beyond;
        }
    }
    None
}

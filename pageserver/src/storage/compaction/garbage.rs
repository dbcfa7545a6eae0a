//! Which layers nobody can need any more, and where images would set more of them free.
//!
//! What may be read is everything from the *cutoff* on, and below it the *pins*: exact LSNs at which branches begin or
//! that somebody has leased; at each of them its live keys. A layer is needed if a read at one of those meets it; a read at
//! any LSN above the cutoff meets layers that reach above it, and from there on the layers that a read at the cutoff meets.

use std::collections::{BTreeSet, HashSet};

use layer_map::{Coverage, Descent, Extent, LayerMap};
use types::{Key, KeyRange, Lsn};

use super::plan::{first_run, is_unmakeable, split, weigh};
use super::{ALL, Job, Layer, Limits, LiveKeys};

/// The layers that no read meets. `reads` are the LSNs that [`read_lsns`] gives, with what is live there.
pub(in crate::storage) fn garbage<L: Layer>(map: &LayerMap<L>, reads: &[LiveKeys]) -> Vec<Extent> {
    let Some(at_cutoff) = reads.last() else { return Vec::new() };
    let mut needed = HashSet::new();
    let mut meet = |live: &LiveKeys, keys: &KeyRange, end: Lsn| {
        for Descent { keys, steps } in map.plan(keys, end) {
            let is_live = live.meet(&keys);
            // Images stay until others cover their keys, and be they without a value: a range that no image covers would pass
            // for one whose values lie in an ancestor.
            let met = steps.into_iter().filter(|step| is_live || step.coverage == Coverage::Image);
            needed.extend(met.map(|step| step.layer.extent()));
        }
    };
    for live in reads {
        meet(live, &ALL, live.at + 1);
    }
    let is_above = |extent: &Extent| extent.lsns.end > at_cutoff.at + 1;
    for (extent, _) in map.iter().filter(|(extent, _)| is_above(extent) && extent.lsns.start <= at_cutoff.at)
    {
        // A block that is live again above the cutoff has its base there.
        meet(at_cutoff, &extent.keys, extent.lsns.start);
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

/// Images as of one of `reads` that would set free at least as many bytes as they take: of delta layers, and of blocks that
/// are not live any more. The oldest first, since others then rest on its images.
pub(in crate::storage) fn rewrite<L: Layer>(
    map: &LayerMap<L>,
    reads: &[LiveKeys],
    unmakeable: &BTreeSet<Key>,
    limits: &Limits,
) -> Option<Job> {
    let mut before = Lsn::INVALID;
    for live in reads.iter().filter(|_| limits.makes_images) {
        let at = live.at;
        let descents = map.plan(&ALL, at + 1);
        // One that reaches above stays in any case.
        let below = |extent: &Extent| extent.coverage == Coverage::Delta && extent.lsns.end <= at + 1;
        // Of image layers that no older read meets.
        let dead = |layer: &L| {
            let Extent { keys, lsns, coverage } = layer.extent();
            if coverage == Coverage::Image && before < lsns.start && lsns.start < at {
                live.dead_bytes(&keys, layer.entries(), layer.bytes())
            } else {
                0
            }
        };
        // Each of these is worth it, whatever lies beside it.
        let is_mostly_dead = |descent: &Descent<L>| {
            let is_it = |layer: &L| dead(layer) * 2 > layer.bytes();
            descent.steps.iter().any(|step| is_it(&step.layer)) && !is_unmakeable(&descent.keys, unmakeable)
        };
        if let Some(keys) = first_run(&descents, is_mostly_dead, limits.job_bytes) {
            return Some(Job::Images { keys, at });
        }
        let has_garbage = |descent: &Descent<L>| {
            descent.steps.iter().any(|step| below(&step.layer.extent()))
                && !is_unmakeable(&descent.keys, unmakeable)
        };
        let mut rest = descents.as_slice();
        while let Some(keys) = first_run(rest, has_garbage, limits.job_bytes) {
            let (within, beyond) = split(rest, &keys);
            let weight = weigh(within, below, dead);
            if weight.images > 0 && weight.deltas + weight.dead >= weight.images - weight.dead {
                return Some(Job::Images { keys, at });
            }
            rest = beyond;
        }
        before = at;
    }
    None
}

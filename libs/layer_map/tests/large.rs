//! A map of a hundred thousand layers, as a large tenant has after months: what a search costs in it.
//!
//! No time is asserted, for machines differ: that a search looks at few layers is, since a comparison with a map of a
//! hundredth of the layers cannot hide it if it did not.

use std::time::{Duration, Instant};

use layer_map::{Coverage, Extent, LayerMap};
use types::{Key, Lsn, RelTag};

const PARTS: u32 = 256;
const BLOCKS_PER_PART: u32 = 16_384;
/// LSNs that one compaction covers.
const STRIDE: u64 = 1 << 30;

fn key(block: u32) -> Key {
    Key::rel_block(RelTag { spc: 1663, db: 5, rel: 16384, fork: types::Fork::Main }, block)
}

/// Layers of so many rounds of compaction: in each, delta layers of every part of the keys, cut elsewhere every time;
/// in every third also an image of every part.
fn layers(rounds: u64) -> Vec<(Extent, u64)> {
    let mut layers = Vec::new();
    for round in 0..rounds {
        let (start, end) = (Lsn(1 + round * STRIDE), Lsn(1 + (round + 1) * STRIDE));
        let shift = (round as u32 * 7919) % BLOCKS_PER_PART;
        for part in 0..PARTS {
            let first = part * BLOCKS_PER_PART;
            let mut put = |keys, lsns, coverage| {
                let number = layers.len() as u64;
                layers.push((Extent { keys, lsns, coverage }, number));
            };
            let keys = key(first + shift)..key(first + BLOCKS_PER_PART + shift);
            put(keys, start..end, Coverage::Delta);
            if round % 3 == 2 {
                put(key(first)..key(first + BLOCKS_PER_PART), Lsn(end.0 - 1)..end, Coverage::Image);
            }
        }
    }
    layers
}

/// Mean time of a search, and the steps that it took to the bottom.
fn search(map: &LayerMap<u64>, rounds: u64) -> (Duration, usize) {
    const SEARCHES: u64 = 20_000;
    let (mut steps, mut state) = (0, 1_u64);
    let begun = Instant::now();
    for _ in 0..SEARCHES {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let key = key((state >> 33) as u32 % (PARTS * BLOCKS_PER_PART));
        let mut end = Lsn(1 + (state >> 17) % (rounds * STRIDE));
        while let Some(step) = map.search(&key, end) {
            steps += 1;
            end = step.lsns.start;
            if step.coverage == Coverage::Image {
                break;
            }
        }
    }
    (begun.elapsed() / steps.max(1), steps as usize / SEARCHES as usize)
}

#[test]
fn a_search_among_a_hundred_thousand_layers_costs_little_more_than_among_a_thousand() {
    let build = |rounds| {
        let layers = layers(rounds);
        let begun = Instant::now();
        let map = LayerMap::default().with_changes(&[], layers);
        (map, begun.elapsed())
    };
    let (small, _) = build(3);
    let (mut large, built) = build(300);
    assert!(large.len() > 100_000 && small.len() > 1_000, "{} and {}", large.len(), small.len());

    let (few, shallow) = search(&small, 3);
    let (many, deep) = search(&large, 300);
    assert!(shallow <= 4 && deep <= 4, "images bound a descent: {shallow} and {deep} steps");
    assert!(many < few * 20 + Duration::from_micros(5), "{many:?} a search, {few:?} in the small map");

    // What a flush costs: a layer at the new end.
    let begun = Instant::now();
    const FLUSHES: u32 = 100;
    for flush in 0..u64::from(FLUSHES) {
        let lsns = Lsn(1 + 300 * STRIDE + flush)..Lsn(2 + 300 * STRIDE + flush);
        let extent = Extent { keys: Key::MIN..Key::MAX, lsns, coverage: Coverage::Delta };
        large = large.with_changes(&[], [(extent, 0)]);
    }
    let flush = begun.elapsed() / FLUSHES;
    eprintln!(
        "layer map: {} layers made in {built:?}; {many:?} a search ({few:?} among {}); {flush:?} to add one on top",
        large.len(),
        small.len()
    );
}

//! Reads planned by the map against a model that knows every version.
//!
//! A history is random writes to a few keys. Layers are cut from it at random, so that together they hold all of it,
//! some parts twice; a read that follows the map's steps must see what the history says.

use std::collections::BTreeMap;

use layer_map::{Coverage, Extent, LayerMap, Step};
use proptest::prelude::*;
use types::{Key, Lsn};

const KEYS: u32 = 8;
const LSNS: u64 = 60;

/// Keys by number; the number `KEYS` bounds ranges.
fn key(number: u32) -> Key {
    Key::slru_block(types::SlruKind::Clog, 0, number)
}

type History = BTreeMap<(u32, u64), u64>;

/// A layer of the model: what it covers, and its entries: (key, LSN) → value.
#[derive(Clone, Debug)]
struct Layer {
    extent: Extent,
    entries: BTreeMap<(u32, u64), u64>,
}

fn delta(history: &History, keys: std::ops::Range<u32>, lsns: std::ops::Range<u64>) -> Layer {
    let entries = history.iter().filter(|((k, l), _)| keys.contains(k) && lsns.contains(l));
    Layer {
        entries: entries.map(|(at, value)| (*at, *value)).collect(),
        extent: Extent {
            keys: key(keys.start)..key(keys.end),
            lsns: Lsn(lsns.start)..Lsn(lsns.end),
            coverage: Coverage::Delta,
        },
    }
}

fn newest(history: &History, number: u32, end: u64) -> Option<(u64, u64)> {
    history.range((number, 0)..(number, end)).next_back().map(|((_, lsn), value)| (*lsn, *value))
}

fn image(history: &History, keys: std::ops::Range<u32>, at: u64) -> Layer {
    let entries = keys.clone().filter_map(|k| newest(history, k, at + 1).map(|(_, value)| ((k, at), value)));
    Layer {
        entries: entries.collect(),
        extent: Extent {
            keys: key(keys.start)..key(keys.end),
            lsns: Lsn(at)..Lsn(at + 1),
            coverage: Coverage::Image,
        },
    }
}

/// A value by following the map's steps; also, that the steps go down.
fn read(map: &LayerMap<Layer>, number: u32, mut end: u64) -> Option<u64> {
    while let Some(step) = map.search(&key(number), Lsn(end)) {
        assert!(step.lsns.start.0 < end && step.lsns.end.0 <= end, "{step:?} does not go down from {end}");
        let range = (number, step.lsns.start.0)..(number, step.lsns.end.0);
        if let Some((_, value)) = step.layer.entries.range(range).next_back() {
            return Some(*value);
        }
        if step.coverage == Coverage::Image {
            return None;
        }
        end = step.lsns.start.0;
    }
    None
}

/// All steps that there are for a key.
fn descend(map: &LayerMap<Layer>, number: u32, mut end: u64) -> Vec<Step<Layer>> {
    let mut steps = Vec::new();
    while let Some(step) = map.search(&key(number), Lsn(end)) {
        end = step.lsns.start.0;
        let last = step.coverage == Coverage::Image;
        steps.push(step);
        if last {
            break;
        }
    }
    steps
}

fn extents(steps: &[Step<Layer>]) -> Vec<(Extent, std::ops::Range<Lsn>)> {
    steps.iter().map(|step| (step.layer.extent.clone(), step.lsns.clone())).collect()
}

fn cuts() -> impl Strategy<Value = Vec<u64>> {
    proptest::collection::btree_set(1..LSNS, 0..6)
        .prop_map(|set| [0].into_iter().chain(set).chain([LSNS]).collect())
}

fn rectangle() -> impl Strategy<Value = (std::ops::Range<u32>, std::ops::Range<u64>)> {
    (0..KEYS, 1..=KEYS, 0..LSNS, 1..=LSNS)
        .prop_map(|(k, width, l, height)| (k..(k + width).min(KEYS), l..(l + height).min(LSNS)))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn reads_see_the_history(
        writes in proptest::collection::btree_map((0..KEYS, 0..LSNS), any::<u64>(), 0..80),
        cuts in cuts(),
        merged in proptest::collection::vec(rectangle(), 0..4),
        images in proptest::collection::vec((rectangle(), 0..LSNS), 0..4),
        extra in proptest::collection::vec(rectangle(), 0..4),
        order in any::<u64>(),
    ) {
        let history: History = writes;
        let mut layers: Vec<Layer> =
            cuts.windows(2).map(|lsns| delta(&history, 0..KEYS, lsns[0]..lsns[1])).collect();
        layers.extend(merged.into_iter().map(|(keys, lsns)| delta(&history, keys, lsns)));
        layers.extend(images.into_iter().map(|((keys, _), at)| image(&history, keys, at)));
        let shift = order as usize % layers.len();
        layers.rotate_left(shift);
        let map = LayerMap::default().with_changes(&[], layers.into_iter().map(|l| (l.extent.clone(), l)));

        for end in 0..=LSNS {
            for number in 0..KEYS {
                let expected = newest(&history, number, end).map(|(_, value)| value);
                prop_assert_eq!(read(&map, number, end), expected, "key {} below {}", number, end);
            }
        }
        // A plan has all keys of its range, in order, each with the steps that a search of it takes.
        for (start, stop, end) in [(0, KEYS, LSNS), (2, 5, LSNS / 2), (3, 4, LSNS / 3)] {
            let plan = map.plan(&(key(start)..key(stop)), Lsn(end));
            prop_assert_eq!(plan.first().map(|first| first.keys.start), Some(key(start)));
            prop_assert_eq!(plan.last().map(|last| last.keys.end), Some(key(stop)));
            prop_assert!(plan.windows(2).all(|pair| pair[0].keys.end == pair[1].keys.start));
            for number in start..stop {
                let descent = plan.iter().find(|descent| descent.keys.contains(&key(number))).unwrap();
                prop_assert_eq!(extents(&descent.steps), extents(&descend(&map, number, end)));
            }
        }
        // Layers that come one after the other make the map that they make together; none leaves a trace.
        let mut other = LayerMap::default();
        for layer in map.iter().map(|(_, layer)| layer.clone()).collect::<Vec<_>>() {
            other = other.with_changes(&[], [(layer.extent.clone(), layer)]);
        }
        let extra: Vec<Layer> = extra.into_iter().map(|(k, l)| delta(&history, k, l)).collect();
        let extra: Vec<Layer> = extra.into_iter().filter(|layer| !map.contains(&layer.extent)).collect();
        let gone: Vec<Extent> = extra.iter().map(|layer| layer.extent.clone()).collect();
        let more = map.with_changes(&[], extra.into_iter().map(|layer| (layer.extent.clone(), layer)));
        let less = more.with_changes(&gone, []);
        for (number, end) in (0..KEYS).flat_map(|number| (0..=LSNS).map(move |end| (number, end))) {
            let steps = extents(&descend(&map, number, end));
            prop_assert_eq!(&steps, &extents(&descend(&other, number, end)));
            prop_assert_eq!(&steps, &extents(&descend(&less, number, end)));
        }
    }
}

#[test]
fn a_snapshot_does_not_move() {
    let history: History = [((1, 5), 50)].into();
    let one = delta(&history, 0..KEYS, 0..10);
    let empty = LayerMap::default();
    let map = empty.with_changes(&[], [(one.extent.clone(), one.clone())]);
    let gone = map.with_changes(&[one.extent], []);
    assert_eq!((read(&empty, 1, 10), read(&map, 1, 10), read(&gone, 1, 10)), (None, Some(50), None));
    assert_eq!((empty.len(), map.len(), gone.len()), (0, 1, 0));
}

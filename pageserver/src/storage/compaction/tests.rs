//! What is chosen for layers that are drawn here.

use std::collections::BTreeSet;
use std::ops::Range;

use layer_map::{Coverage, Extent, LayerMap};
use types::{Fork, Key, Lsn, RelTag};

use super::{Job, Layer, Limits, LiveKeys, garbage, next_job, read_lsns, rewrite};

#[derive(Clone, Debug)]
struct Drawn {
    extent: Extent,
    bytes: u64,
    entries: Option<u64>,
}

impl Layer for Drawn {
    fn extent(&self) -> Extent {
        self.extent.clone()
    }

    fn bytes(&self) -> u64 {
        self.bytes
    }

    fn entries(&self) -> Option<u64> {
        self.entries
    }
}

const REL: RelTag = RelTag { spc: 1663, db: 5, rel: 16384, fork: Fork::Main };

fn key(block: u32) -> Key {
    Key::rel_block(REL, block)
}

fn delta(keys: Range<u32>, lsns: Range<u64>, bytes: u64) -> Drawn {
    let keys = key(keys.start)..key(keys.end);
    let extent = Extent { keys, lsns: Lsn(lsns.start)..Lsn(lsns.end), coverage: Coverage::Delta };
    Drawn { extent, bytes, entries: Some(bytes) }
}

fn flushed(lsns: Range<u64>, bytes: u64) -> Drawn {
    let mut layer = delta(0..1, lsns, bytes);
    layer.extent.keys = Key::MIN..Key::MAX;
    layer
}

fn image(keys: Range<u32>, at: u64, bytes: u64) -> Drawn {
    let entries = Some(u64::from(keys.end - keys.start));
    let mut layer = delta(keys, at..at + 1, bytes);
    layer.extent.coverage = Coverage::Image;
    Drawn { entries, ..layer }
}

fn map(layers: &[Drawn]) -> LayerMap<Drawn> {
    let layers = layers.iter().map(|layer| (layer.extent(), layer.clone()));
    LayerMap::default().with_changes(&[], layers)
}

const LIMITS: Limits = Limits { level0_threshold: 3, run_threshold: 3, job_bytes: 100, makes_images: true };

fn job(layers: &[Drawn], durable: u64) -> Option<Job> {
    next_job(&map(layers), Lsn(durable), &BTreeSet::new(), &LIMITS)
}

fn extents(layers: &[Drawn]) -> Vec<Extent> {
    layers.iter().map(Layer::extent).collect()
}

fn images(keys: Range<u32>, at: u64) -> Option<Job> {
    Some(Job::Images { keys: key(keys.start)..key(keys.end), at: Lsn(at) })
}

#[test]
fn flushed_layers_are_merged_oldest_first() {
    let layers: Vec<Drawn> =
        (1..=6).map(|n| flushed(n * 10..(n + 1) * 10, if n == 5 { 91 } else { 2 })).collect();
    assert_eq!(job(&layers[..2], 30), None);
    assert_eq!(job(&layers[..3], 40), Some(Job::Merge(extents(&layers[..3]))));
    // As many as a job may read; but never fewer than make a merge worth while.
    assert_eq!(job(&layers, 70), Some(Job::Merge(extents(&layers[..5]))));
    let large: Vec<Drawn> = (1..=4).map(|n| flushed(n * 10..(n + 1) * 10, 500)).collect();
    assert_eq!(job(&large, 50), Some(Job::Merge(extents(&large[..3]))));
}

#[test]
fn images_are_made_where_changes_are_many_beside_the_values() {
    let runs = |bytes| [10, 20, 30].map(|lsn| delta(0..50, lsn..lsn + 10, bytes));
    let with = |base: u64, bytes: u64| [&[image(0..100, 5, base)], &runs(bytes)[..]].concat();
    // 30 bytes of changes to at most 90 of values.
    assert_eq!(job(&with(90, 10), 39), images(0..50, 39));
    assert_eq!(job(&with(91, 10), 39), Some(Job::Merge(extents(&runs(10)))));
    // Flushed layers above are not part of them.
    let flushed_too = [&with(90, 10)[..], &[flushed(40..50, 1)]].concat();
    assert_eq!(job(&flushed_too, 49), images(0..50, 39));
    // Where images lie among those, no read comes below.
    let images_above = [&flushed_too[..], &[image(0..20, 45, 1)]].concat();
    assert_eq!(job(&images_above, 49), images(20..50, 39));
    // Two on top of each other are none too many.
    assert_eq!(job(&with(90, 10)[..3], 39), None);
    // A branch without images of its own: nobody knows what the ancestor's are worth.
    assert_eq!(job(&runs(10), 39), Some(Job::Merge(extents(&runs(10)))));
    // Nobody makes values.
    let limits = Limits { makes_images: false, ..LIMITS };
    let found = next_job(&map(&with(90, 10)), Lsn(39), &BTreeSet::new(), &limits);
    assert_eq!(found, Some(Job::Merge(extents(&runs(10)))));
}

#[test]
fn a_job_is_of_a_part_of_the_keys_and_not_of_those_that_cannot_be_made() {
    let parts = [0..10, 10..20, 20..30];
    let mut layers = vec![image(0..30, 5, 60)];
    for part in &parts {
        layers.extend([10, 20, 30].map(|lsn| delta(part.clone(), lsn..lsn + 10, 10)));
    }
    // The image layer and three deltas are 90 bytes, with three deltas more 120.
    assert_eq!(job(&layers, 39), images(0..10, 39));
    // What is left of a range in which all other values are images.
    let mut left = vec![image(0..10, 5, 10), image(0..3, 39, 1), image(5..10, 39, 1)];
    left.extend([10, 20, 30].map(|lsn| delta(0..10, lsn..lsn + 10, 10)));
    assert_eq!(job(&left, 39), images(3..5, 39));
    let unmakeable = BTreeSet::from([key(3), key(4)]);
    let limits = Limits { run_threshold: 3, ..LIMITS };
    let found = next_job(&map(&left), Lsn(39), &unmakeable, &limits);
    assert!(matches!(found, Some(Job::Merge(_))), "no images again and again: {found:?}");
}

#[test]
fn runs_of_about_one_size_are_merged() {
    // From old to new: each at least three times as large as all newer ones, at rest.
    let rest = [delta(0..9, 10..20, 270), delta(0..9, 20..30, 27), delta(0..9, 30..40, 3)];
    assert_eq!(job(&rest, 39), None);
    // Two more of the newest one's size; the older ones stay.
    let more = [&rest[..], &[delta(0..9, 40..50, 3), delta(0..9, 50..60, 4)]].concat();
    assert_eq!(job(&more, 59), Some(Job::Merge(extents(&more[2..]))));
    // A run is all layers of its LSNs.
    let beside =
        [delta(0..4, 10..20, 1), delta(4..9, 10..20, 1), delta(0..9, 20..30, 2), delta(2..6, 30..40, 2)];
    assert_eq!(job(&beside, 39), Some(Job::Merge(extents(&beside))));
}

/// All is live.
fn reads(cutoff: u64, pins: &[u64]) -> Vec<LiveKeys> {
    let pins: Vec<Lsn> = pins.iter().map(|pin| Lsn(*pin)).collect();
    read_lsns(Lsn(cutoff), &pins).into_iter().map(LiveKeys::all).collect()
}

/// The relation has these blocks, each from the first to before the second.
fn read(at: u64, blocks: &[(u32, u32)]) -> LiveKeys {
    let blocks = blocks.iter().map(|(start, end)| *start..*end);
    LiveKeys::of_relations(Lsn(at), [(REL, blocks.collect())])
}

fn collected(layers: &[Drawn], cutoff: u64, pins: &[u64]) -> Vec<Extent> {
    garbage(&map(layers), &reads(cutoff, pins))
}

#[test]
fn garbage_is_what_no_allowed_read_meets() {
    let [base, first, second, third, newer] = [
        image(0..10, 5, 10),
        delta(0..10, 10..20, 10),
        delta(0..10, 20..30, 10),
        delta(0..10, 30..40, 10),
        image(0..10, 29, 10),
    ];
    let layers = [base.clone(), first.clone(), second.clone(), third, newer];
    // Reads from 29 on meet the image there.
    let all = extents(&[base, first.clone(), second.clone()]);
    assert_eq!(collected(&layers, 29, &[]), all);
    assert_eq!(collected(&layers, 35, &[]), all);
    // One LSN earlier they need all that is below it.
    assert_eq!(collected(&layers, 28, &[]), []);
    // So does a branch that begins below; what lies between is not needed.
    assert_eq!(collected(&layers, 35, &[15]), extents(std::slice::from_ref(&second)));
    assert_eq!(collected(&layers, 35, &[5]), extents(&[first, second]));
    // An image of some of the keys sets nothing free that other keys need.
    let half = [&layers[..4], &[image(0..5, 29, 5)]].concat();
    assert_eq!(collected(&half, 35, &[]), []);
    // Without images everything is needed.
    assert_eq!(collected(&layers[..4], 39, &[]), []);
    assert_eq!(collected(&[], 39, &[]), []);
}

#[test]
fn images_at_the_cutoff_set_garbage_free_where_there_is_enough_of_it() {
    let chosen = |layers: &[Drawn], cutoff: u64, pins: &[u64]| {
        rewrite(&map(layers), &reads(cutoff, pins), &BTreeSet::new(), &LIMITS)
    };
    let layers = |bytes| {
        [
            image(0..10, 5, 20),
            delta(0..10, 10..20, bytes),
            delta(0..10, 20..30, bytes),
            delta(0..10, 30..40, 50),
        ]
    };
    assert_eq!(chosen(&layers(10), 35, &[]), images(0..10, 35));
    assert_eq!(chosen(&layers(9), 35, &[]), None, "less than the images have; what reaches above stays");
    // A branch that begins at 19 has its images first; with them the rest is worth none.
    assert_eq!(chosen(&layers(20)[..3], 35, &[19]), images(0..10, 19));
    // A branch of its own has none to compare with.
    assert_eq!(chosen(&layers(20)[1..3], 35, &[]), None);
}

#[test]
fn a_layer_is_garbage_where_no_read_has_live_keys_of_it() {
    let [base, dropped, kept] = [image(0..30, 5, 10), delta(0..10, 10..20, 10), delta(20..30, 10..20, 10)];
    let layers = [base.clone(), dropped.clone(), kept.clone()];
    let garbage = |layers: &[Drawn], reads: &[LiveKeys]| garbage(&map(layers), reads);
    // A table was cut at 25.
    let cut = read(25, &[(10, 30)]);
    assert_eq!(garbage(&layers, std::slice::from_ref(&cut)), extents(std::slice::from_ref(&dropped)));
    // All of it goes, and what is no block of a relation stays.
    let beyond = Drawn { extent: Extent { keys: Key::MIN..Key::MAX, ..base.extent.clone() }, ..base.clone() };
    let all = [&layers[1..], &[beyond]].concat();
    assert_eq!(garbage(&all, &[read(25, &[])]), extents(&layers[1..]));
    // Not while it reaches above the cutoff, or a branch that begins below reads some of it.
    let above = [&layers[..], &[delta(0..10, 20..40, 10)]].concat();
    assert_eq!(garbage(&above, std::slice::from_ref(&cut)), extents(std::slice::from_ref(&dropped)));
    assert_eq!(garbage(&layers, &[read(15, &[(9, 30)]), cut.clone()]), []);
    assert_eq!(
        garbage(&layers, &[read(9, &[(0, 30)]), cut.clone()]),
        extents(std::slice::from_ref(&dropped))
    );
    // Images stay until there are others, which then have no value.
    let dead = [image(0..10, 5, 10), image(10..30, 5, 20)];
    assert_eq!(garbage(&dead, std::slice::from_ref(&cut)), []);
    let chosen =
        |layers: &[Drawn]| rewrite(&map(layers), std::slice::from_ref(&cut), &BTreeSet::new(), &LIMITS);
    assert_eq!(chosen(&dead), images(0..10, 25));
    let covered = [&dead[..], &[Drawn { entries: Some(0), ..image(0..10, 25, 1) }]].concat();
    assert_eq!(garbage(&covered, std::slice::from_ref(&cut)), extents(&dead[..1]));
    assert_eq!(chosen(&covered), None);
    // As well if nobody has written down how many values there were.
    assert_eq!(chosen(&dead.map(|layer| Drawn { entries: None, ..layer })), images(0..10, 25));
}

#[test]
fn images_that_are_mostly_dead_are_made_again_without_what_is() {
    let chosen =
        |layers: &[Drawn], reads: &[LiveKeys]| rewrite(&map(layers), reads, &BTreeSet::new(), &LIMITS);
    let layers = [image(0..10, 5, 20), image(10..20, 5, 20)];
    assert_eq!(chosen(&layers, &[read(35, &[(0, 4), (10, 20)])]), images(0..10, 35));
    assert_eq!(chosen(&layers, &[read(35, &[(0, 5), (10, 20)])]), None, "half of it is live");
    assert_eq!(chosen(&layers, &[read(35, &[(0, 4), (10, 12), (18, 19)])]), images(0..20, 35));
    // Whatever is changed beside it.
    let beside = [&layers[..], &[image(20..30, 5, 20), delta(10..30, 10..20, 1)]].concat();
    assert_eq!(chosen(&beside, &[read(35, &[(10, 30)])]), images(0..10, 35));
    // Where it is still live a branch begins; another begins below the images.
    assert_eq!(chosen(&layers, &[read(9, &[(0, 20)]), read(35, &[(0, 4)])]), None);
    assert_eq!(chosen(&layers, &[read(4, &[(0, 20)]), read(35, &[(0, 4), (10, 20)])]), images(0..10, 35));
    // As of the first that reads it, on which later reads then rest.
    assert_eq!(chosen(&layers, &[read(9, &[(0, 4), (10, 20)]), read(35, &[])]), images(0..10, 9));
    // It would have their names.
    assert_eq!(chosen(&layers, &[read(5, &[(0, 4), (10, 20)])]), None);
    // How many values there are is not known, or not how many are blocks.
    let unknown = Drawn { entries: None, ..layers[0].clone() };
    assert_eq!(chosen(&[unknown], &[read(35, &[(0, 4)])]), None);
    let beyond = Extent { keys: key(0)..Key::MAX, ..layers[0].extent() };
    assert_eq!(chosen(&[Drawn { extent: beyond, ..layers[0].clone() }], &[read(35, &[(0, 4)])]), None);
    // Together with what changes set free.
    let changed = [&layers[..1], &[delta(0..10, 10..20, 8)]].concat();
    assert_eq!(chosen(&changed, &[read(35, &[(0, 8)])]), None, "8 and 4 free, 16 to write");
    assert_eq!(chosen(&changed, &[read(35, &[(0, 7)])]), images(0..10, 35), "8 and 6, 14");
}

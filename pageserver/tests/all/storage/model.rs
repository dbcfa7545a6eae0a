//! Random work, crashes and branches, compared with a model that keeps everything in a list.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use bytes::Bytes;
use durable_fs::DurableFs;
use pageserver::storage::{
    Reach, Reconstruct, Redo, StorageError, TenantManager, Timeline, TimelineMetadata, Value, WriteBatch,
};
use remote_storage::{Fault, Faulty};
use types::{Key, Lsn};

use super::support::*;

/// SplitMix64: the same seed makes the same run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    fn one_in(&mut self, chances: u64) -> bool {
        self.below(chances) == 0
    }
}

/// All that ever happened on a timeline.
#[derive(Clone, Default)]
struct History {
    ancestor: Option<(u8, Lsn)>,
    /// Its first LSN, and what it had there without any ancestor.
    start: Lsn,
    inherited: Vec<Version>,
    batches: Vec<WriteBatch>,
    last: u64,
    /// Below it only where branches begin may be read, and what is leased.
    cutoff: Lsn,
    leases: Vec<Lsn>,
}

type Version = (Key, Lsn, Value);

type Model = BTreeMap<u8, History>;

/// A stand-in for redo: what comes out depends on every byte and on the order, and a value made in two steps is the
/// value made in one.
struct Digest {
    /// Values that cannot be made, as with records that redo does not know.
    unknown: Vec<Key>,
}

impl Redo for Digest {
    fn value_of(&self, _timeline: &TimelineMetadata, key: Key, found: &Reconstruct) -> Option<Bytes> {
        (!self.unknown.contains(&key)).then(|| digest(found))
    }

    fn written_blocks(&self, size: &[u8]) -> Vec<Range<u32>> {
        written(size)
    }
}

fn digest(found: &Reconstruct) -> Bytes {
    let base = found.image.as_ref().map_or(Bytes::new(), |(_, image)| image.clone());
    found.deltas.iter().fold(base, |value, (_, change)| {
        let mut state = Random(value.len() as u64);
        value.iter().chain(change).for_each(|byte| state.0 = state.next() ^ u64::from(*byte));
        Bytes::copy_from_slice(&state.next().to_le_bytes())
    })
}

/// Relations with pages; each grows to so many, is cut, dropped, and begins anew.
const RELATIONS: Range<u32> = 100..104;
const PAGES: u32 = 10;

fn random_key(random: &mut Random) -> Key {
    match random.below(4) {
        0 => rel_size(random.below(12) as u32),
        _ => block(random.below(40) as u32),
    }
}

fn all_keys() -> impl Iterator<Item = Key> {
    let relations = RELATIONS.flat_map(|rel| (0..PAGES).map(move |n| page(rel, n)).chain([rel_size(rel)]));
    (0..40).map(block).chain((0..12).map(rel_size)).chain(relations)
}

/// How many blocks the relation has.
fn size(model: &Model, number: u8, rel: u32, upto: Lsn) -> u32 {
    let size = expected(model, number, rel_size(rel), upto).image;
    size.and_then(|(_, size)| written(&size).pop()).map_or(0, |blocks| blocks.end)
}

/// A change of a relation, as whoever translates WAL makes it: a block that the relation comes to have begins with a base.
fn random_relation(random: &mut Random, sizes: &mut BTreeMap<u32, u32>, lsn: Lsn) -> Vec<Version> {
    let rel = RELATIONS.start + random.below(RELATIONS.len() as u64) as u32;
    let size = sizes.get_mut(&rel).expect("all of them are there");
    if random.one_in(6) {
        *size = if random.one_in(2) { 0 } else { random.below(u64::from(*size) + 1) as u32 };
        let dropped = *size == 0 && random.one_in(2);
        return vec![(rel_size(rel), lsn, if dropped { image("") } else { blocks(*size) })];
    }
    let number = random.below(u64::from(PAGES)) as u32;
    let key = page(rel, number);
    if number < *size {
        return vec![(key, lsn, random_value(random, key))];
    }
    let mut changes: Vec<Version> = (*size..number).map(|gap| (page(rel, gap), lsn, image(""))).collect();
    let base = match random_value(random, key) {
        Value::Delta { change, .. } => Value::Delta { will_init: true, change },
        image => image,
    };
    *size = number + 1;
    changes.extend([(key, lsn, base), (rel_size(rel), lsn, blocks(*size))]);
    changes
}

fn random_value(random: &mut Random, key: Key) -> Value {
    let length = if random.one_in(10) { 8192 } else { random.below(300) as usize };
    let bytes = Bytes::from((0..length).map(|_| random.next() as u8).collect::<Vec<_>>());
    // Relation sizes are always whole.
    match if key.block() == 0 && key.kind() == rel_size(0).kind() { 0 } else { random.below(8) } {
        0 => Value::Image(bytes),
        1 => Value::Delta { will_init: true, change: bytes },
        _ => Value::Delta { will_init: false, change: bytes },
    }
}

fn random_batch(random: &mut Random, model: &Model, number: u8) -> WriteBatch {
    let last = model[&number].last;
    let mut sizes = RELATIONS.map(|rel| (rel, size(model, number, rel, Lsn(last)))).collect();
    let mut lsn = last;
    let mut entries = Vec::new();
    for _ in 0..random.below(40) {
        // Often several changes at one LSN, also of one key.
        lsn += if lsn == last || random.one_in(2) { 8 * (1 + random.below(4)) } else { 0 };
        if random.one_in(2) {
            entries.extend(random_relation(random, &mut sizes, Lsn(lsn)));
        } else {
            let key = random_key(random);
            let value = random_value(random, key);
            entries.push((key, Lsn(lsn), value));
        }
    }
    let end = lsn + 8 * (1 + random.below(3));
    WriteBatch { entries, end_lsn: Lsn(end), prev_record_lsn: Lsn(lsn) }
}

/// The versions of a key, oldest first, through ancestors.
fn versions(model: &Model, number: u8, key: Key, upto: Lsn) -> Vec<(Lsn, Value)> {
    let history = &model[&number];
    let mut found = match history.ancestor {
        Some((ancestor, lsn)) => versions(model, ancestor, key, lsn.min(upto)),
        None => {
            let inherited = history.inherited.iter().filter(|(k, _, _)| *k == key);
            inherited.map(|(_, lsn, value)| (*lsn, value.clone())).collect()
        }
    };
    let entries = history.batches.iter().flat_map(|batch| &batch.entries);
    let mut own: Vec<_> = entries.filter(|(k, lsn, _)| *k == key && *lsn <= upto).collect();
    own.sort_by_key(|(_, lsn, _)| *lsn);
    found.extend(own.into_iter().map(|(_, lsn, value)| (*lsn, value.clone())));
    found
}

fn expected(model: &Model, number: u8, key: Key, upto: Lsn) -> Reconstruct {
    let mut found = Reconstruct::default();
    for (lsn, value) in versions(model, number, key, upto) {
        match value {
            Value::Image(bytes) => found = Reconstruct { image: Some((lsn, bytes)), deltas: vec![] },
            Value::Delta { will_init: true, change } => {
                found = Reconstruct { image: None, deltas: vec![(lsn, change)] };
            }
            Value::Delta { will_init: false, change } => found.deltas.push((lsn, change)),
        }
    }
    found
}

/// Whose history there is at an LSN: the timeline's own, or an ancestor's.
fn holder(model: &Model, mut number: u8, lsn: Lsn) -> u8 {
    while let Some((ancestor, at)) = model[&number].ancestor
        && lsn <= at
    {
        number = ancestor;
    }
    number
}

/// What the root timeline begins with, in order; blocks of a relation have a layer of their own.
fn first_values() -> Vec<(Key, Bytes)> {
    let rel = RELATIONS.start;
    let pages = (0..PAGES).map(|n| (page(rel, n), Bytes::from(format!("page {n} of a relation"))));
    let others = (0..10).map(|n| (block(n), Bytes::from(format!("page {n}"))));
    let size = (rel_size(rel), Bytes::copy_from_slice(&PAGES.to_le_bytes()));
    pages.chain(others).chain([size]).collect()
}

async fn root(manager: &TenantManager) {
    manager.create_tenant(TENANT).await.unwrap();
    let values = first_values().into_iter().map(Ok::<_, Infallible>);
    manager.create_root_timeline(ttid(1), metadata(), Lsn(990), values).await.unwrap();
}

fn root_history() -> History {
    let inherited = first_values().into_iter().map(|(key, value)| (key, INITDB, Value::Image(value)));
    History { start: INITDB, last: INITDB.0, inherited: inherited.collect(), ..History::default() }
}

/// What a branch has from its ancestors is its own from now on.
fn detach(model: &mut Model, number: u8) {
    let Some((ancestor, at)) = model[&number].ancestor else { return };
    let inherited = all_keys().flat_map(|key| {
        versions(model, ancestor, key, at).into_iter().map(move |(lsn, value)| (key, lsn, value))
    });
    let inherited = inherited.collect();
    let history = model.get_mut(&number).expect("it is there");
    (history.ancestor, history.inherited) = (None, inherited);
}

fn is_readable(model: &Model, number: u8, lsn: Lsn) -> bool {
    let number = holder(model, number, lsn);
    let History { start, cutoff, leases, .. } = &model[&number];
    let is_kept = lsn >= *cutoff
        || leases.contains(&lsn)
        || model.values().any(|history| history.ancestor == Some((number, lsn)));
    lsn >= *start && is_kept
}

/// Object storage in which, while there is a storm, every fifth operation fails in some way.
#[derive(Default)]
struct Weather {
    storm: AtomicBool,
    turn: AtomicU64,
    faults: AtomicUsize,
}

impl Weather {
    fn judge(&self) -> Option<Fault> {
        let mut random = Random(self.turn.fetch_add(1, Ordering::Relaxed));
        let fault = [Fault::Refused, Fault::LostReply, Fault::CutShort][random.below(3) as usize];
        let hit = self.storm.load(Ordering::Relaxed) && random.one_in(5);
        self.faults.fetch_add(usize::from(hit), Ordering::Relaxed);
        hit.then_some(fault)
    }
}

/// As whoever is told that object storage failed does: once more, until it succeeds or fails otherwise.
async fn insist<T, F: Future<Output = Result<T, StorageError>>>(
    work: impl Fn() -> F,
) -> Result<T, StorageError> {
    loop {
        match work().await {
            Err(StorageError::Remote(error)) if error.is_retryable() => tokio::task::yield_now().await,
            outcome => return outcome,
        }
    }
}

/// Returns how many blocks that their relations do not have any more are forgotten.
async fn check(
    random: &mut Random,
    model: &Model,
    number: u8,
    timeline: &Timeline,
    shortened: bool,
) -> usize {
    let upto = Lsn(INITDB.0 + random.below(model[&number].last - INITDB.0 + 20));
    if upto < model[&holder(model, number, upto)].start {
        let refused = timeline.get_reconstruct(block(0), upto).await;
        assert!(
            matches!(refused, Err(StorageError::BeforeHistory { .. })),
            "{number} at {upto}: {refused:?}"
        );
        return 0;
    }
    if !is_readable(model, number, upto) {
        let refused = timeline.get_reconstruct(block(0), upto).await;
        assert!(matches!(refused, Err(StorageError::Collected { .. })), "{number} at {upto}: {refused:?}");
        return 0;
    }
    let agree = |found: &Reconstruct, key: Key| {
        let expected = expected(model, number, key, upto);
        assert_eq!(digest(found), digest(&expected), "{key:?} of {number} at {upto}");
        if !shortened {
            assert_eq!(*found, expected, "{key:?} of {number} at {upto}");
        }
    };
    let first = random.below(40) as u32;
    let run = insist(|| timeline.get_reconstruct_run(block(first), 8, upto)).await.unwrap();
    run.iter().zip(first..).for_each(|(found, n)| agree(found, block(n)));
    let rel = RELATIONS.start + random.below(RELATIONS.len() as u64) as u32;
    let run = insist(|| timeline.get_reconstruct_run(page(rel, 0), PAGES, upto)).await.unwrap();
    let mut forgotten = 0;
    for (found, n) in run.iter().zip(0..) {
        if n < size(model, number, rel, upto) {
            agree(found, page(rel, n));
        } else {
            let expected = digest(&expected(model, number, page(rel, n), upto));
            forgotten += usize::from(found.is_empty() && !expected.is_empty());
        }
    }
    let key = random_key(random);
    let found = insist(|| timeline.get_reconstruct(key, upto)).await.unwrap();
    assert_eq!(digest(&found), digest(&expected(model, number, key, upto)));

    let (from, to) = (random.below(8) as u32, 4 + random.below(12) as u32);
    let sizes = insist(|| timeline.scan(rel_size(from)..rel_size(to), upto)).await.unwrap();
    let images =
        (from..to).filter_map(|rel| expected(model, number, rel_size(rel), upto).image.map(|i| (rel, i.1)));
    let wanted: Vec<(Key, Bytes)> =
        images.filter(|(_, bytes)| !bytes.is_empty()).map(|(rel, bytes)| (rel_size(rel), bytes)).collect();
    assert_eq!(sizes, wanted, "sizes of relations {from} to {to} of {number} at {upto}");
    forgotten
}

/// What the safekeepers do after a restart: they send again what came after the timeline's last record.
async fn replay(model: &Model, manager: &TenantManager) {
    for (number, history) in model {
        let timeline = manager.get_timeline(ttid(*number)).unwrap();
        let last = timeline.last_record_lsn();
        assert_eq!((last, last), (timeline.disk_consistent_lsn(), timeline.remote_consistent_lsn()));
        let known = last == history.start
            || history
                .batches
                .iter()
                .any(|b| (b.end_lsn, b.prev_record_lsn) == timeline.last_and_prev_record_lsn());
        assert!(known, "timeline {number} came back at {last}, which is no end of a batch");
        for batch in history.batches.iter().filter(|batch| batch.end_lsn > last) {
            timeline.put_batch(batch.clone()).await.unwrap();
        }
        assert_eq!(timeline.last_record_lsn(), Lsn(history.last));
    }
}

/// After a start only those are known that were below a cutoff.
fn forget_leases(model: &mut Model, manager: &TenantManager) {
    for (number, history) in model {
        let known = manager.get_timeline(ttid(*number)).unwrap().leased();
        assert!(
            known.iter().all(|lsn| *lsn < history.cutoff && history.leases.contains(lsn)),
            "{known:?} of {number}"
        );
        history.leases = known;
    }
}

/// What a run has seen happen, so that it is known to have tested something.
#[derive(Debug, Default)]
struct Seen {
    collections: usize,
    removed_layers: usize,
    merges: usize,
    images: usize,
    evictions: usize,
    deletions: usize,
    detached: usize,
    not_detached: usize,
    faults: usize,
    leases: usize,
    forgotten: usize,
}

async fn run(seed: u64, steps: usize, shortened: bool, storms: bool) -> Seen {
    let mut seen = Seen::default();
    let mut random = Random(seed);
    let mut disk = Disk::new();
    disk.config.checkpoint_distance = 8 << 10 << random.below(4);
    disk.config.max_open_layers = 3;
    disk.config.image_after_changes = 1 + random.below(4) as usize;
    disk.config.merged_image_after_changes = 1 + random.below(4) as usize;
    disk.config.most_changes_between_images = 2 + random.below(6) as usize;
    disk.config.level0_threshold = 1 + random.below(4) as usize;
    disk.config.run_threshold = 2 + random.below(2) as usize;
    disk.config.target_layer_size = 4 << 10 << random.below(5);
    disk.config.image_layer_size = 4 << 10 << random.below(5);
    disk.config.compaction_job_bytes = 1 << 10 << random.below(10);
    let unknown = if seed.is_multiple_of(2) { vec![block(13), block(14), page(101, 4)] } else { Vec::new() };
    let redo = Arc::new(Digest { unknown: unknown.clone() });
    let weather = Arc::new(Weather::default());
    weather.turn.store(seed << 32, Ordering::Relaxed);
    let open = async || {
        weather.storm.store(false, Ordering::Relaxed);
        let (judge, redo) = (Arc::clone(&weather), redo.clone());
        let store = Faulty::new(disk.store().await, move |_, _| judge.judge());
        let redo = shortened.then_some(redo as Arc<dyn Redo>);
        let manager = disk.open_all(Arc::new(store), DurableFs::default(), redo).await;
        weather.storm.store(storms, Ordering::Relaxed);
        manager
    };
    let close = async |manager: &TenantManager| {
        weather.storm.store(false, Ordering::Relaxed);
        manager.shutdown().await.unwrap();
    };
    let mut manager = open().await;
    weather.storm.store(false, Ordering::Relaxed);
    root(&manager).await;
    weather.storm.store(storms, Ordering::Relaxed);
    let mut model: Model = [(1, root_history())].into();
    let mut made_timelines = 1;
    for _ in 0..steps {
        // Numbers of its own, so that how many a step takes, which is also a matter of what background work did
        // meanwhile, changes nothing about the steps after it.
        let mut random = Random(random.next());
        let number = *model.keys().nth(random.below(model.len() as u64) as usize).unwrap();
        let timeline: Arc<Timeline> = manager.get_timeline(ttid(number)).unwrap();
        match random.below(41) {
            0..24 => {
                let batch = random_batch(&mut random, &model, number);
                let history = model.get_mut(&number).unwrap();
                history.last = batch.end_lsn.0;
                history.batches.push(batch.clone());
                timeline.put_batch(batch).await.unwrap();
            }
            24..33 => seen.forgotten += check(&mut random, &model, number, &timeline, shortened).await,
            33 => insist(|| timeline.flush_and_upload()).await.unwrap(),
            34 => {
                insist(|| timeline.flush_and_upload()).await.unwrap();
                for layer in manager.evictable_layers() {
                    seen.evictions += usize::from(random.one_in(2) && layer.evict().is_some());
                }
            }
            35 if model.len() == 5 => {
                let is_ancestor = |id| model.values().any(|it| it.ancestor.is_some_and(|(of, _)| of == id));
                // Mostly one that can be deleted.
                let leaf = *model.keys().rfind(|id| !is_ancestor(**id)).expect("not all have branches");
                let number = if random.one_in(3) { number } else { leaf };
                let (id, has_branches) = (ttid(number), is_ancestor(number));
                match insist(|| manager.delete_timeline(id)).await {
                    Ok(()) => {
                        assert!(!has_branches);
                        model.remove(&number);
                        seen.deletions += 1;
                    }
                    Err(StorageError::HasBranches { .. }) => assert!(has_branches),
                    Err(error) => panic!("{error}"),
                }
            }
            35 => {
                let start = timeline.start_lsn().0;
                let after = random.below(timeline.last_record_lsn().0 - start + 1);
                // Often where the timeline itself begins.
                let lsn = Lsn(start + if random.one_in(4) { 0 } else { after });
                let new = made_timelines + 1;
                made_timelines = new;
                let made = insist(|| manager.branch_timeline(ttid(new), ttid(number).timeline_id, Some(lsn)));
                let made = made.await;
                if is_readable(&model, number, lsn) {
                    made.unwrap();
                    let ancestor = Some((number, lsn));
                    model.insert(new, History { ancestor, start: lsn, last: lsn.0, ..History::default() });
                } else {
                    assert!(matches!(made, Err(StorageError::Collected { .. })), "{number} at {lsn}");
                }
            }
            36 => {
                let done = insist(|| timeline.compact()).await.unwrap();
                seen.merges += done.merges;
                seen.images += done.images;
            }
            37 if random.one_in(2) => {
                let mut cutoffs = BTreeMap::new();
                for (number, history) in &mut model {
                    let timeline = manager.get_timeline(ttid(*number)).unwrap();
                    let wished = Lsn(INITDB.0 + random.below(history.last - INITDB.0 + 1));
                    cutoffs.insert(ttid(*number).timeline_id, wished);
                    // Nothing is collected that is not in files yet.
                    history.cutoff = wished.min(timeline.disk_consistent_lsn()).max(history.cutoff);
                }
                seen.removed_layers += insist(|| manager.collect_garbage(TENANT, &cutoffs)).await.unwrap();
                seen.collections += 1;
                for (number, history) in &mut model {
                    let timeline = manager.get_timeline(ttid(*number)).unwrap();
                    // A flush may have come in between.
                    assert!(timeline.gc_cutoff() >= history.cutoff);
                    history.cutoff = timeline.gc_cutoff();
                }
            }
            37 => {
                close(&manager).await;
                manager = open().await;
                for (number, history) in &model {
                    let timeline = manager.get_timeline(ttid(*number)).unwrap();
                    assert_eq!(timeline.last_record_lsn(), Lsn(history.last), "a clean stop loses nothing");
                }
                forget_leases(&mut model, &manager);
            }
            38 => {
                manager.abandon().await;
                if random.one_in(3) {
                    std::fs::remove_dir_all(&disk.config.workdir).unwrap();
                }
                manager = open().await;
                for (number, history) in &mut model {
                    // What was not uploaded yet is not collected yet.
                    let cutoff = manager.get_timeline(ttid(*number)).unwrap().gc_cutoff();
                    assert!(cutoff <= history.cutoff);
                    history.cutoff = cutoff;
                }
                forget_leases(&mut model, &manager);
                replay(&model, &manager).await;
            }
            39 if random.one_in(2) => {
                let lsn = Lsn(INITDB.0 + random.below(model[&number].last - INITDB.0 + 1));
                let leased = timeline.lease_lsn(lsn, Reach::At, std::time::Duration::from_secs(3600));
                assert_eq!(leased.is_ok(), is_readable(&model, number, lsn), "{number} at {lsn}: {leased:?}");
                if leased.is_ok() {
                    let holder = holder(&model, number, lsn);
                    model.get_mut(&holder).unwrap().leases.push(lsn);
                    seen.leases += 1;
                }
            }
            40 if shortened => match insist(|| manager.detach_ancestor(ttid(number))).await {
                Ok(left) => {
                    let ancestor = model[&number].ancestor;
                    assert_eq!(left, ancestor.map(|(ancestor, _)| ttid(ancestor).timeline_id));
                    detach(&mut model, number);
                    seen.detached += usize::from(ancestor.is_some());
                }
                Err(StorageError::NotWhole { key, lsn, .. }) => {
                    assert!(unknown.contains(&key));
                    assert!(!expected(&model, number, key, lsn).deltas.is_empty());
                    seen.not_detached += 1;
                }
                Err(error) => panic!("{error}"),
            },
            _ => tokio::time::sleep(std::time::Duration::from_millis(random.below(4))).await,
        }
    }
    for number in model.keys() {
        for _ in 0..20 {
            let timeline = manager.get_timeline(ttid(*number)).unwrap();
            seen.forgotten += check(&mut random, &model, *number, &timeline, shortened).await;
        }
    }
    close(&manager).await;
    seen.faults = weather.faults.load(Ordering::Relaxed);
    seen
}

/// Runs of consecutive seeds; `VARVE_TEST_SEED` chooses the first, `VARVE_TEST_SEEDS` how many.
async fn runs(first: u64, seeds: u64, shortened: bool, storms: bool) {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
    let first = number("VARVE_TEST_SEED").unwrap_or(first);
    let mut all = Seen::default();
    for seed in first..first + number("VARVE_TEST_SEEDS").unwrap_or(seeds) {
        eprintln!("seed {seed}");
        let seen = run(seed, 300, shortened, storms).await;
        all.collections += seen.collections;
        all.removed_layers += seen.removed_layers;
        all.merges += seen.merges;
        all.images += seen.images;
        all.evictions += seen.evictions;
        all.deletions += seen.deletions;
        all.leases += seen.leases;
        all.forgotten += seen.forgotten;
        all.detached += seen.detached;
        all.not_detached += seen.not_detached;
        all.faults += seen.faults;
    }
    eprintln!("{all:?}");
    assert!(all.collections > 0 && all.merges > 0 && all.evictions > 0 && all.deletions > 0, "{all:?}");
    assert!(all.leases > 0, "{all:?}");
    assert_eq!(all.faults > 100, storms, "{all:?}");
    // Only above images is anything garbage.
    assert_eq!((all.detached > 0, all.not_detached > 0), (shortened, shortened), "{all:?}");
    assert_eq!((all.images > 0, all.removed_layers > 0), (shortened, shortened), "{all:?}");
    // Who knows no sizes forgets nothing.
    assert_eq!(all.forgotten > 0, shortened, "{all:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn random_histories_agree_with_the_model() {
    runs(1, 10, false, false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn so_they_do_with_images_among_the_changes() {
    runs(101, 10, true, false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn so_they_do_when_object_storage_fails_now_and_then() {
    runs(201, 4, true, true).await;
}

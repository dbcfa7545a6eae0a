//! Compaction and garbage collection: reads stay short, what nobody needs goes, and what is needed does not.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use durable_fs::DurableFs;
use pageserver::storage::{
    Reach, Reconstruct, Redo, StorageError, TenantManager, Timeline, TimelineMetadata,
};
use remote_storage::{Faulty, ListMode, ObjectKey, Operation, RemoteStorage};
use types::{Key, Lsn};

use super::support::*;

/// A page is a count of its changes.
struct Count;

impl Redo for Count {
    fn value_of(&self, _timeline: &TimelineMetadata, _key: Key, found: &Reconstruct) -> Option<Bytes> {
        Some(Bytes::from(count(found).to_string()))
    }

    fn written_blocks(&self, size: &[u8]) -> Vec<Range<u32>> {
        written(size)
    }
}

fn count(found: &Reconstruct) -> u64 {
    let base = found.image.as_ref().map_or("0", |(_, image)| std::str::from_utf8(image).unwrap());
    base.parse::<u64>().unwrap_or(0) + found.deltas.len() as u64
}

const PAGES: u32 = 2000;

/// Which page the change with that number is of: one is hot, some are warm, and all the others are changed now and
/// then.
fn page_of(change: u64) -> u32 {
    match change % 4 {
        0 => 0,
        1 => 1 + (change / 4 % 7) as u32,
        _ => (change * 7919 % u64::from(PAGES)) as u32,
    }
}

/// So many rounds of changes, each flushed. Returns the LSN at which they end.
async fn rounds(timeline: &Arc<Timeline>, rounds: u64) -> u64 {
    let mut lsn = timeline.last_record_lsn().0;
    for _ in 0..rounds {
        for _ in 0..500 {
            let page = page_of(lsn - INITDB.0);
            lsn += 1;
            timeline.put_batch(batch(lsn, vec![(block(page), lsn, change("+"))])).await.unwrap();
        }
        timeline.flush_and_upload().await.unwrap();
    }
    lsn
}

/// How often [`rounds`] has changed each page up to an LSN.
fn expected(upto: u64) -> BTreeMap<u32, u64> {
    let mut counts = BTreeMap::new();
    (0..upto - INITDB.0).for_each(|change| *counts.entry(page_of(change)).or_default() += 1);
    counts
}

/// Checks every page as of an LSN; returns the most changes that a read had to apply.
async fn check_all(timeline: &Timeline, at: u64) -> usize {
    let counts = expected(at);
    let mut most = 0;
    for page in 0..PAGES {
        let found = timeline.get_reconstruct(block(page), Lsn(at)).await.unwrap();
        assert_eq!(count(&found), counts.get(&page).copied().unwrap_or(0), "page {page} at {at}");
        most = most.max(found.deltas.len());
    }
    most
}

fn small(disk: &mut Disk) {
    disk.config.checkpoint_distance = 1 << 30;
    disk.config.target_layer_size = 8 << 10;
    disk.config.image_layer_size = 16 << 10;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_page_is_further_than_64_changes_from_an_image() {
    let mut disk = Disk::new();
    small(&mut disk);
    let manager = disk.open_with_redo(Arc::new(Count)).await;
    let timeline = root(&manager).await;
    let last = rounds(&timeline, 60).await;
    timeline.compact().await.unwrap();
    let most = check_all(&timeline, last).await;
    assert!(most <= 64, "a read applies {most} changes");
    // In the past as well.
    let mut most_ever = 0;
    for at in (INITDB.0..last).step_by(3 * 997) {
        most_ever = most_ever.max(check_all(&timeline, at).await);
    }
    assert!(most_ever <= 64, "a read of the past applies {most_ever} changes");
    let layers = timeline.stats().layers;
    assert!(layers < 200, "{layers} layers");
    eprintln!("after 60 rounds: {layers} layers; at most {most} changes, {most_ever} in the past");
}

async fn objects(store: &dyn RemoteStorage) -> Vec<String> {
    let listing = store.list(None, ListMode::Recursive).await.unwrap();
    listing.objects.iter().map(|object| object.key.as_str().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_nobody_may_read_any_more_goes_from_disk_and_store() {
    let mut disk = Disk::new();
    small(&mut disk);
    let manager = disk.open_with_redo(Arc::new(Count)).await;
    let timeline = root(&manager).await;
    let half = rounds(&timeline, 20).await;
    let pin = half - 777;
    let branch = manager.branch_timeline(ttid(2), ttid(1).timeline_id, Some(Lsn(pin))).await.unwrap();
    let last = rounds(&timeline, 20).await;
    timeline.compact().await.unwrap();
    timeline.flush_and_upload().await.unwrap();
    let before = (timeline.stats().physical_size, disk.layer_files(1).len());

    // Everything but the present and the branch.
    let cutoffs = [(ttid(1).timeline_id, Lsn(last))].into();
    let removed = manager.collect_garbage(TENANT, &cutoffs).await.unwrap();
    timeline.flush_and_upload().await.unwrap();
    assert!(removed > 0, "nothing was removed");
    check_all(&timeline, last).await;
    check_all(&timeline, pin).await;
    check_all(&branch, pin).await;
    for lost in [last - 1, pin + 1, pin - 1, INITDB.0] {
        let refused = timeline.get_reconstruct(block(0), Lsn(lost)).await;
        assert!(matches!(refused, Err(StorageError::Collected { .. })), "{lost}: {refused:?}");
        let refused = manager.branch_timeline(ttid(3), ttid(1).timeline_id, Some(Lsn(lost))).await;
        assert!(matches!(refused, Err(StorageError::Collected { .. })), "a branch at {lost}");
    }

    // What the index names is what there is, in the store and on disk, once what began in the background has ended.
    let store = disk.store().await;
    let prefix = format!("tenants/{TENANT}/timelines/{}/", ttid(1).timeline_id);
    let stored = async || objects(&*store).await.iter().filter(|key| key.starts_with(&prefix)).count();
    let begun = Instant::now();
    while stored().await != timeline.stats().layers + 1 && begun.elapsed() < PATIENCE {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let stats = timeline.stats();
    assert!(stats.physical_size < before.0, "{} bytes before, {} now", before.0, stats.physical_size);
    assert_eq!(stored().await, stats.layers + 1, "layers and an index");
    assert_eq!(disk.layer_files(1).len(), stats.layers);

    // The same after a restart with an empty disk.
    manager.shutdown().await.unwrap();
    std::fs::remove_dir_all(&disk.config.workdir).unwrap();
    let manager = disk.open_with_redo(Arc::new(Count)).await;
    let timeline = manager.get_timeline(ttid(1)).unwrap();
    check_all(&timeline, last).await;
    check_all(&manager.get_timeline(ttid(2)).unwrap(), pin).await;
    let refused = timeline.get_reconstruct(block(0), Lsn(last - 1)).await;
    assert!(matches!(refused, Err(StorageError::Collected { .. })), "{refused:?}");
}

/// Whoever reads in the past reads on after a start of the pageserver, if it says so in time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_leased_below_the_cutoff_outlives_a_start() {
    let mut disk = Disk::new();
    small(&mut disk);
    let mut manager = disk.open_with_redo(Arc::new(Count)).await;
    let timeline = root(&manager).await;
    let leased = rounds(&timeline, 20).await - 777;
    let mut last = rounds(&timeline, 20).await;
    timeline.compact().await.unwrap();
    timeline.lease_lsn(Lsn(leased), Reach::At, PATIENCE).unwrap();
    // Whether layers go at once depends on how compaction has cut them: what is refused from then on does not.
    let collect = async |manager: &TenantManager, last| {
        let cutoffs = [(ttid(1).timeline_id, Lsn(last))].into();
        let removed = manager.collect_garbage(TENANT, &cutoffs).await.unwrap();
        let timeline = manager.get_timeline(ttid(1)).unwrap();
        timeline.flush_and_upload().await.unwrap();
        assert_eq!(timeline.gc_cutoff(), Lsn(last));
        for lost in [leased - 1, leased + 1, last - 1] {
            let refused = timeline.get_reconstruct(block(0), Lsn(lost)).await;
            assert!(matches!(refused, Err(StorageError::Collected { .. })), "{lost}: {refused:?}");
        }
        removed
    };
    let mut removed = collect(&manager, last).await;

    // Twice, so that what a start knows is passed on to the next one.
    for lease_length in [PATIENCE, Duration::from_secs(2)] {
        manager.shutdown().await.unwrap();
        std::fs::remove_dir_all(&disk.config.workdir).unwrap();
        disk.config.lease_length = lease_length;
        manager = disk.open_with_redo(Arc::new(Count)).await;
        let timeline = manager.get_timeline(ttid(1)).unwrap();
        assert_eq!(timeline.leased(), [Lsn(leased)]);
        timeline.lease_lsn(Lsn(leased), Reach::At, lease_length).unwrap();
        for other in [leased - 1, leased + 1] {
            let refused = timeline.lease_lsn(Lsn(other), Reach::At, PATIENCE);
            assert!(matches!(refused, Err(StorageError::Collected { .. })), "{other}: {refused:?}");
        }
        last = rounds(&timeline, 20).await;
        timeline.compact().await.unwrap();
        check_all(&timeline, leased).await;
        if lease_length == PATIENCE {
            removed += collect(&manager, last).await;
            check_all(&timeline, leased).await;
        }
    }
    // Nobody has renewed it.
    tokio::time::sleep(Duration::from_millis(2100)).await;
    removed += collect(&manager, last).await;
    assert!(removed > 0, "nothing was removed");
    let timeline = manager.get_timeline(ttid(1)).unwrap();
    let refused = timeline.get_reconstruct(block(0), Lsn(leased)).await;
    assert!(matches!(refused, Err(StorageError::Collected { .. })), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn objects_that_no_index_names_are_deleted() {
    let mut disk = Disk::new();
    small(&mut disk);
    let manager = disk.open_with_redo(Arc::new(Count)).await;
    let timeline = root(&manager).await;
    let last = rounds(&timeline, 2).await;
    manager.shutdown().await.unwrap();
    let store = disk.store().await;
    let prefix = format!("tenants/{TENANT}/timelines/{}", ttid(1).timeline_id);
    let named = objects(&*store).await;
    let put = async |name: String| {
        let key = ObjectKey::new(format!("{prefix}/{name}")).unwrap();
        store.put(&key, Bytes::from_static(b"rubbish")).await.unwrap();
        key.as_str().to_owned()
    };
    let layer = |lsn: u64, generation: u32| {
        format!("{}-{}__{lsn:016X}-{:016X}-{generation:08x}", Key::MIN, Key::MAX, lsn + 10)
    };
    let mut orphans = Vec::new();
    for lsn in 5000..5006 {
        orphans.push(put(layer(lsn, 1)).await);
    }
    // Of a pageserver that came after this one, or nobody knows of whom.
    let others = [
        put(layer(6000, 2)).await,
        put("index_part.json-00000002".to_owned()).await,
        put("readme".to_owned()).await,
    ];
    let manager = disk.open_with_redo(Arc::new(Count)).await;
    let timeline = manager.get_timeline(ttid(1)).unwrap();
    let begun = Instant::now();
    while objects(&*store).await.iter().any(|object| orphans.contains(object)) {
        assert!(begun.elapsed() < PATIENCE, "they stay");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let left = objects(&*store).await;
    assert!(named.iter().chain(&others).all(|object| left.contains(object)), "{left:?}");
    check_all(&timeline, last).await;
}

/// A read of many changes in memory leaves an image for the next one.
#[tokio::test]
async fn what_a_long_read_has_made_is_kept() {
    let disk = Disk::new();
    let manager = disk.open_with_redo(Arc::new(Count)).await;
    let timeline = root(&manager).await;
    for lsn in 1001..=1500 {
        timeline.put_batch(batch(lsn, vec![(block(1), lsn, change("+"))])).await.unwrap();
    }
    let found = timeline.get_reconstruct(block(1), Lsn(1400)).await.unwrap();
    assert_eq!(found.deltas.len(), 400);
    timeline.keep_image(block(1), Lsn(1400), &Bytes::from(count(&found).to_string()));
    let found = timeline.get_reconstruct(block(1), Lsn(1500)).await.unwrap();
    assert_eq!((found.deltas.len(), count(&found)), (100, 500));
    assert_eq!(timeline.get_reconstruct(block(1), Lsn(1399)).await.unwrap().deltas.len(), 399);
    timeline.flush_and_upload().await.unwrap();
    assert_eq!(count(&timeline.get_reconstruct(block(1), Lsn(1450)).await.unwrap()), 450);
}

/// As [`Count`], while the gate is open; otherwise whoever makes a value waits.
#[derive(Default)]
struct Gate {
    open: Mutex<bool>,
    opened: Condvar,
}

impl Redo for Gate {
    fn value_of(&self, timeline: &TimelineMetadata, key: Key, found: &Reconstruct) -> Option<Bytes> {
        let open = self.open.lock().unwrap();
        drop(self.opened.wait_while(open, |open| !*open).unwrap());
        Count.value_of(timeline, key, found)
    }

    fn written_blocks(&self, size: &[u8]) -> Vec<Range<u32>> {
        written(size)
    }
}

/// One change to each of a few pages, flushed.
async fn one_layer(timeline: &Arc<Timeline>, lsn: u64) {
    let entries = (0..5).map(|page| (block(page), lsn, change("+"))).collect();
    timeline.put_batch(batch(lsn, entries)).await.unwrap();
    timeline.flush_and_upload().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ingest_waits_for_merges() {
    let mut disk = Disk::new();
    disk.config.level0_threshold = 2;
    disk.config.max_level0_layers = 4;
    disk.config.merged_image_after_changes = 1;
    let gate = Arc::new(Gate::default());
    let manager = disk.open_with_redo(gate.clone()).await;
    let timeline = root(&manager).await;
    for lsn in 1001..=1004 {
        one_layer(&timeline, lsn).await;
    }
    let next = batch(1005, vec![(block(1), 1005, change("+"))]);
    let waits = tokio::time::timeout(Duration::from_millis(300), timeline.put_batch(next.clone())).await;
    assert!(waits.is_err(), "four layers wait to be merged");
    *gate.open.lock().unwrap() = true;
    gate.opened.notify_all();
    tokio::time::timeout(PATIENCE, timeline.put_batch(next)).await.unwrap().unwrap();
    assert_eq!(count(&timeline.get_reconstruct(block(1), Lsn(1005)).await.unwrap()), 5);
}

/// What becomes of layers on their way to the store.
#[derive(Clone, Copy, PartialEq)]
enum Way {
    Free,
    Refused,
    /// Until it is free.
    Halted,
}

/// Layers are merged while an upload is about to put them: it puts them all the same, and they go.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn layers_that_are_merged_while_they_are_uploaded_do_not_stay() {
    let mut disk = Disk::new();
    disk.config.level0_threshold = 5;
    let way = Arc::new((Mutex::new(Way::Free), Condvar::new()));
    let halted = Arc::new(AtomicBool::new(false));
    let judge = {
        let (way, halted) = (Arc::clone(&way), Arc::clone(&halted));
        move |operation, key: &str| {
            if operation != Operation::Put || !key.contains("__") {
                return false;
            }
            let now = way.0.lock().unwrap();
            halted.store(*now == Way::Halted, Ordering::SeqCst);
            // Other tasks go on.
            let now = tokio::task::block_in_place(|| way.1.wait_while(now, |now| *now == Way::Halted));
            *now.unwrap() == Way::Refused
        }
    };
    let set = |to| {
        *way.0.lock().unwrap() = to;
        way.1.notify_all();
    };
    let manager = disk.open_with_judge(judge).await;
    let timeline = root(&manager).await;
    set(Way::Refused);
    let flush = async |lsn: u64| {
        timeline.put_batch(batch(lsn, vec![(block(1), lsn, change("+"))])).await.unwrap();
        let flushing = Arc::clone(&timeline);
        tokio::spawn(async move { flushing.flush_and_upload().await });
        eventually("it is on disk", || timeline.disk_consistent_lsn() == Lsn(lsn)).await;
    };
    for lsn in 1001..=1004 {
        flush(lsn).await;
    }
    set(Way::Halted);
    eventually("an upload of all four has begun", || halted.load(Ordering::SeqCst)).await;
    let before = timeline.stats().layers;
    flush(1005).await;
    eventually("they are merged", || timeline.stats().layers < before).await;
    set(Way::Free);
    timeline.flush_and_upload().await.unwrap();
    let store = disk.store().await;
    let prefix = format!("tenants/{TENANT}/timelines/{}/", ttid(1).timeline_id);
    let begun = Instant::now();
    loop {
        let stored = objects(&*store).await.into_iter().filter(|key| key.starts_with(&prefix));
        let stored: Vec<String> = stored.collect();
        if stored.len() == timeline.stats().layers + 1 {
            break;
        }
        assert!(begun.elapsed() < PATIENCE, "{} layers and an index: {stored:?}", timeline.stats().layers);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(text(&timeline.get_reconstruct(block(1), Lsn(1005)).await.unwrap()).len(), 6);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_layer_is_fetched_again() {
    let disk = Disk::new();
    let manager = disk.open_with_redo(Arc::new(Count)).await;
    let timeline = root(&manager).await;
    one_layer(&timeline, 1001).await;
    disk.layer_files(1).iter().for_each(|path| damage(path));
    assert_eq!(count(&timeline.get_reconstruct(block(1), Lsn(1001)).await.unwrap()), 1);
    // So is one that a merge reads.
    one_layer(&timeline, 1002).await;
    one_layer(&timeline, 1003).await;
    disk.layer_files(1).iter().for_each(|path| damage(path));
    one_layer(&timeline, 1004).await;
    assert_eq!(timeline.compact().await.map(|_| ()).map_err(|error| error.to_string()), Ok(()));
    eventually("a merge", || timeline.stats().layers == 2).await;
    assert_eq!(count(&timeline.get_reconstruct(block(1), Lsn(1004)).await.unwrap()), 4);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_the_store_has_damage_too_it_is_told_and_ingest_goes_on() {
    const DAMAGED: &str = "__00000000000003E9-";
    let mut disk = Disk::new();
    disk.config.level0_threshold = 3;
    disk.config.max_level0_layers = 4;
    let fetched = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&fetched);
    let judge = move |operation, key: &str| {
        if operation == Operation::Get && key.contains(DAMAGED) {
            counter.fetch_add(1, Ordering::SeqCst);
        }
        false
    };
    let remote = Arc::new(Faulty::refusing(disk.store().await, judge));
    let manager = disk.open_all(remote, DurableFs::default(), Some(Arc::new(Count))).await;
    let timeline = root(&manager).await;
    one_layer(&timeline, 1001).await;
    let store = disk.directory.path().join("remote");
    let is_delta = |path: &PathBuf| path.to_str().unwrap().contains(DAMAGED);
    let mut found = Vec::new();
    for path in disk.layer_files(1).into_iter().chain(files_below(&store)) {
        if is_delta(&path) {
            damage(&path);
            found.push(path);
        }
    }
    assert_eq!(found.len(), 2, "one on disk, one in the store: {found:?}");
    // No merge succeeds, and yet nobody waits for one.
    for lsn in 1002..=1012 {
        tokio::time::timeout(PATIENCE, one_layer(&timeline, lsn)).await.unwrap();
    }
    for _ in 0..20 {
        let error = timeline.get_reconstruct(block(1), Lsn(1012)).await.unwrap_err();
        assert!(error.is_corruption() && error.to_string().contains(DAMAGED), "{error}");
    }
    assert_eq!(fetched.load(Ordering::SeqCst), 1, "it was fetched in vain again and again");
    // What does not need it can be read.
    assert_eq!(count(&timeline.get_reconstruct(block(9), Lsn(1012)).await.unwrap()), 0);
}

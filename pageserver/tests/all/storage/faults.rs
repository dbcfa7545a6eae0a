//! Errors of the file system and of the object store: no LSN moves, nothing is lost, and all goes on when they end.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use bytes::Bytes;
use durable_fs::{DurableFs, Faults, Step};
use pageserver::storage::{
    FixedGeneration, StorageError, StorageMetrics, Surroundings, TenantManager, Timeline,
};
use remote_storage::{Faulty, ObjectKey, Operation};
use types::{Generation, Lsn, TenantId};

use super::support::*;

/// Fails one step of the durable moves while switched on.
struct Failing {
    step: Step,
    on: Arc<AtomicBool>,
}

impl Faults for Failing {
    fn before(&self, step: Step, path: &Path) -> io::Result<()> {
        let hit = step == self.step && path.to_string_lossy().contains("/timelines/");
        if hit && self.on.load(Ordering::SeqCst) { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }
}

async fn put_some(timeline: &Timeline) {
    timeline.put_batch(batch(1100, vec![(block(1), 1100, change("a"))])).await.unwrap();
}

#[tokio::test]
async fn a_failed_flush_moves_no_lsn() {
    for step in [Step::SyncFile, Step::Rename, Step::SyncDirectory] {
        let disk = Disk::new();
        let on = Arc::new(AtomicBool::new(false));
        let fs = DurableFs::with_faults(Arc::new(Failing { step, on: Arc::clone(&on) }));
        let manager = disk.open_with(disk.store().await, fs).await;
        let timeline = root(&manager).await;
        put_some(&timeline).await;
        on.store(true, Ordering::SeqCst);
        assert!(timeline.flush_and_upload().await.is_err(), "{step:?}");
        assert_eq!((timeline.disk_consistent_lsn(), timeline.remote_consistent_lsn()), (INITDB, INITDB));
        let found = timeline.get_reconstruct(block(1), Lsn(1100)).await.unwrap();
        assert_eq!(text(&found), ["1000 page 1", "1100 a"], "read from the frozen layer");
        on.store(false, Ordering::SeqCst);
        eventually("the background task flushes", || timeline.disk_consistent_lsn() == Lsn(1100)).await;
        eventually("and uploads", || timeline.remote_consistent_lsn() == Lsn(1100)).await;
        assert!(disk.layer_files(1).iter().all(|path| path.extension().is_none()));
    }
}

/// Fails from the third layer file on, while switched on.
struct FailingLater {
    renamed: AtomicUsize,
    on: Arc<AtomicBool>,
}

impl Faults for FailingLater {
    fn before(&self, step: Step, path: &Path) -> io::Result<()> {
        let counts = step == Step::Rename && path.to_string_lossy().contains("/timelines/");
        let hit =
            counts && self.on.load(Ordering::SeqCst) && self.renamed.fetch_add(1, Ordering::SeqCst) >= 2;
        if hit { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }
}

/// What has no room needs all that there is.
#[tokio::test]
async fn a_merge_that_fails_leaves_no_files() {
    let mut disk = Disk::new();
    disk.config.target_layer_size = 1;
    disk.config.level0_threshold = 2;
    let on = Arc::new(AtomicBool::new(false));
    let faults = FailingLater { renamed: AtomicUsize::new(0), on: Arc::clone(&on) };
    let manager = disk.open_with(disk.store().await, DurableFs::with_faults(Arc::new(faults))).await;
    let timeline = root(&manager).await;
    let some = |lsn| (0..9).map(|number| (block(number), lsn, change("a"))).collect();
    timeline.put_batch(batch(1100, some(1100))).await.unwrap();
    timeline.flush_and_upload().await.unwrap();
    on.store(true, Ordering::SeqCst);
    timeline.put_batch(batch(1200, some(1200))).await.unwrap();
    // Its own file is the first of two for which there is room.
    timeline.flush_and_upload().await.unwrap();
    assert!(timeline.compact().await.is_err());
    eventually("nothing is left", || disk.layer_files(1).len() == timeline.stats().layers).await;
    on.store(false, Ordering::SeqCst);
    timeline.compact().await.unwrap();
    let found = timeline.get_reconstruct(block(1), Lsn(1200)).await.unwrap();
    assert_eq!(text(&found), ["1000 page 1", "1100 a", "1200 a"]);
}

/// Once it is told to be in remote storage, WAL goes that could make it again.
#[tokio::test]
async fn a_layer_that_is_damaged_before_it_is_uploaded_is_not_told_of() {
    let disk = Disk::new();
    let refuse = Arc::new(AtomicBool::new(false));
    let refuses = Arc::clone(&refuse);
    let judge = move |operation, key: &str| {
        operation == Operation::Put && key.contains("__") && refuses.load(Ordering::SeqCst)
    };
    let manager = disk.open_with_judge(judge).await;
    let timeline = root(&manager).await;
    refuse.store(true, Ordering::SeqCst);
    put_some(&timeline).await;
    timeline.flush_and_upload().await.unwrap_err();
    let is_delta = |path: &&PathBuf| path.to_str().unwrap().contains("__0000000000000");
    let layers = disk.layer_files(1);
    damage(layers.iter().rfind(is_delta).unwrap());
    refuse.store(false, Ordering::SeqCst);
    let error = timeline.flush_and_upload().await.unwrap_err();
    assert!(error.is_corruption(), "{error}");
    assert_eq!(timeline.remote_consistent_lsn(), INITDB);
    let error = manager.shutdown().await.unwrap_err();
    assert!(error.is_corruption(), "{error}");

    // Its WAL comes again.
    let manager = disk.open().await;
    let timeline = manager.get_timeline(ttid(1)).unwrap();
    assert_eq!(timeline.last_record_lsn(), INITDB);
    put_some(&timeline).await;
    timeline.flush_and_upload().await.unwrap();
    assert_eq!(timeline.remote_consistent_lsn(), Lsn(1100));
    let found = timeline.get_reconstruct(block(1), Lsn(1100)).await.unwrap();
    assert_eq!(text(&found), ["1000 page 1", "1100 a"]);
}

#[tokio::test]
async fn a_timeline_that_cannot_be_read_keeps_no_other_from_being_collected() {
    let disk = Disk::new();
    let manager = disk.open().await;
    let main = root(&manager).await;
    let branch = manager.branch_timeline(ttid(2), ttid(1).timeline_id, None).await.unwrap();
    for timeline in [&main, &branch] {
        timeline.put_batch(batch(1100, vec![committed(1100, 1)])).await.unwrap();
        timeline.flush_and_upload().await.unwrap();
    }
    let of_branch = ttid(2).timeline_id.to_string();
    let store = files_below(&disk.directory.path().join("remote"));
    let objects = store.into_iter().filter(|path| path.to_str().unwrap().contains(&of_branch));
    let layers: Vec<_> = objects.filter(|path| path.to_str().unwrap().contains("__")).collect();
    assert!(!layers.is_empty());
    disk.layer_files(2).iter().chain(&layers).for_each(|path| damage(path));
    let error = collect_all(&manager).await.unwrap_err();
    assert!(error.is_corruption(), "{error}");
    assert_eq!((main.gc_cutoff(), branch.gc_cutoff()), (Lsn(1100), Lsn::INVALID));
}

#[tokio::test]
async fn a_failed_upload_moves_no_lsn() {
    for what in ["index_part.json", "__"] {
        let disk = Disk::new();
        let on = Arc::new(AtomicBool::new(false));
        let failing = Arc::clone(&on);
        let manager = disk
            .open_with_judge(move |operation, key| {
                operation == Operation::Put && key.contains(what) && failing.load(Ordering::SeqCst)
            })
            .await;
        let timeline = root(&manager).await;
        put_some(&timeline).await;
        on.store(true, Ordering::SeqCst);
        assert!(timeline.flush_and_upload().await.is_err(), "{what}");
        assert_eq!((timeline.disk_consistent_lsn(), timeline.remote_consistent_lsn()), (Lsn(1100), INITDB));
        on.store(false, Ordering::SeqCst);
        eventually("the background task uploads", || timeline.remote_consistent_lsn() == Lsn(1100)).await;
    }
}

#[tokio::test]
async fn what_waits_for_an_upload_is_counted() {
    let disk = Disk::new();
    let on = Arc::new(AtomicBool::new(false));
    let failing = Arc::clone(&on);
    let judge = move |operation, _: &str| operation == Operation::Put && failing.load(Ordering::SeqCst);
    let metrics = StorageMetrics::register(&prometheus::Registry::new()).unwrap();
    let surroundings = Surroundings {
        remote: Arc::new(Faulty::refusing(disk.store().await, judge)),
        metrics: metrics.clone(),
        fs: DurableFs::default(),
        owners: Arc::new(FixedGeneration(Generation(1))),
        redo: None,
    };
    let manager = TenantManager::open_with(disk.config.clone(), surroundings).await.unwrap();
    let timeline = root(&manager).await;
    assert_eq!(metrics.waiting_layer_bytes.get(), 0);
    put_some(&timeline).await;
    on.store(true, Ordering::SeqCst);
    assert!(timeline.flush_and_upload().await.is_err());
    let layers = disk.layer_files(1);
    let newest =
        layers.iter().map(|path| std::fs::metadata(path).unwrap()).max_by_key(|it| it.modified().unwrap());
    assert_eq!(metrics.waiting_layer_bytes.get(), newest.unwrap().len() as i64);
    on.store(false, Ordering::SeqCst);
    eventually("nothing waits any more", || metrics.waiting_layer_bytes.get() == 0).await;
}

#[tokio::test]
async fn a_crash_between_the_layer_and_its_index_loses_nothing() {
    let disk = Disk::new();
    let manager = disk.open().await;
    root(&manager).await;
    manager.shutdown().await.unwrap();
    let manager =
        disk.open_with_judge(|op, key| op == Operation::Put && key.contains("index_part.json")).await;
    let timeline = manager.get_timeline(ttid(1)).unwrap();
    put_some(&timeline).await;
    assert!(timeline.flush_and_upload().await.is_err());
    assert_eq!(disk.layer_files(1).len(), 2, "image layer and L0");
    manager.abandon().await;

    let manager = disk.open().await;
    let timeline = manager.get_timeline(ttid(1)).unwrap();
    assert_eq!(disk.layer_files(1).len(), 1, "a layer that no index names does not exist");
    assert_eq!((timeline.last_record_lsn(), timeline.disk_consistent_lsn()), (INITDB, INITDB));
    assert_eq!(timeline.prev_record_lsn(), Lsn(990));
    // The same WAL comes again, cut otherwise.
    timeline
        .put_batch(batch(1200, vec![(block(1), 1100, change("a")), (block(1), 1200, change("b"))]))
        .await
        .unwrap();
    timeline.flush_and_upload().await.unwrap();
    let found = timeline.get_reconstruct(block(1), Lsn(1200)).await.unwrap();
    assert_eq!(text(&found), ["1000 page 1", "1100 a", "1200 b"]);
}

#[tokio::test]
async fn ingest_waits_when_flushing_does_not_keep_up() {
    let mut disk = Disk::new();
    disk.config.checkpoint_distance = 1000;
    disk.config.max_frozen_layers = 2;
    let on = Arc::new(AtomicBool::new(false));
    let fs = DurableFs::with_faults(Arc::new(Failing { step: Step::Rename, on: Arc::clone(&on) }));
    let manager = disk.open_with(disk.store().await, fs).await;
    let timeline = root(&manager).await;
    on.store(true, Ordering::SeqCst);
    let writer = Arc::clone(&timeline);
    let writing = tokio::spawn(async move {
        for lsn in 1..=20 {
            let entries = vec![(block(1), 1000 + lsn, image(&"x".repeat(1000)))];
            writer.put_batch(batch(1000 + lsn, entries)).await.unwrap();
        }
    });
    tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    assert!(!writing.is_finished());
    assert_eq!((timeline.last_record_lsn(), timeline.stats().frozen_layers), (Lsn(1002), 2));
    on.store(false, Ordering::SeqCst);
    tokio::time::timeout(PATIENCE, writing).await.unwrap().unwrap();
    assert_eq!(timeline.last_record_lsn(), Lsn(1020));
}

#[tokio::test]
async fn an_old_open_layer_is_flushed_by_itself() {
    let mut disk = Disk::new();
    disk.config.checkpoint_timeout = std::time::Duration::from_millis(40);
    let manager = disk.open().await;
    let timeline = root(&manager).await;
    put_some(&timeline).await;
    eventually("flushed by age", || timeline.remote_consistent_lsn() == Lsn(1100)).await;
    // Records without any change move the LSN too, and make no file.
    let layers = timeline.stats().layers;
    timeline.put_batch(batch(1200, vec![])).await.unwrap();
    eventually("flushed by age", || timeline.remote_consistent_lsn() == Lsn(1200)).await;
    assert_eq!(timeline.stats().layers, layers);
}

#[tokio::test]
async fn a_failed_download_fails_the_read_and_nothing_else() {
    let disk = Disk::new();
    let manager = disk.open().await;
    let timeline = root(&manager).await;
    put_some(&timeline).await;
    manager.shutdown().await.unwrap();
    std::fs::remove_dir_all(&disk.config.workdir).unwrap();
    let on = Arc::new(AtomicBool::new(true));
    let failing = Arc::clone(&on);
    let manager = disk
        .open_with_judge(move |operation, key| {
            operation == Operation::Get && key.contains("__") && failing.load(Ordering::SeqCst)
        })
        .await;
    let timeline = manager.get_timeline(ttid(1)).unwrap();
    let error = timeline.get_reconstruct(block(1), Lsn(1100)).await.unwrap_err();
    assert!(!error.is_corruption(), "{error}");
    assert_eq!(disk.layer_files(1).len(), 0);
    on.store(false, Ordering::SeqCst);
    let found = timeline.get_reconstruct(block(1), Lsn(1100)).await.unwrap();
    assert_eq!(text(&found), ["1000 page 1", "1100 a"]);
}

#[tokio::test]
async fn missing_cut_and_damaged_layers_are_fetched() {
    let disk = Disk::new();
    let manager = disk.open().await;
    let timeline = root(&manager).await;
    put_some(&timeline).await;
    manager.shutdown().await.unwrap();
    let files = disk.layer_files(1);
    assert_eq!(files.len(), 2);
    let expected = ["1000 page 1", "1100 a"];
    let read = async || {
        let manager = disk.open().await;
        let timeline = manager.get_timeline(ttid(1)).unwrap();
        let found = timeline.get_reconstruct(block(1), Lsn(1100)).await;
        manager.abandon().await;
        found
    };
    std::fs::remove_dir_all(&disk.config.workdir).unwrap();
    assert_eq!(text(&read().await.unwrap()), expected);
    for file in &files {
        let bytes = std::fs::read(file).unwrap();
        std::fs::write(file, &bytes[..bytes.len() / 2]).unwrap();
        assert_eq!(text(&read().await.unwrap()), expected, "{}", file.display());
        assert_eq!(std::fs::read(file).unwrap(), bytes);
        let mut damaged = bytes.clone();
        damaged[40] ^= 0x10;
        std::fs::write(file, damaged).unwrap();
        assert_eq!(text(&read().await.unwrap()), expected, "{}", file.display());
        assert_eq!(std::fs::read(file).unwrap(), bytes);
    }
}

/// What is wrong with one tenant is not wrong with the others. It is served when somebody has mended it.
#[tokio::test]
async fn a_tenant_that_cannot_be_loaded_holds_up_no_other() {
    const BROKEN: TenantId = TenantId([0xBB; 16]);
    let disk = Disk::new();
    let manager = disk.open().await;
    root(&manager).await;
    manager.create_tenant(BROKEN).await.unwrap();
    manager.shutdown().await.unwrap();
    let store = disk.store().await;
    let key = ObjectKey::new(format!("tenants/{BROKEN}/tenant.json-00000001")).unwrap();
    let whole = store.get(&key).await.unwrap();
    store.put(&key, whole.slice(..whole.len() / 2)).await.unwrap();

    let manager = disk.open().await;
    let mut arrivals = manager.arrivals();
    manager.get_timeline(ttid(1)).unwrap();
    for refused in [manager.list_timelines(BROKEN).map(drop), manager.create_tenant(BROKEN).await] {
        assert!(matches!(refused, Err(StorageError::NotLoaded { tenant: BROKEN, .. })), "{refused:?}");
    }
    assert_eq!(store.get(&key).await.unwrap().len(), whole.len() / 2, "it was touched");
    store.put(&key, whole).await.unwrap();
    tokio::time::timeout(2 * PATIENCE, arrivals.changed()).await.unwrap().unwrap();
    assert_eq!(manager.list_timelines(BROKEN).unwrap().len(), 0);
    manager.shutdown().await.unwrap();

    // What is wrong with all of them is said at once.
    for tenant in [TENANT, BROKEN] {
        let key = ObjectKey::new(format!("tenants/{tenant}/tenant.json-00000001")).unwrap();
        store.put(&key, Bytes::from_static(b"{}")).await.unwrap();
    }
    let metrics = StorageMetrics::register(&prometheus::Registry::new()).unwrap();
    let refused = TenantManager::open(disk.config.clone(), store, metrics).await.map(drop).unwrap_err();
    assert!(refused.to_string().contains("tenant.json-00000001"), "{refused}");
}

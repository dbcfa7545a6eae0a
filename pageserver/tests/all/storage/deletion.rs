//! What is deleted does not come back: after restarts, crashes, and whatever another pageserver writes.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use durable_fs::DurableFs;
use pageserver::basebackup::standby;
use pageserver::gc::{GarbageCollector, GcMetrics, Retention};
use pageserver::storage::{Claim, FixedGeneration, Owners, StorageError, TenantManager, Timeline, Value};
use pg_format::CheckPoint;
use prometheus::Registry;
use remote_storage::{Faulty, ListMode, Operation, RemoteStorage};
use tokio_util::sync::CancellationToken;
use types::{Generation, Key, Lsn, TenantId, TenantTimelineId};

use super::ownership::{Highest, open};
use super::support::*;

async fn objects_of(store: &Arc<dyn RemoteStorage>, what: &str) -> Vec<String> {
    let all = store.list(None, ListMode::Recursive).await.unwrap();
    let keys = all.objects.into_iter().map(|object| object.key.to_string());
    keys.filter(|key| key.contains(what)).collect()
}

async fn write(timeline: &Arc<Timeline>, lsn: u64) {
    timeline.put_batch(batch(lsn, vec![(block(1), lsn, change("a"))])).await.unwrap();
    timeline.flush_and_upload().await.unwrap();
}

/// A root and a branch of it, both with layers in remote storage.
async fn root_and_branch(manager: &TenantManager) -> (Arc<Timeline>, Arc<Timeline>) {
    let main = root(manager).await;
    write(&main, 1100).await;
    let branch = manager.branch_timeline(ttid(2), ttid(1).timeline_id, None).await.unwrap();
    write(&branch, 1200).await;
    (main, branch)
}

/// A store in which nothing can be deleted while the flag says so.
async fn store_that_keeps(disk: &Disk, away: bool) -> (Arc<dyn RemoteStorage>, Arc<AtomicBool>) {
    let away = Arc::new(AtomicBool::new(away));
    let judge = {
        let away = away.clone();
        move |operation, _: &str| operation == Operation::Delete && away.load(Ordering::Relaxed)
    };
    (Arc::new(Faulty::refusing(disk.store().await, judge)), away)
}

#[tokio::test]
async fn branches_go_before_what_they_left() {
    let disk = Disk::new();
    let store = disk.store().await;
    let manager = disk.open().await;
    let (main, branch) = root_and_branch(&manager).await;
    let refused = manager.delete_timeline(ttid(1)).await.unwrap_err().to_string();
    assert!(refused.contains(&ttid(2).timeline_id.to_string()), "{refused}");
    main.get_reconstruct(block(1), Lsn(1100)).await.expect("nothing was touched");

    manager.delete_timeline(ttid(2)).await.unwrap();
    assert_eq!(objects_of(&store, &ttid(2).timeline_id.to_string()).await, [""; 0]);
    assert!(!disk.timeline_dir(2).exists());
    assert!(matches!(manager.get_timeline(ttid(2)), Err(StorageError::TimelineNotFound(_))));
    let error = branch.put_batch(batch(1300, Vec::new())).await.unwrap_err();
    assert!(matches!(error, StorageError::ShuttingDown), "{error}");
    manager.delete_timeline(ttid(2)).await.expect("it may be asked twice");
    let error = manager.delete_timeline(ttid(3)).await.unwrap_err();
    assert!(matches!(error, StorageError::TimelineNotFound(_)), "{error}");
    let again = manager.branch_timeline(ttid(2), ttid(1).timeline_id, None).await;
    let error = again.map(|_| ()).unwrap_err();
    assert!(matches!(error, StorageError::TimelineDeleted(_)), "{error}");

    manager.shutdown().await.unwrap();
    let manager = disk.open().await;
    assert!(matches!(manager.get_timeline(ttid(2)), Err(StorageError::TimelineNotFound(_))));
    manager.delete_timeline(ttid(1)).await.unwrap();
    assert_eq!(objects_of(&store, "timelines/").await, [""; 0]);
    assert!(manager.list_timelines(TENANT).unwrap().is_empty());
    manager.shutdown().await.unwrap();
}

/// Its index could not be put: nobody was told of it, and its layers are there all the same.
#[tokio::test]
async fn what_was_never_made_to_the_end_can_be_deleted() {
    let disk = Disk::new();
    let no_index = |operation, key: &str| operation == Operation::Put && key.contains("index_part");
    let store: Arc<dyn RemoteStorage> = Arc::new(Faulty::refusing(disk.store().await, no_index));
    let manager = disk.open_with(store.clone(), DurableFs::default()).await;
    manager.create_tenant(TENANT).await.unwrap();
    root_timeline(&manager).await.map(|_| ()).unwrap_err();
    assert_ne!(objects_of(&store, "timelines/").await, [""; 0]);
    assert!(!disk.layer_files(1).is_empty());
    manager.delete_timeline(ttid(1)).await.unwrap();
    assert_eq!(objects_of(&store, "timelines/").await, [""; 0]);
    assert!(!disk.timeline_dir(1).exists());
    let error = root_timeline(&manager).await.map(|_| ()).unwrap_err();
    assert!(matches!(error, StorageError::TimelineDeleted(_)), "{error}");
    manager.shutdown().await.unwrap();
}

/// The object store fails when objects are to be deleted: the timeline is gone all the same, and what is left of it goes
/// when somebody asks again, or after the next start.
#[tokio::test]
async fn a_deletion_that_was_interrupted_goes_on() {
    for restarts in [false, true] {
        let disk = Disk::new();
        let (store, away) = store_that_keeps(&disk, true).await;
        let manager = disk.open_with(store.clone(), DurableFs::default()).await;
        root_and_branch(&manager).await;
        let error = manager.delete_timeline(ttid(2)).await.unwrap_err();
        assert!(matches!(error, StorageError::Remote(_)), "{error}");
        assert!(matches!(manager.get_timeline(ttid(2)), Err(StorageError::TimelineNotFound(_))));
        let left = objects_of(&store, &ttid(2).timeline_id.to_string()).await;
        assert!(left.iter().any(|key| key.contains("index_part")), "{left:?}");
        away.store(false, Ordering::Relaxed);
        if restarts {
            manager.abandon().await;
            let manager = disk.open_with(store.clone(), DurableFs::default()).await;
            assert!(matches!(manager.get_timeline(ttid(2)), Err(StorageError::TimelineNotFound(_))));
            until_gone(&store, &ttid(2).timeline_id.to_string()).await;
            let main = manager.get_timeline(ttid(1)).unwrap();
            let found = main.get_reconstruct(block(1), Lsn(1100)).await.unwrap();
            assert_eq!(text(&found), ["1000 page 1", "1100 a"]);
            manager.shutdown().await.unwrap();
        } else {
            manager.delete_timeline(ttid(2)).await.unwrap();
            assert_eq!(objects_of(&store, &ttid(2).timeline_id.to_string()).await, [""; 0]);
            manager.shutdown().await.unwrap();
        }
    }
}

async fn until_gone(store: &Arc<dyn RemoteStorage>, what: &str) {
    let gone = async {
        while !objects_of(store, what).await.is_empty() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, gone).await.expect("what is left is swept away");
}

#[tokio::test]
async fn what_another_pageserver_writes_brings_nothing_back() {
    let (first_disk, second_disk, third_disk) = (Disk::new(), Disk::new(), Disk::new());
    let store = first_disk.store().await;
    let highest = Highest(Arc::new(Mutex::new(Generation(1))));
    let first = open(&first_disk, &highest, &store).await;
    let (_, stale) = root_and_branch(&first).await;

    let second = open(&second_disk, &highest, &store).await;
    second.delete_timeline(ttid(2)).await.unwrap();
    // The first does not know, and puts an index and a layer.
    stale.put_batch(batch(1300, vec![(block(1), 1300, change("stale"))])).await.unwrap();
    let error = stale.flush_and_upload().await.unwrap_err();
    assert!(matches!(error, StorageError::Superseded { .. }), "{error}");
    let left = objects_of(&store, &ttid(2).timeline_id.to_string()).await;
    assert!(left.iter().any(|key| key.contains("index_part")), "{left:?}");
    second.shutdown().await.unwrap();
    let third = open(&third_disk, &highest, &store).await;
    assert!(matches!(third.get_timeline(ttid(2)), Err(StorageError::TimelineNotFound(_))));
    until_gone(&store, &ttid(2).timeline_id.to_string()).await;
    third.shutdown().await.unwrap();
}

/// One that was superseded deletes nothing, neither before it knows nor with what it puts too late.
#[tokio::test]
async fn only_the_owner_deletes() {
    let (first_disk, second_disk, third_disk) = (Disk::new(), Disk::new(), Disk::new());
    let store = first_disk.store().await;
    let highest = Highest(Arc::new(Mutex::new(Generation(1))));
    let first = open(&first_disk, &highest, &store).await;
    root_and_branch(&first).await;
    let second = open(&second_disk, &highest, &store).await;
    let error = first.delete_timeline(ttid(2)).await.unwrap_err();
    assert!(matches!(error, StorageError::Superseded { .. }), "{error}");
    // A put that was under way when the second came, as of a process that slept.
    let record = objects_of(&store, "tenant.json-00000002").await.remove(0);
    let deleted =
        format!(r#"{{"format_version": 1, "tenant_id": "{TENANT}", "config": {{}}, "deleted": true}}"#);
    store.put(&record.parse().unwrap(), deleted.into()).await.unwrap();
    second.shutdown().await.unwrap();
    let third = open(&third_disk, &highest, &store).await;
    let found = third.get_timeline(ttid(2)).unwrap().get_reconstruct(block(1), Lsn(1200)).await.unwrap();
    assert_eq!(text(&found), ["1000 page 1", "1100 a", "1200 a"]);
    third.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_tenant_goes_with_all_its_timelines() {
    for interrupted in [false, true] {
        let disk = Disk::new();
        let (store, away) = store_that_keeps(&disk, interrupted).await;
        let manager = disk.open_with(store.clone(), DurableFs::default()).await;
        root_and_branch(&manager).await;
        assert_eq!(manager.delete_tenant(TENANT).await.is_err(), interrupted);
        away.store(false, Ordering::Relaxed);
        assert!(manager.list_tenants().is_empty());
        if interrupted {
            manager.abandon().await;
        } else {
            manager.delete_tenant(TENANT).await.expect("it may be asked twice");
            let error = manager.create_tenant(TENANT).await.unwrap_err();
            assert!(matches!(error, StorageError::TenantDeleted(_)), "{error}");
            manager.shutdown().await.unwrap();
        }
        let manager = disk.open_with(store.clone(), DurableFs::default()).await;
        assert!(manager.list_tenants().is_empty());
        until_gone(&store, "timelines/").await;
        let left = objects_of(&store, &TENANT.to_string()).await;
        assert!(left.len() == 1 && left[0].contains("tenant.json"), "{left:?}");
        assert!(!disk.timeline_dir(1).exists());
        manager.shutdown().await.unwrap();
    }
}

/// A timeline that is closed in the midst of a collection does not end all collections to come.
#[tokio::test]
async fn collection_goes_on_when_a_timeline_goes() {
    let disk = Disk::new();
    let manager = disk.open().await;
    root(&manager).await;
    let retention = Retention { pitr_interval: Duration::ZERO, gc_horizon: 0 };
    let registry = Registry::new();
    let metrics = GcMetrics::new(&registry).unwrap();
    let last_round = || {
        let families = registry.gather();
        let is_it = |name: &str| name == "pageserver_gc_last_round_timestamp_seconds";
        families.iter().find(|it| is_it(it.name())).unwrap().get_metric()[0].get_gauge().get_value()
    };
    let started = last_round();
    let period = Duration::from_millis(5);
    let gc = GarbageCollector::new(manager.clone(), retention, period, Duration::ZERO, metrics);
    manager.abandon().await;
    let error = gc.collect(TENANT, retention).await.unwrap_err();
    assert!(matches!(error, StorageError::ShuttingDown), "{error}");
    let shutdown = CancellationToken::new();
    let stop = shutdown.clone();
    let collecting = tokio::spawn(async move { gc.run(stop).await });
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(!collecting.is_finished());
    assert!(last_round() > started, "rounds end, and it shows");
    shutdown.cancel();
    tokio::time::timeout(PATIENCE, collecting).await.expect("it ends at a shutdown").unwrap();
}

/// Whatever is kept of the past otherwise, a replica can begin: there is all from where redo of the last checkpoint does.
#[tokio::test]
async fn where_a_replica_begins_is_kept() {
    let disk = Disk::new();
    let manager = disk.open().await;
    let timeline = root(&manager).await;
    let checkpoint = |lsn: u64, redo| {
        let checkpoint = CheckPoint { redo: Lsn(redo), ..CheckPoint::default() };
        let written = [&lsn.to_le_bytes()[..], &checkpoint.encode(metadata().pg_version)].concat();
        (Key::last_checkpoint(), lsn, Value::Image(written.into()))
    };
    for (lsn, redo) in [(1200, 1150), (1900, 1850)] {
        let entries = vec![committed(lsn - 80, 1), checkpoint(lsn, redo), committed(lsn + 80, 2)];
        timeline.put_batch(batch(lsn + 80, entries)).await.unwrap();
        timeline.flush_and_upload().await.unwrap();
        collect_all(&manager).await.unwrap();
        assert_eq!(timeline.gc_cutoff(), Lsn(redo));
        let (_, begin) = standby(&timeline, timeline.last_record_lsn()).await.unwrap();
        assert_eq!(begin, Lsn(redo));
        timeline.get_reconstruct(block(1), begin).await.unwrap();
    }
    // An ancestor's checkpoint is none of a branch, where no replica begins before the branch's first.
    let branch = manager.branch_timeline(ttid(2), ttid(1).timeline_id, None).await.unwrap();
    branch.put_batch(batch(2100, vec![committed(2100, 3)])).await.unwrap();
    branch.flush_and_upload().await.unwrap();
    collect_all(&manager).await.unwrap();
    assert_eq!(branch.gc_cutoff(), Lsn(2100));
    manager.shutdown().await.unwrap();
}

/// Who grants what, and cannot be asked from the time on that the flag says so.
#[derive(Clone, Debug)]
struct Away {
    puts: Arc<AtomicUsize>,
    from: Arc<AtomicUsize>,
}

#[async_trait]
impl Owners for Away {
    async fn claim(
        &self,
        tenants: BTreeMap<TenantId, Claim>,
    ) -> Result<BTreeMap<TenantId, Generation>, StorageError> {
        FixedGeneration(Generation(1)).claim(tenants).await
    }

    async fn confirm(&self, timeline: TenantTimelineId, _: Generation) -> Result<(), StorageError> {
        if self.puts.load(Ordering::SeqCst) >= self.from.load(Ordering::SeqCst) {
            let (tenant, timeout) = (timeline.tenant_id, Duration::ZERO);
            return Err(StorageError::NotGranted { tenant, timeout });
        }
        Ok(())
    }
}

/// What was told to have failed has not happened, whenever one looks.
#[tokio::test]
async fn what_failed_does_not_come_true_at_the_next_start() {
    let disk = Disk::new();
    let counter = |from| Arc::new(AtomicUsize::new(from));
    let owners = Away { puts: counter(0), from: counter(usize::MAX) };
    let puts = Arc::clone(&owners.puts);
    let judge = move |operation, key: &str| {
        if operation == Operation::Put && (key.contains("tenant.json") || key.contains("index_part")) {
            puts.fetch_add(1, Ordering::SeqCst);
        }
        false
    };
    let store = Arc::new(Faulty::refusing(disk.store().await, judge));
    let manager = disk.open_as(Arc::new(owners.clone()), store.clone(), DurableFs::default(), None).await;
    let (main, branch) = root_and_branch(&manager).await;
    // The put of what is to be is the last thing that is confirmed by nobody.
    let fail_after_the_next = || owners.from.store(owners.puts.load(Ordering::SeqCst) + 1, Ordering::SeqCst);
    fail_after_the_next();
    manager.delete_timeline(ttid(2)).await.unwrap_err();
    assert!(branch.put_batch(batch(1300, vec![(block(1), 1300, change("later"))])).await.is_ok());
    owners.from.store(usize::MAX, Ordering::SeqCst);
    branch.flush_and_upload().await.unwrap();

    // A branch of the past, which may be found later.
    main.put_batch(batch(1150, vec![committed(1150, 1)])).await.unwrap();
    main.flush_and_upload().await.unwrap();
    fail_after_the_next();
    let failed = manager.branch_timeline(ttid(3), ttid(1).timeline_id, Some(Lsn(1050))).await;
    assert!(failed.is_err());
    owners.from.store(usize::MAX, Ordering::SeqCst);
    main.put_batch(batch(1400, vec![committed(1400, 2), (block(1), 1400, image("new"))])).await.unwrap();
    main.flush_and_upload().await.unwrap();
    collect_all(&manager).await.unwrap();
    assert_eq!(main.gc_cutoff(), Lsn(1400));
    manager.shutdown().await.unwrap();

    let manager = disk.open_as(Arc::new(owners), store, DurableFs::default(), None).await;
    let branch = manager.get_timeline(ttid(2)).unwrap();
    let found = branch.get_reconstruct(block(1), Lsn(1300)).await.unwrap();
    assert_eq!(text(&found), ["1000 page 1", "1100 a", "1200 a", "1300 later"]);
    let found = manager.get_timeline(ttid(3)).unwrap().get_reconstruct(block(1), Lsn(1050)).await.unwrap();
    assert_eq!(text(&found), ["1000 page 1"]);
    manager.shutdown().await.unwrap();
}

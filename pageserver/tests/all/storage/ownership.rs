//! Two pageservers that think they own one tenant: what counts is what the later one finds and writes.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use durable_fs::DurableFs;
use pageserver::storage::{Claim, FixedGeneration, Owners, StorageError};
use remote_storage::{Faulty, ListMode, ObjectKey, Operation, RemoteStorage};
use tokio::sync::watch;
use types::{Generation, Lsn, TenantId, TenantTimelineId};

use super::support::*;

/// What a quorum would know.
#[derive(Clone, Debug)]
pub struct Highest(pub Arc<Mutex<Generation>>);

#[async_trait]
impl Owners for Highest {
    async fn claim(
        &self,
        tenants: BTreeMap<TenantId, Claim>,
    ) -> Result<BTreeMap<TenantId, Generation>, StorageError> {
        let mut highest = self.0.lock().unwrap();
        if let Some(above) = tenants.values().map(|claim| claim.above).max() {
            highest.0 = highest.0.max(above.0) + 1;
        }
        Ok(tenants.into_keys().map(|tenant| (tenant, *highest)).collect())
    }

    async fn confirm(&self, timeline: TenantTimelineId, generation: Generation) -> Result<(), StorageError> {
        let is_highest = generation == *self.0.lock().unwrap();
        let tenant = timeline.tenant_id;
        if is_highest { Ok(()) } else { Err(StorageError::Superseded { tenant, generation }) }
    }
}

pub async fn open(
    disk: &Disk,
    highest: &Highest,
    store: &Arc<dyn RemoteStorage>,
) -> Arc<pageserver::storage::TenantManager> {
    disk.open_as(Arc::new(highest.clone()), store.clone(), DurableFs::default(), None).await
}

async fn objects(store: &Arc<dyn RemoteStorage>) -> Vec<String> {
    let all = store.list(None, ListMode::Recursive).await.unwrap();
    all.objects.into_iter().map(|object| object.key.file_name().to_owned()).collect()
}

#[tokio::test]
async fn what_a_superseded_pageserver_writes_is_not_found_and_frees_no_wal() {
    let (first_disk, second_disk) = (Disk::new(), Disk::new());
    let store = first_disk.store().await;
    let highest = Highest(Arc::new(Mutex::new(Generation(1))));
    let first = open(&first_disk, &highest, &store).await;
    let old = root(&first).await;
    old.put_batch(batch(1100, vec![(block(1), 1100, change("both"))])).await.unwrap();
    old.flush_and_upload().await.unwrap();
    assert_eq!(old.remote_consistent_lsn(), Lsn(1100));

    let second = open(&second_disk, &highest, &store).await;
    let new = second.get_timeline(ttid(1)).unwrap();
    assert_eq!(new.last_record_lsn(), Lsn(1100));

    // It does not know, and writes on: the very same layers, by their ranges.
    old.put_batch(batch(1200, vec![(block(1), 1200, change("stale"))])).await.unwrap();
    let error = old.flush_and_upload().await.unwrap_err();
    assert!(matches!(error, StorageError::Superseded { .. }), "{error}");
    assert_eq!(old.remote_consistent_lsn(), Lsn(1100), "safekeepers may not drop what the other one needs");
    let error = old.put_batch(batch(1300, Vec::new())).await.unwrap_err();
    assert!(matches!(error, StorageError::Superseded { .. }), "{error}");
    let error = first.get_timeline(ttid(1)).map(|_| ()).unwrap_err().to_string();
    assert!(error.contains("belongs to another pageserver now"), "{error}");
    let error = first.create_tenant(TENANT).await.unwrap_err();
    assert!(matches!(error, StorageError::Superseded { .. }), "it must not be made once more: {error}");
    let error = old.wait_lsn(Lsn(5000), PATIENCE).await.unwrap_err();
    assert!(matches!(error, StorageError::Superseded { .. }), "{error}");

    new.put_batch(batch(1200, vec![(block(1), 1200, change("true"))])).await.unwrap();
    new.flush_and_upload().await.unwrap();
    assert_eq!(new.remote_consistent_lsn(), Lsn(1200));
    let before = objects(&store).await;
    first.shutdown().await.unwrap();
    assert_eq!(objects(&store).await, before, "it wrote once more");
    second.shutdown().await.unwrap();

    let names = objects(&store).await;
    let twice = names.iter().filter(|name| name.ends_with("-00000002")).filter(|name| {
        let other = name.replace("-00000002", "-00000003");
        !name.starts_with("index_part") && !name.starts_with("tenant") && names.contains(&other)
    });
    assert_eq!(twice.count(), 1, "both wrote one layer, and neither over the other's: {names:?}");

    let third_disk = Disk::new();
    let third = open(&third_disk, &highest, &store).await;
    let timeline = third.get_timeline(ttid(1)).unwrap();
    let found = timeline.get_reconstruct(block(1), Lsn(1200)).await.unwrap();
    assert_eq!(text(&found), ["1000 page 1", "1100 both", "1200 true"]);
    third.shutdown().await.unwrap();
}

/// It does not know of the later one, which has looked before: nobody would find the branch.
#[tokio::test]
async fn a_superseded_pageserver_makes_no_branch() {
    let (first_disk, second_disk) = (Disk::new(), Disk::new());
    let store = first_disk.store().await;
    let highest = Highest(Arc::new(Mutex::new(Generation(1))));
    let first = open(&first_disk, &highest, &store).await;
    root(&first).await;
    let second = open(&second_disk, &highest, &store).await;
    let error = first.branch_timeline(ttid(2), ttid(1).timeline_id, None).await.map(|_| ()).unwrap_err();
    assert!(matches!(error, StorageError::Superseded { .. }), "{error}");
    second.get_timeline(ttid(2)).map(|_| ()).expect_err("it has looked before");
    second.branch_timeline(ttid(2), ttid(1).timeline_id, None).await.unwrap();
    first.shutdown().await.unwrap();
    second.shutdown().await.unwrap();
}

#[tokio::test]
async fn what_another_pageserver_deleted_goes_from_this_disk_too() {
    let (first_disk, second_disk) = (Disk::new(), Disk::new());
    let store = first_disk.store().await;
    let highest = Highest(Arc::new(Mutex::new(Generation(1))));
    let first = open(&first_disk, &highest, &store).await;
    root(&first).await;
    first.branch_timeline(ttid(2), ttid(1).timeline_id, None).await.unwrap();
    first.shutdown().await.unwrap();
    let of_main = first_disk.layer_files(1);
    assert!(first_disk.timeline_dir(2).exists() && !of_main.is_empty());

    let second = open(&second_disk, &highest, &store).await;
    second.delete_timeline(ttid(2)).await.unwrap();
    second.shutdown().await.unwrap();
    let first = open(&first_disk, &highest, &store).await;
    assert!(!first_disk.timeline_dir(2).exists());
    assert_eq!(first_disk.layer_files(1), of_main, "what is not deleted is not fetched again");
    first.shutdown().await.unwrap();
}

/// It cannot load a tenant, and tries again; another one has it since, and keeps it.
#[tokio::test]
async fn a_tenant_that_another_pageserver_serves_is_not_taken_back() {
    const BROKEN: TenantId = TenantId([0xBB; 16]);
    let (first_disk, second_disk) = (Disk::new(), Disk::new());
    let store = first_disk.store().await;
    let highest = Highest(Arc::new(Mutex::new(Generation(1))));
    let first = open(&first_disk, &highest, &store).await;
    root(&first).await;
    first.create_tenant(BROKEN).await.unwrap();
    first.shutdown().await.unwrap();
    let listing = store.list(None, ListMode::Recursive).await.unwrap();
    let of_broken = |key: &ObjectKey| key.as_str().starts_with(&format!("tenants/{BROKEN}/"));
    let key = listing.objects.into_iter().map(|object| object.key).find(of_broken).unwrap();
    let whole = store.get(&key).await.unwrap();
    store.put(&key, Bytes::from_static(b"damaged")).await.unwrap();

    let first = open(&first_disk, &highest, &store).await;
    let refused = first.list_timelines(BROKEN).map(drop).unwrap_err();
    assert!(matches!(refused, StorageError::NotLoaded { .. }), "{refused}");
    store.put(&key, whole).await.unwrap();
    let second = open(&second_disk, &highest, &store).await;
    second.list_timelines(BROKEN).unwrap();
    let theirs = || first.list_timelines(BROKEN).map(drop).unwrap_err().to_string();
    eventually("it sees that", || theirs().contains("belongs to another pageserver now")).await;
    let generation = *highest.0.lock().unwrap();
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(*highest.0.lock().unwrap(), generation, "it was claimed once more");
    second.branch_timeline(ttid(2), ttid(1).timeline_id, None).await.unwrap();
    first.shutdown().await.unwrap();
    second.shutdown().await.unwrap();
}

/// All safekeepers have lost their disks: object storage alone says how far generations had come.
#[tokio::test]
async fn who_grants_may_have_forgotten_everything() {
    let (first_disk, second_disk) = (Disk::new(), Disk::new());
    let store = first_disk.store().await;
    let first = open(&first_disk, &Highest(Arc::new(Mutex::new(Generation(6)))), &store).await;
    let timeline = root(&first).await;
    timeline.put_batch(batch(1100, vec![(block(1), 1100, change("kept"))])).await.unwrap();
    first.shutdown().await.unwrap();

    let forgetful = Highest(Arc::new(Mutex::new(Generation(1))));
    let second = open(&second_disk, &forgetful, &store).await;
    let timeline = second.get_timeline(ttid(1)).unwrap();
    let found = timeline.get_reconstruct(block(1), Lsn(1100)).await.unwrap();
    assert_eq!(text(&found), ["1000 page 1", "1100 kept"]);
    assert_eq!(*forgetful.0.lock().unwrap(), Generation(8));
    second.shutdown().await.unwrap();
}

/// Who grants generations knows nothing of the other: two clusters by mistake, or because somebody tries a recovery.
#[tokio::test]
async fn a_pageserver_of_another_cluster_on_the_same_store_frees_no_wal_of_ours() {
    let (first_disk, second_disk, third_disk) = (Disk::new(), Disk::new(), Disk::new());
    let store = first_disk.store().await;
    let ours = Highest(Arc::new(Mutex::new(Generation(1))));
    let first = open(&first_disk, &ours, &store).await;
    let timeline = root(&first).await;
    timeline.put_batch(batch(1100, vec![(block(1), 1100, change("both"))])).await.unwrap();
    timeline.flush_and_upload().await.unwrap();

    let seen: Arc<Mutex<Vec<String>>> = Arc::default();
    let judge = {
        let seen = Arc::clone(&seen);
        move |operation: Operation, key: &str| {
            seen.lock().unwrap().push(format!("{operation:?} {}", key.rsplit('/').next().unwrap()));
            false
        }
    };
    let watched: Arc<dyn RemoteStorage> = Arc::new(Faulty::refusing(store.clone(), judge));
    let theirs = Highest(Arc::new(Mutex::new(Generation(1))));
    let second = open(&second_disk, &theirs, &watched).await;
    let seen = seen.lock().unwrap().clone();
    let position =
        |what: &str| seen.iter().position(|it| it == what).unwrap_or_else(|| panic!("{what}: {seen:?}"));
    let (said, looked) = (position("Put tenant.json-00000003"), position("Get index_part.json-00000002"));
    assert!(said < looked, "what we put in between would be neither found nor refused: {seen:?}");

    // Those who grant ours know of no other, and yet it does not count.
    timeline.put_batch(batch(1200, vec![(block(1), 1200, change("ours"))])).await.unwrap();
    let error = timeline.flush_and_upload().await.unwrap_err();
    assert!(matches!(error, StorageError::Superseded { .. }), "{error}");
    assert_eq!(
        timeline.remote_consistent_lsn(),
        Lsn(1100),
        "safekeepers drop what is in no index that will be read"
    );
    // An index of the other one, as compaction would put it.
    let its = second.get_timeline(ttid(1)).unwrap();
    its.put_batch(batch(1150, vec![(block(2), 1150, change("its own"))])).await.unwrap();
    its.flush_and_upload().await.unwrap();
    first.shutdown().await.unwrap();
    second.shutdown().await.unwrap();

    // The other one is gone, and nothing is missing: WAL from there on is on our safekeepers.
    let third = open(&third_disk, &ours, &store).await;
    let timeline = third.get_timeline(ttid(1)).unwrap();
    assert_eq!((timeline.last_record_lsn(), *ours.0.lock().unwrap()), (Lsn(1150), Generation(4)));
    timeline.put_batch(batch(1200, vec![(block(1), 1200, change("again"))])).await.unwrap();
    timeline.flush_and_upload().await.unwrap();
    let found = timeline.get_reconstruct(block(1), Lsn(1200)).await.unwrap();
    assert_eq!(text(&found), ["1000 page 1", "1100 both", "1200 again"]);
    third.shutdown().await.unwrap();
}

/// No quorum answers: all is uploaded, and nobody is told that WAL may go until it is confirmed.
#[tokio::test]
async fn what_nobody_confirms_frees_no_wal() {
    #[derive(Debug)]
    struct Silent(Mutex<bool>);

    #[async_trait]
    impl Owners for Silent {
        async fn claim(
            &self,
            tenants: BTreeMap<TenantId, Claim>,
        ) -> Result<BTreeMap<TenantId, Generation>, StorageError> {
            FixedGeneration(Generation(2)).claim(tenants).await
        }

        async fn confirm(
            &self,
            timeline: TenantTimelineId,
            generation: Generation,
        ) -> Result<(), StorageError> {
            let reason = "nobody is there".to_owned();
            if *self.0.lock().unwrap() {
                return Ok(());
            }
            Err(StorageError::NotConfirmed { timeline, generation, reason })
        }
    }

    let disk = Disk::new();
    let silent = Arc::new(Silent(Mutex::new(true)));
    let manager = disk.open_as(silent.clone(), disk.store().await, DurableFs::default(), None).await;
    let timeline = root(&manager).await;
    *silent.0.lock().unwrap() = false;
    timeline.put_batch(batch(1100, vec![(block(1), 1100, change("a"))])).await.unwrap();
    let error = timeline.flush_and_upload().await.unwrap_err();
    assert!(matches!(error, StorageError::NotConfirmed { .. }), "{error}");
    assert_eq!(timeline.remote_consistent_lsn(), INITDB);
    timeline.put_batch(batch(1200, Vec::new())).await.expect("it goes on");
    // Nor is a branch one, until they answer.
    let branch = async || manager.branch_timeline(ttid(2), ttid(1).timeline_id, Some(Lsn(1100))).await;
    let error = branch().await.map(|_| ()).unwrap_err();
    assert!(matches!(error, StorageError::NotConfirmed { .. }), "{error}");
    manager.get_timeline(ttid(2)).map(|_| ()).unwrap_err();
    *silent.0.lock().unwrap() = true;
    branch().await.expect("the same may be asked for again");
    eventually("it is tried again", || timeline.remote_consistent_lsn() == Lsn(1100)).await;
    manager.shutdown().await.unwrap();
}

/// One tenant has a timeline that no quorum grants: the others are served, and it is as soon as that is mended.
#[tokio::test]
async fn a_tenant_that_is_not_granted_holds_up_no_other() {
    const STUCK: TenantId = TenantId([0xBB; 16]);

    #[derive(Debug)]
    struct Partial(watch::Sender<bool>);

    #[async_trait]
    impl Owners for Partial {
        async fn claim(
            &self,
            tenants: BTreeMap<TenantId, Claim>,
        ) -> Result<BTreeMap<TenantId, Generation>, StorageError> {
            FixedGeneration(Generation(2)).claim(tenants).await
        }

        async fn claim_some(
            &self,
            mut tenants: BTreeMap<TenantId, Claim>,
            _: Duration,
        ) -> Result<BTreeMap<TenantId, Generation>, StorageError> {
            if tenants.keys().eq([&STUCK]) {
                self.0.subscribe().wait_for(|mended| *mended).await.unwrap();
            } else {
                tenants.remove(&STUCK);
            }
            self.claim(tenants).await
        }

        async fn confirm(&self, _: TenantTimelineId, _: Generation) -> Result<(), StorageError> {
            Ok(())
        }
    }

    let disk = Disk::new();
    let manager = disk.open().await;
    root(&manager).await.flush_and_upload().await.unwrap();
    manager.create_tenant(STUCK).await.unwrap();
    manager.shutdown().await.unwrap();

    let mended = watch::Sender::new(false);
    let owners = Arc::new(Partial(mended.clone()));
    let manager = disk.open_as(owners, disk.store().await, DurableFs::default(), None).await;
    let mut arrivals = manager.arrivals();
    let timeline = manager.get_timeline(ttid(1)).unwrap();
    let found = timeline.get_reconstruct(block(1), INITDB).await.unwrap();
    assert_eq!(text(&found), ["1000 page 1"]);
    // It is not gone, and nobody makes it anew.
    let refused = manager.list_timelines(STUCK).map(drop).unwrap_err();
    assert!(matches!(refused, StorageError::NotGrantedYet(STUCK)), "{refused}");
    let refused = manager.create_tenant(STUCK).await.unwrap_err();
    assert!(matches!(refused, StorageError::NotGrantedYet(STUCK)), "{refused}");
    assert_eq!(manager.list_tenants(), [TENANT]);
    let before = Instant::now();
    tokio::time::sleep(Duration::from_millis(200)).await;
    mended.send_replace(true);
    tokio::time::timeout(PATIENCE, arrivals.changed()).await.unwrap().unwrap();
    assert_eq!(manager.list_timelines(STUCK).unwrap().len(), 0);
    assert_eq!(manager.list_tenants(), [TENANT, STUCK]);
    // Whoever has leased something of the one that came now has the time to say so, however old this pageserver is.
    assert_eq!(manager.tenants_served_for(before.elapsed()), [TENANT]);
    assert_eq!(manager.tenants_served_for(Duration::ZERO), [TENANT, STUCK]);
    manager.shutdown().await.unwrap();
}

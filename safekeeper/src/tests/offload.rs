//! WAL goes to object storage, goes here, and is still read.

use consensus::offload::patience;
use pg_frontend::PgError;
use remote_storage::{Faulty, LocalDir, ObjectKey, Operation, RemoteStorage};
use safekeeper_api::replication::{PageserverFeedback, Until, WalRange};

use super::*;
use crate::offload;
use crate::timeline::Timeline;

pub async fn storage(place: &Path) -> Arc<dyn RemoteStorage> {
    Arc::new(LocalDir::open(place.join("remote"), DurableFs::default()).await.unwrap())
}

fn segment_key(number: u64) -> ObjectKey {
    let TenantTimelineId { tenant_id, timeline_id } = identity().ttid;
    format!("wal/{tenant_id}/{timeline_id}/{}", WalSegmentSize::DEFAULT.file_name(1, number)).parse().unwrap()
}

/// The safekeeper that is first to offload the test's timeline.
pub fn first_id() -> u64 {
    let members = [NodeId(1), NodeId(2), NodeId(3)];
    let first = |id: &u64| patience(identity().ttid.timeline_id, &members, NodeId(*id)) == Duration::ZERO;
    (1..=3).find(first).unwrap()
}

impl Safekeeper {
    pub async fn start_offloading(
        id: u64,
        place: &Path,
        remote: Arc<dyn RemoteStorage>,
    ) -> (Self, Arc<Metrics>) {
        let settings = Settings { remote: Some(remote), ..settings(id, &place.join(format!("sk{id}"))) };
        let (metrics, shutdown) = (settings.metrics.clone(), settings.shutdown.clone());
        let safekeeper = Self::start_with(settings).await;
        tokio::spawn(offload::run(safekeeper.manager.clone(), NodeId(id), metrics.clone(), shutdown));
        (safekeeper, metrics)
    }

    /// What is committed.
    pub async fn read(&self, from: Lsn, to: Lsn) -> Result<Vec<u8>, PgError> {
        self.read_until(from, to, Until::Committed).await
    }

    pub async fn read_until(&self, from: Lsn, to: Lsn, until: Until) -> Result<Vec<u8>, PgError> {
        let address = Address::parse(&self.address.to_string()).unwrap();
        let params =
            safekeeper_api::replication::connect_params(address, identity().ttid, &credentials(), "test");
        let mut range = WalRange::open(&params, from, to, until).await.map_err(plain)?;
        let mut bytes = Vec::new();
        while let Some((_, wal)) = range.next().await.map_err(plain)? {
            bytes.extend_from_slice(&wal);
        }
        Ok(bytes)
    }
}

fn plain(error: safekeeper_api::replication::ReplicationError) -> PgError {
    PgError::Protocol(error.to_string())
}

pub async fn until(timeline: &Timeline, condition: impl FnMut(&crate::timeline::Positions) -> bool) {
    let mut positions = timeline.watch_positions();
    let waited = tokio::time::timeout(Duration::from_secs(20), positions.wait_for(condition)).await;
    waited.expect("it comes").expect("the owner lives");
}

#[tokio::test]
async fn segments_that_nobody_needs_go_and_are_still_read() {
    let place = tempfile::tempdir().unwrap();
    let remote = storage(place.path()).await;
    let (safekeeper, _) = Safekeeper::start_offloading(first_id(), place.path(), remote.clone()).await;
    let mut proposer = safekeeper.new_timeline().await;
    let written = proposer.write_up_to(1, START, Lsn(3 * SEGMENT + 5000), 400_000).await;
    let end = START + written.len() as u64;
    let timeline = safekeeper.manager.get(identity().ttid).await.unwrap();
    until(&timeline, |positions| positions.backup_lsn == Lsn(3 * SEGMENT)).await;
    assert_eq!(timeline.segments().existing().unwrap(), [1, 2, 3], "the pageserver does not have it yet");
    let here = std::fs::read(timeline.segments().path(2)).unwrap();
    assert!(remote.get(&segment_key(2)).await.unwrap() == here);

    let ingested = PageserverFeedback {
        last_received_lsn: end,
        disk_consistent_lsn: end,
        remote_consistent_lsn: Lsn(2 * SEGMENT + 7),
    };
    timeline.note_pageserver(ingested).await.unwrap();
    until(&timeline, |positions| positions.local_start_lsn == Lsn(2 * SEGMENT)).await;
    assert_eq!(timeline.segments().existing().unwrap(), [2, 3]);
    assert!(safekeeper.read(START, end).await.unwrap() == written);
    assert!(
        safekeeper.read(START + 1_000_000, START + 1_000_100).await.unwrap() == written[1_000_000..1_000_100]
    );
    // What the first segment holds before the timeline's start went with it.
    assert_eq!(safekeeper.read(Lsn(SEGMENT), START).await.unwrap().len() as u64, START.0 - SEGMENT);
    safekeeper.stop().await;

    // A restart knows where its WAL begins, and a segment that is missing without having been offloaded is missed.
    let (safekeeper, _) = Safekeeper::start_offloading(first_id(), place.path(), remote.clone()).await;
    assert!(safekeeper.read(START, end).await.unwrap() == written);
    let mut proposer = safekeeper.proposer().await;
    proposer.lead(2, &[(0, START), (1, START), (2, end)], end).await;
    proposer.write_up_to(2, end, end + 1000, 500).await;
    safekeeper.stop().await;
}

#[tokio::test]
async fn an_object_that_differs_is_kept_and_so_is_the_wal_here() {
    let place = tempfile::tempdir().unwrap();
    let remote = storage(place.path()).await;
    remote.put(&segment_key(1), Bytes::from_static(b"something else")).await.unwrap();
    let (safekeeper, metrics) = Safekeeper::start_offloading(first_id(), place.path(), remote.clone()).await;
    let mut proposer = safekeeper.new_timeline().await;
    proposer.write_up_to(1, START, Lsn(2 * SEGMENT + 5000), 400_000).await;
    let waited = tokio::time::timeout(Duration::from_secs(20), async {
        while metrics.offload_failures.get() < 2 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
    waited.await.expect("it is tried and tried again");
    let timeline = safekeeper.manager.get(identity().ttid).await.unwrap();
    assert_eq!(timeline.positions().backup_lsn, Lsn::INVALID);
    assert_eq!(remote.get(&segment_key(1)).await.unwrap(), Bytes::from_static(b"something else"));
    safekeeper.stop().await;
}

#[tokio::test]
async fn whose_turn_it_is_not_waits_and_then_compares() {
    let place = tempfile::tempdir().unwrap();
    let away = Arc::new(AtomicBool::new(true));
    let judge = {
        let away = away.clone();
        move |operation, _: &str| operation == Operation::Put && away.load(Ordering::Relaxed)
    };
    let remote: Arc<dyn RemoteStorage> = Arc::new(Faulty::refusing(storage(place.path()).await, judge));
    let other = if first_id() == 1 { 2 } else { 1 };
    let (first, failing) = Safekeeper::start_offloading(first_id(), place.path(), remote.clone()).await;
    let (second, waiting) = Safekeeper::start_offloading(other, place.path(), remote.clone()).await;
    for safekeeper in [&first, &second] {
        safekeeper.manager.create(spec()).await.unwrap();
        let mut proposer = safekeeper.proposer().await;
        proposer.lead(1, &[(0, START), (1, START)], START).await;
        proposer.write_up_to(1, START, Lsn(2 * SEGMENT + 5000), 400_000).await;
    }
    let waited = tokio::time::timeout(Duration::from_secs(20), async {
        while failing.offload_failures.get() < 2 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
    waited.await.expect("object storage is away");
    assert_eq!(waiting.offload_failures.get(), 0, "it was not its turn");
    away.store(false, Ordering::Relaxed);
    for safekeeper in [&first, &second] {
        let timeline = safekeeper.manager.get(identity().ttid).await.unwrap();
        until(&timeline, |positions| positions.backup_lsn == Lsn(2 * SEGMENT)).await;
    }
    first.stop().await;
    second.stop().await;
}

#[tokio::test]
async fn what_a_stop_has_left_behind_is_offloaded_without_anybody_using_it() {
    let place = tempfile::tempdir().unwrap();
    let good = storage(place.path()).await;
    let away: Arc<dyn RemoteStorage> =
        Arc::new(Faulty::refusing(good.clone(), |operation, _| operation == Operation::Put));
    let (safekeeper, _) = Safekeeper::start_offloading(first_id(), place.path(), away).await;
    let mut proposer = safekeeper.new_timeline().await;
    proposer.write_up_to(1, START, Lsn(3 * SEGMENT + 5000), 400_000).await;
    drop(proposer);
    safekeeper.stop().await;

    let (safekeeper, _) = Safekeeper::start_offloading(first_id(), place.path(), good.clone()).await;
    let backup_lsn = || safekeeper.manager.summary(identity().ttid).unwrap().positions.backup_lsn;
    assert_eq!(backup_lsn(), Lsn::INVALID, "it could be offloaded before the stop");
    let waited = tokio::time::timeout(Duration::from_secs(20), async {
        while backup_lsn() < Lsn(3 * SEGMENT) {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
    waited.await.expect("both segments go to object storage");
    assert!(good.get(&segment_key(1)).await.is_ok() && good.get(&segment_key(2)).await.is_ok());
    safekeeper.stop().await;

    // With nothing left to do, a start opens nothing.
    let (safekeeper, _) = Safekeeper::start_offloading(first_id(), place.path(), good).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert!(safekeeper.manager.resident(identity().ttid).unwrap().is_none());
    safekeeper.stop().await;
}

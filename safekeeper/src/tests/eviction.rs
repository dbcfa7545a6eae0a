//! A timeline that nobody uses goes out of memory and out of this machine, and comes back as it was.

use std::sync::atomic::AtomicUsize;

use remote_storage::{Faulty, ListMode, RemoteStorage};
use safekeeper_api::replication::Until;

use super::offload::storage;
use super::*;
use crate::timeline::LookupError;

async fn start(place: &Path, remote: Option<Arc<dyn RemoteStorage>>, fs: DurableFs) -> Safekeeper {
    let datadir = place.join("sk1");
    let evict_after = Duration::ZERO;
    let settings = Settings { remote, fs, evict_after, ..settings(1, &datadir) };
    Safekeeper::start_with(settings).await
}

impl Safekeeper {
    /// A timeline with some WAL, and what it is.
    async fn with_wal(&self) -> Vec<u8> {
        self.manager.create(spec()).await.unwrap();
        let mut proposer = self.proposer().await;
        proposer.lead(1, &[(0, START), (1, START)], START).await;
        proposer.write_up_to(1, START, START + 100_000, 9000).await
    }

    /// Tries until nobody is there any more. Whether it was evicted then.
    async fn evict(&self) -> bool {
        for _ in 0..100 {
            self.manager.evict(identity().ttid).await;
            if self.is_evicted() {
                return true;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        false
    }

    fn is_evicted(&self) -> bool {
        self.manager.resident(identity().ttid).unwrap().is_none()
    }
}

fn files(place: &Path) -> Vec<String> {
    let directory = crate::datadir::timeline_directory(&place.join("sk1"), identity().ttid);
    let names = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name());
    let mut names: Vec<String> = names.map(|name| name.into_string().unwrap()).collect();
    names.sort();
    names
}

async fn objects(remote: &Arc<dyn RemoteStorage>) -> usize {
    remote.list(None, ListMode::Recursive).await.unwrap().objects.len()
}

#[tokio::test]
async fn an_evicted_timeline_is_its_control_file_and_comes_back() {
    let place = tempfile::tempdir().unwrap();
    let remote = storage(place.path()).await;
    let safekeeper = start(place.path(), Some(remote.clone()), DurableFs::default()).await;
    let mut written = safekeeper.with_wal().await;
    let end = START + written.len() as u64;
    let before = safekeeper.manager.summary(identity().ttid).unwrap();
    assert!(safekeeper.evict().await);
    assert_eq!(files(place.path()), ["control"]);
    assert_eq!(objects(&remote).await, 1);
    let evicted = safekeeper.manager.summary(identity().ttid).unwrap();
    let expected =
        crate::timeline::Positions { local_start_lsn: Lsn(SEGMENT), leader: None, ..before.positions };
    assert_eq!(evicted.positions, expected);

    // A reader wakes it, also after a restart of the safekeeper, which does not wake it.
    safekeeper.stop().await;
    let safekeeper = start(place.path(), Some(remote.clone()), DurableFs::default()).await;
    assert!(safekeeper.is_evicted());
    assert_eq!(safekeeper.manager.summary(identity().ttid).unwrap().positions, expected);
    assert!(safekeeper.read(START, end).await.unwrap() == written);
    assert!(!safekeeper.is_evicted());
    assert_eq!(objects(&remote).await, 0, "what is here again is not kept there");

    // And so does a compute, in whose term it goes on.
    assert!(safekeeper.evict().await);
    let mut proposer = safekeeper.proposer().await;
    proposer.lead(2, &[(0, START), (1, START), (2, end)], end).await;
    written.extend(proposer.write_up_to(2, end, end + 1000, 500).await);
    drop(proposer);
    assert!(safekeeper.evict().await);
    assert!(safekeeper.read(START, START + written.len() as u64).await.unwrap() == written);
    safekeeper.stop().await;
}

#[tokio::test]
async fn who_is_used_is_not_evicted() {
    let place = tempfile::tempdir().unwrap();
    let safekeeper = start(place.path(), None, DurableFs::default()).await;
    let written = safekeeper.with_wal().await;
    let mut proposer = safekeeper.proposer().await;
    let end = START + written.len() as u64;
    proposer.lead(2, &[(0, START), (1, START), (2, end)], end).await;
    safekeeper.manager.evict(identity().ttid).await;
    assert!(!safekeeper.is_evicted(), "a proposer is here");
    drop(proposer);
    let timeline = safekeeper.manager.get(identity().ttid).await.unwrap();
    safekeeper.manager.evict(identity().ttid).await;
    assert!(!safekeeper.is_evicted(), "somebody holds it");
    drop(timeline);
    assert!(safekeeper.evict().await);
    assert_eq!(files(place.path()).len(), 2, "without object storage its WAL stays");
    assert!(safekeeper.read(START, end).await.unwrap() == written);
    safekeeper.stop().await;
}

/// By a stop, or while object storage was away: nobody may ever use them again.
#[tokio::test]
async fn what_came_to_rest_with_its_wal_here_goes_when_it_can() {
    let place = tempfile::tempdir().unwrap();
    let inner = storage(place.path()).await;
    let (away, refused) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicUsize::new(0)));
    let judge = {
        let (away, refused) = (away.clone(), refused.clone());
        move |_, _: &str| {
            let is_away = away.load(Ordering::SeqCst);
            refused.fetch_add(usize::from(is_away), Ordering::SeqCst);
            is_away
        }
    };
    let remote: Arc<dyn RemoteStorage> = Arc::new(Faulty::refusing(inner.clone(), judge));
    let until_it_went = async |safekeeper: &Safekeeper| {
        tokio::time::timeout(Duration::from_secs(60), async {
            while files(place.path()) != ["control"] {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        })
        .await
        .expect("its WAL goes");
        assert!(safekeeper.is_evicted());
    };

    let safekeeper = start(place.path(), Some(remote.clone()), DurableFs::default()).await;
    let written = safekeeper.with_wal().await;
    let end = START + written.len() as u64;
    let evicting = tokio::spawn(crate::timeline::evict(safekeeper.manager.clone()));
    while refused.load(Ordering::SeqCst) < 3 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(safekeeper.is_evicted());
    assert_eq!(files(place.path()).len(), 2);
    away.store(false, Ordering::SeqCst);
    until_it_went(&safekeeper).await;
    let in_use = safekeeper.manager.get(identity().ttid).await.unwrap();
    safekeeper.shutdown.cancel();
    evicting.await.unwrap();
    drop(in_use);
    safekeeper.stop().await;
    assert_eq!(files(place.path()).len(), 2);

    let safekeeper = start(place.path(), Some(remote), DurableFs::default()).await;
    assert!(safekeeper.is_evicted());
    let evicting = tokio::spawn(crate::timeline::evict(safekeeper.manager.clone()));
    until_it_went(&safekeeper).await;
    assert!(safekeeper.read(START, end).await.unwrap() == written);
    safekeeper.shutdown.cancel();
    evicting.await.unwrap();
    safekeeper.stop().await;
}

#[tokio::test]
async fn without_object_storage_its_wal_stays_and_a_damaged_object_is_told() {
    let place = tempfile::tempdir().unwrap();
    let inner = storage(place.path()).await;
    let remote: Arc<dyn RemoteStorage> =
        Arc::new(Faulty::refusing(inner.clone(), |_, key| key.ends_with("partial")));
    let safekeeper = start(place.path(), Some(remote), DurableFs::default()).await;
    let written = safekeeper.with_wal().await;
    let end = START + written.len() as u64;
    assert!(safekeeper.evict().await);
    assert_eq!(files(place.path()).len(), 2);
    assert!(safekeeper.read(START, end).await.unwrap() == written);
    safekeeper.stop().await;

    let safekeeper = start(place.path(), Some(inner.clone()), DurableFs::default()).await;
    assert!(safekeeper.manager.get(identity().ttid).await.is_ok());
    assert!(safekeeper.evict().await);
    let key = inner.list(None, ListMode::Recursive).await.unwrap().objects.remove(0).key;
    let mut bytes = inner.get(&key).await.unwrap().to_vec();
    bytes[140_000] ^= 1;
    inner.put(&key, bytes.clone().into()).await.unwrap();
    match safekeeper.manager.get(identity().ttid).await.map(|_| ()) {
        Err(LookupError::NotNow { reason, .. }) => assert!(reason.contains("is damaged"), "{reason}"),
        other => panic!("{other:?}"),
    }
    assert_eq!(files(place.path()), ["control"]);
    bytes[140_000] ^= 1;
    inner.put(&key, bytes.into()).await.unwrap();
    assert!(safekeeper.read(START, end).await.unwrap() == written, "with the right object it comes back");
    safekeeper.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wake_whose_client_went_away_does_not_meet_the_next() {
    let place = tempfile::tempdir().unwrap();
    let safekeeper = start(place.path(), None, DurableFs::default()).await;
    let written = safekeeper.with_wal().await;
    let end = START + written.len() as u64;
    assert!(safekeeper.evict().await);
    safekeeper.stop().await;

    let open = Arc::new(Mutex::new(()));
    let gate = Arc::new(Gate { reached: AtomicBool::new(false), open: open.clone() });
    let safekeeper = start(place.path(), None, DurableFs::with_faults(gate.clone())).await;
    let get = || {
        let manager = safekeeper.manager.clone();
        tokio::spawn(async move { manager.get(identity().ttid).await.map(|timeline| timeline.positions()) })
    };
    let closed = open.lock().unwrap();
    let first = get();
    while !gate.reached.load(Ordering::SeqCst) {
        std::thread::sleep(Duration::from_millis(1));
    }
    first.abort();
    let mut second = get();
    let waited = tokio::task::block_in_place(|| {
        std::thread::sleep(Duration::from_millis(300));
        !second.is_finished()
    });
    drop(closed);
    assert!(waited, "the second went on beside the first");
    assert_eq!((&mut second).await.unwrap().unwrap().flush_lsn, end);
    safekeeper.stop().await;
}

/// Every step from the given one on fails: the process is gone.
struct CrashAt {
    step: AtomicUsize,
    seen: AtomicUsize,
}

impl Faults for CrashAt {
    fn before(&self, _step: Step, _path: &Path) -> std::io::Result<()> {
        let crashed = self.seen.fetch_add(1, Ordering::Relaxed) >= self.step.load(Ordering::Relaxed);
        if crashed { Err(std::io::ErrorKind::Other.into()) } else { Ok(()) }
    }
}

#[tokio::test]
async fn a_crash_at_any_step_of_evicting_and_waking_loses_nothing() {
    let mut ends = std::collections::BTreeMap::new();
    for step in 0.. {
        let place = tempfile::tempdir().unwrap();
        let remote = storage(place.path()).await;
        let crash = Arc::new(CrashAt { step: usize::MAX.into(), seen: 0.into() });
        let fs = DurableFs::with_faults(crash.clone());
        let safekeeper = start(place.path(), Some(remote.clone()), fs).await;
        let written = safekeeper.with_wal().await;
        let end = START + written.len() as u64;
        let before = safekeeper.manager.summary(identity().ttid).unwrap().positions;
        while safekeeper.manager.residents(|timeline| timeline.proposers().is_empty()).is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        crash.seen.store(0, Ordering::Relaxed);
        crash.step.store(step, Ordering::Relaxed);
        safekeeper.evict().await;
        let evicted = files(place.path()) == ["control"];
        let woken = safekeeper.manager.get(identity().ttid).await.is_ok();
        let steps = crash.seen.load(Ordering::Relaxed);
        *ends.entry((evicted, woken)).or_insert(0) += 1;
        // The process is gone: nothing of it touches the disk any more.
        crash.step.store(0, Ordering::Relaxed);
        safekeeper.shutdown.cancel();
        safekeeper.server.await.unwrap();
        drop(safekeeper.manager);

        let safekeeper = start(place.path(), Some(remote), DurableFs::default()).await;
        // That it was committed may have been forgotten, as after any crash; what was flushed is there.
        let read = safekeeper.read_until(START, end, Until::Flushed(before.term)).await;
        assert!(read.unwrap() == written, "crash at step {step}");
        let after = safekeeper.manager.summary(identity().ttid).unwrap().positions;
        assert_eq!(
            (after.flush_lsn, after.term, after.last_log_term),
            (end, before.term, before.last_log_term)
        );
        safekeeper.stop().await;
        if steps < step {
            break;
        }
    }
    let count = |end| ends.get(&end).copied().unwrap_or(0);
    assert!(count((false, false)) >= 5 && count((true, false)) >= 5 && count((true, true)) >= 1, "{ends:?}");
}

#[tokio::test]
async fn who_has_a_segment_that_object_storage_lacks_is_not_evicted() {
    let place = tempfile::tempdir().unwrap();
    let remote = storage(place.path()).await;
    let safekeeper = start(place.path(), Some(remote), DurableFs::default()).await;
    let mut proposer = safekeeper.new_timeline().await;
    proposer.write_up_to(1, START, Lsn(2 * SEGMENT + 5000), 400_000).await;
    drop(proposer);
    assert!(!safekeeper.evict().await, "evicted, nobody would put the segment there");
    let timeline = safekeeper.manager.get(identity().ttid).await.unwrap();
    timeline.note_backed_up(Lsn(2 * SEGMENT)).await.unwrap();
    drop(timeline);
    assert!(safekeeper.evict().await);
    safekeeper.stop().await;
}

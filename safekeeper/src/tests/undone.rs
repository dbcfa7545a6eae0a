//! A full disk undoes a batch: what lies behind the input that failed counts all the same, and attempts take their time.

use std::sync::atomic::AtomicUsize;

use super::*;
use crate::timeline::{PushConnection, PushReply, Scope};

#[derive(Default)]
struct Trouble {
    full: AtomicBool,
    refused: AtomicUsize,
    /// Who flushes next waits until its other end is dropped.
    gate: Mutex<Option<std::sync::mpsc::Receiver<()>>>,
    waiting: AtomicBool,
}

impl Faults for Trouble {
    fn before(&self, step: Step, _: &Path) -> std::io::Result<()> {
        let gate = if step == Step::SyncFile { self.gate.lock().unwrap().take() } else { None };
        if let Some(gate) = gate {
            self.waiting.store(true, Ordering::SeqCst);
            let _ = gate.recv();
        }
        if step == Step::CreateFile && self.full.load(Ordering::SeqCst) {
            self.refused.fetch_add(1, Ordering::SeqCst);
            return Err(std::io::ErrorKind::StorageFull.into());
        }
        Ok(())
    }
}

/// A timeline whose owner flushes for as long as the test wants it to. Behind that lies a vote, for which there will be no room.
struct Busy {
    _place: tempfile::TempDir,
    safekeeper: Safekeeper,
    trouble: Arc<Trouble>,
    gate: std::sync::mpsc::Sender<()>,
    connection: (PushConnection, mpsc::Receiver<PushReply>),
    _proposer: Proposer,
}

async fn until_true(flag: impl Fn() -> bool) {
    let started = std::time::Instant::now();
    while !flag() {
        assert!(started.elapsed() < Duration::from_secs(20));
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

impl Busy {
    async fn new() -> Busy {
        let place = tempfile::tempdir().unwrap();
        let trouble = Arc::new(Trouble::default());
        let fs = DurableFs::with_faults(trouble.clone());
        let safekeeper = Safekeeper::start_as(1, &place.path().join("1"), fs).await;
        let mut proposer = safekeeper.new_timeline().await;
        proposer.write_up_to(1, START, START + 5000, 500).await;
        let timeline = safekeeper.manager.get(identity().ttid).await.unwrap();
        let connection = timeline.connect_proposer("127.0.0.1:1".parse().unwrap()).await.unwrap();
        let (gate, closed) = std::sync::mpsc::channel();
        *trouble.gate.lock().unwrap() = Some(closed);
        let busy = Busy { _place: place, safekeeper, trouble, gate, connection, _proposer: proposer };
        busy.vote(2).await;
        until_true(|| busy.trouble.waiting.load(Ordering::SeqCst)).await;
        busy.vote(3).await;
        busy
    }

    async fn vote(&self, term: u64) {
        let request = VoteRequest { generation: GENERATION, term: Term(term) };
        self.connection.0.send(ProposerMessage::VoteRequest(request)).await.unwrap();
    }

    /// The owner goes on: with the vote, and what has been asked for behind it.
    async fn go_on_without_room(self) -> (Safekeeper, impl Sized) {
        let Busy { _place, safekeeper, trouble, gate, connection, _proposer } = self;
        trouble.full.store(true, Ordering::SeqCst);
        drop(gate);
        until_true(|| trouble.refused.load(Ordering::SeqCst) > 0).await;
        trouble.full.store(false, Ordering::SeqCst);
        (safekeeper, (_place, connection, _proposer))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_is_backed_up_is_known_behind_a_vote_without_room() {
    let backed_up = Lsn(2 * SEGMENT);
    let busy = Busy::new().await;
    let timeline = busy.safekeeper.manager.get(identity().ttid).await.unwrap();
    timeline.note_backed_up(backed_up).await.unwrap();
    let (_safekeeper, _rest) = busy.go_on_without_room().await;
    let mut positions = timeline.watch_positions();
    let known = positions.wait_for(|positions| positions.backup_lsn >= backed_up);
    tokio::time::timeout(Duration::from_secs(20), known).await.expect("it was not lost").unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_deletion_behind_a_vote_without_room_ends() {
    let busy = Busy::new().await;
    let manager = busy.safekeeper.manager.clone();
    let deleting = tokio::spawn(async move {
        let deleted = manager.delete(identity().ttid, Scope::Everything).await;
        deleted.map(drop).map_err(|error| error.to_string())
    });
    // It has come to the owner's queue by then; if not, less is tested.
    tokio::time::sleep(Duration::from_millis(200)).await;
    let (_safekeeper, _rest) = busy.go_on_without_room().await;
    tokio::time::timeout(Duration::from_secs(20), deleting).await.expect("it ends").unwrap().unwrap();
}

/// The log may lie on the disk that is full.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn positions_without_room_are_not_tried_without_a_pause() {
    let place = tempfile::tempdir().unwrap();
    let trouble = Arc::new(Trouble::default());
    let fs = DurableFs::with_faults(trouble.clone());
    let safekeeper = Safekeeper::start_as(1, &place.path().join("1"), fs).await;
    let mut proposer = safekeeper.new_timeline().await;
    let mut wal = TestWal::new(START);
    let mut write = async |proposer: &mut Proposer, end: Lsn, length| {
        while wal.position() < end {
            let begin = wal.position();
            let record = wal.record(length, 1);
            proposer.append(1, begin, begin, record).await;
        }
        proposer.await_flush(wal.position()).await;
        wal.position()
    };
    write(&mut proposer, Lsn(2 * SEGMENT + 5000), 400_000).await;
    trouble.full.store(true, Ordering::SeqCst);
    // Within a segment that there is, and more than one behind the positions on disk.
    let end = write(&mut proposer, START + SEGMENT + 800_000, 100_000).await;
    proposer.append(1, end, end, Bytes::new()).await;
    proposer.hear_position().await;
    until_true(|| trouble.refused.load(Ordering::SeqCst) > 0).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let attempts = trouble.refused.load(Ordering::SeqCst);
    assert!(attempts < 5, "{attempts} attempts within two seconds");
}

//! WAL in, WAL out, and what must not happen on the way.

use durable_fs::{Faults, Step};
use safekeeper_api::replication::{PageserverFeedback, ReceiverMessage, SenderMessage};

use super::*;

/// Reads WAL as a pageserver does, up to `end`.
async fn read_wal(copy: pg_frontend::CopyBoth, end: Lsn) -> (Vec<u8>, CopyReader, CopyWriter) {
    let (mut reader, writer) = copy.split();
    let mut bytes = Vec::new();
    let mut at = None;
    while at.is_none_or(|at| at < end) {
        let message = tokio::time::timeout(Duration::from_secs(10), reader.next()).await.unwrap();
        match SenderMessage::decode(message.unwrap().unwrap()).unwrap() {
            SenderMessage::XLogData(data) => {
                assert!(at.is_none_or(|at| at == data.start_lsn));
                at = Some(data.start_lsn + data.wal.len() as u64);
                bytes.extend_from_slice(&data.wal);
            }
            SenderMessage::Keepalive(_) => {}
        }
    }
    assert_eq!(at, Some(end));
    (bytes, reader, writer)
}

#[tokio::test]
async fn wal_comes_in_is_kept_and_goes_out() {
    let place = tempfile::tempdir().unwrap();
    let safekeeper = Safekeeper::start(place.path()).await;
    let client = safekeeper.connect().await;
    let error = client.copy_both(&wire::start_wal_push()).await.map(|_| ()).unwrap_err();
    assert_eq!(error.sqlstate(), Some("42704"), "no timeline is made because a proposer asks: {error}");
    safekeeper.manager.create(spec()).await.unwrap();

    let mut proposer = safekeeper.proposer().await;
    let history = [(0, START), (1, START)];
    let position = proposer.lead(1, &history, START).await;
    assert_eq!((position.flush_lsn, position.term), (START, Term(1)), "the empty entry at the start is held");
    let mut wal = TestWal::new(START);
    let mut expected = Vec::new();
    let mut committed = START;
    for number in 0..100 {
        let begin = wal.position();
        let record = wal.record(30_000, 7);
        committed = if number == 97 { wal.position() } else { committed };
        expected.extend_from_slice(&record);
        proposer.append(1, begin, START, record).await;
    }
    let end = wal.position();
    proposer.await_flush(end).await;
    assert_eq!(safekeeper.manager.get(identity().ttid).await.unwrap().positions().commit_lsn, START);

    // What a quorum has goes out, from the middle of a page too; then the commit LSN moves on.
    proposer.append(1, end, committed, Bytes::new()).await;
    assert_eq!(proposer.hear_position().await.commit_lsn, committed);
    let from = START + 12_000;
    let copy =
        safekeeper.connect().await.copy_both(&format!("START_REPLICATION PHYSICAL {from}")).await.unwrap();
    let (bytes, _reader, mut feedback) = read_wal(copy, committed).await;
    assert!(bytes == expected[12_000..(committed - START) as usize]);

    // A recovering proposer of the same term may read further, one of another term may not read at all.
    let copy =
        safekeeper.connect().await.copy_both(&format!("START_REPLICATION {from} (term='1')")).await.unwrap();
    let (bytes, ..) = read_wal(copy, end).await;
    assert!(bytes == expected[12_000..]);
    let client = safekeeper.connect().await;
    let error =
        client.copy_both(&format!("START_REPLICATION {from} (term='2')")).await.map(|_| ()).unwrap_err();
    assert_eq!(error.sqlstate(), Some("55000"));
    let client = safekeeper.connect().await;
    let error = client.copy_both("START_REPLICATION 0/FF0000").await.map(|_| ()).unwrap_err();
    assert!(error.to_string().contains("has it from 0/1000000 to"), "{error}");

    // What the pageserver says reaches the proposer.
    let positions = PageserverFeedback {
        last_received_lsn: committed,
        disk_consistent_lsn: Lsn(7),
        remote_consistent_lsn: START,
    };
    feedback.send(&ReceiverMessage::PageserverFeedback(positions).encode()).await.unwrap();
    assert_eq!(proposer.hear_position().await.pageserver_lsn, committed);
    // Nobody can have got more from here than what is committed, and no WAL may go because somebody says so.
    let nonsense = PageserverFeedback {
        last_received_lsn: Lsn::MAX,
        disk_consistent_lsn: Lsn::MAX,
        remote_consistent_lsn: Lsn::MAX,
    };
    feedback.send(&ReceiverMessage::PageserverFeedback(nonsense).encode()).await.unwrap();
    feedback.send(&ReceiverMessage::PageserverFeedback(positions).encode()).await.unwrap();
    let timeline = safekeeper.manager.get(identity().ttid).await.unwrap();
    let mut watch = timeline.watch_positions();
    let told = watch.wait_for(|positions| positions.remote_consistent_lsn > START);
    tokio::time::timeout(Duration::from_secs(10), told).await.unwrap().unwrap();
    assert_eq!(timeline.positions().remote_consistent_lsn, committed);
    safekeeper.stop().await;

    let safekeeper = Safekeeper::start(place.path()).await;
    let positions = safekeeper.manager.get(identity().ttid).await.unwrap().positions();
    assert_eq!((positions.flush_lsn, positions.commit_lsn), (end, committed));
    assert_eq!((positions.term, positions.remote_consistent_lsn), (Term(1), committed));
    safekeeper.stop().await;
}

/// A compute's token lets it read WAL; that WAL need not be kept here is not for it to say.
#[tokio::test]
async fn what_the_pageserver_has_is_not_for_a_tenant_to_say() {
    let place = tempfile::tempdir().unwrap();
    let safekeeper = Safekeeper::start(place.path()).await;
    let mut proposer = safekeeper.new_timeline().await;
    proposer.write_up_to(1, START, START + 4096, 1000).await;
    let timeline = safekeeper.manager.get(identity().ttid).await.unwrap();
    let end = timeline.positions().commit_lsn;
    assert!(end > START + 4096);

    let tenant = KEY.credentials(&Claims::tenant(identity().ttid.tenant_id)).unwrap();
    let client = safekeeper.connect_with(&tenant).await;
    let copy = client.copy_both(&format!("START_REPLICATION PHYSICAL {START}")).await.unwrap();
    let (mut reader, mut feedback) = copy.split();
    let positions =
        PageserverFeedback { last_received_lsn: end, disk_consistent_lsn: end, remote_consistent_lsn: end };
    feedback.send(&ReceiverMessage::PageserverFeedback(positions).encode()).await.unwrap();
    let refused = loop {
        match reader.next().await {
            Ok(Some(_)) => {}
            Ok(None) => panic!("it was not refused"),
            Err(error) => break error,
        }
    };
    assert_eq!(refused.sqlstate(), Some("42501"), "{refused}");
    assert!(timeline.positions().remote_consistent_lsn < end);
    safekeeper.stop().await;
}

#[tokio::test]
async fn a_newer_term_fences_and_cuts_a_divergent_tail() {
    let place = tempfile::tempdir().unwrap();
    let safekeeper = Safekeeper::start(place.path()).await;
    safekeeper.manager.create(spec()).await.unwrap();
    let mut old = safekeeper.proposer().await;
    old.lead(1, &[(0, START), (1, START)], START).await;
    let mut wal = TestWal::new(START);
    let common = wal.record(1000, 1);
    let fork = wal.position();
    old.append(1, START, START, common).await;
    old.append(1, fork, fork, wal.record(500_000, 2)).await;
    old.await_flush(wal.position()).await;

    let mut new = safekeeper.proposer().await;
    let position = new.lead(3, &[(0, START), (1, START), (3, fork)], fork).await;
    assert_eq!((position.flush_lsn, position.term), (fork, Term(3)));
    let late = wal.position();
    old.append(1, late, fork, wal.record(100, 2)).await;
    assert_eq!(old.hear_position().await.term, Term(3), "the old proposer hears that it is fenced");

    let mut other = TestWal::new(fork);
    let record = other.record(200, 3);
    new.append(3, fork, fork, record.clone()).await;
    new.await_flush(other.position()).await;
    safekeeper.stop().await;

    let safekeeper = Safekeeper::start(place.path()).await;
    let timeline = safekeeper.manager.get(identity().ttid).await.unwrap();
    let positions = timeline.positions();
    assert_eq!((positions.flush_lsn, positions.last_log_term), (other.position(), Term(3)));
    let segment = std::fs::read(timeline.segments().path(1)).unwrap();
    let at = (fork.0 - SEGMENT) as usize;
    assert!(segment[at..at + record.len()] == record[..]);
    assert!(segment[at + record.len()..].iter().all(|byte| *byte == 0), "nothing is left of the old tail");
    safekeeper.stop().await;
}

/// A vote says nothing of the WAL that is here.
#[tokio::test]
async fn who_has_only_voted_has_no_wal_of_that_term() {
    let place = tempfile::tempdir().unwrap();
    let safekeeper = Safekeeper::start(place.path()).await;
    safekeeper.manager.create(spec()).await.unwrap();
    let mut old = safekeeper.proposer().await;
    old.lead(3, &[(0, START), (3, START)], START).await;
    let mut wal = TestWal::new(START);
    let common = wal.record(1000, 1);
    let fork = wal.position();
    old.append(3, START, START, common.clone()).await;
    old.append(3, fork, fork, wal.record(5000, 2)).await;
    old.await_flush(wal.position()).await;

    let mut new = safekeeper.proposer().await;
    new.vote(5).await;
    let timeline = safekeeper.manager.get(identity().ttid).await.unwrap();
    timeline.watch_positions().wait_for(|positions| positions.term == Term(5)).await.unwrap();
    for (term, because) in [(5, "has only that of term 3"), (3, "is in term 5")] {
        let client = safekeeper.connect().await;
        let command = format!("START_REPLICATION {START} (term='{term}')");
        let error = client.copy_both(&command).await.map(|_| ()).unwrap_err();
        assert_eq!(error.sqlstate(), Some("55000"));
        assert!(error.to_string().contains(because), "{error}");
    }

    let history = [(0, START), (3, START), (5, fork)];
    assert_eq!(new.is_elected(5, &history, fork).await.flush_lsn, fork);
    timeline.watch_positions().wait_for(|positions| positions.elected_term == Term(5)).await.unwrap();
    let command = format!("START_REPLICATION {START} (term='5')");
    let (bytes, ..) = read_wal(safekeeper.connect().await.copy_both(&command).await.unwrap(), fork).await;
    assert!(bytes == common);
    safekeeper.stop().await;
}

#[tokio::test]
async fn wal_that_is_not_wal_ends_the_connection_and_nothing_else() {
    let place = tempfile::tempdir().unwrap();
    let safekeeper = Safekeeper::start(place.path()).await;
    safekeeper.manager.create(spec()).await.unwrap();
    let mut proposer = safekeeper.proposer().await;
    let history = [(0, START), (1, START)];
    proposer.lead(1, &history, START).await;
    proposer.append(1, START, START, Bytes::from_static(&[9; 5000])).await;
    let error = proposer.hear_why_it_ends().await;
    assert!(error.to_string().contains("not what PostgreSQL writes"), "{error}");

    let mut proposer = safekeeper.proposer().await;
    proposer.lead(2, &[(0, START), (2, START)], START).await;
    let mut wal = TestWal::new(START);
    proposer.append(2, START, START, wal.record(100, 1)).await;
    proposer.await_flush(wal.position()).await;

    // Bytes that are no message at all.
    let mut hostile = safekeeper.proposer().await;
    hostile.writer.send(b"a\0").await.unwrap();
    assert_eq!(hostile.hear_why_it_ends().await.sqlstate(), Some("08P01"));
    safekeeper.stop().await;
}

/// Fails every fsync while switched on.
struct BrokenDisk(AtomicBool);

impl Faults for BrokenDisk {
    fn before(&self, step: Step, _path: &Path) -> std::io::Result<()> {
        let broken = step == Step::SyncFile && self.0.load(Ordering::Relaxed);
        if broken { Err(std::io::ErrorKind::Other.into()) } else { Ok(()) }
    }
}

#[tokio::test]
async fn a_failed_fsync_ends_the_process_unacknowledged() {
    let place = tempfile::tempdir().unwrap();
    let disk = Arc::new(BrokenDisk(AtomicBool::new(false)));
    let fs = DurableFs::with_faults(disk.clone());
    let mut safekeeper = Safekeeper::start_as(1, place.path(), fs).await;
    let mut proposer = safekeeper.new_timeline().await;
    disk.0.store(true, Ordering::Relaxed);
    let mut wal = TestWal::new(START);
    proposer.append(1, START, START, wal.record(100, 1)).await;
    let error =
        tokio::time::timeout(Duration::from_secs(10), safekeeper.fatal.recv()).await.unwrap().unwrap();
    assert!(error.to_string().contains("this process must end"), "{error}");
    let answer = proposer.reader.next().await.unwrap_err();
    assert_eq!(answer.sqlstate(), Some("57P01"), "not acknowledged: {answer}");
    safekeeper.stop().await;
}

//! One safekeeper over TCP, as proposers and readers see it, through restarts.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use auth::ClusterToken;
use bytes::Bytes;
use consensus::{
    AcceptorMessage, AppendRequest, AppendResponse, Configuration, Elected, Member, MembershipGeneration,
    ProposerGreeting, ProposerMessage, TermHistory, TermStart, TimelineIdentity, VoteRequest,
};
use durable_fs::{DurableFs, Faults, Step};
use pg_backend::Limits;
use pg_frontend::{Address, ConnectParams, CopyReader, CopyWriter, PgClient};
use prometheus::Registry;
use safekeeper_api::replication::{PageserverFeedback, ReceiverMessage, SenderMessage};
use safekeeper_api::wire;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use types::{Lsn, NodeId, PgVersion, TenantId, TenantTimelineId, Term, TimelineId, WalSegmentSize};

use crate::metrics::Metrics;
use crate::timeline::{FatalError, Manager, Settings, TimelineSpec};
use crate::wal_service::WalService;
use crate::wal_store::test_wal::{IDENTITY, TestWal};

const SEGMENT: u64 = 16 << 20;
const START: Lsn = Lsn(SEGMENT + 0x2_0028);
const GENERATION: MembershipGeneration = MembershipGeneration(1);

struct Safekeeper {
    address: SocketAddr,
    token: ClusterToken,
    manager: Arc<Manager>,
    fatal: mpsc::Receiver<FatalError>,
    shutdown: CancellationToken,
    server: tokio::task::JoinHandle<()>,
}

impl Safekeeper {
    async fn start(datadir: &Path) -> Self {
        Self::start_as(1, datadir, ClusterToken::generate(), DurableFs::default()).await
    }

    async fn start_as(id: u64, datadir: &Path, token: ClusterToken, fs: DurableFs) -> Self {
        let shutdown = CancellationToken::new();
        let settings = Settings {
            node_id: NodeId(id),
            datadir: datadir.to_owned(),
            token: token.clone(),
            fs,
            metrics: Arc::new(Metrics::new(&Registry::new()).unwrap()),
            shutdown: shutdown.clone(),
        };
        let (manager, fatal) = Manager::open(settings).await.unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let service = Arc::new(WalService::new(manager.clone()));
        let server = pg_backend::serve(listener, token.clone(), service, shutdown.clone(), Limits::default());
        let server = tokio::spawn(server);
        Self { address, token, manager, fatal, shutdown, server }
    }

    async fn stop(self) {
        self.shutdown.cancel();
        self.server.await.unwrap();
        self.manager.wait().await;
    }

    async fn connect(&self) -> PgClient {
        let ttid = identity().ttid;
        let params = ConnectParams::new(Address::parse(&self.address.to_string()).unwrap(), "test")
            .password(self.token.as_str())
            .option("tenant_id", &ttid.tenant_id.to_string())
            .option("timeline_id", &ttid.timeline_id.to_string());
        PgClient::connect(&params).await.unwrap()
    }

    async fn proposer(&self) -> Proposer {
        let copy = self.connect().await.copy_both(&wire::start_wal_push()).await.unwrap();
        let (reader, writer) = copy.split();
        Proposer { reader, writer }
    }
}

fn identity() -> TimelineIdentity {
    TimelineIdentity {
        ttid: TenantTimelineId::new(TenantId([1; 16]), TimelineId([2; 16])),
        pg_version: PgVersion::V15,
        system_id: IDENTITY.system_identifier,
        wal_seg_size: WalSegmentSize::DEFAULT,
    }
}

fn configuration() -> Configuration {
    let member =
        |id| Member { id: NodeId(id), pg_connstr: "127.0.0.1:1".into(), http_connstr: "127.0.0.1:2".into() };
    Configuration::initial(vec![member(1), member(2), member(3)]).unwrap()
}

fn spec() -> TimelineSpec {
    TimelineSpec { identity: identity(), start_lsn: START, configuration: configuration(), ancestor: None }
}

/// A proposer without a mind of its own.
struct Proposer {
    reader: CopyReader,
    writer: CopyWriter,
}

impl Proposer {
    async fn say(&mut self, message: ProposerMessage) {
        self.writer.send(&wire::encode_proposer_message(&message)).await.unwrap();
    }

    async fn hear(&mut self) -> AcceptorMessage {
        let bytes = tokio::time::timeout(Duration::from_secs(10), self.reader.next()).await.unwrap();
        wire::decode_acceptor_message(bytes.unwrap().unwrap()).unwrap()
    }

    async fn hear_position(&mut self) -> AppendResponse {
        match self.hear().await {
            AcceptorMessage::AppendResponse(response) => response,
            other => panic!("{other:?}"),
        }
    }

    /// Greeting, vote, election: leads `term` from `lsn` on, with the given history before it.
    async fn lead(&mut self, term: u64, history: &[(u64, Lsn)], start_streaming_at: Lsn) -> AppendResponse {
        self.say(ProposerMessage::Greeting(ProposerGreeting {
            identity: identity(),
            configuration: configuration(),
        }))
        .await;
        assert!(matches!(self.hear().await, AcceptorMessage::Greeting(_)));
        let term = Term(term);
        self.say(ProposerMessage::VoteRequest(VoteRequest { generation: GENERATION, term })).await;
        match self.hear().await {
            AcceptorMessage::VoteResponse(response) => assert!(response.vote_given, "{response:?}"),
            other => panic!("{other:?}"),
        }
        let lines = history.iter().map(|(term, lsn)| TermStart { term: Term(*term), lsn: *lsn });
        let history = TermHistory::new(lines.collect()).unwrap();
        let elected = Elected { generation: GENERATION, term, start_streaming_at, history };
        self.say(ProposerMessage::Elected(elected)).await;
        self.hear_position().await
    }

    async fn append(&mut self, term: u64, begin_lsn: Lsn, commit_lsn: Lsn, wal: Bytes) {
        let request = AppendRequest {
            generation: GENERATION,
            term: Term(term),
            begin_lsn,
            commit_lsn,
            horizon_lsn: Lsn::INVALID,
            wal,
        };
        self.say(ProposerMessage::AppendRequest(request)).await;
    }

    /// Hears until the flush LSN is there.
    async fn await_flush(&mut self, lsn: Lsn) -> AppendResponse {
        loop {
            let response = self.hear_position().await;
            if response.flush_lsn >= lsn {
                return response;
            }
        }
    }
}

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
    assert_eq!(safekeeper.manager.get(identity().ttid).unwrap().positions().commit_lsn, START);

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
    safekeeper.stop().await;

    let safekeeper = Safekeeper::start(place.path()).await;
    let positions = safekeeper.manager.get(identity().ttid).unwrap().positions();
    assert_eq!((positions.flush_lsn, positions.commit_lsn), (end, committed));
    assert_eq!((positions.term, positions.remote_consistent_lsn), (Term(1), START));
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
    let timeline = safekeeper.manager.get(identity().ttid).unwrap();
    let positions = timeline.positions();
    assert_eq!((positions.flush_lsn, positions.last_log_term), (other.position(), Term(3)));
    let segment = std::fs::read(timeline.segments().path(1)).unwrap();
    let at = (fork.0 - SEGMENT) as usize;
    assert!(segment[at..at + record.len()] == record[..]);
    assert!(segment[at + record.len()..].iter().all(|byte| *byte == 0), "nothing is left of the old tail");
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
    let error = proposer.reader.next().await.unwrap_err();
    assert!(error.to_string().contains("not what PostgreSQL writes"), "{error}");

    let mut proposer = safekeeper.proposer().await;
    proposer.lead(2, &[(0, START), (2, START)], START).await;
    let mut wal = TestWal::new(START);
    proposer.append(2, START, START, wal.record(100, 1)).await;
    proposer.await_flush(wal.position()).await;

    // Bytes that are no message at all.
    let mut hostile = safekeeper.proposer().await;
    hostile.writer.send(b"a\0").await.unwrap();
    assert_eq!(hostile.reader.next().await.unwrap_err().sqlstate(), Some("08P01"));
    safekeeper.stop().await;
}

#[tokio::test]
async fn creating_is_idempotent_and_particular() {
    let place = tempfile::tempdir().unwrap();
    let safekeeper = Safekeeper::start(place.path()).await;
    assert!(safekeeper.manager.create(spec()).await.unwrap().1);
    assert!(!safekeeper.manager.create(spec()).await.unwrap().1);
    let different = TimelineSpec { start_lsn: START + 8, ..spec() };
    assert!(safekeeper.manager.create(different).await.is_err());
    for bad in [Lsn(0), Lsn(8), START + 1, Lsn(SEGMENT + 16), Lsn(SEGMENT + 8192 + 8)] {
        let ttid = TenantTimelineId { timeline_id: TimelineId([3; 16]), ..identity().ttid };
        let identity = TimelineIdentity { ttid, ..identity() };
        assert!(
            safekeeper.manager.create(TimelineSpec { identity, start_lsn: bad, ..spec() }).await.is_err(),
            "{bad}"
        );
    }
    safekeeper.stop().await;
}

#[tokio::test]
async fn a_branch_has_its_ancestors_bytes_before_its_start() {
    let place = tempfile::tempdir().unwrap();
    let safekeeper = Safekeeper::start(place.path()).await;
    safekeeper.manager.create(spec()).await.unwrap();
    let ttid = TenantTimelineId { timeline_id: TimelineId([3; 16]), ..identity().ttid };
    let mut wal = TestWal::new(START);
    let record = wal.record(20_000, 1);
    let end = wal.position();
    let ancestor = Some(identity().ttid.timeline_id);
    let branch = TimelineSpec {
        identity: TimelineIdentity { ttid, ..identity() },
        start_lsn: end,
        ancestor,
        ..spec()
    };
    let error = safekeeper.manager.create(branch.clone()).await.map(|_| ()).unwrap_err().to_string();
    assert!(error.contains("cannot be had now: here it is committed up to"), "{error}");

    let mut proposer = safekeeper.proposer().await;
    proposer.lead(1, &[(0, START), (1, START)], START).await;
    proposer.append(1, START, START, record).await;
    proposer.await_flush(end).await;
    proposer.append(1, end, end, Bytes::new()).await;
    proposer.hear_position().await;
    let (timeline, _) = safekeeper.manager.create(branch).await.unwrap();
    let theirs = std::fs::read(safekeeper.manager.get(identity().ttid).unwrap().segments().path(1)).unwrap();
    assert!(std::fs::read(timeline.segments().path(1)).unwrap() == theirs);
    assert_eq!(timeline.positions().flush_lsn, end);
    safekeeper.stop().await;
}

#[tokio::test]
async fn a_branch_gets_its_ancestors_bytes_from_a_peer() {
    let places = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let donor = Safekeeper::start(places[0].path()).await;
    let other = Safekeeper::start_as(2, places[1].path(), donor.token.clone(), DurableFs::default()).await;
    donor.manager.create(spec()).await.unwrap();
    let mut wal = TestWal::new(START);
    let record = wal.record(20_000, 1);
    let end = wal.position();
    let mut proposer = donor.proposer().await;
    proposer.lead(1, &[(0, START), (1, START)], START).await;
    proposer.append(1, START, START, record).await;
    proposer.await_flush(end).await;
    proposer.append(1, end, end, Bytes::new()).await;
    proposer.hear_position().await;

    let ttid = TenantTimelineId { timeline_id: TimelineId([3; 16]), ..identity().ttid };
    let identity_of_branch = TimelineIdentity { ttid, ..identity() };
    let mut configuration = configuration();
    configuration.members[0].pg_connstr = donor.address.to_string();
    let ancestor = Some(identity().ttid.timeline_id);
    let branch = TimelineSpec { identity: identity_of_branch, start_lsn: end, configuration, ancestor };
    let (timeline, _) = other.manager.create(branch).await.unwrap();
    let theirs = std::fs::read(donor.manager.get(identity().ttid).unwrap().segments().path(1)).unwrap();
    assert!(std::fs::read(timeline.segments().path(1)).unwrap() == theirs);
    donor.stop().await;
    other.stop().await;
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
    let mut safekeeper = Safekeeper::start_as(1, place.path(), ClusterToken::generate(), fs).await;
    safekeeper.manager.create(spec()).await.unwrap();
    let mut proposer = safekeeper.proposer().await;
    proposer.lead(1, &[(0, START), (1, START)], START).await;
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

/// Runs one of PostgreSQL's own programs; what it printed.
async fn stock_tool(name: &str, arguments: &[&str], environment: &[(&str, String)]) -> String {
    let directory = std::env::var("PG_BIN").unwrap_or_else(|_| "/usr/lib/postgresql/15/bin".to_owned());
    let output = tokio::process::Command::new(format!("{directory}/{name}"))
        .args(arguments)
        .envs(environment.iter().map(|(name, value)| (name, value)))
        .kill_on_drop(true)
        .output();
    let output =
        tokio::time::timeout(Duration::from_secs(60), output).await.expect("it should have ended").unwrap();
    let text =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{name}: {text}");
    text
}

/// Three segments and more, with a segment switch among them.
#[tokio::test(flavor = "multi_thread")]
async fn stock_tools_read_what_is_kept() {
    let place = tempfile::tempdir().unwrap();
    let safekeeper = Safekeeper::start(place.path()).await;
    // pg_receivewal goes on behind the segments that it finds, but does not count segment 0 as one.
    let start = START + SEGMENT;
    let (timeline, _) = safekeeper.manager.create(TimelineSpec { start_lsn: start, ..spec() }).await.unwrap();
    let mut proposer = safekeeper.proposer().await;
    proposer.lead(1, &[(0, start), (1, start)], start).await;
    let mut wal = TestWal::new(start);
    for number in 0..400 {
        let begin = wal.position();
        let record = if number == 200 { wal.switch() } else { wal.record(100_000, number as u8) };
        for (piece, bytes) in record.chunks(128 << 10).enumerate() {
            let begin = begin + (piece * (128 << 10)) as u64;
            proposer.append(1, begin, start, Bytes::copy_from_slice(bytes)).await;
        }
    }
    let end = wal.position();
    proposer.await_flush(end).await;
    proposer.append(1, end, end, Bytes::new()).await;
    assert_eq!(proposer.hear_position().await.commit_lsn, end);

    let received = tempfile::tempdir().unwrap();
    let ttid = identity().ttid;
    let environment = [
        ("PGPASSWORD", safekeeper.token.as_str().to_owned()),
        ("PGOPTIONS", format!("-c tenant_id={} -c timeline_id={}", ttid.tenant_id, ttid.timeline_id)),
    ];
    let directory = received.path().to_str().unwrap();
    let port = safekeeper.address.port().to_string();
    let connection = ["-h", "127.0.0.1", "-p", &port, "-U", "anyone"];
    // It ends when it has something behind this position.
    let endpos = format!("--endpos={}", Lsn(end.0 - 1));
    // With an empty directory it would begin with the last segment.
    std::fs::write(received.path().join("000000010000000000000001"), vec![0; SEGMENT as usize]).unwrap();
    let arguments = [&connection[..], &["-D", directory, "--no-loop", &endpos]].concat();
    stock_tool("pg_receivewal", &arguments, &environment).await;

    let numbers = timeline.segments().existing().unwrap();
    assert!(numbers.len() >= 4, "{numbers:?}");
    for number in &numbers {
        let path = timeline.segments().path(*number);
        let name = path.file_name().unwrap().to_str().unwrap();
        let last = number == numbers.last().unwrap();
        let theirs = received.path().join(if last { format!("{name}.partial") } else { name.to_owned() });
        assert!(
            std::fs::read(&path).unwrap() == std::fs::read(&theirs).unwrap(),
            "{} differs",
            theirs.display()
        );
    }
    // By name, from the first segment on, which begins with what was made up before the timeline's start.
    let path = |number| timeline.segments().path(number).to_str().unwrap().to_owned();
    let (first, last) = (path(numbers[0]), path(numbers[numbers.len() - 1]));
    let printed = stock_tool("pg_waldump", &["-e", &end.to_string(), &first, &last], &[]).await;
    assert_eq!(printed.matches("rmgr: XLOG").count(), 400);
    stock_tool("pg_waldump", &[&first], &[]).await;

    let psql = [&connection[..], &["-d", "x", "-At", "-c", "IDENTIFY_SYSTEM"]].concat();
    let answer = stock_tool("psql", &psql, &environment).await;
    assert_eq!(answer.trim(), format!("{}|1|{end}|", IDENTITY.system_identifier));
    safekeeper.stop().await;
}

//! One safekeeper over TCP, as proposers and readers see it, through restarts. This file is what the tests
//! stand on: a safekeeper in this process, and a proposer without a mind of its own.

mod catch_up;
mod configurations;
mod creating;
mod deletion;
mod eviction;
mod http;
mod joining;
mod offload;
mod ownership;
mod stock_tools;
mod undone;
mod wal;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use auth::{Claims, Credentials, Scope, SigningKey};
use bytes::Bytes;
use consensus::{
    AcceptorMessage, AppendRequest, AppendResponse, Configuration, Elected, Member, MembershipGeneration,
    ProposerGreeting, ProposerMessage, TermHistory, TermStart, TimelineIdentity, VoteRequest,
};
use durable_fs::{DurableFs, Faults, Step};
use http_server::Guard;
use pg_backend::Limits;
use pg_frontend::{Address, ConnectParams, CopyReader, CopyWriter, PgClient, PgError};
use prometheus::Registry;
use safekeeper_api::wire::{self, SafekeeperMessage};
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
    manager: Arc<Manager>,
    fatal: mpsc::Receiver<FatalError>,
    shutdown: CancellationToken,
    server: tokio::task::JoinHandle<()>,
}

impl Safekeeper {
    async fn start(datadir: &Path) -> Self {
        Self::start_as(1, datadir, DurableFs::default()).await
    }

    async fn start_as(id: u64, datadir: &Path, fs: DurableFs) -> Self {
        Self::start_with(Settings { fs, ..settings(id, datadir) }).await
    }

    async fn start_with(settings: Settings) -> Self {
        std::fs::create_dir_all(&settings.datadir).unwrap();
        let shutdown = settings.shutdown.clone();
        let (manager, fatal) = Manager::open(settings).await.unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let service = Arc::new(WalService::new(manager.clone()));
        let server =
            pg_backend::serve(listener, None, KEY.verifier(), service, shutdown.clone(), Limits::default());
        let server = tokio::spawn(server);
        Self { address, manager, fatal, shutdown, server }
    }

    /// Where its HTTP API is from now on.
    async fn serve_http(&self, id: NodeId) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let routes = crate::http::routes(id, self.manager.clone());
        let guard = Guard { verifier: KEY.verifier(), part: Scope::Safekeeper };
        let routes = http_server::described(routes, guard, Registry::new());
        tokio::spawn(http_server::serve(listener, None, routes, self.shutdown.clone()));
        address
    }

    async fn stop(self) {
        self.shutdown.cancel();
        self.server.await.unwrap();
        self.manager.wait().await;
    }

    async fn connect(&self) -> PgClient {
        self.connect_with(&credentials()).await
    }

    async fn connect_with(&self, credentials: &Credentials) -> PgClient {
        let ttid = identity().ttid;
        let params = ConnectParams::new(Address::parse(&self.address.to_string()).unwrap(), "test")
            .credentials(credentials)
            .option("tenant_id", &ttid.tenant_id.to_string())
            .option("timeline_id", &ttid.timeline_id.to_string());
        PgClient::connect(&params).await.unwrap()
    }

    /// Makes the tests' timeline, and leads its first term.
    async fn new_timeline(&self) -> Proposer {
        self.manager.create(spec()).await.unwrap();
        let mut proposer = self.proposer().await;
        proposer.lead(1, &[(0, START), (1, START)], START).await;
        proposer
    }

    async fn proposer(&self) -> Proposer {
        self.proposer_with(&credentials()).await
    }

    async fn proposer_with(&self, credentials: &Credentials) -> Proposer {
        let copy = self.connect_with(credentials).await.copy_both(&wire::start_wal_push()).await.unwrap();
        let (reader, writer) = copy.split();
        Proposer { reader, writer }
    }
}

/// Of all safekeepers here.
static KEY: LazyLock<SigningKey> = LazyLock::new(SigningKey::generate);

fn credentials() -> Credentials {
    KEY.credentials(&Claims::new([Scope::Safekeeper])).unwrap()
}

fn settings(id: u64, datadir: &Path) -> Settings {
    Settings {
        node_id: NodeId(id),
        datadir: datadir.to_owned(),
        credentials: credentials(),
        fs: DurableFs::default(),
        remote: None,
        evict_after: Duration::from_secs(900),
        metrics: Arc::new(Metrics::new(&Registry::new()).unwrap()),
        shutdown: CancellationToken::new(),
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
    TimelineSpec {
        identity: identity(),
        start_lsn: START,
        configuration: configuration(),
        joins: false,
        ancestor: None,
    }
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
        loop {
            let bytes = tokio::time::timeout(Duration::from_secs(10), self.reader.next()).await.unwrap();
            match wire::decode_safekeeper_message(bytes.unwrap().unwrap()).unwrap() {
                SafekeeperMessage::Acceptor(message) => return message,
                SafekeeperMessage::StandbyFeedback(_) => {}
            }
        }
    }

    /// Whatever is said before.
    async fn hear_why_it_ends(&mut self) -> PgError {
        loop {
            let heard = tokio::time::timeout(Duration::from_secs(10), self.reader.next()).await.unwrap();
            match heard {
                Ok(message) => assert!(message.is_some(), "it ended without a word"),
                Err(error) => return error,
            }
        }
    }

    async fn hear_position(&mut self) -> AppendResponse {
        match self.hear().await {
            AcceptorMessage::AppendResponse(response) => response,
            other => panic!("{other:?}"),
        }
    }

    /// Greeting, vote, election: leads `term` from `lsn` on, with the given history before it.
    async fn lead(&mut self, term: u64, history: &[(u64, Lsn)], start_streaming_at: Lsn) -> AppendResponse {
        self.vote(term).await;
        self.is_elected(term, history, start_streaming_at).await
    }

    /// Greeting and vote: it knows of no winner yet.
    async fn vote(&mut self, term: u64) {
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
    }

    async fn is_elected(
        &mut self,
        term: u64,
        history: &[(u64, Lsn)],
        start_streaming_at: Lsn,
    ) -> AppendResponse {
        let term = Term(term);
        let lines = history.iter().map(|(term, lsn)| TermStart { term: Term(*term), lsn: *lsn });
        let history = TermHistory::new(lines.collect()).unwrap();
        let elected = Elected { generation: GENERATION, term, start_streaming_at, history };
        self.say(ProposerMessage::Elected(elected)).await;
        self.hear_position().await
    }

    async fn append(&mut self, term: u64, begin_lsn: Lsn, commit_lsn: Lsn, wal: Bytes) {
        self.append_with_horizon(term, begin_lsn, commit_lsn, Lsn::INVALID, wal).await;
    }

    /// `horizon_lsn`: what every member has.
    async fn append_with_horizon(
        &mut self,
        term: u64,
        begin_lsn: Lsn,
        commit_lsn: Lsn,
        horizon_lsn: Lsn,
        wal: Bytes,
    ) {
        let (generation, term) = (GENERATION, Term(term));
        let request = AppendRequest { generation, term, begin_lsn, commit_lsn, horizon_lsn, tick: 0, wal };
        self.say(ProposerMessage::AppendRequest(request)).await;
    }

    /// Writes records of `length` bytes as a leader of a term that begins at `start`, until there is WAL up to `end` or
    /// further, all of it committed and known to be everywhere. What was written.
    async fn write_up_to(&mut self, term: u64, start: Lsn, end: Lsn, length: usize) -> Vec<u8> {
        let mut wal = TestWal::new(start);
        let mut written = Vec::new();
        while wal.position() < end {
            let begin = wal.position();
            let record = wal.record(length, (written.len() / 7) as u8);
            written.extend_from_slice(&record);
            self.append(term, begin, begin, record).await;
        }
        self.await_flush(wal.position()).await;
        self.append_with_horizon(term, wal.position(), wal.position(), wal.position(), Bytes::new()).await;
        self.hear_position().await;
        written
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

/// The first to make a control file waits for the gate.
pub struct Gate {
    pub reached: AtomicBool,
    pub open: Arc<Mutex<()>>,
}

impl Faults for Gate {
    fn before(&self, step: Step, path: &Path) -> std::io::Result<()> {
        let control = step == Step::CreateFile && path.ends_with("control.temporary");
        if control && !self.reached.swap(true, Ordering::SeqCst) {
            drop(self.open.lock().unwrap());
        }
        Ok(())
    }
}

//! One timeline: its acceptor and its WAL, owned by one task; and the handle that all others have of it.
//!
//! ```text
//!  proposers ──messages──▶ ┌───────┐ ──positions (watch)──▶ readers of WAL, broker, HTTP
//!  readers ──feedback────▶ │ owner │ ──replies────────────▶ proposers
//!                          └───────┘  core: acceptor + WAL store + control file
//! ```
//! There is no lock around the state: who wants something changed sends an input, who wants to know
//! something looks at what the owner has published.

mod catch_up;
mod changes;
mod control_file;
mod core;
mod create;
mod deletion;
mod eviction;
mod genesis;
mod joining;
mod manager;
mod open;
mod owner;
mod owners;
mod registry;
mod standbys;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use consensus::{
    AcceptorMessage, AcceptorState, ConnectionId, MembershipAnswer, MembershipGeneration, MembershipRequest,
    PeerLog, PeerPosition, ProposerMessage, TimelineIdentity,
};
use pg_backend::Session;
use tokio::sync::{mpsc, oneshot, watch};
use types::{Lsn, NodeId, TenantTimelineId, Term, TimelineId};

pub use self::catch_up::{CatchUp, Peer};
#[cfg(test)]
pub use self::core::FatalError;
pub use self::create::{CreateError, TimelineSpec};
pub use self::deletion::{DeleteError, Scope};
pub use self::eviction::run as evict;
pub use self::joining::ask_each;
pub use self::manager::{LookupError, Manager, Settings, Summary};
pub use self::owners::OwnershipError;
pub use self::registry::{SenderState, WalSender};
pub use self::standbys::{Standby, Standbys};

use self::core::{Input, PullRequest};
use self::registry::{Registration, Registry};
use crate::metrics::{Counted, Metrics};
use crate::wal_store::{RemoteSegments, Segments, WalReader};
use safekeeper_api::replication::PageserverFeedback;

/// Messages that wait for the owner, and so share one fdatasync. With the protocol's largest message this
/// bounds the memory of a timeline.
const QUEUE: usize = 64;
/// Replies that wait for a proposer's connection.
const REPLIES: usize = 256;

/// Where a timeline is, as everybody may know.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Positions {
    pub generation: MembershipGeneration,
    pub term: Term,
    /// The last one whose election it was told of: its WAL is that of this term's compute. It may have voted for a
    /// newer one since.
    pub elected_term: Term,
    pub last_log_term: Term,
    pub flush_lsn: Lsn,
    pub durable_lsn: Lsn,
    pub commit_lsn: Lsn,
    pub remote_consistent_lsn: Lsn,
    /// All WAL before it is in object storage.
    pub backup_lsn: Lsn,
    /// Segments before the one that holds it are there only.
    pub local_start_lsn: Lsn,
    /// The connection whose proposer leads the term here.
    pub leader: Option<ConnectionId>,
}

/// What the owner sends to a proposer's connection.
#[derive(Debug)]
pub enum PushReply {
    Message(AcceptorMessage),
    /// The connection is to be closed, and why.
    End(String),
}

/// The owner has ended: the process is stopping, or the timeline was deleted. Or what was asked for was undone, because
/// the disk is full.
#[derive(Debug, thiserror::Error)]
#[error("timeline {0} does not answer: the safekeeper stops, its disk is full, or the timeline was deleted")]
pub struct Stopped(pub TenantTimelineId);

/// The handle.
pub struct Timeline {
    identity: TimelineIdentity,
    tli: u32,
    start_lsn: Lsn,
    ancestor: Option<TimelineId>,
    segments: Segments,
    remote: Option<RemoteSegments>,
    inputs: mpsc::Sender<Input>,
    positions: watch::Receiver<Positions>,
    state: watch::Receiver<Arc<AcceptorState>>,
    senders: Registry<SenderState>,
    proposers: Registry<SocketAddr>,
    standbys: Standbys,
    /// When somebody asked for it last.
    used: Mutex<Instant>,
    /// Held while segments go to object storage, and while it is deleted.
    offloading: tokio::sync::Mutex<()>,
    evict_after: Duration,
    metrics: Arc<Metrics>,
}

impl Timeline {
    pub fn ttid(&self) -> TenantTimelineId {
        self.identity.ttid
    }

    pub fn identity(&self) -> &TimelineIdentity {
        &self.identity
    }

    /// PostgreSQL's timeline number.
    pub fn tli(&self) -> u32 {
        self.tli
    }

    pub fn start_lsn(&self) -> Lsn {
        self.start_lsn
    }

    /// The branch that this timeline continues.
    pub fn ancestor(&self) -> Option<TimelineId> {
        self.ancestor
    }

    pub fn segments(&self) -> &Segments {
        &self.segments
    }

    /// Its segments in object storage, if the safekeeper has any.
    pub fn remote(&self) -> Option<&RemoteSegments> {
        self.remote.as_ref()
    }

    pub fn reader(&self, start: Lsn) -> WalReader {
        WalReader::new(self.segments.clone(), self.remote.clone(), start)
    }

    pub fn summary(&self) -> Summary {
        let TimelineIdentity { ttid, wal_seg_size, .. } = self.identity;
        let (start_lsn, positions) = (self.start_lsn, self.positions());
        Summary { ttid, start_lsn, wal_seg_size, positions, has_wal: true }
    }

    fn note_used(&self) {
        *self.used.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    /// Nobody has asked for it for long, no compute is here, and it has nothing left to do.
    fn is_idle(&self) -> bool {
        let used = *self.used.lock().unwrap_or_else(PoisonError::into_inner);
        used.elapsed() >= self.evict_after && self.proposers.is_empty() && self.next_to_offload().is_none()
    }

    /// The first segment that is whole, and not known to be in object storage.
    pub fn next_to_offload(&self) -> Option<u64> {
        self.remote.as_ref()?;
        self.summary().next_to_offload()
    }

    /// To be held by who puts its segments into object storage. None if it was deleted.
    pub async fn offloading(&self) -> Option<tokio::sync::MutexGuard<'_, ()>> {
        let alone = self.offloading.lock().await;
        (!self.inputs.is_closed()).then_some(alone)
    }

    /// How long it must not be used before it is evicted.
    pub fn evict_after(&self) -> Duration {
        self.evict_after
    }

    pub fn positions(&self) -> Positions {
        *self.positions.borrow()
    }

    pub fn watch_positions(&self) -> watch::Receiver<Positions> {
        self.positions.clone()
    }

    /// The acceptor's state as it was persisted last; its positions may be older than [`Self::positions`].
    pub fn persisted_state(&self) -> Arc<AcceptorState> {
        self.state.borrow().clone()
    }

    /// Proposers connected just now, and whether each leads the term.
    pub fn proposers(&self) -> Vec<(SocketAddr, bool)> {
        let leader = self.positions().leader;
        let proposers = self.proposers.snapshot().into_iter();
        proposers.map(|(id, peer)| (peer, leader == Some(ConnectionId(id)))).collect()
    }

    pub fn senders(&self) -> Vec<SenderState> {
        self.senders.snapshot().into_iter().map(|(_, state)| state).collect()
    }

    pub fn register_sender(&self, session: &Session, start: Lsn) -> WalSender {
        let state = SenderState {
            application_name: session
                .startup_parameters()
                .get("application_name")
                .cloned()
                .unwrap_or_default(),
            peer: session.peer(),
            sent_lsn: start,
            confirmed_lsn: Lsn::INVALID,
        };
        self.senders.register(state, Counted::new(&self.metrics.wal_senders))
    }

    /// What the hot standbys that read here need of their primary.
    pub fn standbys(&self) -> &Standbys {
        &self.standbys
    }

    pub fn count_sent(&self, bytes: usize) {
        self.metrics.wal_sent_bytes.inc_by(bytes as u64);
    }

    /// A pageserver told its positions. It says them once: this waits while the owner is busy.
    pub async fn note_pageserver(&self, positions: PageserverFeedback) -> Result<(), Stopped> {
        self.inputs.send(Input::Pageserver(positions)).await.map_err(|_| Stopped(self.ttid()))
    }

    /// Another safekeeper published where it is. May get lost when the owner is busy: an owner that is has a proposer,
    /// and learns from it.
    pub fn note_peer(&self, node: NodeId, position: PeerPosition) {
        drop(self.inputs.try_send(Input::Peer { node, position }));
    }

    /// A peer heard from the pageserver what it has in object storage. May get lost as well: what is told next says more.
    pub fn note_remote_consistent(&self, remote_consistent_lsn: Lsn) {
        if remote_consistent_lsn > self.positions().remote_consistent_lsn {
            let feedback = PageserverFeedback { remote_consistent_lsn, ..PageserverFeedback::default() };
            drop(self.inputs.try_send(Input::Pageserver(feedback)));
        }
    }

    /// All WAL before it is in object storage.
    pub async fn note_backed_up(&self, backup_lsn: Lsn) -> Result<(), Stopped> {
        self.inputs.send(Input::BackedUp { backup_lsn }).await.map_err(|_| Stopped(self.ttid()))
    }

    /// An administrator asks; see [`Manager::membership`].
    async fn membership(&self, request: MembershipRequest) -> Result<MembershipAnswer, Stopped> {
        self.ask(|reply| Input::Membership { request, reply }).await
    }

    /// Its log, all as of one moment.
    pub async fn log(&self) -> Result<PeerLog, Stopped> {
        self.ask(|reply| Input::Log { reply }).await
    }

    /// The log of another safekeeper. What is to be read of it, if it has more than this one.
    async fn compare_log(&self, node: NodeId, log: PeerLog) -> Result<Option<PullRequest>, Stopped> {
        self.ask(|reply| Input::PeerLog { node, log, reply }).await
    }

    async fn ask<T>(&self, input: impl FnOnce(oneshot::Sender<T>) -> Input) -> Result<T, Stopped> {
        let (reply, answer) = oneshot::channel();
        self.inputs.send(input(reply)).await.map_err(|_| Stopped(self.ttid()))?;
        answer.await.map_err(|_| Stopped(self.ttid()))
    }

    /// A proposer comes.
    pub async fn connect_proposer(
        &self,
        peer: SocketAddr,
    ) -> Result<(PushConnection, mpsc::Receiver<PushReply>), Stopped> {
        let registration = self.proposers.register(peer, Counted::new(&self.metrics.wal_receivers));
        let connection = ConnectionId(registration.id());
        let (replies, receiver) = mpsc::channel(REPLIES);
        let (ttid, inputs) = (self.ttid(), self.inputs.clone());
        inputs.send(Input::Connected { connection, replies }).await.map_err(|_| Stopped(ttid))?;
        Ok((PushConnection { ttid, connection, inputs, _registration: registration }, receiver))
    }
}

/// A proposer's connection, as the owner knows it. Tells the owner when it is dropped.
pub struct PushConnection {
    ttid: TenantTimelineId,
    connection: ConnectionId,
    inputs: mpsc::Sender<Input>,
    /// Also what numbers it.
    _registration: Registration<SocketAddr>,
}

impl PushConnection {
    /// Waits when the owner is behind, and with it the proposer.
    pub async fn send(&self, message: ProposerMessage) -> Result<(), Stopped> {
        let input = Input::Message { from: self.connection, message };
        self.inputs.send(input).await.map_err(|_| Stopped(self.ttid))
    }
}

impl Drop for PushConnection {
    fn drop(&mut self) {
        let input = Input::Disconnected { connection: self.connection };
        let Err(mpsc::error::TrySendError::Full(input)) = self.inputs.try_send(input) else { return };
        // The queue is full just now; somebody must still tell.
        let inputs = self.inputs.clone();
        tokio::spawn(async move { drop(inputs.send(input).await) });
    }
}

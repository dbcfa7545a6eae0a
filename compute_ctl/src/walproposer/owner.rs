//! [`Owner`]: the one task that owns the proposer. It selects an event, steps, and carries out the effects.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use bytes::Bytes;
use compute_api::{SafekeeperPeerStatus, WalproposerStatus};
use consensus::{
    AcceptorMessage, Configuration, Member, Proposer, ProposerEffect, ProposerEvent, ProposerMessage, Stage,
    TimelineIdentity,
};
use pg_frontend::Address;
use safekeeper_api::standby_feedback::StandbyFeedback;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;
use types::{Lsn, NodeId, Term};

use super::fetch::Fetch;
use super::moment::Moment;
use super::postgres::{Positions, Postgres, PostgresInput};
use super::safekeeper::{ADMISSION, Link};
use super::standbys::Standbys;
use super::{Exit, PgSocket, Reach, WalproposerError};

const TICK: Duration = Duration::from_secs(1);
/// Kept while no quorum answers. What is older is of no use to anybody.
const TICKS: usize = 600;
const STATUS_INTERVAL: Duration = Duration::from_millis(200);
/// So long, and up to as long again, all safekeepers have for their greeting; each campaign after that has
/// twice the time of the one before.
const FIRST_CAMPAIGN: Duration = Duration::from_millis(50);
const LONGEST_CAMPAIGN: Duration = Duration::from_secs(2);
/// For the safekeepers to hear the last commit LSN.
const FAREWELL: Duration = Duration::from_secs(1);
/// Messages of safekeepers waiting for the owner.
const QUEUE: usize = 256;
/// Pieces of WAL (up to 128 KiB each) waiting for the owner.
const WAL_QUEUE: usize = 32;

/// What the tasks around the owner tell it.
pub enum Input {
    Linked { node: NodeId, messages: mpsc::UnboundedSender<ProposerMessage> },
    Unlinked { node: NodeId, reason: String },
    Heard { node: NodeId, message: AcceptorMessage },
    StandbysNeed { node: NodeId, feedback: StandbyFeedback },
    Fetched { node: NodeId, fetch: u64, begin: Lsn, wal: Bytes },
    FetchFailed { node: NodeId, fetch: u64 },
}

/// What the rest of compute_ctl wants of it.
pub enum Command {
    Stream(PgSocket),
}

/// One safekeeper as this task sees it.
struct Peer {
    member: Member,
    /// Closed by dropping it: then the connection ends.
    messages: Option<mpsc::UnboundedSender<ProposerMessage>>,
    last_error: Option<String>,
    /// Set when no new connection is to be made.
    closing: CancellationToken,
}

impl Peer {
    fn new(member: &Member, closing: &CancellationToken) -> Peer {
        Peer { member: member.clone(), messages: None, last_error: None, closing: closing.child_token() }
    }
}

pub struct Owner {
    proposer: Proposer,
    identity: TimelineIdentity,
    reach: Reach,
    /// Where PostgreSQL began; before that, it has not.
    base_lsn: Lsn,
    peers: HashMap<NodeId, Peer>,
    /// Links, fetches, and the session with PostgreSQL. All end with the owner.
    tasks: JoinSet<()>,
    inputs: mpsc::Sender<Input>,
    received: mpsc::Receiver<Input>,
    wal: Option<mpsc::Receiver<PostgresInput>>,
    positions: watch::Sender<Positions>,
    standbys: Standbys,
    standbys_need: watch::Sender<StandbyFeedback>,
    /// When the ticks were that no quorum has answered yet, and the last that one has.
    ticks: BTreeMap<u64, Moment>,
    status: watch::Sender<WalproposerStatus>,
    established: Option<oneshot::Sender<(Term, Lsn)>>,
    closing: CancellationToken,
}

impl Owner {
    pub fn new(
        proposer: Proposer,
        identity: TimelineIdentity,
        configuration: Configuration,
        reach: Reach,
        established: oneshot::Sender<(Term, Lsn)>,
    ) -> (Owner, watch::Receiver<WalproposerStatus>) {
        let (inputs, received) = mpsc::channel(QUEUE);
        let (status, watcher) = watch::channel(WalproposerStatus {
            received_lsn: Lsn::INVALID,
            commit_lsn: Lsn::INVALID,
            pageserver_lsn: Lsn::INVALID,
            safekeepers: Vec::new(),
        });
        let closing = CancellationToken::new();
        let peer = |member: &Member| Peer::new(member, &closing);
        let owner = Owner {
            proposer,
            identity,
            reach,
            base_lsn: Lsn::INVALID,
            peers: configuration.all_members().into_iter().map(|member| (member.id, peer(member))).collect(),
            closing,
            tasks: JoinSet::new(),
            inputs,
            received,
            wal: None,
            positions: watch::Sender::default(),
            standbys: Standbys::default(),
            standbys_need: watch::Sender::default(),
            ticks: BTreeMap::new(),
            status,
            established: Some(established),
        };
        (owner, watcher)
    }

    pub async fn run(mut self, mut commands: mpsc::Receiver<Command>) -> Result<Exit, WalproposerError> {
        let all: Vec<NodeId> = self.peers.keys().copied().collect();
        for node in all {
            self.connect_to(node)?;
        }
        let mut tick = tokio::time::interval(TICK);
        let mut show = tokio::time::interval(STATUS_INTERVAL);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        show.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut campaign = FIRST_CAMPAIGN;
        let mut campaign_ends = ends(campaign);
        loop {
            let done = tokio::select! {
                Some(input) = self.received.recv() => self.input(input)?,
                Some(input) = next_wal(&mut self.wal), if self.proposer.wants_wal() => match input {
                    PostgresInput::Wal { begin, wal } => self.step(ProposerEvent::WalReceived { begin, wal })?,
                    PostgresInput::Ended(outcome) => {
                        outcome?;
                        self.say_farewell().await;
                        Some(Exit::PostgresStopped { commit_lsn: self.proposer.commit_lsn() })
                    }
                },
                Some(Command::Stream(socket)) = commands.recv() => {
                    self.stream(socket);
                    None
                }
                _ = tick.tick() => {
                    self.tell_what_standbys_need();
                    self.ticks.insert(self.proposer.tick() + 1, Moment::now());
                    if self.ticks.len() > TICKS {
                        self.ticks.pop_first();
                    }
                    self.step(ProposerEvent::Tick)?
                }
                _ = show.tick() => {
                    self.show_status();
                    None
                }
                () = tokio::time::sleep_until(campaign_ends), if self.established.is_some() => {
                    campaign = (campaign * 2).min(LONGEST_CAMPAIGN);
                    campaign_ends = ends(campaign);
                    self.step(ProposerEvent::CampaignAgain)?
                }
                // Finished fetches; links and the session with PostgreSQL say themselves when they end.
                Some(_) = self.tasks.join_next() => None,
            };
            if let Some(exit) = done {
                self.show_status();
                return Ok(exit);
            }
        }
    }

    fn connect_to(&mut self, node: NodeId) -> Result<(), WalproposerError> {
        let Some(peer) = self.peers.get(&node) else { return Ok(()) };
        let link = Link {
            member: peer.member.clone(),
            address: Address::parse(&peer.member.pg_connstr)?,
            reach: self.reach.clone(),
            admission: ADMISSION,
            inputs: self.inputs.clone(),
            closing: peer.closing.clone(),
        };
        self.tasks.spawn(link.run());
        Ok(())
    }

    /// Addresses of those who are known stay as the spec has them.
    fn reconfigure(&mut self, configuration: &Configuration) -> Result<(), WalproposerError> {
        tracing::info!(timeline = %self.reach.ttid, "goes on in configuration {configuration}");
        self.peers.retain(|node, peer| {
            let stays = configuration.contains(*node);
            if !stays {
                peer.closing.cancel();
            }
            stays
        });
        for member in configuration.all_members() {
            if !self.peers.contains_key(&member.id) {
                self.peers.insert(member.id, Peer::new(member, &self.closing));
                self.connect_to(member.id)?;
            }
        }
        Ok(())
    }

    /// What the pageserver has ingested. It gave the base backup of where PostgreSQL begins, so at least that; while all
    /// WAL is ingested, it need not be connected to any safekeeper that could tell.
    fn pageserver_lsn(&self) -> Lsn {
        self.proposer.pageserver_lsn().max(self.base_lsn)
    }

    fn stream(&mut self, socket: PgSocket) {
        self.base_lsn = self.proposer.received_lsn();
        let (inputs, wal) = mpsc::channel(WAL_QUEUE);
        self.wal = Some(wal);
        let postgres = Postgres {
            socket,
            system_id: self.identity.system_id,
            at: self.proposer.received_lsn(),
            streaming_since: None,
            positions: self.positions.subscribe(),
            standbys_need: self.standbys_need.subscribe(),
            inputs,
        };
        self.tasks.spawn(postgres.run());
    }

    fn input(&mut self, input: Input) -> Result<Option<Exit>, WalproposerError> {
        let event = match input {
            Input::Linked { node, messages } => {
                if let Some(peer) = self.peers.get_mut(&node) {
                    peer.messages = Some(messages);
                }
                ProposerEvent::Connected { node }
            }
            Input::Unlinked { node, reason } => {
                self.unlinked(node, reason);
                ProposerEvent::Disconnected { node }
            }
            // What still comes over a connection that was given up counts no more.
            Input::Heard { node, .. } if self.peers.get(&node).is_none_or(|peer| peer.messages.is_none()) => {
                return Ok(None);
            }
            Input::StandbysNeed { node, feedback } => {
                self.standbys.heard(node, feedback);
                self.tell_what_standbys_need();
                return Ok(None);
            }
            Input::Heard { node, message } => ProposerEvent::Message { node, message },
            Input::Fetched { node, fetch, begin, wal } => ProposerEvent::Fetched { node, fetch, begin, wal },
            Input::FetchFailed { node, fetch } => ProposerEvent::FetchFailed { node, fetch },
        };
        self.step(event)
    }

    /// Told once for each new reason, not at each attempt.
    fn unlinked(&mut self, node: NodeId, reason: String) {
        self.standbys.lost(node, std::time::Instant::now());
        let Some(peer) = self.peers.get_mut(&node) else { return };
        peer.messages = None;
        if peer.last_error.as_ref() != Some(&reason) {
            tracing::warn!(timeline = %self.reach.ttid, safekeeper = %node, "connection lost: {reason}");
            peer.last_error = Some(reason);
        }
    }

    fn tell_what_standbys_need(&mut self) {
        let need = self.standbys.need(std::time::Instant::now());
        self.standbys_need.send_if_modified(|told| std::mem::replace(told, need) != need);
    }

    fn step(&mut self, event: ProposerEvent) -> Result<Option<Exit>, WalproposerError> {
        let mut exit = None;
        for effect in self.proposer.step(event) {
            if let Some(reason) = self.carry_out(effect)? {
                exit = Some(reason);
            }
        }
        let confirmed = self.proposer.confirmed_tick();
        self.ticks.retain(|tick, _| *tick >= confirmed);
        let positions = Positions {
            commit_lsn: self.proposer.commit_lsn(),
            pageserver_lsn: self.pageserver_lsn(),
            followed: self.ticks.get(&confirmed).copied(),
        };
        self.positions.send_if_modified(|told| std::mem::replace(told, positions) != positions);
        Ok(exit)
    }

    fn carry_out(&mut self, effect: ProposerEffect) -> Result<Option<Exit>, WalproposerError> {
        let ttid = self.reach.ttid;
        match effect {
            ProposerEffect::Send { node, message } => {
                if let Some(messages) = self.peers.get(&node).and_then(|peer| peer.messages.as_ref()) {
                    // If the connection has just ended, the news of it is on its way.
                    let _ = messages.send(message);
                }
            }
            ProposerEffect::Disconnect { node, reason } => {
                self.unlinked(node, reason);
                self.proposer.step(ProposerEvent::Disconnected { node });
            }
            ProposerEffect::Fetch { node, fetch, source, term, begin, end } => {
                tracing::info!(timeline = %ttid, safekeeper = %node, %begin, %end, "WAL for it from safekeeper {source}");
                self.fetch(node, fetch, source, term, begin, end)?;
            }
            ProposerEffect::Established { term, start_lsn } => {
                tracing::info!(timeline = %ttid, %term, lsn = %start_lsn, "term established");
                // Who begins now wants to know which safekeepers have acknowledged what.
                self.show_status();
                if let Some(established) = self.established.take() {
                    // Nobody waits any more if the compute was told to stop.
                    let _ = established.send((term, start_lsn));
                }
            }
            ProposerEffect::Committed { commit_lsn } => {
                tracing::trace!(timeline = %ttid, lsn = %commit_lsn, "committed");
            }
            ProposerEffect::Fenced { term } => {
                tracing::error!(timeline = %ttid, %term, "a newer compute has taken over");
                return Ok(Some(Exit::Fenced { term }));
            }
            ProposerEffect::Reconfigured { configuration } => self.reconfigure(&configuration)?,
        }
        Ok(None)
    }

    fn fetch(
        &mut self,
        node: NodeId,
        number: u64,
        source: NodeId,
        term: Term,
        begin: Lsn,
        end: Lsn,
    ) -> Result<(), WalproposerError> {
        let Some(peer) = self.peers.get(&source) else { return Ok(()) };
        let source = Address::parse(&peer.member.pg_connstr)?;
        let (reach, inputs) = (self.reach.clone(), self.inputs.clone());
        self.tasks.spawn(Fetch { node, number, source, reach, term, begin, end, inputs }.run());
        Ok(())
    }

    /// What was sent is delivered, so that the safekeepers know of everything that is committed.
    async fn say_farewell(&mut self) {
        self.closing.cancel();
        for peer in self.peers.values_mut() {
            peer.messages = None;
        }
        let drain = async {
            while self.peers.values().any(|peer| peer.last_error.as_deref() != Some(FAREWELL_REASON)) {
                match self.received.recv().await {
                    Some(Input::Unlinked { node, .. }) => {
                        if let Some(peer) = self.peers.get_mut(&node) {
                            peer.last_error = Some(FAREWELL_REASON.to_owned());
                        }
                    }
                    Some(_) => {}
                    None => return,
                }
            }
        };
        let _ = tokio::time::timeout(FAREWELL, drain).await;
    }

    fn show_status(&self) {
        let safekeepers = self.proposer.peers().filter_map(|(id, seen)| {
            let peer = self.peers.get(&id)?;
            let state = match (&peer.last_error, seen.stage) {
                (Some(error), Stage::Offline) => format!("{}: {error}", seen.stage),
                (_, Stage::Streaming) if seen.recovering => "recovering".to_owned(),
                (_, stage) => stage.to_string(),
            };
            let pg_connstr = peer.member.pg_connstr.clone();
            Some(SafekeeperPeerStatus { id, pg_connstr, state, flush_lsn: seen.flush_lsn })
        });
        let status = WalproposerStatus {
            received_lsn: self.proposer.received_lsn(),
            commit_lsn: self.proposer.commit_lsn(),
            pageserver_lsn: self.pageserver_lsn(),
            safekeepers: safekeepers.collect(),
        };
        self.status.send_if_modified(|shown| {
            let changed = *shown != status;
            *shown = status;
            changed
        });
    }
}

const FAREWELL_REASON: &str = "stopped";

/// Not in step with a competitor.
fn ends(campaign: Duration) -> Instant {
    Instant::now() + campaign.mul_f64(rand::random_range(1.0..2.0))
}

/// WAL, once PostgreSQL streams; until then nothing, for ever.
async fn next_wal(wal: &mut Option<mpsc::Receiver<PostgresInput>>) -> Option<PostgresInput> {
    match wal {
        Some(wal) => wal.recv().await,
        None => std::future::pending().await,
    }
}

//! [`Acceptor`]: one safekeeper's part in one timeline, as a state machine.
//!
//! How a daemon drives it (one owner task per timeline):
//! ```text
//! loop {
//!     message from a proposer's connection    → step(Event::Message) → carry out the effects, in order
//!     no more messages waiting (or batch full)→ step(Event::BatchEnd) → maybe Effect::FlushWal
//!     FlushWal carried out                    → step(Event::Flushed)  → replies that were waiting for it
//! }
//! ```
//! Order of durability: effects are carried out in the order given; one that fails stops the process.
//! An acknowledgement of WAL comes only out of [`Event::Flushed`], so it cannot precede the flush. What
//! must follow a persisted state says so in [`Durability`].

mod catch_up;
mod effects;
mod members;

use std::collections::BTreeMap;
use std::mem;

use serde::{Deserialize, Serialize};
use types::{Lsn, NodeId, Term};

pub use catch_up::PeerLog;
pub use effects::{ConnectionId, Durability, Effect, Event, PeerPosition, Refusal, RequestId};

use crate::history::TermHistory;
use crate::membership::{Configuration, MembershipGeneration};
use crate::message::{
    AcceptorGreeting, AcceptorMessage, AppendRequest, AppendResponse, Elected, ProposerGreeting,
    ProposerMessage, TimelineIdentity, VoteRequest, VoteResponse,
};
use crate::register::Slot;
use catch_up::Pull;

/// What an acceptor must remember over a crash: the control file's content, as far as consensus goes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AcceptorState {
    pub identity: TimelineIdentity,
    /// Decided. Its successor is not, as far as this acceptor knows.
    pub configuration: Configuration,
    /// What this acceptor has promised and accepted about the configuration after it.
    #[serde(default)]
    pub next_configuration: Slot<Configuration>,
    /// The highest term this acceptor has voted for or followed.
    pub term: Term,
    pub history: TermHistory,
    /// First byte of this timeline's own WAL.
    pub timeline_start_lsn: Lsn,
    /// May be older than what the acceptor knew before a crash; never newer than its WAL.
    pub commit_lsn: Lsn,
    /// Every member holds the WAL below; see [`AppendRequest::horizon_lsn`].
    pub horizon_lsn: Lsn,
}

impl AcceptorState {
    /// A timeline just created, with no WAL of its own yet.
    pub fn genesis(identity: TimelineIdentity, configuration: Configuration, start_lsn: Lsn) -> Self {
        Self {
            identity,
            configuration,
            next_configuration: Slot::default(),
            term: Term(0),
            history: TermHistory::genesis(start_lsn),
            timeline_start_lsn: start_lsn,
            commit_lsn: start_lsn,
            horizon_lsn: start_lsn,
        }
    }

    /// Of one that is to come in and takes over what is committed elsewhere. It is part of every later log, so whoever
    /// has it has promised nothing.
    pub fn with_committed(self, history: &TermHistory, commit_lsn: Lsn) -> Self {
        let history = history.up_to(commit_lsn);
        Self { term: history.last().term, history, commit_lsn, ..self }
    }
}

/// This acceptor promised WAL that it does not have: it must not take part until it was made anew.
#[derive(Clone, Copy, Debug, thiserror::Error, PartialEq, Eq)]
#[error(
    "WAL is there up to {flush_lsn}, but was committed up to {commit_lsn} (timeline start {timeline_start_lsn})"
)]
pub struct MissingWal {
    pub commit_lsn: Lsn,
    pub flush_lsn: Lsn,
    pub timeline_start_lsn: Lsn,
}

/// See the head of this module.
#[derive(Clone, Debug)]
pub struct Acceptor {
    node_id: NodeId,
    state: AcceptorState,
    /// End of the WAL given out with [`Effect::WriteWal`]; the next append begins exactly here.
    write_lsn: Lsn,
    /// End of the last complete record that is durable.
    flush_lsn: Lsn,
    /// Everything below is durable, records complete or not.
    durable_lsn: Lsn,
    /// Rises with every truncation, so that news of an older flush is not taken for one of this log.
    log_version: u64,
    /// The highest commit LSN the proposer of this term has told; counts as far as WAL is flushed.
    proposer_commit_lsn: Lsn,
    pageserver_lsn: Lsn,
    /// What the other members published last. Forgotten in a crash, and published again.
    peers: BTreeMap<NodeId, PeerPosition>,
    /// WAL that comes from another acceptor. Whoever leads here brings its own.
    pull: Option<Pull>,
    /// The connection that leads this term here; its appends are acknowledged to it.
    leader: Option<ConnectionId>,
    /// The highest tick of the leader of this term.
    tick: u64,
    /// The leader waits for an acknowledgement at the next flush.
    acknowledgement_due: bool,
    /// Votes wait until all WAL written before is flushed: it is part of what the vote speaks for.
    votes_due: Vec<(ConnectionId, VoteRequest)>,
}

impl Acceptor {
    /// `flush_lsn` is the end of the last complete record found on disk, flushed by the caller before this
    /// call, with everything behind it cleared. For a new timeline it is the timeline's start.
    pub fn new(node_id: NodeId, state: AcceptorState, flush_lsn: Lsn) -> Result<Self, MissingWal> {
        // A commit LSN is written down only after its WAL, so it is never ahead of the log unless WAL was lost.
        let commit_lsn = state.commit_lsn;
        if commit_lsn > flush_lsn || commit_lsn < state.timeline_start_lsn {
            return Err(MissingWal { commit_lsn, flush_lsn, timeline_start_lsn: state.timeline_start_lsn });
        }
        Ok(Self {
            node_id,
            state,
            write_lsn: flush_lsn,
            flush_lsn,
            durable_lsn: flush_lsn,
            log_version: 0,
            proposer_commit_lsn: commit_lsn,
            pageserver_lsn: Lsn::INVALID,
            peers: BTreeMap::new(),
            pull: None,
            leader: None,
            tick: 0,
            acknowledgement_due: false,
            votes_due: Vec::new(),
        })
    }

    pub fn state(&self) -> &AcceptorState {
        &self.state
    }

    pub fn term(&self) -> Term {
        self.state.term
    }

    /// Term of the last log entry, the empty ones included.
    pub fn last_log_term(&self) -> Term {
        self.state.history.last_log_term(self.flush_lsn)
    }

    pub fn write_lsn(&self) -> Lsn {
        self.write_lsn
    }

    pub fn flush_lsn(&self) -> Lsn {
        self.flush_lsn
    }

    /// Everything below is durable, the part of an unfinished record included.
    pub fn durable_lsn(&self) -> Lsn {
        self.durable_lsn
    }

    pub fn commit_lsn(&self) -> Lsn {
        self.state.commit_lsn
    }

    /// The connection whose proposer leads the term here, if it is still connected.
    pub fn leader(&self) -> Option<ConnectionId> {
        self.leader
    }

    /// The next state and what has to be done about it, in order.
    pub fn step(&mut self, event: Event) -> Vec<Effect> {
        let before = (self.state.term, self.state.commit_lsn, self.flush_lsn, self.log_version);
        let mut effects = Vec::new();
        match event {
            Event::Message { from, message } => match self.message(from, message, &mut effects) {
                Ok(()) => {}
                Err(refusal) => effects.push(Effect::Refuse { to: from, refusal }),
            },
            Event::BatchEnd => self.flush_if_needed(&mut effects),
            Event::Flushed { log_version, durable_lsn, record_end } => {
                if log_version == self.log_version {
                    self.flushed(durable_lsn, record_end, &mut effects);
                }
            }
            Event::Disconnected { connection } => self.disconnected(connection),
            Event::PeerPosition { node, position } => self.peer_position(node, position, &mut effects),
            Event::PeerLog { node, number, log } => {
                if let Err(refusal) = self.peer_log(node, number, log, &mut effects) {
                    effects.push(Effect::Distrust { node, refusal });
                }
            }
            Event::PulledWal { pull, begin, wal } => self.pulled_wal(pull, begin, wal, &mut effects),
            Event::Membership { from, request } => self.membership_request(from, request, &mut effects),
            Event::PageserverPosition { ingested_lsn } => {
                self.pageserver_position(ingested_lsn, &mut effects)
            }
        }
        self.check_invariants(before);
        effects
    }

    fn message(
        &mut self,
        from: ConnectionId,
        message: ProposerMessage,
        effects: &mut Vec<Effect>,
    ) -> Result<(), Refusal> {
        match message {
            ProposerMessage::Greeting(greeting) => self.greeting(from, greeting, effects),
            ProposerMessage::VoteRequest(request) => self.vote_request(from, request, effects),
            ProposerMessage::Elected(elected) => self.elected(from, elected, effects),
            ProposerMessage::AppendRequest(request) => self.append_request(from, request, effects),
        }
    }

    /// A newer configuration is taken over: proposers know only such as were decided. An older one is not refused
    /// here: the answer shows the proposer the newer one, also if this node is no longer in it.
    fn greeting(
        &mut self,
        from: ConnectionId,
        greeting: ProposerGreeting,
        effects: &mut Vec<Effect>,
    ) -> Result<(), Refusal> {
        if greeting.identity != self.state.identity {
            return Err(Refusal::OtherTimeline {
                theirs: Box::new(greeting.identity),
                ours: Box::new(self.state.identity),
            });
        }
        let theirs = greeting.configuration.generation;
        let mut after = Durability::Nothing;
        if theirs > self.state.configuration.generation {
            greeting.configuration.validate().map_err(Refusal::BadConfiguration)?;
            self.adopt(greeting.configuration);
            effects.push(Effect::PersistState(Box::new(self.state.clone())));
            after = Durability::StatePersisted;
        }
        if theirs == self.state.configuration.generation {
            self.check_member()?;
        }
        let answer = AcceptorGreeting {
            node_id: self.node_id,
            configuration: self.state.configuration.clone(),
            term: self.state.term,
        };
        effects.push(Effect::Reply { to: from, message: AcceptorMessage::Greeting(answer), after });
        Ok(())
    }

    /// Whoever takes part must be a member, and speak of the same set of members.
    fn check_generation(&self, theirs: MembershipGeneration) -> Result<(), Refusal> {
        let ours = self.state.configuration.generation;
        if theirs != ours {
            return Err(Refusal::OtherGeneration { theirs, ours });
        }
        self.check_member()
    }

    fn check_member(&self) -> Result<(), Refusal> {
        if self.state.configuration.contains(self.node_id) {
            return Ok(());
        }
        Err(Refusal::NotAMember { generation: self.state.configuration.generation })
    }

    fn vote_request(
        &mut self,
        from: ConnectionId,
        request: VoteRequest,
        effects: &mut Vec<Effect>,
    ) -> Result<(), Refusal> {
        self.check_generation(request.generation)?;
        if self.durable_lsn == self.write_lsn {
            self.vote(from, request, effects);
        } else {
            self.votes_due.push((from, request));
            effects.push(Effect::FlushWal { log_version: self.log_version });
        }
        Ok(())
    }

    /// All WAL is flushed. A vote is given once per term: to the first who asks with a higher one.
    fn vote(&mut self, from: ConnectionId, request: VoteRequest, effects: &mut Vec<Effect>) {
        let vote_given = request.term > self.state.term;
        if vote_given {
            self.follow(request.term);
            effects.push(Effect::PersistState(Box::new(self.state.clone())));
        }
        let response = VoteResponse {
            generation: self.state.configuration.generation,
            term: self.state.term,
            vote_given,
            flush_lsn: self.flush_lsn,
            commit_lsn: self.state.commit_lsn,
            history: self.state.history.up_to(self.flush_lsn),
        };
        // Also a "no" may speak of a term that this very batch has persisted, so it never overtakes that.
        let after = Durability::StatePersisted;
        effects.push(Effect::Reply { to: from, message: AcceptorMessage::VoteResponse(response), after });
    }

    /// Enters a higher term: whoever led the lower one leads no more.
    fn follow(&mut self, term: Term) {
        self.state.term = term;
        self.leader = None;
        self.tick = 0;
        self.pull = None;
        self.acknowledgement_due = false;
    }

    fn elected(
        &mut self,
        from: ConnectionId,
        elected: Elected,
        effects: &mut Vec<Effect>,
    ) -> Result<(), Refusal> {
        self.check_generation(elected.generation)?;
        if elected.term < self.state.term {
            // The answer carries our term, which tells the old proposer that it is fenced.
            self.reply_with_positions(from, Durability::StatePersisted, effects);
            return Ok(());
        }
        if elected.history.last().term != elected.term {
            return Err(Refusal::HistoryOfOtherTerm {
                term: elected.term,
                history_ends_in: elected.history.last().term,
            });
        }
        let common = elected
            .history
            .highest_common_point(&self.state.history, self.flush_lsn)
            .map_err(Refusal::HistoryMismatch)?;
        if common != elected.start_streaming_at {
            return Err(Refusal::OtherStart { theirs: elected.start_streaming_at, ours: common });
        }
        if common < self.state.commit_lsn {
            return Err(Refusal::WouldTruncateCommitted { start: common, commit_lsn: self.state.commit_lsn });
        }
        if elected.term > self.state.term {
            self.follow(elected.term);
        }
        // Truncate, then persist: a crash in between leaves a shorter log under its old, still true history.
        if common < self.write_lsn {
            self.truncate(common, effects);
        }
        self.state.history = elected.history;
        self.proposer_commit_lsn = self.state.commit_lsn;
        self.leads(from);
        effects.push(Effect::PersistState(Box::new(self.state.clone())));
        // The acknowledgement of the empty entry, if the log already reaches it.
        self.reply_with_positions(from, Durability::StatePersisted, effects);
        Ok(())
    }

    fn leads(&mut self, connection: ConnectionId) {
        self.leader = Some(connection);
        self.pull = None;
    }

    fn truncate(&mut self, to: Lsn, effects: &mut Vec<Effect>) {
        self.write_lsn = to;
        self.durable_lsn = self.durable_lsn.min(to);
        self.flush_lsn = self.flush_lsn.min(to);
        self.log_version += 1;
        self.acknowledgement_due = false;
        effects.push(Effect::TruncateWal { to });
        // What was waiting for a flush of the cut tail has nothing left to wait for.
        if self.durable_lsn == self.write_lsn {
            self.votes_after_flush(effects);
        }
    }

    fn append_request(
        &mut self,
        from: ConnectionId,
        request: AppendRequest,
        effects: &mut Vec<Effect>,
    ) -> Result<(), Refusal> {
        self.check_generation(request.generation)?;
        if request.term < self.state.term {
            self.reply_with_positions(from, Durability::StatePersisted, effects);
            return Ok(());
        }
        if request.term > self.state.term || self.state.history.last().term != request.term {
            return Err(Refusal::AppendBeforeElected { term: request.term, ours: self.state.term });
        }
        if request.begin_lsn.0.checked_add(request.wal.len() as u64).is_none() {
            return Err(Refusal::NotContiguous { begin: request.begin_lsn, write_lsn: self.write_lsn });
        }
        self.leads(from);
        self.tick = self.tick.max(request.tick);
        if !request.wal.is_empty() {
            if request.begin_lsn != self.write_lsn {
                return Err(Refusal::NotContiguous { begin: request.begin_lsn, write_lsn: self.write_lsn });
            }
            self.write_lsn = request.end_lsn();
            self.acknowledgement_due = true;
            effects.push(Effect::WriteWal { begin: request.begin_lsn, wal: request.wal });
        }
        self.proposer_commit_lsn = self.proposer_commit_lsn.max(request.commit_lsn);
        self.state.horizon_lsn = self.state.horizon_lsn.max(request.horizon_lsn.min(self.flush_lsn));
        self.advance_commit(self.proposer_commit_lsn, effects);
        if !self.acknowledgement_due {
            self.reply_with_positions(from, Durability::Nothing, effects);
        }
        Ok(())
    }

    fn flush_if_needed(&mut self, effects: &mut Vec<Effect>) {
        if self.durable_lsn < self.write_lsn {
            effects.push(Effect::FlushWal { log_version: self.log_version });
        }
    }

    /// `record_end` is what the caller found in the bytes; what counts as flushed is decided here.
    fn flushed(&mut self, durable_lsn: Lsn, record_end: Lsn, effects: &mut Vec<Effect>) {
        debug_assert!(
            durable_lsn <= self.write_lsn,
            "flushed {durable_lsn}, written only {}",
            self.write_lsn
        );
        let durable_lsn = durable_lsn.min(self.write_lsn);
        self.durable_lsn = self.durable_lsn.max(durable_lsn);
        if record_end <= self.durable_lsn {
            self.flush_lsn = self.flush_lsn.max(record_end);
        }
        // Only the leader of this term tells commit LSNs of this log, so what it told may count now.
        self.advance_commit(self.proposer_commit_lsn, effects);
        let complete = self.durable_lsn == self.write_lsn;
        if self.acknowledgement_due {
            self.acknowledgement_due = !complete;
            if let Some(leader) = self.leader {
                self.reply_with_positions(leader, Durability::WalFlushed, effects);
            }
        }
        if complete {
            self.votes_after_flush(effects);
        }
    }

    fn votes_after_flush(&mut self, effects: &mut Vec<Effect>) {
        for (from, request) in mem::take(&mut self.votes_due) {
            self.vote(from, request, effects);
        }
    }

    fn disconnected(&mut self, connection: ConnectionId) {
        if self.leader == Some(connection) {
            self.leader = None;
        }
        self.votes_due.retain(|(from, _)| *from != connection);
    }

    fn pageserver_position(&mut self, ingested_lsn: Lsn, effects: &mut Vec<Effect>) {
        if ingested_lsn <= self.pageserver_lsn {
            return;
        }
        self.pageserver_lsn = ingested_lsn;
        // If an acknowledgement is on its way, it carries the news.
        if let Some(leader) = self.leader.filter(|_| !self.acknowledgement_due) {
            self.reply_with_positions(leader, Durability::Nothing, effects);
        }
    }

    fn peer_position(&mut self, node: NodeId, position: PeerPosition, effects: &mut Vec<Effect>) {
        // Same last term, same writer: the peer's committed WAL is a prefix of what this log is part of.
        if position.last_log_term == self.last_log_term() {
            self.advance_commit(position.commit_lsn, effects);
        }
        self.peers.insert(node, position);
        self.commit_what_a_quorum_holds(effects);
    }

    /// A proposer may die before it has told what is committed, and acceptors forget what they were told last.
    /// What a quorum has accepted from the proposer of one term, from its X on, is committed all the same: who
    /// is elected after that finds it.
    fn commit_what_a_quorum_holds(&mut self, effects: &mut Vec<Effect>) {
        let term = self.state.history.last().term;
        // One in a higher term than its log's may be on its way to that term's X, with older WAL. Also this one: it may
        // have had the WAL before it was a member, while others elected the proposer of the higher term without it.
        if self.last_log_term() != term || self.state.term != term {
            return;
        }
        // One in another configuration may count towards another quorum only.
        let generation = self.state.configuration.generation;
        let same = |peer: &PeerPosition| {
            peer.term == term && peer.last_log_term == term && peer.generation == generation
        };
        let accepted = |id| match self.peers.get(&id) {
            _ if id == self.node_id => self.flush_lsn,
            Some(peer) if same(peer) => peer.flush_lsn,
            Some(_) | None => Lsn::INVALID,
        };
        let commit_lsn = self.state.configuration.quorum().lsn(accepted);
        self.advance_commit(commit_lsn, effects);
    }

    fn advance_commit(&mut self, candidate: Lsn, effects: &mut Vec<Effect>) {
        let commit_lsn = candidate.min(self.flush_lsn);
        if commit_lsn <= self.state.commit_lsn {
            return;
        }
        let crossed = self.state.history.last().lsn;
        let was = mem::replace(&mut self.state.commit_lsn, commit_lsn);
        // Once a term's beginning is committed, say so durably: a restart then need not look further back.
        if was < crossed && commit_lsn >= crossed {
            effects.push(Effect::PersistState(Box::new(self.state.clone())));
        }
        effects.push(Effect::CommitAdvanced { commit_lsn });
    }

    /// Before it has heard of this term's election it holds nothing of what the leader counts.
    fn reply_with_positions(&self, to: ConnectionId, after: Durability, effects: &mut Vec<Effect>) {
        let has_followed = self.state.history.last().term == self.state.term;
        let held = |lsn| if has_followed { lsn } else { Lsn::INVALID };
        let response = AppendResponse {
            generation: self.state.configuration.generation,
            term: self.state.term,
            flush_lsn: held(self.flush_lsn),
            durable_lsn: held(self.durable_lsn),
            commit_lsn: self.state.commit_lsn,
            pageserver_lsn: self.pageserver_lsn,
            tick: self.tick,
        };
        effects.push(Effect::Reply { to, message: AcceptorMessage::AppendResponse(response), after });
    }

    fn check_invariants(&self, before: (Term, Lsn, Lsn, u64)) {
        let (term, commit_lsn, flush_lsn, log_version) = before;
        debug_assert!(self.state.term >= term, "the term fell");
        debug_assert!(self.state.commit_lsn >= commit_lsn, "the commit LSN moved back");
        debug_assert!(self.flush_lsn >= flush_lsn || self.log_version > log_version, "flushed WAL vanished");
        debug_assert!(self.state.timeline_start_lsn <= self.state.commit_lsn);
        debug_assert!(self.state.commit_lsn <= self.flush_lsn, "commit LSN beyond the flushed WAL");
        debug_assert!(self.flush_lsn <= self.durable_lsn && self.durable_lsn <= self.write_lsn);
        debug_assert!(self.state.history.last().term <= self.state.term, "a history from the future");
        debug_assert!(self.state.history.first().lsn == self.state.timeline_start_lsn);
    }
}

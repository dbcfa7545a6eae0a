//! [`Proposer`]: one compute's claim to a timeline, as a state machine.
//!
//! ```text
//! Greeting ──all greeted──▶ Campaign(term) ──quorum of votes──▶ Leading(term, X) ──higher term seen──▶ Over
//!          or a quorum,        ▲    │ too long,                      │
//!          after a while       └────┘ next term ◀──── higher term ───┘ not yet established
//! ```
//! It waits a while for all because one acceptor that has followed a higher term, of a proposer that got no
//! further, would fence the winner when it turns up after the election.
//!
//! It hears of a newer configuration in a greeting. An established leader goes on in it with its term and its WAL: no
//! other can have won that term. Anybody else begins again. Until the new quorum has acknowledged what is committed
//! and more, the commit LSN stands.
//!
//! While leading, each acceptor is brought to X and beyond by the same stream of appends: what is no longer
//! in memory is fetched from another acceptor. A quorum at X makes the term established, which is when
//! PostgreSQL may start. If nobody who has the WAL up to X can be read, it campaigns again, and wins without them if the
//! others are a quorum: what only they have was never committed.

mod effects;
mod peer;
mod window;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use types::{Lsn, NodeId, Term};

pub use effects::{Effect, Event};
pub use peer::{PeerStatus, Stage};

use crate::history::TermHistory;
use crate::membership::{Configuration, Quorum};
use crate::message::{
    AcceptorGreeting, AcceptorMessage, AppendRequest, AppendResponse, Elected, ProposerGreeting,
    ProposerMessage, TimelineIdentity, VoteRequest, VoteResponse,
};
use peer::{Fetching, Peer};
use window::Window;

/// WAL sent to one acceptor that it has not yet said to be durable.
const MAX_IN_FLIGHT: u64 = 16 << 20;
/// WAL kept in memory, beyond what the protocol cannot do without (see [`Proposer::wants_wal`]).
const WINDOW_BYTES: u64 = 64 << 20;
/// One fetch from another acceptor.
const FETCH_BYTES: u64 = 16 << 20;
/// Fetches that may fail before a source is given up, while the term is not established.
const MOST_FAILURES: u32 = 2;
/// Campaigns without those who were given up, before it is tried with them again. More than one: the time for a campaign may
/// be about to run out when the first begins.
const PASSED_OVER: u32 = 2;

#[derive(Clone, Debug, PartialEq, Eq)]
enum Phase {
    Greeting,
    Campaign { term: Term },
    Leading { term: Term, start_lsn: Lsn, history: TermHistory },
    Over,
}

/// See the head of this module.
#[derive(Clone, Debug)]
pub struct Proposer {
    identity: TimelineIdentity,
    configuration: Configuration,
    quorum: Quorum,
    phase: Phase,
    /// The last term that its compute led before, if it did: nobody may have come since.
    succeeds: Option<Term>,
    /// The same, or the term that this proposer has campaigned for last.
    last_own_term: Option<Term>,
    /// Terms in which this proposer was elected.
    led: BTreeSet<Term>,
    peers: BTreeMap<NodeId, Peer>,
    window: Window,
    /// Zero until the term is established.
    commit_lsn: Lsn,
    horizon_lsn: Lsn,
    tick: u64,
    confirmed_tick: u64,
    /// How many fetches there were: the number of the last one.
    fetches: u64,
}

impl Proposer {
    pub fn new(identity: TimelineIdentity, configuration: Configuration) -> Self {
        let peers =
            configuration.all_members().into_iter().map(|member| (member.id, Peer::default())).collect();
        let quorum = configuration.quorum();
        Self {
            identity,
            configuration,
            quorum,
            phase: Phase::Greeting,
            succeeds: None,
            last_own_term: None,
            led: BTreeSet::new(),
            peers,
            window: Window::empty_at(Lsn::INVALID),
            commit_lsn: Lsn::INVALID,
            horizon_lsn: Lsn::INVALID,
            tick: 0,
            confirmed_tick: 0,
            fetches: 0,
        }
    }

    /// For a compute that led `term` before: it goes on only if no other has had a term since, until it leads itself. Whoever
    /// has was voted for by a quorum, and each quorum that greets has one of those voters in it: a higher term tells, or, if it is one
    /// that this proposer campaigns for as well, the voter's history.
    pub fn succeeding(mut self, term: Term) -> Self {
        self.succeeds = Some(term);
        self.last_own_term = Some(term);
        self
    }

    /// The term it campaigns for or leads.
    pub fn term(&self) -> Option<Term> {
        match &self.phase {
            Phase::Campaign { term } | Phase::Leading { term, .. } => Some(*term),
            Phase::Greeting | Phase::Over => None,
        }
    }

    pub fn configuration(&self) -> &Configuration {
        &self.configuration
    }

    pub fn commit_lsn(&self) -> Lsn {
        self.commit_lsn
    }

    /// End of the WAL that came from PostgreSQL.
    pub fn received_lsn(&self) -> Lsn {
        self.window.end()
    }

    /// The furthest that any acceptor has heard the pageserver to be.
    pub fn pageserver_lsn(&self) -> Lsn {
        self.peers.values().map(|peer| peer.pageserver_lsn).max().unwrap_or(Lsn::INVALID)
    }

    /// How often [`Event::Tick`] has come.
    pub fn tick(&self) -> u64 {
        self.tick
    }

    /// The last tick after which a quorum still followed: whoever has taken over did so later. Zero if there is none.
    pub fn confirmed_tick(&self) -> u64 {
        self.confirmed_tick
    }

    pub fn peers(&self) -> impl Iterator<Item = (NodeId, PeerStatus)> + '_ {
        self.peers.iter().map(|(id, peer)| (*id, peer.status()))
    }

    /// Whether more WAL may be handed over. Uncommitted WAL is never dropped, so PostgreSQL has to wait
    /// while a quorum lags. A record longer than the window must still get through: what a quorum has on
    /// disk does not count, although its record is incomplete and so not committed.
    pub fn wants_wal(&self) -> bool {
        let on_disk = self.quorum.lsn(|id| self.peers.get(&id).map_or(Lsn::INVALID, |peer| peer.durable_lsn));
        self.window.end().saturating_distance(on_disk.max(self.window.start())) < WINDOW_BYTES
    }

    pub fn step(&mut self, event: Event) -> Vec<Effect> {
        let commit_before = self.commit_lsn;
        let mut effects = Vec::new();
        if self.phase != Phase::Over {
            self.handle(event, &mut effects);
        }
        self.check_invariants(commit_before);
        effects
    }

    fn handle(&mut self, event: Event, effects: &mut Vec<Effect>) {
        match event {
            Event::Connected { node } => self.connected(node, effects),
            Event::Disconnected { node } => {
                if let Some(peer) = self.peers.get_mut(&node) {
                    peer.disconnected();
                }
            }
            Event::Message { node, message } => self.message(node, message, effects),
            Event::CampaignAgain => match self.phase {
                // A higher term would fence whoever has won this one, as the answers may tell.
                Phase::Campaign { .. } if self.succeeds.is_some() && !self.has_answers() => {}
                Phase::Greeting | Phase::Campaign { .. } => {
                    for peer in self.peers.values_mut() {
                        peer.passed_over = peer.passed_over.saturating_sub(1);
                    }
                    self.campaign_if_greeted(effects);
                }
                Phase::Leading { term, start_lsn, .. } if self.has_lost_the_donor(start_lsn) => {
                    self.step_down(term);
                    self.campaign_if_greeted(effects);
                }
                Phase::Leading { .. } | Phase::Over => {}
            },
            Event::WalReceived { begin, wal } => {
                debug_assert_eq!(begin, self.window.end(), "WAL must follow what came before");
                if begin == self.window.end() {
                    self.window.push(wal);
                    self.pump_all(effects);
                }
            }
            Event::Fetched { node, fetch, begin, wal } => self.fetched(node, fetch, begin, wal, effects),
            Event::FetchFailed { node, fetch } => self.fetch_failed(node, fetch, effects),
            Event::Tick => self.ticked(effects),
        }
    }

    fn connected(&mut self, node: NodeId, effects: &mut Vec<Effect>) {
        for peer in self.peers.values_mut() {
            peer.failed_sources.remove(&node);
        }
        let Some(peer) = self.peers.get_mut(&node) else { return };
        peer.disconnected();
        peer.stage = Stage::Greeting;
        let greeting =
            ProposerGreeting { identity: self.identity, configuration: self.configuration.clone() };
        effects.push(Effect::Send { node, message: ProposerMessage::Greeting(greeting) });
    }

    /// What was voted and acknowledged in the old configuration counts no more: all are greeted in the new one.
    fn reconfigure(&mut self, configuration: Configuration, effects: &mut Vec<Effect>) {
        let is_established = self.commit_lsn.is_valid();
        let mut peers: BTreeMap<NodeId, Peer> = BTreeMap::new();
        for member in configuration.all_members() {
            let mut peer = self.peers.remove(&member.id).unwrap_or_default();
            peer.vote = None;
            peer.acknowledged_lsn = Lsn::INVALID;
            peer.durable_lsn = Lsn::INVALID;
            peer.next_lsn = Lsn::INVALID;
            peer.tick = 0;
            peer.passed_over = 0;
            peers.insert(member.id, peer);
        }
        self.peers = peers;
        self.quorum = configuration.quorum();
        self.configuration = configuration.clone();
        // Those who come in lack WAL that all others have.
        self.horizon_lsn = Lsn::INVALID;
        if !is_established {
            self.phase = Phase::Greeting;
        }
        effects.push(Effect::Reconfigured { configuration: Box::new(configuration) });
        for node in self.nodes(|peer| peer.stage != Stage::Offline) {
            self.connected(node, effects);
        }
    }

    fn message(&mut self, node: NodeId, message: AcceptorMessage, effects: &mut Vec<Effect>) {
        if !self.peers.contains_key(&node) {
            return;
        }
        if let Phase::Leading { term, .. } = self.phase
            && message.term() > term
        {
            if self.commit_lsn.is_valid() {
                // A leader that sees a higher term leads no more, whatever the message is.
                return self.fenced(message.term(), effects);
            }
            self.step_down(term);
        }
        match message {
            AcceptorMessage::Greeting(greeting) => self.greeting(node, greeting, effects),
            AcceptorMessage::VoteResponse(response) => self.vote_response(node, response, effects),
            AcceptorMessage::AppendResponse(response) => self.append_response(node, response, effects),
        }
    }

    fn fenced(&mut self, term: Term, effects: &mut Vec<Effect>) {
        self.phase = Phase::Over;
        effects.push(Effect::Fenced { term });
    }

    /// Nobody who is there has the WAL up to X, and without it the term cannot be established. What only the
    /// donor has was never committed: a quorum without it may elect from what it has itself.
    fn has_lost_the_donor(&self, start_lsn: Lsn) -> bool {
        let has_all = |peer: &Peer| peer.stage == Stage::Streaming && peer.acknowledged_lsn >= start_lsn;
        !self.commit_lsn.is_valid() && !self.peers.values().any(has_all)
    }

    /// Nothing was promised to anybody in this term yet: the next campaign may try a higher one.
    fn step_down(&mut self, term: Term) {
        self.phase = Phase::Campaign { term };
        for peer in self.peers.values_mut() {
            // A vote that was left over must not help to win the same term once more, with another history.
            peer.vote = None;
            if peer.stage == Stage::Streaming {
                peer.stage = Stage::Voted;
            }
            peer.fetching = None;
        }
    }

    fn greeting(&mut self, node: NodeId, greeting: AcceptorGreeting, effects: &mut Vec<Effect>) {
        let ours = self.configuration.generation;
        let theirs = greeting.configuration.generation;
        if theirs > ours {
            self.reconfigure(greeting.configuration, effects);
            return;
        }
        let Some(peer) = self.peers.get_mut(&node) else { return };
        if peer.stage != Stage::Greeting {
            return;
        }
        if greeting.node_id != node || theirs < ours {
            let reason = match greeting.node_id == node {
                false => format!("expected safekeeper {node}, found safekeeper {}", greeting.node_id),
                true => format!("it is still in configuration {}, not {}", theirs.0, ours.0),
            };
            effects.push(Effect::Disconnect { node, reason });
            return;
        }
        peer.stage = Stage::Greeted;
        peer.term = peer.term.max(greeting.term);
        match &self.phase {
            Phase::Greeting => {
                if self.peers.values().all(|peer| peer.stage.has_greeted()) {
                    self.campaign_if_greeted(effects);
                }
            }
            Phase::Campaign { term } | Phase::Leading { term, .. } => self.ask_for_vote(node, *term, effects),
            Phase::Over => {}
        }
    }

    /// Starts a campaign in a term higher than all that were heard of, once a quorum was heard.
    fn campaign_if_greeted(&mut self, effects: &mut Vec<Effect>) {
        let greeted = |id| self.peers.get(&id).is_some_and(|peer| peer.stage.has_greeted());
        if !self.quorum.reached(greeted) {
            return;
        }
        let heard = self.peers.values().map(|peer| peer.term).max().unwrap_or_default();
        if self.last_own_term.is_some_and(|last| heard > last) {
            return self.fenced(heard, effects);
        }
        let term = Term(heard.max(self.term().unwrap_or_default()).0 + 1);
        self.phase = Phase::Campaign { term };
        self.last_own_term = self.last_own_term.map(|_| term);
        for peer in self.peers.values_mut() {
            peer.vote = None;
        }
        let nodes: Vec<NodeId> = self.nodes(|peer| peer.stage.has_greeted());
        for node in nodes {
            self.ask_for_vote(node, term, effects);
        }
    }

    /// Whether a quorum has answered the question for its vote.
    fn has_answers(&self) -> bool {
        self.quorum.reached(|id| self.peers.get(&id).is_some_and(|peer| peer.stage == Stage::Voted))
    }

    /// Also asked by a leader: the answer tells where the acceptor's log ends.
    fn ask_for_vote(&mut self, node: NodeId, term: Term, effects: &mut Vec<Effect>) {
        if let Some(peer) = self.peers.get_mut(&node) {
            peer.stage = Stage::Voting;
            let request = VoteRequest { generation: self.configuration.generation, term };
            effects.push(Effect::Send { node, message: ProposerMessage::VoteRequest(request) });
        }
    }

    fn vote_response(&mut self, node: NodeId, response: VoteResponse, effects: &mut Vec<Effect>) {
        let ours = self.configuration.generation;
        let Some(peer) = self.peers.get_mut(&node) else { return };
        peer.term = peer.term.max(response.term);
        let last = response.history.last().term;
        if self.succeeds.is_some_and(|succeeded| last > succeeded)
            && !self.commit_lsn.is_valid()
            && !self.led.contains(&last)
        {
            return self.fenced(last, effects);
        }
        if response.generation != ours || peer.stage != Stage::Voting {
            return;
        }
        match &self.phase {
            Phase::Campaign { term } if response.term == *term => {
                peer.stage = Stage::Voted;
                if response.vote_given {
                    peer.vote = Some(response);
                    self.lead_if_elected(effects);
                }
            }
            // Somebody else campaigns with a higher term. The next campaign goes higher still.
            Phase::Campaign { term } if response.term > *term => peer.stage = Stage::Voted,
            Phase::Leading { term, .. } if response.term == *term => {
                self.send_elected(node, &response, effects)
            }
            // An answer to a campaign that is over.
            Phase::Campaign { .. } | Phase::Leading { .. } | Phase::Greeting | Phase::Over => {}
        }
    }

    fn lead_if_elected(&mut self, effects: &mut Vec<Effect>) {
        let Phase::Campaign { term } = self.phase else { return };
        let counts = |peer: &&Peer| peer.vote.is_some() && peer.passed_over == 0;
        if !self.quorum.reached(|id| self.peers.get(&id).is_some_and(|peer| counts(&peer))) {
            return;
        }
        // The donor is the voter whose log is the most advanced: every committed byte is in it, because the
        // quorum that holds the byte and the quorum that voted have a member in common.
        let votes = self.peers.values().filter(counts).filter_map(|peer| peer.vote.as_ref());
        let Some(donor) = votes.max_by_key(|vote| (vote.history.last().term, vote.flush_lsn)).cloned() else {
            return;
        };
        let start_lsn = donor.flush_lsn;
        let Ok(history) = donor.history.followed_by(term, start_lsn) else {
            // An acceptor gave a vote for a term that its history has reached already: it is not to be trusted.
            debug_assert!(false, "a vote for an old term");
            return;
        };
        self.phase = Phase::Leading { term, start_lsn, history };
        self.led.insert(term);
        self.window = Window::empty_at(start_lsn);
        for peer in self.peers.values_mut() {
            peer.acknowledged_lsn = Lsn::INVALID;
            peer.durable_lsn = Lsn::INVALID;
            peer.next_lsn = Lsn::INVALID;
            peer.failed_sources.clear();
            peer.passed_over = 0;
        }
        for node in self.nodes(|peer| peer.stage == Stage::Voted) {
            match self.peers.get_mut(&node).and_then(|peer| peer.vote.take()) {
                Some(vote) => self.send_elected(node, &vote, effects),
                None => self.ask_for_vote(node, term, effects),
            }
        }
    }

    fn send_elected(&mut self, node: NodeId, response: &VoteResponse, effects: &mut Vec<Effect>) {
        let Phase::Leading { term, history, .. } = &self.phase else { return };
        let start_streaming_at = match history.highest_common_point(&response.history, response.flush_lsn) {
            Ok(common) if common < response.commit_lsn => {
                let reason = format!(
                    "its log agrees up to {common} but it knows {} to be committed",
                    response.commit_lsn
                );
                effects.push(Effect::Disconnect { node, reason });
                return;
            }
            Ok(common) => common,
            Err(error) => {
                effects.push(Effect::Disconnect { node, reason: error.to_string() });
                return;
            }
        };
        let (term, history) = (*term, history.clone());
        let generation = self.configuration.generation;
        let elected = Elected { generation, term, start_streaming_at, history };
        effects.push(Effect::Send { node, message: ProposerMessage::Elected(elected) });
        if let Some(peer) = self.peers.get_mut(&node) {
            peer.stage = Stage::Streaming;
            peer.next_lsn = start_streaming_at;
            peer.durable_lsn = start_streaming_at;
            peer.told_commit_lsn = Lsn::INVALID;
            peer.fetching = None;
        }
        self.pump(node, effects);
    }

    fn append_response(&mut self, node: NodeId, response: AppendResponse, effects: &mut Vec<Effect>) {
        let Phase::Leading { term, .. } = &self.phase else { return };
        if response.term != *term || response.generation != self.configuration.generation {
            return;
        }
        let end = self.window.end();
        let Some(peer) = self.peers.get_mut(&node) else { return };
        peer.pageserver_lsn = peer.pageserver_lsn.max(response.pageserver_lsn);
        if response.flush_lsn > end || response.durable_lsn > end {
            let reason = format!("it acknowledges {}, but nothing beyond {end} was sent", response.flush_lsn);
            effects.push(Effect::Disconnect { node, reason });
            return;
        }
        // Answers may overtake each other between connections; what was durable in this term stays so.
        peer.acknowledged_lsn = peer.acknowledged_lsn.max(response.flush_lsn);
        peer.durable_lsn = peer.durable_lsn.max(response.durable_lsn);
        peer.tick = peer.tick.max(response.tick);
        let confirmed = self.quorum.number(|id| self.peers.get(&id).map_or(0, |peer| peer.tick));
        self.confirmed_tick = self.confirmed_tick.max(confirmed);
        if self.advance_commit(effects) {
            self.pump_all(effects);
        } else {
            self.pump(node, effects);
            // It may be the source that others, who need older WAL, were waiting for.
            let start = self.window.start();
            for other in self.nodes(|peer| peer.stage == Stage::Streaming && peer.next_lsn < start) {
                self.pump(other, effects);
            }
        }
    }

    /// True if the commit LSN has moved. Only what a quorum holds from X on counts: below X, the bytes are
    /// of older terms, and holding them says nothing about this one.
    fn advance_commit(&mut self, effects: &mut Vec<Effect>) -> bool {
        let Phase::Leading { term, start_lsn, .. } = &self.phase else { return false };
        let acknowledged = |id| self.peers.get(&id).map_or(Lsn::INVALID, |peer: &Peer| peer.acknowledged_lsn);
        let of_this_term = |id| Some(acknowledged(id)).filter(|lsn| lsn >= start_lsn).unwrap_or_default();
        let commit_lsn = self.quorum.lsn(of_this_term);
        let slowest = self.peers.values().map(|peer| peer.acknowledged_lsn).min().unwrap_or_default();
        self.horizon_lsn = self.horizon_lsn.max(slowest);
        let advanced = commit_lsn > self.commit_lsn;
        if advanced {
            if !self.commit_lsn.is_valid() {
                effects.push(Effect::Established { term: *term, start_lsn: *start_lsn });
            }
            self.commit_lsn = commit_lsn;
            effects.push(Effect::Committed { commit_lsn });
        }
        // What everybody has goes first; of the rest, committed WAL that is beyond the bound.
        let beyond_bound = Lsn(self.window.end().0.saturating_sub(WINDOW_BYTES)).min(self.commit_lsn);
        self.window.trim(slowest.min(self.commit_lsn).max(beyond_bound));
        advanced
    }

    fn pump_all(&mut self, effects: &mut Vec<Effect>) {
        for node in self.nodes(|peer| peer.stage == Stage::Streaming) {
            self.pump(node, effects);
        }
    }

    /// Sends this acceptor what it may have now.
    fn pump(&mut self, node: NodeId, effects: &mut Vec<Effect>) {
        loop {
            let Some(peer) = self.peers.get(&node).filter(|peer| peer.stage == Stage::Streaming) else {
                return;
            };
            let next = peer.next_lsn;
            let in_flight = next.saturating_distance(peer.durable_lsn);
            if next >= self.window.end() || in_flight >= MAX_IN_FLIGHT {
                break;
            }
            if next < self.window.start() {
                self.fetch(node, effects);
                break;
            }
            let wal = self.window.read(next);
            self.send_append(node, wal, effects);
        }
        if self.peers.get(&node).is_some_and(|peer| peer.told_commit_lsn < self.commit_lsn) {
            self.send_append(node, Bytes::new(), effects);
        }
    }

    fn send_append(&mut self, node: NodeId, wal: Bytes, effects: &mut Vec<Effect>) {
        let Phase::Leading { term, .. } = &self.phase else { return };
        let Some(peer) = self.peers.get_mut(&node) else { return };
        let request = AppendRequest {
            generation: self.configuration.generation,
            term: *term,
            begin_lsn: peer.next_lsn,
            commit_lsn: self.commit_lsn,
            horizon_lsn: self.horizon_lsn,
            tick: self.tick,
            wal,
        };
        peer.next_lsn = request.end_lsn();
        peer.told_commit_lsn = self.commit_lsn;
        effects.push(Effect::Send { node, message: ProposerMessage::AppendRequest(request) });
    }

    /// What the window has no longer, another acceptor has: one that is known to hold this term's log. Whoever has failed
    /// least is asked, and of those the most advanced one.
    fn fetch(&mut self, node: NodeId, effects: &mut Vec<Effect>) {
        let Phase::Leading { term, .. } = &self.phase else { return };
        let Some(peer) = self.peers.get(&node).filter(|peer| peer.fetching.is_none()) else { return };
        let begin = peer.next_lsn;
        let sources = self.peers.iter().filter(|(id, source)| {
            **id != node && source.stage == Stage::Streaming && source.acknowledged_lsn > begin
        });
        let best = sources.max_by_key(|(id, source)| (Reverse(peer.failures(**id)), source.acknowledged_lsn));
        let Some((source, has)) = best.map(|(id, source)| (*id, source.acknowledged_lsn)) else { return };
        let end = self.window.start().min(has).min(begin + FETCH_BYTES);
        self.fetches += 1;
        let number = self.fetches;
        effects.push(Effect::Fetch { node, fetch: number, source, term: *term, begin, end });
        if let Some(peer) = self.peers.get_mut(&node) {
            peer.fetching = Some(Fetching { number, source, end });
        }
    }

    fn fetched(&mut self, node: NodeId, fetch: u64, begin: Lsn, wal: Bytes, effects: &mut Vec<Effect>) {
        let wanted = |peer: &&mut Peer| peer.stage == Stage::Streaming && peer.next_lsn == begin;
        let Some(peer) = self.peers.get_mut(&node).filter(wanted) else { return };
        let Some(Fetching { source, end, .. }) = peer.fetching.filter(|it| it.number == fetch) else {
            return;
        };
        let wal = wal.slice(..wal.len().min((end - begin) as usize));
        if begin + wal.len() as u64 == end {
            peer.fetching = None;
            peer.failed_sources.remove(&source);
        }
        self.send_append(node, wal, effects);
        self.pump(node, effects);
    }

    fn fetch_failed(&mut self, node: NodeId, fetch: u64, effects: &mut Vec<Effect>) {
        let Some(peer) = self.peers.get_mut(&node) else { return };
        let Some(failed) = peer.fetching.filter(|it| it.number == fetch) else { return };
        peer.fetching = None;
        *peer.failed_sources.entry(failed.source).or_default() += 1;
        let Phase::Leading { term, start_lsn, .. } = self.phase else { return };
        let holders = self.nodes(|peer| peer.stage == Stage::Streaming && peer.acknowledged_lsn >= start_lsn);
        let is_given_up = |source: &NodeId| {
            self.peers.get(&node).is_some_and(|peer| peer.failures(*source) >= MOST_FAILURES)
        };
        if self.commit_lsn.is_valid() || holders.is_empty() || !holders.iter().all(is_given_up) {
            return;
        }
        self.step_down(term);
        for holder in holders {
            if let Some(holder) = self.peers.get_mut(&holder) {
                holder.passed_over = PASSED_OVER;
            }
        }
        self.campaign_if_greeted(effects);
    }

    fn ticked(&mut self, effects: &mut Vec<Effect>) {
        self.tick += 1;
        self.pump_all(effects);
        for node in self.nodes(|peer| peer.stage == Stage::Streaming) {
            self.send_append(node, Bytes::new(), effects);
        }
    }

    fn nodes(&self, filter: impl Fn(&Peer) -> bool) -> Vec<NodeId> {
        self.peers.iter().filter(|(_, peer)| filter(peer)).map(|(id, _)| *id).collect()
    }

    fn check_invariants(&self, commit_before: Lsn) {
        debug_assert!(self.commit_lsn >= commit_before, "the commit LSN moved back");
        debug_assert!(self.commit_lsn <= self.window.end(), "committed what never came");
        if let Phase::Leading { term, start_lsn, history } = &self.phase {
            debug_assert_eq!((history.last().term, history.last().lsn), (*term, *start_lsn));
            debug_assert!(!self.commit_lsn.is_valid() || self.commit_lsn >= *start_lsn);
            debug_assert!(
                self.window.start() <= self.commit_lsn.max(*start_lsn),
                "uncommitted WAL was dropped"
            );
            debug_assert!(self.peers.values().all(|peer| peer.next_lsn <= self.window.end()));
        }
    }
}

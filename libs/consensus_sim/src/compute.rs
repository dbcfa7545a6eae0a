//! A proposer and what hosts it: its connections, its timers, and the PostgreSQL that writes.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use consensus::{
    Configuration, ConnectionId, Elected, Proposer, ProposerEffect, ProposerEvent, ProposerMessage,
};
use rand::RngExt;
use types::{Lsn, NodeId, Term};

use crate::checker::identity;
use crate::network::{Cut, Direction};
use crate::records;
use crate::schedule::Micros;
use crate::world::{Action, World};

/// Between two ticks, two attempts to win, two attempts to connect, two writes.
const TICK: Micros = 50_000;
const CAMPAIGN: std::ops::Range<Micros> = 100_000..300_000;
const RECONNECT: std::ops::Range<Micros> = 5_000..80_000;
const WRITE: std::ops::Range<Micros> = 2_000..30_000;
/// WAL comes in pieces that end anywhere.
const PIECE: usize = 40;

pub struct Compute {
    pub proposer: Proposer,
    pub members: BTreeSet<NodeId>,
    pub connections: BTreeMap<NodeId, ConnectionId>,
    pub established: Option<(Term, Lsn)>,
    /// The term that its earlier life led.
    succeeds: Option<Term>,
    /// When each tick was.
    ticks: Vec<Micros>,
    confirmed_tick: u64,
    /// It knows that it leads no more.
    pub over: bool,
    pub cut: Cut,
    /// How much later it hears everything.
    pub late: Micros,
    /// Of the records written so far, what was not handed over yet.
    unsent: Vec<u8>,
    /// Where the next record begins.
    insert_lsn: Lsn,
}

/// WAL that a compute reads from one acceptor for another.
#[derive(Clone, Copy, Debug)]
pub struct Fetch {
    compute: u32,
    node: NodeId,
    number: u64,
    source: NodeId,
    term: Term,
    begin: Lsn,
    end: Lsn,
}

impl World {
    pub(crate) fn new_compute(&mut self) {
        self.begin_compute(None);
    }

    /// Another life of one that led a term, or a new one.
    pub(crate) fn begin_compute(&mut self, succeeds: Option<Term>) {
        self.newest += 1;
        let number = self.newest;
        // Whoever starts it may know for long no more who the members are, or only whom to ask.
        let newest = self.random.random_range(0..2) == 0;
        let mut configuration = self.history.configuration(newest).clone();
        if self.random.random_range(0..2) == 0 {
            let all = configuration.all_members().into_iter().cloned().collect();
            configuration = Configuration::contacts(all).expect("members of a configuration");
        }
        let members = configuration.ids();
        let proposer = Proposer::new(identity(), configuration);
        let compute = Compute {
            proposer: match succeeds {
                Some(term) => proposer.succeeding(term),
                None => proposer,
            },
            members: members.clone(),
            connections: BTreeMap::new(),
            established: None,
            succeeds,
            ticks: Vec::new(),
            confirmed_tick: 0,
            over: false,
            cut: Cut::default(),
            late: 0,
            unsent: Vec::new(),
            insert_lsn: Lsn::INVALID,
        };
        self.computes.insert(number, compute);
        self.note(1, u64::from(number), Lsn::INVALID, || format!("compute {number} starts"));
        for node in members {
            let delay = self.random(0..2000);
            self.after(delay, Action::Connect { compute: number, node });
        }
        self.after(TICK, Action::Tick { compute: number });
        let campaign = self.random(CAMPAIGN);
        self.after(campaign, Action::CampaignAgain { compute: number });
        self.after(WRITE.end, Action::Write { compute: number });
    }

    /// The term that it led.
    pub(crate) fn kill_compute(&mut self, number: u32) -> Option<Term> {
        let compute = self.computes.remove(&number)?;
        self.note(2, u64::from(number), Lsn::INVALID, || format!("compute {number} is killed"));
        for connection in compute.connections.into_values() {
            self.close_at_compute(connection);
        }
        compute.established.map(|(term, _)| term)
    }

    /// The acceptor hears of it later.
    fn close_at_compute(&mut self, id: ConnectionId) {
        if let Some(connection) = self.network.connections.get_mut(&id) {
            connection.open_at_compute = false;
            let delay = self.random(100..20_000);
            self.after(delay, Action::BrokenForNode { connection: id });
        }
    }

    pub(crate) fn connect(&mut self, number: u32, node: NodeId) {
        let Some(compute) = self.computes.get(&number).filter(|compute| !compute.over) else { return };
        if compute.connections.contains_key(&node) || !compute.members.contains(&node) {
            return;
        }
        let blocked = [Direction::ToAcceptor, Direction::ToProposer]
            .into_iter()
            .any(|direction| compute.cut.blocks(direction) || self.nodes[&node].cut.blocks(direction));
        if blocked || !self.nodes[&node].is_up() {
            let delay = self.random(RECONNECT);
            self.after(delay, Action::Connect { compute: number, node });
            return;
        }
        let id = self.network.open(number, node);
        if let Some(compute) = self.computes.get_mut(&number) {
            compute.connections.insert(node, id);
        }
        self.step_compute(number, ProposerEvent::Connected { node });
    }

    /// The compute's end is gone; it connects again.
    pub(crate) fn broken_for_compute(&mut self, id: ConnectionId) {
        let Some(connection) = self.network.connections.get_mut(&id).filter(|it| it.open_at_compute) else {
            return;
        };
        connection.open_at_compute = false;
        let (number, node) = (connection.compute, connection.node);
        self.reconnect(number, node);
    }

    fn reconnect(&mut self, number: u32, node: NodeId) {
        if let Some(compute) = self.computes.get_mut(&number) {
            compute.connections.remove(&node);
            let delay = self.random(RECONNECT);
            self.after(delay, Action::Connect { compute: number, node });
            self.step_compute(number, ProposerEvent::Disconnected { node });
        }
    }

    pub(crate) fn campaign_again(&mut self, number: u32) {
        let Some(compute) = self.computes.get(&number) else { return };
        if compute.over || compute.established.is_some() {
            return;
        }
        let delay = self.random(CAMPAIGN);
        self.after(delay, Action::CampaignAgain { compute: number });
        self.step_compute(number, ProposerEvent::CampaignAgain);
    }

    pub(crate) fn tick(&mut self, number: u32) {
        if self.computes.get(&number).is_some_and(|compute| !compute.over) {
            self.after(TICK, Action::Tick { compute: number });
            let now = self.now;
            if let Some(compute) = self.computes.get_mut(&number) {
                compute.ticks.push(now);
            }
            self.step_compute(number, ProposerEvent::Tick);
        }
    }

    /// PostgreSQL writes a few records, and hands over a piece of what it has.
    pub(crate) fn write(&mut self, number: u32) {
        let delay = self.random(WRITE);
        self.after(delay, Action::Write { compute: number });
        let size = self.random.random_range(1..50);
        let payload: Vec<u8> = (0..size).map(|_| self.random.random()).collect();
        let count = self.random.random_range(1..=PIECE);
        let Some(compute) = self.computes.get_mut(&number) else { return };
        if compute.over || compute.established.is_none() || !compute.proposer.wants_wal() {
            return;
        }
        let record = records::encode(compute.insert_lsn, &payload);
        compute.insert_lsn += record.len() as u64;
        compute.unsent.extend(record);
        let piece: Vec<u8> = compute.unsent.drain(..count.min(compute.unsent.len())).collect();
        let begin = compute.proposer.received_lsn();
        self.step_compute(number, ProposerEvent::WalReceived { begin, wal: Bytes::from(piece) });
    }

    /// All that is left is handed over: the last record is whole. Returns its end.
    pub(crate) fn write_rest(&mut self, number: u32) -> Option<Lsn> {
        let compute = self.computes.get_mut(&number)?;
        compute.established?;
        let record = records::encode(compute.insert_lsn, b"the last one");
        compute.insert_lsn += record.len() as u64;
        compute.unsent.extend(record);
        let (rest, end) = (std::mem::take(&mut compute.unsent), compute.insert_lsn);
        let begin = compute.proposer.received_lsn();
        self.step_compute(number, ProposerEvent::WalReceived { begin, wal: Bytes::from(rest) });
        Some(end)
    }

    pub(crate) fn step_compute(&mut self, number: u32, event: ProposerEvent) {
        let Some(compute) = self.computes.get_mut(&number) else { return };
        let before = compute.proposer.commit_lsn();
        let effects = compute.proposer.step(event);
        let after = compute.proposer.commit_lsn();
        let confirmed = compute.proposer.confirmed_tick();
        if confirmed > compute.confirmed_tick {
            compute.confirmed_tick = confirmed;
            let tick = compute.ticks.get(confirmed as usize - 1).copied();
            let (term, tick) = (compute.proposer.term(), tick.unwrap_or(Micros::MAX));
            self.followed(number, term.unwrap_or_default(), tick);
        }
        self.require(after >= before, || format!("the commit LSN of compute {number} moved back to {after}"));
        for effect in effects {
            self.compute_effect(number, effect);
        }
    }

    fn compute_effect(&mut self, number: u32, effect: ProposerEffect) {
        let Some(compute) = self.computes.get_mut(&number) else { return };
        match effect {
            ProposerEffect::Send { node, message } => {
                if let ProposerMessage::Elected(Elected { term, history, .. }) = &message {
                    let (term, start_lsn) = (*term, history.last().lsn);
                    self.elected(number, term, start_lsn);
                }
                let Some(compute) = self.computes.get(&number) else { return };
                if let Some(id) = compute.connections.get(&node).copied() {
                    self.send(id, Direction::ToAcceptor, |connection| Action::ToAcceptor {
                        connection,
                        message: message.clone(),
                    });
                }
            }
            ProposerEffect::Disconnect { node, reason } => {
                // What it says of the acceptor can only be true of one that broke its word.
                self.require(!reason.contains("committed"), || {
                    format!("compute {number} met an impossible acceptor {node}: {reason}")
                });
                if let Some(id) = self.computes.get(&number).and_then(|it| it.connections.get(&node)).copied()
                {
                    self.close_at_compute(id);
                }
                self.reconnect(number, node);
            }
            ProposerEffect::Fetch { node, fetch, source, term, begin, end } => {
                let delay = self.random(500..5000);
                let fetch = Fetch { compute: number, node, number: fetch, source, term, begin, end };
                self.after(delay, Action::Fetch(fetch));
            }
            ProposerEffect::Established { term, start_lsn } => {
                compute.established = Some((term, start_lsn));
                compute.insert_lsn = start_lsn;
                let succeeds = compute.succeeds;
                self.established(number, term, start_lsn);
                self.succeeded(number, succeeds, term);
            }
            ProposerEffect::Committed { commit_lsn } => {
                if let Some(term) = compute.proposer.term() {
                    let configuration = compute.proposer.configuration().clone();
                    self.committed(&format!("compute {number}"), &configuration, term, commit_lsn);
                }
            }
            ProposerEffect::Fenced { term } => {
                compute.over = true;
                self.counts.fenced += 1;
                self.note(3, u64::from(number), Lsn::INVALID, || {
                    format!("compute {number} is fenced by term {term}")
                });
            }
            ProposerEffect::Reconfigured { configuration } => {
                let members = configuration.ids();
                let before = std::mem::replace(&mut compute.members, members.clone());
                let gone: Vec<ConnectionId> =
                    before.difference(&members).filter_map(|node| compute.connections.remove(node)).collect();
                gone.into_iter().for_each(|connection| self.close_at_compute(connection));
                for node in members.difference(&before) {
                    let delay = self.random(0..2000);
                    self.after(delay, Action::Connect { compute: number, node: *node });
                }
                self.decided(&format!("compute {number}"), &configuration);
                let generation = configuration.generation.0;
                self.note(4, u64::from(number), Lsn::INVALID, || {
                    format!("compute {number} goes on in configuration {generation}")
                });
            }
        }
    }

    /// As START_REPLICATION with a term: up to the flush LSN, refused in another term. In small pieces.
    pub(crate) fn fetch(&mut self, fetch: Fetch) {
        let Fetch { compute: number, node, number: fetch, source, term, begin, end } = fetch;
        let from = &self.nodes[&source];
        let there = from.acceptor.as_ref().is_some_and(|it| it.term() == term && it.flush_lsn() >= end);
        if !there || self.computes.get(&number).is_some_and(|it| it.cut.blocks(Direction::ToProposer)) {
            self.step_compute(number, ProposerEvent::FetchFailed { node, fetch });
            return;
        }
        self.counts.fetches += 1;
        self.note(5, node.0, begin, || {
            format!("compute {number} fetches {begin}..{end} from {source} for {node}")
        });
        let wal = self.read_wal(source, begin, end).unwrap_or_default();
        let mut at = begin;
        for piece in wal.chunks(PIECE) {
            let wal = Bytes::copy_from_slice(piece);
            self.step_compute(number, ProposerEvent::Fetched { node, fetch, begin: at, wal });
            at += piece.len() as u64;
        }
    }
}

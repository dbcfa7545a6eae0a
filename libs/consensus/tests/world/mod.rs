//! A world for the state machines: acceptors with disks that can lose what was not flushed, proposers, and
//! the messages between them. No clock and no randomness: whoever drives it decides what happens next.
//!
//! WAL records are eight bytes long here, so record ends are the multiples of eight.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;
use consensus::{
    Acceptor, AcceptorEffect, AcceptorEvent, AcceptorMessage, AcceptorState, Configuration, ConnectionId,
    MembershipGeneration, Proposer, ProposerEffect, ProposerEvent, ProposerMessage,
};
use types::{Lsn, NodeId, Term};

use crate::timeline::{identity, members};

pub const START: Lsn = Lsn(0x100);
pub const RECORD: u64 = 8;

pub struct Node {
    pub id: NodeId,
    /// None while it is down.
    pub acceptor: Option<Acceptor>,
    /// From [`START`] on.
    pub wal: Vec<u8>,
    pub durable: usize,
    pub state: AcceptorState,
}

impl Node {
    pub fn durable_record_end(&self) -> Lsn {
        START + self.durable as u64 / RECORD * RECORD
    }

    pub fn wal_up_to(&self, lsn: Lsn) -> &[u8] {
        &self.wal[..(lsn - START) as usize]
    }
}

pub struct Claim {
    pub proposer: Proposer,
    /// The present connection to each node.
    pub connections: BTreeMap<NodeId, ConnectionId>,
    pub established: Option<(Term, Lsn)>,
    pub over: bool,
}

#[derive(Clone, Debug)]
pub enum Packet {
    ToAcceptor { proposer: String, connection: ConnectionId, node: NodeId, message: ProposerMessage },
    ToProposer { proposer: String, node: NodeId, message: AcceptorMessage },
}

impl Packet {
    pub fn node(&self) -> NodeId {
        match self {
            Packet::ToAcceptor { node, .. } | Packet::ToProposer { node, .. } => *node,
        }
    }
}

/// What a reader of a script, or a checker, wants to know about.
#[derive(Clone, Debug)]
pub enum Happening {
    Truncated {
        node: NodeId,
        to: Lsn,
    },
    Refused {
        node: NodeId,
        why: String,
    },
    Dropped {
        proposer: String,
        node: NodeId,
        why: String,
    },
    /// It is under way until it is let through, or made to fail.
    Fetching {
        proposer: String,
        node: NodeId,
        source: NodeId,
    },
    Fetched {
        proposer: String,
        node: NodeId,
        source: NodeId,
        begin: Lsn,
        end: Lsn,
    },
    NotFetched {
        proposer: String,
        node: NodeId,
        source: NodeId,
    },
    Established {
        proposer: String,
        term: Term,
        start_lsn: Lsn,
    },
    Committed {
        commit_lsn: Lsn,
    },
    Fenced {
        proposer: String,
        term: Term,
    },
    Reconfigured {
        proposer: String,
        generation: u32,
    },
}

/// WAL that a proposer reads from one acceptor for another.
#[derive(Clone, Debug)]
pub struct Fetch {
    proposer: String,
    node: NodeId,
    number: u64,
    source: NodeId,
    term: Term,
    begin: Lsn,
    end: Lsn,
}

#[derive(Default)]
pub struct World {
    pub nodes: BTreeMap<NodeId, Node>,
    pub claims: BTreeMap<String, Claim>,
    pub packets: Vec<Packet>,
    pub happenings: Vec<Happening>,
    /// Acceptors whose WAL cannot be read, although they answer.
    pub unreadable: BTreeSet<NodeId>,
    /// Where fetches wait, in their order. Without it none does.
    pub held: Option<VecDeque<Fetch>>,
    connections: u64,
}

pub fn configuration(generation: u32, nodes: u64) -> Configuration {
    let generation = MembershipGeneration(generation);
    Configuration { generation, members: members(1..=nodes), new_members: None }
}

impl World {
    pub fn new(nodes: u64) -> World {
        let mut world = World::default();
        for id in (1..=nodes).map(NodeId) {
            let state = AcceptorState::genesis(identity(), configuration(1, nodes), START);
            let acceptor = Some(Acceptor::new(id, state.clone(), START).unwrap());
            world.nodes.insert(id, Node { id, acceptor, wal: Vec::new(), durable: 0, state });
        }
        world
    }

    pub fn propose(&mut self, name: &str, generation: u32, succeeding: Option<Term>) {
        let configuration = configuration(generation, self.nodes.len() as u64);
        let proposer = Proposer::new(identity(), configuration);
        let proposer = match succeeding {
            Some(term) => proposer.succeeding(term),
            None => proposer,
        };
        let connections = BTreeMap::new();
        self.claims.insert(name.to_owned(), Claim { proposer, connections, established: None, over: false });
        for node in self.nodes.keys().copied().collect::<Vec<_>>() {
            self.connect(name, node);
        }
    }

    /// A new connection, in place of an old one if there is one. Nothing if the node is down.
    pub fn connect(&mut self, name: &str, node: NodeId) {
        self.disconnect(name, node);
        if self.nodes[&node].acceptor.is_none() {
            return;
        }
        self.connections += 1;
        if let Some(claim) = self.claims.get_mut(name) {
            claim.connections.insert(node, ConnectionId(self.connections));
            self.step_proposer(name, ProposerEvent::Connected { node });
        }
    }

    pub fn disconnect(&mut self, name: &str, node: NodeId) {
        let Some(connection) = self.claims.get_mut(name).and_then(|claim| claim.connections.remove(&node))
        else {
            return;
        };
        self.step_proposer(name, ProposerEvent::Disconnected { node });
        if self.nodes[&node].acceptor.is_some() {
            self.step_acceptor(node, AcceptorEvent::Disconnected { connection });
        }
    }

    /// Everything not yet durable is gone, but for the first `kept` bytes of it: those reached the disk.
    pub fn crash(&mut self, id: NodeId, kept: usize) {
        let node = self.nodes.get_mut(&id).unwrap();
        node.acceptor = None;
        node.durable = (node.durable + kept).min(node.wal.len());
        node.wal.truncate(node.durable);
        for name in self.claims.keys().cloned().collect::<Vec<_>>() {
            self.disconnect(&name, id);
        }
    }

    pub fn restart(&mut self, id: NodeId) {
        let node = self.nodes.get_mut(&id).unwrap();
        let end = node.durable_record_end();
        node.wal.truncate((end - START) as usize);
        node.durable = node.wal.len();
        node.acceptor = Some(Acceptor::new(id, node.state.clone(), end).unwrap());
    }

    pub fn deliver(&mut self, packet: Packet) {
        match packet {
            Packet::ToAcceptor { connection, node, message, .. } => {
                if self.nodes[&node].acceptor.is_some() {
                    self.step_acceptor(node, AcceptorEvent::Message { from: connection, message });
                }
            }
            Packet::ToProposer { proposer, node, message } => {
                self.step_proposer(&proposer, ProposerEvent::Message { node, message });
            }
        }
    }

    pub fn batch_end(&mut self, node: NodeId) {
        if self.nodes[&node].acceptor.is_some() {
            self.step_acceptor(node, AcceptorEvent::BatchEnd);
        }
    }

    pub fn step_acceptor(&mut self, id: NodeId, event: AcceptorEvent) {
        let node = self.nodes.get_mut(&id).unwrap();
        let Some(acceptor) = node.acceptor.as_mut() else { return };
        for effect in acceptor.step(event) {
            self.acceptor_effect(id, effect);
        }
    }

    fn acceptor_effect(&mut self, id: NodeId, effect: AcceptorEffect) {
        let node = self.nodes.get_mut(&id).unwrap();
        match effect {
            AcceptorEffect::WriteWal { begin, wal } => {
                assert_eq!(begin, START + node.wal.len() as u64);
                node.wal.extend_from_slice(&wal);
            }
            AcceptorEffect::FlushWal { log_version } => {
                node.durable = node.wal.len();
                let durable_lsn = START + node.durable as u64;
                let record_end = node.durable_record_end();
                self.step_acceptor(id, AcceptorEvent::Flushed { log_version, durable_lsn, record_end });
            }
            AcceptorEffect::TruncateWal { to } => {
                node.wal.truncate((to - START) as usize);
                node.durable = node.durable.min(node.wal.len());
                self.happenings.push(Happening::Truncated { node: id, to });
            }
            AcceptorEffect::PersistState(state) => {
                assert!(
                    state.commit_lsn <= node.durable_record_end(),
                    "a state that speaks of WAL not durable"
                );
                node.state = *state;
            }
            AcceptorEffect::Reply { to, message, after: _ } => {
                if let AcceptorMessage::AppendResponse(response) = &message {
                    assert!(response.flush_lsn <= node.durable_record_end(), "acknowledged before the flush");
                }
                assert!(message.term() <= node.state.term, "a term told before it was persisted");
                if let Some(proposer) = self.owner_of(to) {
                    self.packets.push(Packet::ToProposer { proposer, node: id, message });
                }
            }
            AcceptorEffect::Refuse { to, refusal } => {
                self.happenings.push(Happening::Refused { node: id, why: refusal.to_string() });
                if let Some(proposer) = self.owner_of(to) {
                    self.disconnect(&proposer, id);
                }
            }
            AcceptorEffect::CommitAdvanced { .. } => {}
            AcceptorEffect::Answer { .. }
            | AcceptorEffect::PullWal { .. }
            | AcceptorEffect::Distrust { .. } => {
                unreachable!("no script has administrators and acceptors that catch up")
            }
        }
    }

    /// Whose connection that is, if it is still open.
    fn owner_of(&self, connection: ConnectionId) -> Option<String> {
        let owns = |claim: &Claim| claim.connections.values().any(|open| *open == connection);
        self.claims.iter().find(|(_, claim)| owns(claim)).map(|(name, _)| name.clone())
    }

    pub fn step_proposer(&mut self, name: &str, event: ProposerEvent) {
        let Some(claim) = self.claims.get_mut(name) else { return };
        for effect in claim.proposer.step(event) {
            self.proposer_effect(name, effect);
        }
    }

    fn proposer_effect(&mut self, name: &str, effect: ProposerEffect) {
        let proposer = name.to_owned();
        let claim = self.claims.get_mut(name).unwrap();
        match effect {
            ProposerEffect::Send { node, message } => {
                if let Some(connection) = claim.connections.get(&node).copied() {
                    self.packets.push(Packet::ToAcceptor { proposer, connection, node, message });
                }
            }
            ProposerEffect::Disconnect { node, reason } => {
                self.happenings.push(Happening::Dropped { proposer, node, why: reason });
                self.disconnect(name, node);
            }
            ProposerEffect::Fetch { node, fetch, source, term, begin, end } => {
                let fetch = Fetch { proposer, node, number: fetch, source, term, begin, end };
                match &mut self.held {
                    Some(held) => {
                        let proposer = fetch.proposer.clone();
                        self.happenings.push(Happening::Fetching { proposer, node, source });
                        held.push_back(fetch);
                    }
                    None => self.fetch(fetch),
                }
            }
            ProposerEffect::Established { term, start_lsn } => {
                claim.established = Some((term, start_lsn));
                self.happenings.push(Happening::Established { proposer, term, start_lsn });
            }
            ProposerEffect::Committed { commit_lsn } => {
                self.happenings.push(Happening::Committed { commit_lsn });
            }
            ProposerEffect::Fenced { term } => {
                claim.over = true;
                self.happenings.push(Happening::Fenced { proposer, term });
            }
            ProposerEffect::Reconfigured { configuration } => {
                let generation = configuration.generation.0;
                self.happenings.push(Happening::Reconfigured { proposer, generation });
            }
        }
    }

    /// As START_REPLICATION (term=…): up to the flush LSN, refused in another term. In small pieces.
    pub fn fetch(&mut self, fetch: Fetch) {
        let from = &self.nodes[&fetch.source];
        let is_there = |it: &Acceptor| it.term() == fetch.term && it.flush_lsn() >= fetch.end;
        if self.unreadable.contains(&fetch.source) || !from.acceptor.as_ref().is_some_and(is_there) {
            self.fail_fetch(fetch);
            return;
        }
        let Fetch { proposer, node, number, source, begin, end, .. } = fetch;
        let wal = Bytes::copy_from_slice(&from.wal_up_to(end)[(begin - START) as usize..]);
        let name = proposer.clone();
        self.happenings.push(Happening::Fetched { proposer, node, source, begin, end });
        let mut at = begin;
        for piece in wal.chunks(20) {
            let wal = Bytes::copy_from_slice(piece);
            self.step_proposer(&name, ProposerEvent::Fetched { node, fetch: number, begin: at, wal });
            at += piece.len() as u64;
        }
    }

    pub fn fail_fetch(&mut self, fetch: Fetch) {
        let Fetch { proposer, node, number, source, .. } = fetch;
        let name = proposer.clone();
        self.happenings.push(Happening::NotFetched { proposer, node, source });
        self.step_proposer(&name, ProposerEvent::FetchFailed { node, fetch: number });
    }

    /// The first one that waits.
    pub fn first_held(&mut self) -> Option<Fetch> {
        self.held.as_mut()?.pop_front()
    }

    /// PostgreSQL writes. Nothing if the proposer may not take it.
    pub fn write(&mut self, name: &str, wal: &[u8]) {
        let claim = &self.claims[name];
        if claim.established.is_some() && !claim.over && claim.proposer.wants_wal() {
            let begin = claim.proposer.received_lsn();
            self.step_proposer(name, ProposerEvent::WalReceived { begin, wal: Bytes::copy_from_slice(wal) });
        }
    }
}

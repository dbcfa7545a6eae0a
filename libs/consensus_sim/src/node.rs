//! An acceptor and what hosts it, as the safekeeper's owner task does: batches of inputs, effects one after the
//! other, nothing else while the disk is busy.

use std::collections::VecDeque;
use std::ops::Range;

use bytes::Bytes;
use consensus::{
    Acceptor, AcceptorEffect, AcceptorEvent, AcceptorMessage, AcceptorState, Configuration, ConnectionId,
    MembershipAnswer, MembershipRequest, Ownership, PeerLog, PeerPosition, ProposerMessage, RequestId,
};
use rand::RngExt;
use types::{Lsn, NodeId, Term};

use crate::checker::identity;
use crate::disk::{Disk, Kept, START};
use crate::network::{Cut, Direction};
use crate::rest::Rest;
use crate::schedule::Micros;
use crate::storage::begin_of;
use crate::world::{Action, World};

/// What a sync takes on a disk that is well.
const SYNC: Range<Micros> = 200..2500;
const PUBLISH: Micros = 100_000;
/// Between two looks for a peer that has more, in a world without a pace of its own.
const CATCH_UP: Micros = 300_000;
/// WAL from a peer comes in pieces.
const PIECE: usize = 50;

pub enum Input {
    Message { connection: ConnectionId, message: ProposerMessage },
    Disconnected { connection: ConnectionId },
    Position { node: NodeId, position: PeerPosition },
    PeerLog { node: NodeId, number: u64, log: PeerLog },
    Pulled { pull: u64, begin: Lsn, wal: Bytes },
    Membership { from: RequestId, request: MembershipRequest },
}

/// What the disk is doing.
enum Operation {
    Flush { log_version: u64 },
    Truncate { to: Lsn },
    Persist(Box<AcceptorState>),
}

pub struct Node {
    pub disk: Disk,
    /// It has the timeline.
    pub joined: bool,
    /// Whether it has a timeline of the tenant or not.
    pub ownership: Ownership,
    /// None while it is down or at rest.
    pub acceptor: Option<Acceptor>,
    pub rest: Option<Rest>,
    /// What the control file will say the next time that it is written.
    pub kept: Kept,
    /// A segment is on its way to object storage.
    pub offloading: bool,
    /// Counts restarts, so that what was begun before one does not end after it.
    pub incarnation: u64,
    pub cut: Cut,
    /// How many times slower the disk is now, for each fault that makes it so.
    pub slow: Vec<u64>,
    pub full: u32,
    pub next_sync_fails: bool,
    /// What others may hear of it: as it was when all effects had been carried out.
    pub position: Option<PeerPosition>,
    pub inbox: VecDeque<Input>,
    batch: VecDeque<Input>,
    batch_ends: bool,
    effects: VecDeque<AcceptorEffect>,
    busy: Option<Operation>,
}

impl Node {
    pub fn new(id: NodeId, state: AcceptorState) -> Self {
        Self::with_wal(id, state, Kept::default(), &[])
    }

    /// WAL that ends with a record, of which it does not get what it is said not to have.
    fn with_wal(id: NodeId, state: AcceptorState, kept: Kept, wal: &[u8]) -> Self {
        let mut disk = Disk::new(state.clone());
        disk.append(wal);
        disk.sync();
        let is_elsewhere = |number: &u64| begin_of(number + 1) <= kept.local_start_lsn;
        disk.segments().into_iter().filter(is_elsewhere).for_each(|number| disk.remove_segment(number));
        disk.persist(state.clone(), kept.clone());
        Self {
            rest: None,
            kept,
            offloading: false,
            joined: true,
            ownership: Ownership::default(),
            acceptor: Acceptor::new(id, state, disk.record_end()).ok(),
            disk,
            incarnation: 0,
            cut: Cut::default(),
            slow: Vec::new(),
            full: 0,
            next_sync_fails: false,
            position: None,
            inbox: VecDeque::new(),
            batch: VecDeque::new(),
            batch_ends: false,
            effects: VecDeque::new(),
            busy: None,
        }
    }

    /// A safekeeper that has never heard of the timeline.
    pub fn spare(id: NodeId, state: AcceptorState) -> Self {
        Self { joined: false, acceptor: None, ..Self::new(id, state) }
    }

    pub fn is_up(&self) -> bool {
        self.acceptor.is_some() || self.rest.is_some()
    }

    /// It has an owner, which has nothing to do.
    pub fn is_idle(&self) -> bool {
        self.acceptor.is_some() && self.is_at_end_of_batch() && self.inbox.is_empty()
    }

    fn is_at_end_of_batch(&self) -> bool {
        self.busy.is_none() && self.effects.is_empty() && self.batch.is_empty() && !self.batch_ends
    }

    fn remember_position(&mut self) {
        self.position = self.acceptor.as_ref().map(|acceptor| PeerPosition {
            generation: acceptor.state().configuration.generation,
            term: acceptor.term(),
            last_log_term: acceptor.last_log_term(),
            flush_lsn: acceptor.flush_lsn(),
            commit_lsn: acceptor.commit_lsn(),
        });
    }

    fn forget(&mut self) {
        self.incarnation += 1;
        self.acceptor = None;
        self.rest = None;
        self.offloading = false;
        self.position = None;
        self.busy = None;
        self.batch_ends = false;
        self.inbox.clear();
        self.batch.clear();
        self.effects.clear();
    }
}

impl World {
    pub(crate) fn node(&mut self, id: NodeId) -> &mut Node {
        self.nodes.get_mut(&id).expect("a node of this world")
    }

    pub(crate) fn input(&mut self, id: NodeId, input: Input) {
        let node = self.node(id);
        if node.acceptor.is_some() {
            node.inbox.push_back(input);
            self.go_on(id);
        } else if node.rest.is_some() {
            self.wanted(id, input);
        }
    }

    /// Works until the disk has to be waited for or nothing is left to do.
    pub(crate) fn go_on(&mut self, id: NodeId) {
        loop {
            let node = self.node(id);
            if node.acceptor.is_none() || node.busy.is_some() {
                return;
            }
            if let Some(effect) = node.effects.pop_front() {
                self.node_effect(id, effect);
            } else if let Some(input) = node.batch.pop_front() {
                if let Some(event) = self.event(input) {
                    self.step_node(id, event);
                }
            } else if node.batch_ends {
                node.batch_ends = false;
                self.step_node(id, AcceptorEvent::BatchEnd);
            } else if node.inbox.is_empty() {
                node.remember_position();
                return;
            } else {
                node.batch = std::mem::take(&mut node.inbox);
                node.batch_ends = true;
            }
        }
    }

    /// Messages that a connection sent before it was closed here count no more.
    fn event(&mut self, input: Input) -> Option<AcceptorEvent> {
        match input {
            Input::Message { connection, message } => {
                let open = self.network.connections.get(&connection).is_some_and(|it| it.open_at_node);
                open.then_some(AcceptorEvent::Message { from: connection, message })
            }
            Input::Disconnected { connection } => Some(AcceptorEvent::Disconnected { connection }),
            Input::Position { node, position } => Some(AcceptorEvent::PeerPosition { node, position }),
            Input::PeerLog { node, number, log } => Some(AcceptorEvent::PeerLog { node, number, log }),
            Input::Pulled { pull, begin, wal } => Some(AcceptorEvent::PulledWal { pull, begin, wal }),
            Input::Membership { from, request } => Some(AcceptorEvent::Membership { from, request }),
        }
    }

    fn step_node(&mut self, id: NodeId, event: AcceptorEvent) {
        let node = self.node(id);
        let Some(acceptor) = node.acceptor.as_mut() else { return };
        let effects = acceptor.step(event);
        let votes = effects.iter().any(|effect| {
            matches!(effect, AcceptorEffect::Reply { message: AcceptorMessage::VoteResponse(vote), .. } if vote.vote_given)
        });
        let (durable_lsn, write_lsn) = (acceptor.durable_lsn(), acceptor.write_lsn());
        // What an event brings about comes before what was to be done after it.
        for effect in effects.into_iter().rev() {
            node.effects.push_front(effect);
        }
        // Or the log would grow behind what the vote says of it.
        self.require(!votes || durable_lsn == write_lsn, || {
            format!("{id}: votes with WAL up to {write_lsn}, of which {durable_lsn} is durable")
        });
    }

    fn node_effect(&mut self, id: NodeId, effect: AcceptorEffect) {
        match effect {
            AcceptorEffect::WriteWal { begin, wal } => self.write_wal(id, begin, &wal),
            AcceptorEffect::FlushWal { log_version } => {
                self.begin_operation(id, Operation::Flush { log_version })
            }
            AcceptorEffect::TruncateWal { to } => self.begin_operation(id, Operation::Truncate { to }),
            AcceptorEffect::PersistState(_) if self.node(id).full > 0 => self.undo_batch(id),
            AcceptorEffect::PersistState(state) => self.begin_operation(id, Operation::Persist(state)),
            AcceptorEffect::Reply { to, message, after: _ } => {
                self.check_reply(id, &message);
                self.send(to, Direction::ToProposer, |connection| Action::ToProposer {
                    connection,
                    message: message.clone(),
                });
            }
            AcceptorEffect::Answer { to, answer, after: _ } => {
                self.check_answer(id, &answer);
                self.answer_administrator(to, id, answer);
            }
            AcceptorEffect::PullWal { node, pull, last_term, begin, end } => {
                self.counts.pulls += 1;
                self.note(26, id.0, begin, || format!("{id}: pulls {begin}..{end} from {node}"));
                let delay = self.random(500..5000);
                self.after(delay, Action::Pull { to: id, from: node, pull, last_term, begin, end });
            }
            AcceptorEffect::Distrust { node, refusal } => {
                self.require(false, || format!("{id}: the log of {node} cannot be: {refusal}"));
            }
            AcceptorEffect::Refuse { to, refusal } => {
                self.refused(id, &refusal);
                self.close_at_node(to);
            }
            AcceptorEffect::CommitAdvanced { commit_lsn } => {
                self.node(id).remember_position();
                self.commit_advanced(id, commit_lsn);
            }
        }
    }

    fn write_wal(&mut self, id: NodeId, begin: Lsn, wal: &[u8]) {
        let disk = &self.node(id).disk;
        let (end, commit_lsn) = (disk.write_lsn(), self.commit_lsn_of(id));
        self.require(begin == end, || format!("{id}: WAL written at {begin}, but it ends at {end}"));
        self.require(begin >= commit_lsn, || format!("{id}: committed WAL written over at {begin}"));
        if self.node(id).full > 0 {
            self.undo_batch(id);
        } else {
            self.node(id).disk.append(wal);
        }
    }

    /// As the safekeeper's owner does when the disk is full: back to what is durable, proposers sent away.
    fn undo_batch(&mut self, id: NodeId) {
        self.counts.undone += 1;
        let node = self.node(id);
        let flush_lsn = node.disk.cut_to_durable();
        let state = node.disk.state().clone();
        node.effects.clear();
        node.batch_ends = false;
        match Acceptor::new(id, state, flush_lsn) {
            Ok(acceptor) => node.acceptor = Some(acceptor),
            Err(missing) => self.require(false, || format!("{id}, disk full: {missing}")),
        }
        self.begin_commit_again(id);
        self.note(20, id.0, flush_lsn, || format!("{id}: disk full, back to {flush_lsn}"));
        for connection in self.connections_of(id) {
            self.close_at_node(connection);
        }
    }

    fn begin_operation(&mut self, id: NodeId, operation: Operation) {
        let commit_lsn = self.commit_lsn_of(id);
        if let Operation::Truncate { to } = operation {
            self.counts.truncations += 1;
            self.note(21, id.0, to, || format!("{id}: WAL is cut back to {to}"));
            self.require(to >= commit_lsn, || format!("{id}: committed WAL up to {commit_lsn} cut at {to}"));
        }
        let once = self.random(SYNC);
        let node = self.node(id);
        node.busy = Some(operation);
        let lasts = once * node.slow.iter().product::<u64>().min(1000);
        let incarnation = node.incarnation;
        self.after(lasts, Action::DiskDone { node: id, incarnation });
    }

    pub(crate) fn disk_done(&mut self, id: NodeId, incarnation: u64) {
        let node = self.node(id);
        if node.incarnation != incarnation || node.busy.is_none() {
            return;
        }
        if std::mem::take(&mut node.next_sync_fails) {
            // Never tried again: what is in the page cache may be marked clean and be nowhere.
            self.note(22, id.0, Lsn::INVALID, || format!("{id}: a sync failed, the process ends"));
            let lasts = self.random(1000..200_000);
            self.power_cut(id, lasts);
            return;
        }
        match node.busy.take() {
            Some(Operation::Flush { log_version }) => {
                let record_end = node.disk.sync();
                let durable_lsn = node.disk.durable_lsn();
                self.step_node(id, AcceptorEvent::Flushed { log_version, durable_lsn, record_end });
            }
            Some(Operation::Truncate { to }) => node.disk.truncate(to),
            Some(Operation::Persist(state)) => self.persist(id, *state),
            None => {}
        }
        self.go_on(id);
    }

    pub(crate) fn persist(&mut self, id: NodeId, state: AcceptorState) {
        let record_end = self.node(id).disk.record_end();
        let (commit_lsn, term) = (state.commit_lsn, state.term);
        self.require(commit_lsn <= record_end, || {
            format!("{id}: a state that speaks of commits up to {commit_lsn}, durable is {record_end}")
        });
        let configuration = state.configuration.clone();
        let generation = configuration.generation.0;
        self.note(23, id.0, commit_lsn, || {
            format!("{id}: persists term {term}, commit LSN {commit_lsn}, configuration {generation}")
        });
        self.decided(&format!("acceptor {id}"), &configuration);
        let node = self.node(id);
        node.disk.persist(state, node.kept.clone());
    }

    /// The process is gone, with what the operation under way had not done yet.
    pub(crate) fn power_cut(&mut self, id: NodeId, lasts: Micros) {
        if !self.node(id).is_up() {
            return;
        }
        self.counts.crashes += 1;
        let done = self.random.random_range(0..2) == 0;
        match self.node(id).busy.take() {
            Some(Operation::Truncate { to }) if done => self.node(id).disk.truncate(to),
            Some(Operation::Persist(state)) if done => self.persist(id, *state),
            Some(_) | None => {}
        }
        let random = &mut self.random;
        let node = self.nodes.get_mut(&id).expect("a node of this world");
        node.disk.power_cut(random);
        node.forget();
        let (incarnation, left) = (node.incarnation, node.disk.durable_lsn());
        self.note(24, id.0, left, || format!("{id}: goes down, WAL up to {left} is left"));
        for connection in self.connections_of(id) {
            self.close_at_node(connection);
        }
        self.after(lasts, Action::Restart { node: id, incarnation });
    }

    pub(crate) fn restart(&mut self, id: NodeId, incarnation: u64) {
        let node = self.node(id);
        if node.is_up() || node.incarnation != incarnation {
            return;
        }
        node.kept = node.disk.kept().clone();
        if let Some(rest) = &node.kept.at_rest {
            let (state, flush_lsn) = (node.disk.state(), rest.flush_lsn);
            node.position = Some(PeerPosition {
                generation: state.configuration.generation,
                term: state.term,
                last_log_term: state.history.last_log_term(flush_lsn),
                flush_lsn,
                commit_lsn: state.commit_lsn,
            });
            node.rest = Some(Rest::Still);
            self.begin_commit_again(id);
            self.check_rest(id);
            self.note(28, id.0, flush_lsn, || format!("{id}: is back, at rest with WAL up to {flush_lsn}"));
        } else {
            self.open(id, START);
        }
    }

    /// What is on disk, of which WAL is known to be whole up to there, if not further.
    pub(crate) fn open(&mut self, id: NodeId, known_good: Lsn) {
        let disk = &mut self.node(id).disk;
        let known_good = known_good.max(disk.state().commit_lsn);
        let cut = match disk.recover(known_good) {
            Ok(cut) => cut,
            Err(lost) => {
                self.require(false, || format!("{id}: {lost}"));
                return;
            }
        };
        let (state, flush_lsn) = (disk.state().clone(), disk.record_end());
        match Acceptor::new(id, state, flush_lsn) {
            Ok(acceptor) => self.node(id).acceptor = Some(acceptor),
            Err(missing) => {
                self.require(false, || format!("{id}: {missing}"));
                return;
            }
        }
        self.counts.torn += u64::from(cut > 0);
        self.begin_commit_again(id);
        self.note(25, id.0, flush_lsn, || {
            format!("{id}: is back with WAL up to {flush_lsn}, {cut} torn bytes cut")
        });
    }

    pub(crate) fn connections_of(&self, id: NodeId) -> Vec<ConnectionId> {
        let open = self.network.connections.iter().filter(|(_, it)| it.node == id && it.open_at_node);
        open.map(|(connection, _)| *connection).collect()
    }

    /// The compute hears of it later.
    pub(crate) fn close_at_node(&mut self, id: ConnectionId) {
        if let Some(connection) = self.network.connections.get_mut(&id).filter(|it| it.open_at_node) {
            connection.open_at_node = false;
            let delay = self.random(100..20_000);
            self.after(delay, Action::BrokenForCompute { connection: id });
        }
    }

    pub(crate) fn broken_for_node(&mut self, id: ConnectionId) {
        if let Some(connection) = self.network.connections.get_mut(&id).filter(|it| it.open_at_node) {
            connection.open_at_node = false;
            let node = connection.node;
            self.input(node, Input::Disconnected { connection: id });
        }
    }

    /// Through the broker, to all others.
    pub(crate) fn publish(&mut self, id: NodeId) {
        self.after(PUBLISH, Action::Publish { node: id });
        if self.broker_away > 0 {
            return;
        }
        let Some(position) = self.nodes[&id].position else { return };
        let others: Vec<NodeId> = self.nodes.keys().copied().filter(|other| *other != id).collect();
        for to in others {
            // News may come late, and after newer ones.
            let delay = if self.random.random_range(0..20) == 0 { 0..3_000_000 } else { 100..5000 };
            let delay = self.random(delay);
            self.after(delay, Action::Position { to, from: id, position });
        }
    }

    /// An administrator brings the timeline to a safekeeper that does not have it.
    pub(crate) fn join(&mut self, id: NodeId, configuration: &Configuration) {
        if self.nodes[&id].joined || configuration.contains(id) {
            return;
        }
        let generation = configuration.generation.0;
        let genesis = AcceptorState::genesis(identity(), configuration.clone(), START);
        let (node, commit_lsn) = match self.donor(configuration) {
            Some(donor) => {
                let commit_lsn = self.commit_lsn_of(donor);
                self.counts.snapshots += 1;
                let state = genesis.with_committed(&self.nodes[&donor].disk.state().history, commit_lsn);
                let kept = self.kept_of_newcomer(donor, commit_lsn);
                let wal = self.read_wal(donor, START, commit_lsn).unwrap_or_default();
                (Node::with_wal(id, state, kept, &wal), commit_lsn)
            }
            None => (Node::new(id, genesis), START),
        };
        self.note(27, id.0, commit_lsn, || {
            format!("{id}: gets the timeline, in configuration {generation}, with WAL up to {commit_lsn}")
        });
        let (incarnation, full) = (self.nodes[&id].incarnation, self.nodes[&id].full);
        let (cut, slow) = (self.nodes[&id].cut, self.nodes[&id].slow.clone());
        let ownership = self.nodes[&id].ownership;
        self.nodes.insert(id, Node { incarnation, full, cut, slow, ownership, ..node });
        self.begin_commit_again(id);
    }

    /// From whom a new acceptor takes over what is committed: every other time, and if somebody is there.
    fn donor(&self, configuration: &Configuration) -> Option<NodeId> {
        let (members, now) = (configuration.ids(), self.now);
        let is_there =
            |node: &NodeId| self.nodes[node].acceptor.is_some() && self.commit_lsn_of(*node) > START;
        members
            .into_iter()
            .filter(is_there)
            .max_by_key(|node| self.commit_lsn_of(*node))
            .filter(|_| now % 2 == 0)
    }

    /// Now and then it looks whether somebody has more, while no compute brings it.
    pub(crate) fn catch_up(&mut self, id: NodeId) {
        let interval = self.catch_up.unwrap_or(CATCH_UP);
        let delay = self.random(interval / 3..interval * 2);
        self.after(delay, Action::CatchUp { node: id });
        let others: Vec<NodeId> = self.nodes.keys().copied().filter(|other| *other != id).collect();
        let node = others[self.random.random_range(0..others.len())];
        if self.catch_up.is_none() || self.wake_to_catch_up(id, node) {
            return;
        }
        let is_alone = self.nodes[&id].acceptor.as_ref().is_some_and(|acceptor| acceptor.leader().is_none());
        let from = &self.nodes[&node];
        let (Some(acceptor), true, true) = (&from.acceptor, is_alone, from.is_at_end_of_batch()) else {
            return;
        };
        let log = PeerLog {
            history: acceptor.state().history.up_to(acceptor.flush_lsn()),
            flush_lsn: acceptor.flush_lsn(),
            commit_lsn: acceptor.commit_lsn(),
        };
        let delay = self.random(100..5000);
        self.pulls += 1;
        self.after(delay, Action::PeerLog { to: id, from: node, number: self.pulls, log });
    }

    pub(crate) fn pull(&mut self, to: NodeId, from: NodeId, pull: u64, last_term: Term, range: Range<Lsn>) {
        let peer = &self.nodes[&from];
        let same = |acceptor: &&Acceptor| {
            acceptor.flush_lsn() >= range.end
                && acceptor.state().history.last_log_term(range.end) == last_term
        };
        let is_same = peer.acceptor.as_ref().filter(same).is_some();
        let Some(wal) = self.read_wal(from, range.start, range.end).filter(|_| is_same) else { return };
        // It may break off anywhere.
        let pieces = wal.len().div_ceil(PIECE);
        let count =
            if self.random.random_range(0..4) == 0 { self.random.random_range(0..=pieces) } else { pieces };
        let mut begin = range.start;
        for piece in wal.chunks(PIECE).take(count) {
            self.input(to, Input::Pulled { pull, begin, wal: Bytes::copy_from_slice(piece) });
            begin += piece.len() as u64;
        }
    }

    fn check_answer(&mut self, id: NodeId, answer: &MembershipAnswer) {
        if let MembershipAnswer::Position { configuration, position } = answer {
            let disk = &self.nodes[&id].disk;
            let (generation, term) = (disk.state().configuration.generation, disk.state().term);
            let durable = disk.record_end();
            let holds = configuration.generation <= generation
                && position.term <= term
                && position.flush_lsn <= durable;
            self.require(holds, || format!("{id}: told an administrator of what is not durable: {answer:?}"));
        }
    }

    fn check_reply(&mut self, id: NodeId, message: &AcceptorMessage) {
        let (record_end, state) = (self.nodes[&id].disk.record_end(), self.nodes[&id].disk.state());
        let (term, persisted) = (message.term(), state.term);
        self.require(term <= persisted, || format!("{id}: told of term {term} before it was persisted"));
        if let AcceptorMessage::AppendResponse(response) = message {
            let flush_lsn = response.flush_lsn;
            self.require(flush_lsn <= record_end, || {
                format!("{id}: acknowledged {flush_lsn}, durable are records up to {record_end}")
            });
        }
    }
}

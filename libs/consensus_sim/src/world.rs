//! The clock, the queue of what happens next, and the life of a world from its beginning to the peace at its end.

use std::collections::BTreeMap;

use consensus::{
    AcceptorMessage, AcceptorState, ChangeEvent, ConnectionId, MembershipQuestion, MembershipReply,
    OwnershipAnswer, OwnershipRequest, PeerLog, PeerPosition, ProposerMessage,
};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use types::{Lsn, NodeId, Term};

use crate::administrator::Administrators;
use crate::checker::{Counts, History, Violation, first_configuration, identity};
use crate::compute::{Compute, Fetch};
use crate::disk::START;
use crate::network::{Direction, Network};
use crate::node::{Input, Node};
use crate::offload::Offload;
use crate::pageserver::Pageservers;
use crate::schedule::{FAULTS_END, Fault, Micros, SECOND, Schedule};
use crate::storage::Storage;
use crate::trace::Trace;

/// Faults that began late have ended by then.
const PEACE: Micros = FAULTS_END + 2 * SECOND;
/// From then on there must be progress within this time.
const PATIENCE: Micros = 30 * SECOND;
/// Computes that may be alive at a time, the newest and those that do not know.
const COMPUTES: usize = 3;

pub(crate) enum Action {
    ToAcceptor {
        connection: ConnectionId,
        message: ProposerMessage,
    },
    ToProposer {
        connection: ConnectionId,
        message: AcceptorMessage,
    },
    BrokenForCompute {
        connection: ConnectionId,
    },
    BrokenForNode {
        connection: ConnectionId,
    },
    Connect {
        compute: u32,
        node: NodeId,
    },
    CampaignAgain {
        compute: u32,
    },
    Tick {
        compute: u32,
    },
    Write {
        compute: u32,
    },
    Fetch(Fetch),
    DiskDone {
        node: NodeId,
        incarnation: u64,
    },
    Restart {
        node: NodeId,
        incarnation: u64,
    },
    Publish {
        node: NodeId,
    },
    Position {
        to: NodeId,
        from: NodeId,
        position: PeerPosition,
    },
    CatchUp {
        node: NodeId,
    },
    PeerLog {
        to: NodeId,
        from: NodeId,
        number: u64,
        log: PeerLog,
    },
    Pull {
        to: NodeId,
        from: NodeId,
        pull: u64,
        last_term: Term,
        begin: Lsn,
        end: Lsn,
    },
    Ask {
        administrator: u32,
        node: NodeId,
        question: MembershipQuestion,
    },
    Answer {
        administrator: u32,
        node: NodeId,
        reply: MembershipReply,
    },
    AskAgain {
        administrator: u32,
    },
    Dismiss {
        administrator: u32,
    },
    PageserverActs {
        pageserver: u32,
    },
    AskOwnership {
        pageserver: u32,
        number: u64,
        node: NodeId,
        request: OwnershipRequest,
    },
    AnswerOwnership {
        pageserver: u32,
        number: u64,
        node: NodeId,
        answer: OwnershipAnswer,
    },
    Begin {
        fault: Fault,
    },
    /// A safekeeper looks what can go to object storage, or from here.
    Offload {
        node: NodeId,
    },
    PutSegment {
        number: u64,
        wal: Vec<u8>,
    },
    CompareSegment {
        node: NodeId,
        incarnation: u64,
        number: u64,
        wal: Vec<u8>,
    },
    RestStep {
        node: NodeId,
        incarnation: u64,
    },
    /// `compute` is who was cut off.
    End {
        fault: Fault,
        compute: u32,
    },
}

pub(crate) struct World {
    pub now: Micros,
    pub random: StdRng,
    /// Two things of one moment happen in the order in which they were planned.
    queue: BTreeMap<(Micros, u64), Action>,
    planned: u64,
    pub nodes: BTreeMap<NodeId, Node>,
    pub computes: BTreeMap<u32, Compute>,
    pub newest: u32,
    pub administrators: Administrators,
    pub pageservers: Pageservers,
    pub storage: Storage,
    pub offload: Offload,
    /// The WAL of those who came to rest, as it was then.
    pub nodes_at_rest: BTreeMap<NodeId, Vec<u8>>,
    /// The first members are all there ever are.
    pub members_stay: bool,
    /// A compute that is killed comes back, and may find that another has led meanwhile.
    have_lives: bool,
    /// Numbers for pulls, never used twice.
    pub pulls: u64,
    pub catch_up: Option<Micros>,
    pub network: Network,
    pub broker_away: u32,
    pub history: History,
    pub counts: Counts,
    pub violation: Option<Violation>,
    pub trace: Trace,
}

/// How a world ended.
#[derive(Debug)]
pub struct Outcome {
    pub counts: Counts,
    pub violation: Option<Violation>,
    pub trace: Trace,
}

/// The world of a seed, with all its faults.
pub fn run(seed: u64, with_trace: bool) -> Outcome {
    run_schedule(seed, &Schedule::of_seed(seed), with_trace)
}

/// The world of a seed with a schedule of faults that need not be its own.
pub fn run_schedule(seed: u64, schedule: &Schedule, with_trace: bool) -> Outcome {
    let mut world = World::new(seed, schedule, with_trace);
    world.run_until(PEACE, |_| false);
    world.make_peace();
    world.check_all_copies();
    world.trace_violation();
    Outcome { counts: world.counts, violation: world.violation, trace: world.trace }
}

impl World {
    fn new(seed: u64, schedule: &Schedule, with_trace: bool) -> World {
        let configuration = first_configuration(schedule.nodes);
        let node = |number| {
            let id = NodeId(number);
            let state = AcceptorState::genesis(identity(), configuration.clone(), START);
            (id, if number <= schedule.nodes { Node::new(id, state) } else { Node::spare(id, state) })
        };
        let all = schedule.nodes + schedule.spares;
        let mut world = World {
            now: 0,
            random: StdRng::seed_from_u64(seed),
            queue: BTreeMap::new(),
            planned: 0,
            nodes: (1..=all).map(node).collect(),
            computes: BTreeMap::new(),
            newest: 0,
            administrators: Administrators::default(),
            pageservers: Pageservers::new(seed, schedule.nodes, all),
            storage: Storage::default(),
            offload: Offload::new(seed),
            nodes_at_rest: BTreeMap::new(),
            members_stay: schedule.spares == 0,
            have_lives: seed % 8 == 5,
            pulls: 0,
            catch_up: schedule.catch_up,
            network: Network::new(schedule.unordered),
            broker_away: 0,
            history: History::default(),
            counts: Counts::default(),
            violation: None,
            trace: Trace::new(with_trace),
        };
        for (at, fault) in &schedule.faults {
            world.after(*at, Action::Begin { fault: *fault });
        }
        for node in (1..=all).map(NodeId) {
            world.after(node.0 * 1000, Action::Publish { node });
            world.after(SECOND + node.0 * 1000, Action::CatchUp { node });
        }
        world.decided("the world", &configuration);
        world.new_compute();
        world.begin_pageservers();
        if schedule.offloads {
            world.begin_offload();
        }
        world
    }

    pub(crate) fn random(&mut self, range: std::ops::Range<Micros>) -> Micros {
        self.random.random_range(range)
    }

    pub(crate) fn after(&mut self, delay: Micros, action: Action) {
        self.planned += 1;
        self.queue.insert((self.now + delay, self.planned), action);
    }

    pub(crate) fn note(&mut self, kind: u64, who: u64, lsn: Lsn, text: impl FnOnce() -> String) {
        self.trace.note(self.now, kind, who, lsn, text);
    }

    /// Until `end`, until `enough`, or until a rule is broken.
    fn run_until(&mut self, end: Micros, enough: impl Fn(&World) -> bool) {
        while self.violation.is_none() && !enough(self) {
            let Some(entry) = self.queue.first_entry().filter(|entry| entry.key().0 < end) else { break };
            let ((now, _), action) = entry.remove_entry();
            self.now = now;
            self.act(action);
        }
        self.now = self.now.max(end.min(self.now + 1));
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::ToAcceptor { connection, message } => {
                if let Some(node) = self.arrive(connection, Direction::ToAcceptor) {
                    self.input(node, Input::Message { connection, message });
                }
            }
            Action::ToProposer { connection, message } => {
                if let Some(node) = self.arrive(connection, Direction::ToProposer) {
                    let compute = self.network.connections[&connection].compute;
                    self.step_compute(compute, consensus::ProposerEvent::Message { node, message });
                }
            }
            Action::BrokenForCompute { connection } => self.broken_for_compute(connection),
            Action::BrokenForNode { connection } => self.broken_for_node(connection),
            Action::Connect { compute, node } => self.connect(compute, node),
            Action::CampaignAgain { compute } => self.campaign_again(compute),
            Action::Tick { compute } => {
                self.network.forget_closed();
                self.tick(compute);
            }
            Action::Write { compute } if self.computes.contains_key(&compute) => self.write(compute),
            Action::Write { .. } => {}
            Action::Fetch(fetch) => self.fetch(fetch),
            Action::DiskDone { node, incarnation } => self.disk_done(node, incarnation),
            Action::Restart { node, incarnation } => self.restart(node, incarnation),
            Action::Publish { node } => self.publish(node),
            Action::Position { to, from, position } => {
                self.input(to, Input::Position { node: from, position })
            }
            Action::CatchUp { node } => self.catch_up(node),
            Action::PeerLog { to, from, number, log } => {
                self.input(to, Input::PeerLog { node: from, number, log });
            }
            Action::Pull { to, from, pull, last_term, begin, end } => {
                self.pull(to, from, pull, last_term, begin..end);
            }
            Action::Ask { administrator, node, question } => self.asked(administrator, node, question),
            Action::Answer { administrator, node, reply } => {
                self.step_administrator(administrator, ChangeEvent::Answer { node, reply });
            }
            Action::AskAgain { administrator } => self.ask_again(administrator),
            Action::Dismiss { administrator } => self.dismiss(administrator),
            Action::PageserverActs { pageserver } => self.pageserver_acts(pageserver),
            Action::AskOwnership { pageserver, number, node, request } => {
                self.ownership_asked(pageserver, number, node, request);
            }
            Action::AnswerOwnership { pageserver, number, node, answer } => {
                self.pageserver_hears(pageserver, number, node, answer);
            }
            Action::Offload { node } => self.look_at_segments(node),
            Action::PutSegment { number, wal } => self.put_segment(number, wal),
            Action::CompareSegment { node, incarnation, number, wal } => {
                self.compare_segment(node, incarnation, number, &wal);
            }
            Action::RestStep { node, incarnation } => self.rest_step(node, incarnation),
            Action::Begin { fault } => self.begin(fault),
            Action::End { fault, compute } => self.end(fault, compute),
        }
    }

    /// The acceptor of the connection, if the message gets there.
    fn arrive(&mut self, id: ConnectionId, direction: Direction) -> Option<NodeId> {
        let connection = self.network.connections.get(&id)?;
        let (node, number) = (connection.node, connection.compute);
        let open = match direction {
            Direction::ToAcceptor => connection.open_at_node,
            Direction::ToProposer => connection.open_at_compute,
        };
        if connection.stalled || !open {
            return None;
        }
        let cut_at_compute = self.computes.get(&number).is_some_and(|compute| compute.cut.blocks(direction));
        if cut_at_compute || self.nodes[&node].cut.blocks(direction) {
            self.stall(id);
            return None;
        }
        Some(node)
    }

    /// A message was lost. Nothing arrives behind it, and both ends give the connection up in the end.
    fn stall(&mut self, id: ConnectionId) {
        self.counts.stalls += 1;
        if let Some(connection) = self.network.connections.get_mut(&id) {
            connection.stalled = true;
        }
        let (one, other) = (self.random(50_000..2 * SECOND), self.random(50_000..2 * SECOND));
        self.after(one, Action::BrokenForCompute { connection: id });
        self.after(other, Action::BrokenForNode { connection: id });
    }

    pub(crate) fn send(
        &mut self,
        id: ConnectionId,
        direction: Direction,
        action: impl Fn(ConnectionId) -> Action,
    ) {
        let late = match direction {
            Direction::ToAcceptor => 0,
            Direction::ToProposer => {
                let compute = self.network.connections.get(&id).and_then(|it| self.computes.get(&it.compute));
                compute.map_or(0, |compute| compute.late)
            }
        };
        for arrival in self.network.arrivals(id, direction, self.now + late, &mut self.random) {
            self.after(arrival - self.now, action(id));
        }
    }

    fn begin(&mut self, fault: Fault) {
        let newest = self.newest;
        self.note(30, u64::from(newest), Lsn::INVALID, || format!("fault: {fault:?}"));
        let lasts = match fault {
            Fault::PowerCut { node, lasts } => {
                self.power_cut(node, lasts);
                return;
            }
            Fault::PowerCutOfAll { lasts } => {
                let nodes: Vec<NodeId> = self.nodes.keys().copied().collect();
                nodes.into_iter().for_each(|node| self.power_cut(node, lasts));
                return;
            }
            Fault::FailedSync { node } => {
                self.node(node).next_sync_fails = true;
                return;
            }
            Fault::Failover { kill } => {
                self.fail_over(kill);
                return;
            }
            Fault::Disconnect => {
                let all: Vec<ConnectionId> = self.network.connections.keys().copied().collect();
                all.into_iter().for_each(|connection| self.stall(connection));
                return;
            }
            Fault::Isolate { node, way, lasts } => {
                self.node(node).cut.begin(way);
                lasts
            }
            Fault::SlowDisk { node, factor, lasts } => {
                self.node(node).slow.push(factor);
                lasts
            }
            Fault::FullDisk { node, lasts } => {
                self.node(node).full += 1;
                lasts
            }
            Fault::CutCompute { way, lasts } => {
                if let Some(compute) = self.computes.get_mut(&newest) {
                    compute.cut.begin(way);
                }
                lasts
            }
            Fault::LateAnswers { by, lasts } => {
                if let Some(compute) = self.computes.get_mut(&newest) {
                    compute.late += by;
                }
                lasts
            }
            Fault::BrokerAway { lasts } => {
                self.broker_away += 1;
                lasts
            }
            Fault::ChangeMembers { to, gone_after } => {
                self.new_administrator(to, gone_after);
                return;
            }
        };
        self.after(lasts, Action::End { fault, compute: newest });
    }

    fn end(&mut self, fault: Fault, compute: u32) {
        match fault {
            Fault::Isolate { node, way, .. } => self.node(node).cut.end(way),
            Fault::SlowDisk { node, factor, .. } => {
                let slow = &mut self.node(node).slow;
                slow.retain(|of_fault| *of_fault != factor);
            }
            Fault::FullDisk { node, .. } => self.node(node).full -= 1,
            Fault::CutCompute { way, .. } => {
                if let Some(compute) = self.computes.get_mut(&compute) {
                    compute.cut.end(way);
                }
            }
            Fault::LateAnswers { by, .. } => {
                if let Some(compute) = self.computes.get_mut(&compute) {
                    compute.late -= by;
                }
            }
            Fault::BrokerAway { .. } => self.broker_away -= 1,
            // These end by themselves.
            Fault::PowerCut { .. }
            | Fault::PowerCutOfAll { .. }
            | Fault::FailedSync { .. }
            | Fault::Failover { .. }
            | Fault::Disconnect
            | Fault::ChangeMembers { .. } => {}
        }
    }

    fn fail_over(&mut self, kill: bool) {
        let last = if kill { self.kill_compute(self.newest) } else { None };
        self.begin_compute(last.filter(|_| self.have_lives));
        while self.computes.len() > COMPUTES {
            let oldest = *self.computes.keys().next().expect("there are some");
            self.kill_compute(oldest);
        }
    }

    /// Faults have ended: whoever leads, or somebody new if nobody does, must get all to the same end.
    fn make_peace(&mut self) {
        if self.violation.is_some() {
            return;
        }
        self.network.calm_down();
        self.catch_up = self.catch_up.or(Some(300_000));
        self.end_changes();
        let newest = self.newest;
        if self.computes.get(&newest).is_none_or(|compute| compute.over) {
            self.new_compute();
        }
        let leader = self.newest;
        let others: Vec<u32> = self.computes.keys().copied().filter(|number| *number != leader).collect();
        for number in others {
            self.kill_compute(number);
        }
        let deadline = self.now + PATIENCE;
        self.run_until(deadline, |world| {
            world.computes.get(&leader).is_some_and(|compute| compute.established.is_some() || compute.over)
        });
        // Its term may have been outrun by one that came to nothing; another must then do.
        if self.computes.get(&leader).is_some_and(|compute| compute.over) {
            self.kill_compute(leader);
            self.new_compute();
            let leader = self.newest;
            self.run_until(deadline, |world| world.computes[&leader].established.is_some());
        }
        let (leader, peace) = (self.newest, self.now);
        let Some(end) = self.write_rest(leader) else {
            let what = || format!("no compute leads {} s after the last fault", PATIENCE / SECOND);
            self.require(false, what);
            return;
        };
        let at_end = move |world: &World| {
            let committed = world.computes.get(&leader).is_some_and(|it| it.proposer.commit_lsn() >= end);
            let everywhere = world.members().all(|node| {
                node.acceptor.as_ref().is_some_and(|it| it.flush_lsn() >= end && it.commit_lsn() >= end)
            });
            let granted = world.pageservers.granted_since(peace);
            committed && everywhere && granted && world.administrators.are_done()
        };
        self.run_until(deadline, at_end);
        let reached = at_end(self);
        self.require(self.administrators.are_done(), || "members still change".to_owned());
        let granted = self.pageservers.granted_since(peace);
        self.require(granted, || "no pageserver was granted a generation once faults stopped".to_owned());
        self.require(reached, || format!("not all members have committed {end} once faults stopped"));
    }

    fn trace_violation(&mut self) {
        if let Some(violation) = self.violation.clone() {
            self.note(99, 0, Lsn::INVALID, || format!("VIOLATION: {}", violation.what));
        }
    }
}

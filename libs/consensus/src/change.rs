//! [`MembershipChange`]: an administrator who brings a timeline to other acceptors, as a state machine.
//!
//! ```text
//! members A ──decide──▶ joint A+B ──B has what A may have──▶ decide ──▶ members B
//!                           └──────B gives up (abort)────────────────▶ members A
//! ```
//! A configuration is decided by a quorum of the one before it, in a register that is written once ([`Slot`], there
//! is one for each generation): of two administrators one wins, and the other finds out. Anyone may die at any point;
//! the next administrator goes on from what is decided.
//!
//! Writes go on all the while. Within the joint configuration every election and every commit needs a majority of
//! both sets, so it is safe whatever the new ones have. It may be left for B alone once a majority of B has, in the
//! order of elections (term of the last entry, then length), at least what any of a majority of A had after it had
//! heard of the joint configuration: everything that was ever committed by A alone.
//!
//! That majority of B must also be in the highest term that any of these of A was in. Somebody may have been elected
//! in it by A alone, and have got no further than one log: B must neither elect another one in that term nor commit on
//! in an older one, for that log counts as further on wherever it turns up. And it must have heard of the highest
//! pageserver generation that any of these of A knew ([`Ownership`](crate::Ownership)). Nothing but the administrator
//! brings these two to B.
//!
//! It may be left for A alone at any time.
//!
//! [`Slot`]: crate::Slot

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use types::{Generation, Lsn, NodeId, Term};
use utoipa::ToSchema;

use crate::membership::{Configuration, Member, MembershipGeneration, ids};
use crate::register::{Ballot, Decree, DecreeStage};

/// New members are let in when they lack less than this of what the old ones have.
const CLOSE: u64 = 16 << 20;

/// What an administrator asks of an acceptor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum MembershipRequest {
    /// Take on this configuration, which is decided, and follow nobody of a term lower than this. Also to ask where the
    /// acceptor is.
    Adopt { configuration: Configuration, term: Term },
    /// Accept nothing of a lower ballot in the register for the configuration after `generation`.
    Promise { generation: MembershipGeneration, ballot: Ballot },
    /// Accept this as the configuration after `generation`.
    Accept { generation: MembershipGeneration, ballot: Ballot, configuration: Configuration },
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum MembershipAnswer {
    /// Also to who asks about another generation than the acceptor is in.
    Position {
        configuration: Configuration,
        position: MemberPosition,
    },
    Promised {
        generation: MembershipGeneration,
        ballot: Ballot,
        accepted: Option<(Ballot, Configuration)>,
    },
    Accepted {
        generation: MembershipGeneration,
        ballot: Ballot,
    },
    /// Another administrator has a higher ballot.
    Outbid {
        generation: MembershipGeneration,
        promised: Ballot,
    },
    Refused {
        reason: String,
    },
}

/// What goes over the network. Whoever hosts an acceptor raises what it remembers of the tenant's pageserver (its
/// `Ownership`) to the generation given, before it hands the request to the acceptor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct MembershipQuestion {
    pub request: MembershipRequest,
    /// The highest that the administrator has heard of.
    pub pageserver_generation: Generation,
}

/// The acceptor's answer, with the highest pageserver generation that was remembered *after* the acceptor had given it:
/// one that was granted in an older configuration is in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct MembershipReply {
    pub answer: MembershipAnswer,
    pub pageserver_generation: Generation,
}

/// Where an acceptor is, all durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct MemberPosition {
    pub term: Term,
    pub last_log_term: Term,
    pub flush_lsn: Lsn,
    pub commit_lsn: Lsn,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    Answer {
        node: NodeId,
        reply: MembershipReply,
    },
    /// Time has gone by: ask again. With a higher ballot if another one was seen, so after a random while.
    AskAgain,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    Ask {
        node: NodeId,
        question: MembershipQuestion,
    },
    /// A majority of the members knows what was decided. It is the end.
    Done {
        configuration: Box<Configuration>,
    },
}

/// What one has, of all that must not be lost with the old members.
#[derive(Clone, Copy, Debug)]
struct Progress {
    /// Logs in the order of elections: what is further on has all that is committed of what is not.
    log: (Term, Lsn),
    /// Votes are given in higher ones only, and WAL is taken from nobody of a lower one.
    term: Term,
    pageserver_generation: Generation,
}

impl Progress {
    fn of(position: &MemberPosition, pageserver_generation: Generation) -> Self {
        let log = (position.last_log_term, position.flush_lsn);
        Self { log, term: position.term, pageserver_generation }
    }

    fn has(self, other: Self) -> bool {
        self.log >= other.log
            && self.term >= other.term
            && self.pageserver_generation >= other.pageserver_generation
    }

    fn joined(self, other: Self) -> Self {
        Self {
            log: self.log.max(other.log),
            term: self.term.max(other.term),
            pageserver_generation: self.pageserver_generation.max(other.pageserver_generation),
        }
    }
}

/// See the head of this module.
#[derive(Clone, Debug)]
pub struct MembershipChange {
    target: Vec<Member>,
    /// Of this administrator alone.
    number: u64,
    /// The newest that is known to be decided.
    known: Configuration,
    /// All who were ever asked, so that those who are removed hear of it.
    contacts: BTreeMap<NodeId, Member>,
    /// Of those who are in `known`.
    positions: BTreeMap<NodeId, Progress>,
    /// Where a majority of B has to be before A is left out.
    sync: Option<Progress>,
    /// The highest that anybody knew of.
    pageserver_generation: Generation,
    decree: Option<Decree<Configuration>>,
    /// The highest that was seen.
    round: u64,
    outbid: bool,
    done: bool,
}

impl MembershipChange {
    /// `known`: any configuration of the timeline's that was ever decided. `number` must be nobody else's: a random
    /// one will do.
    pub fn new(known: Configuration, target: Vec<Member>, number: u64) -> Self {
        let mut change = Self {
            target,
            number,
            contacts: BTreeMap::new(),
            positions: BTreeMap::new(),
            sync: None,
            pageserver_generation: Generation(0),
            decree: None,
            round: 0,
            outbid: false,
            done: false,
            known,
        };
        change.add_contacts();
        change
    }

    pub fn known(&self) -> &Configuration {
        &self.known
    }

    pub fn member(&self, node: NodeId) -> Option<&Member> {
        self.contacts.get(&node)
    }

    /// Whose answer is waited for now, for people who wonder why it takes so long.
    pub fn missing(&self) -> BTreeSet<NodeId> {
        let mut missing = &self.known.ids() | &ids(&self.target);
        missing.retain(|id| !self.positions.contains_key(id));
        missing
    }

    pub fn step(&mut self, event: Event) -> Vec<Effect> {
        let mut effects = Vec::new();
        match event {
            _ if self.done => {}
            Event::AskAgain => {
                if std::mem::take(&mut self.outbid) {
                    self.decree = None;
                }
                self.ask_positions(&mut effects);
                match self.decree {
                    Some(_) => self.ask_decree(&mut effects),
                    None => self.go_on(&mut effects),
                }
            }
            Event::Answer { node, reply } => {
                self.pageserver_generation = self.pageserver_generation.max(reply.pageserver_generation);
                self.answer(node, reply, &mut effects);
            }
        }
        effects
    }

    fn answer(&mut self, node: NodeId, reply: MembershipReply, effects: &mut Vec<Effect>) {
        let ours = self.known.generation;
        match reply.answer {
            MembershipAnswer::Position { configuration, position } => {
                if configuration.generation < ours {
                    self.ask(node, self.adoption(node), effects);
                    return;
                }
                if configuration.generation > ours {
                    self.learn(configuration);
                    self.ask_positions(effects);
                }
                self.positions.insert(node, Progress::of(&position, reply.pageserver_generation));
                self.go_on(effects);
            }
            MembershipAnswer::Promised { generation, ballot, accepted } if generation == ours => {
                let Some(decree) = self.decree.as_mut().filter(|decree| decree.ballot() == ballot) else {
                    return;
                };
                let was = decree.stage();
                decree.promised(node, accepted);
                if decree.stage() != was {
                    self.ask_decree(effects);
                }
            }
            MembershipAnswer::Accepted { generation, ballot } if generation == ours => {
                let Some(decree) = self.decree.as_mut().filter(|decree| decree.ballot() == ballot) else {
                    return;
                };
                decree.accepted(node);
                if let DecreeStage::Decided(configuration) = decree.stage() {
                    self.learn(configuration);
                    self.ask_positions(effects);
                }
            }
            MembershipAnswer::Outbid { generation, promised } if generation == ours => {
                self.round = self.round.max(promised.round);
                self.outbid = true;
            }
            // Of a register that is decided; or a request that no acceptor of this timeline should get.
            MembershipAnswer::Promised { .. }
            | MembershipAnswer::Accepted { .. }
            | MembershipAnswer::Outbid { .. }
            | MembershipAnswer::Refused { .. } => {}
        }
    }

    fn learn(&mut self, configuration: Configuration) {
        self.known = configuration;
        self.positions.clear();
        self.sync = None;
        self.decree = None;
        self.outbid = false;
        self.add_contacts();
    }

    fn add_contacts(&mut self) {
        for member in self.known.all_members().into_iter().chain(&self.target) {
            self.contacts.entry(member.id).or_insert_with(|| member.clone());
        }
    }

    fn ask_positions(&self, effects: &mut Vec<Effect>) {
        self.contacts.keys().for_each(|node| self.ask(*node, self.adoption(*node), effects));
    }

    fn ask(&self, node: NodeId, request: MembershipRequest, effects: &mut Vec<Effect>) {
        let question = MembershipQuestion { request, pageserver_generation: self.pageserver_generation };
        effects.push(Effect::Ask { node, question });
    }

    /// Who is in a term takes no more WAL of older ones than is committed, unless a proposer brings it. So the term
    /// comes last.
    fn adoption(&self, node: NodeId) -> MembershipRequest {
        let has_log = |sync: &Progress| self.positions.get(&node).is_some_and(|its| its.log >= sync.log);
        let term = self.sync.filter(has_log).map(|sync| sync.term).unwrap_or_default();
        MembershipRequest::Adopt { configuration: self.known.clone(), term }
    }

    fn ask_decree(&self, effects: &mut Vec<Effect>) {
        let Some(decree) = &self.decree else { return };
        let (generation, ballot) = (self.known.generation, decree.ballot());
        let request = match decree.stage() {
            DecreeStage::Promise => MembershipRequest::Promise { generation, ballot },
            DecreeStage::Accept(configuration) | DecreeStage::Decided(configuration) => {
                MembershipRequest::Accept { generation, ballot, configuration }
            }
        };
        self.known.all_members().iter().for_each(|member| self.ask(member.id, request.clone(), effects));
    }

    fn go_on(&mut self, effects: &mut Vec<Effect>) {
        let heard = |id| self.positions.contains_key(&id);
        if self.decree.is_some() {
            return;
        }
        if self.known.new_members.is_some() && self.sync.is_none() && self.known.old_quorum().reached(heard) {
            // All of it was asked for after a majority of the old members had taken on the joint configuration.
            let old = self.known.members.iter().filter_map(|member| self.positions.get(&member.id));
            self.sync = old.copied().reduce(Progress::joined);
        }
        if !self.known.quorum().reached(heard) {
            return;
        }
        match self.next_configuration() {
            Some(configuration) => {
                self.round += 1;
                let ballot = Ballot { round: self.round, proposer: self.number };
                self.decree = Some(Decree::new(self.known.quorum(), ballot, configuration));
                self.ask_decree(effects);
            }
            None if self.is_at_target() => {
                self.done = true;
                effects.push(Effect::Done { configuration: Box::new(self.known.clone()) });
            }
            None => {}
        }
    }

    fn is_at_target(&self) -> bool {
        self.known.new_members.is_none() && same_ids(&self.known.members, &self.target)
    }

    /// What is to be decided next, if it is time to.
    fn next_configuration(&self) -> Option<Configuration> {
        if self.is_at_target() {
            return None;
        }
        match &self.known.new_members {
            None => self.newcomers_are_close().then(|| self.known.joint_with(self.target.clone())),
            Some(_) if same_ids(&self.known.members, &self.target) => Some(self.known.aborted()),
            // Also what another administrator has begun: only then comes the turn of ours.
            Some(_) => self.newcomers_have_all().then(|| self.known.finished()),
        }
    }

    /// Before they count: with new members that lack much, nothing could be committed until they have it.
    fn newcomers_are_close(&self) -> bool {
        let head = |member: &Member| self.positions.get(&member.id).map(|progress| progress.log.1);
        let end = self.known.members.iter().filter_map(head).max().unwrap_or_default();
        let mut newcomers = self.target.iter().filter(|member| !self.known.contains(member.id));
        newcomers.all(|member| head(member).is_some_and(|lsn| end.saturating_distance(lsn) < CLOSE))
    }

    fn newcomers_have_all(&self) -> bool {
        let Some(sync) = self.sync else { return false };
        self.known
            .new_quorum()
            .reached(|id| self.positions.get(&id).is_some_and(|progress| progress.has(sync)))
    }
}

fn same_ids(one: &[Member], other: &[Member]) -> bool {
    ids(one) == ids(other)
}

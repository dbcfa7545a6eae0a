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
//! heard of the joint configuration: everything that was ever committed by A alone. With the entries come their
//! terms, so B elects nobody else in a term in which a proposer of A leads on (only one that was established does).
//!
//! It may be left for A alone at any time.
//!
//! [`Slot`]: crate::Slot

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use types::{Lsn, NodeId, Term};

use crate::membership::{Configuration, Member, MembershipGeneration, ids};
use crate::register::{Ballot, Decree, DecreeStage};

/// New members are let in when they lack less than this of what the old ones have.
const CLOSE: u64 = 16 << 20;

/// What an administrator asks of an acceptor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum MembershipRequest {
    /// Take on this configuration, which is decided. Also to ask where the acceptor is.
    Adopt { configuration: Configuration },
    /// Accept nothing of a lower ballot in the register for the configuration after `generation`.
    Promise { generation: MembershipGeneration, ballot: Ballot },
    /// Accept this as the configuration after `generation`.
    Accept { generation: MembershipGeneration, ballot: Ballot, configuration: Configuration },
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
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

/// Where an acceptor is, all durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MemberPosition {
    pub term: Term,
    pub last_log_term: Term,
    pub flush_lsn: Lsn,
    pub commit_lsn: Lsn,
}

impl MemberPosition {
    /// Logs in the order of elections: what is further on has all that is committed of what is not.
    fn log(&self) -> (Term, Lsn) {
        (self.last_log_term, self.flush_lsn)
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    Answer {
        node: NodeId,
        answer: MembershipAnswer,
    },
    /// Time has gone by: ask again. With a higher ballot if another one was seen, so after a random while.
    AskAgain,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    Ask {
        node: NodeId,
        request: MembershipRequest,
    },
    /// A majority of the members knows what was decided. It is the end.
    Done {
        configuration: Box<Configuration>,
    },
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
    positions: BTreeMap<NodeId, MemberPosition>,
    /// Where the log of a majority of B has to be before A is left out.
    sync: Option<(Term, Lsn)>,
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
            Event::Answer { node, answer } => self.answer(node, answer, &mut effects),
        }
        effects
    }

    fn answer(&mut self, node: NodeId, answer: MembershipAnswer, effects: &mut Vec<Effect>) {
        let ours = self.known.generation;
        match answer {
            MembershipAnswer::Position { configuration, position } => {
                if configuration.generation < ours {
                    effects.push(Effect::Ask { node, request: self.adoption() });
                    return;
                }
                if configuration.generation > ours {
                    self.learn(configuration);
                    self.ask_positions(effects);
                }
                self.positions.insert(node, position);
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
        effects
            .extend(self.contacts.keys().map(|node| Effect::Ask { node: *node, request: self.adoption() }));
    }

    fn adoption(&self) -> MembershipRequest {
        MembershipRequest::Adopt { configuration: self.known.clone() }
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
        let members = self.known.all_members().into_iter();
        effects.extend(members.map(|member| Effect::Ask { node: member.id, request: request.clone() }));
    }

    fn go_on(&mut self, effects: &mut Vec<Effect>) {
        let heard = |id| self.positions.contains_key(&id);
        if self.decree.is_some() {
            return;
        }
        if self.known.new_members.is_some() && self.sync.is_none() && self.known.old_quorum().reached(heard) {
            // All of it was asked for after a majority of the old members had taken on the joint configuration.
            let logs = self.known.members.iter().filter_map(|member| self.positions.get(&member.id));
            self.sync = logs.map(MemberPosition::log).max();
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
        let head = |member: &Member| self.positions.get(&member.id).map(|position| position.flush_lsn);
        let end = self.known.members.iter().filter_map(head).max().unwrap_or_default();
        let mut newcomers = self.target.iter().filter(|member| !self.known.contains(member.id));
        newcomers.all(|member| head(member).is_some_and(|lsn| end.saturating_distance(lsn) < CLOSE))
    }

    fn newcomers_have_all(&self) -> bool {
        let Some(sync) = self.sync else { return false };
        self.known.new_quorum().reached(|id| {
            let position = self.positions.get(&id);
            position.is_some_and(|position| position.log() >= sync)
        })
    }
}

fn same_ids(one: &[Member], other: &[Member]) -> bool {
    ids(one) == ids(other)
}

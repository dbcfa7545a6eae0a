//! Those who change the members: some at a time, some gone before the end, none trusted to be alone.

use std::collections::BTreeMap;

use consensus::{
    ChangeEffect, ChangeEvent, Member, MembershipAnswer, MembershipChange, MembershipQuestion,
    MembershipReply, MembershipRequest, RequestId,
};
use rand::RngExt;
use types::{Lsn, NodeId};

use crate::checker::member;
use crate::network::Direction;
use crate::node::Input;
use crate::schedule::{FAULTS_END, Micros};
use crate::world::{Action, World};

const ASK_AGAIN: std::ops::Range<Micros> = 20_000..150_000;
const DELAY: std::ops::Range<Micros> = 50..3000;

#[derive(Debug, Default)]
pub struct Administrators {
    at_work: BTreeMap<u32, MembershipChange>,
    count: u32,
    /// Who asked.
    requests: BTreeMap<RequestId, u32>,
    numbered: u64,
}

impl Administrators {
    pub fn are_done(&self) -> bool {
        self.at_work.is_empty()
    }
}

impl World {
    pub(crate) fn new_administrator(&mut self, to: u16, gone_after: Micros) {
        let members: Vec<Member> =
            (0..16).filter(|bit| to & (1 << bit) != 0).map(|bit| member(bit + 1)).collect();
        let newest = self.random.random_range(0..2) == 0;
        let known = self.history.configuration(newest).clone();
        self.administrators.count += 1;
        let administrator = self.administrators.count;
        self.note(40, u64::from(administrator), Lsn::INVALID, || {
            let ids: Vec<u64> = members.iter().map(|member| member.id.0).collect();
            format!("administrator {administrator} wants the members {ids:?}")
        });
        let change = MembershipChange::new(known, members, u64::from(administrator));
        self.administrators.at_work.insert(administrator, change);
        self.after(0, Action::AskAgain { administrator });
        if gone_after < FAULTS_END {
            self.after(gone_after, Action::Dismiss { administrator });
        }
    }

    /// Whatever was begun is brought to an end: by those who are at it, or by one more.
    pub(crate) fn end_changes(&mut self) {
        let configuration = self.history.configuration(true);
        let members = configuration.new_members.as_ref().unwrap_or(&configuration.members);
        let to = members.iter().fold(0, |to, member| to | 1 << (member.id.0 - 1));
        // Several who want different things would be at it for ever.
        self.administrators.at_work.clear();
        self.new_administrator(to, FAULTS_END);
    }

    pub(crate) fn dismiss(&mut self, administrator: u32) {
        if self.administrators.at_work.remove(&administrator).is_some() {
            self.note(41, u64::from(administrator), Lsn::INVALID, || {
                format!("administrator {administrator} is gone")
            });
        }
    }

    pub(crate) fn ask_again(&mut self, administrator: u32) {
        if self.administrators.at_work.contains_key(&administrator) {
            let delay = self.random(ASK_AGAIN);
            self.after(delay, Action::AskAgain { administrator });
            self.step_administrator(administrator, ChangeEvent::AskAgain);
        }
    }

    pub(crate) fn step_administrator(&mut self, administrator: u32, event: ChangeEvent) {
        if let ChangeEvent::Answer { reply, .. } = &event
            && matches!(reply.answer, MembershipAnswer::Outbid { .. })
        {
            self.counts.outbid += 1;
        }
        let Some(change) = self.administrators.at_work.get_mut(&administrator) else { return };
        for effect in change.step(event) {
            match effect {
                ChangeEffect::Ask { node, question } => self.ask(administrator, node, question),
                ChangeEffect::Done { configuration } => {
                    self.decided(&format!("administrator {administrator}"), &configuration);
                    self.administrators.at_work.remove(&administrator);
                    self.note(42, u64::from(administrator), Lsn::INVALID, || {
                        format!(
                            "administrator {administrator} is done: configuration {}",
                            configuration.generation.0
                        )
                    });
                }
            }
        }
    }

    fn ask(&mut self, administrator: u32, node: NodeId, question: MembershipQuestion) {
        if let MembershipRequest::Adopt { configuration, .. } = &question.request {
            self.decided(&format!("administrator {administrator}"), configuration);
        }
        if self.is_lost(node, Direction::ToAcceptor) {
            return;
        }
        let delay = self.random(DELAY);
        self.after(delay, Action::Ask { administrator, node, question });
    }

    pub(crate) fn asked(&mut self, administrator: u32, node: NodeId, question: MembershipQuestion) {
        let MembershipQuestion { request, pageserver_generation } = question;
        if let MembershipRequest::Adopt { configuration, .. } = &request {
            self.join(node, configuration);
        }
        if self.node(node).is_up() {
            self.node(node).ownership.raise(pageserver_generation);
        }
        let numbers = &mut self.administrators;
        numbers.numbered += 1;
        let from = RequestId(numbers.numbered);
        numbers.requests.insert(from, administrator);
        self.input(node, Input::Membership { from, request });
    }

    pub(crate) fn answer_administrator(&mut self, to: RequestId, node: NodeId, answer: MembershipAnswer) {
        let Some(administrator) = self.administrators.requests.remove(&to) else { return };
        if let MembershipAnswer::Refused { reason } = &answer {
            self.require(false, || format!("administrator {administrator} was refused by {node}: {reason}"));
        }
        if self.is_lost(node, Direction::ToProposer) {
            return;
        }
        let delay = self.random(DELAY);
        let pageserver_generation = self.nodes[&node].ownership.highest();
        let reply = MembershipReply { answer, pageserver_generation };
        self.after(delay, Action::Answer { administrator, node, reply });
    }

    fn is_lost(&mut self, node: NodeId, direction: Direction) -> bool {
        self.random.random_range(0..30) == 0 || self.nodes[&node].cut.blocks(direction)
    }
}

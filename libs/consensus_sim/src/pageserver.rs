//! Pageservers that all want to own the tenant: they look, claim, confirm, are superseded, die and come back, while
//! members change and acceptors lose power.
//!
//! Their dice are their own, so that the rest of a seed's world is the same with them and without.

use std::collections::BTreeMap;

use consensus::{Canvass, OwnershipAnswer, OwnershipRequest, Verdict};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use types::{Generation, Lsn, NodeId, TimelineId};

use crate::checker::identity;
use crate::network::Direction;
use crate::schedule::Micros;
use crate::world::{Action, World};

const PAGESERVERS: u32 = 3;
/// Between two things that a pageserver does.
const PACE: std::ops::Range<Micros> = 5_000..250_000;
const DELAY: std::ops::Range<Micros> = 50..20_000;
/// One message in eight: members may have changed when it arrives.
const LATE: std::ops::Range<Micros> = 20_000..200_000;

pub(crate) struct Pageservers {
    dice: StdRng,
    lives: BTreeMap<u32, Life>,
    /// By whom, and when.
    granted: BTreeMap<Generation, (u32, Micros)>,
}

/// One question to all, and what became of it.
struct Life {
    /// It was told of acceptors 1 to this one.
    contacts: u64,
    /// Answers to older questions come too late.
    number: u64,
    request: OwnershipRequest,
    begun: Micros,
    canvass: Canvass,
    /// What it owns, as far as it knows.
    generation: Option<Generation>,
}

impl Pageservers {
    /// The first pageserver was told of the first members, those that came later of everybody.
    pub fn new(seed: u64, first_members: u64, all: u64) -> Self {
        let life = |pageserver| Life {
            contacts: if pageserver == 1 { first_members } else { all },
            number: 0,
            request: OwnershipRequest::Look,
            begun: 0,
            canvass: Canvass::default(),
            generation: None,
        };
        Self {
            dice: StdRng::seed_from_u64(seed ^ 0x00F1_A6E5),
            lives: (1..=PAGESERVERS).map(|number| (number, life(number))).collect(),
            granted: BTreeMap::new(),
        }
    }

    /// Whether a generation was granted since.
    pub fn granted_since(&self, time: Micros) -> bool {
        self.granted.values().any(|(_, at)| *at >= time)
    }

    /// The highest that was granted before.
    fn highest_before(&self, time: Micros) -> Generation {
        let before = self.granted.iter().filter(|(_, (_, at))| *at < time);
        before.map(|(generation, _)| *generation).max().unwrap_or_default()
    }

    fn delay(&mut self) -> Micros {
        let late = self.dice(0..8) == 0;
        self.dice(if late { LATE } else { DELAY })
    }

    fn dice(&mut self, range: std::ops::Range<Micros>) -> Micros {
        self.dice.random_range(range)
    }
}

fn timeline() -> TimelineId {
    identity().ttid.timeline_id
}

impl World {
    pub(crate) fn begin_pageservers(&mut self) {
        for pageserver in 1..=PAGESERVERS {
            let delay = self.pageservers.dice(PACE);
            self.after(delay, Action::PageserverActs { pageserver });
        }
    }

    /// The next question.
    pub(crate) fn pageserver_acts(&mut self, pageserver: u32) {
        let delay = self.pageservers.dice(PACE);
        self.after(delay, Action::PageserverActs { pageserver });
        let dies = self.pageservers.dice(0..8) == 0;
        let Some(life) = self.pageservers.lives.get_mut(&pageserver) else { return };
        let contacts = life.contacts;
        if dies {
            life.generation = None;
        }
        let highest = life.canvass.highest();
        life.request = match (life.generation, life.request) {
            (Some(generation), _) => OwnershipRequest::Confirm { generation },
            (None, OwnershipRequest::Look) if !dies => {
                OwnershipRequest::Claim { generation: Generation(highest.0 + 1) }
            }
            (None, _) => OwnershipRequest::Look,
        };
        life.number += 1;
        life.begun = self.now;
        life.canvass = Canvass::new(contacts as usize);
        (1..=contacts).for_each(|node| self.pageserver_asks(pageserver, NodeId(node)));
    }

    fn pageserver_asks(&mut self, pageserver: u32, node: NodeId) {
        let life = &self.pageservers.lives[&pageserver];
        let (number, request) = (life.number, life.request);
        if self.is_lost_on_the_way(node, Direction::ToAcceptor) {
            return;
        }
        let delay = self.pageservers.delay();
        self.after(delay, Action::AskOwnership { pageserver, number, node, request });
    }

    fn is_lost_on_the_way(&mut self, node: NodeId, direction: Direction) -> bool {
        self.pageservers.dice(0..30) == 0 || self.nodes[&node].cut.blocks(direction)
    }

    /// At the safekeeper. What it remembers is durable at once.
    pub(crate) fn ownership_asked(
        &mut self,
        pageserver: u32,
        number: u64,
        id: NodeId,
        request: OwnershipRequest,
    ) {
        let node = self.node(id);
        if node.joined && !node.is_up() {
            return;
        }
        let agrees = node.ownership.ask(request);
        let configuration = node.joined.then(|| Some(node.disk.state().configuration.clone()));
        let answer = OwnershipAnswer {
            agrees,
            highest: node.ownership.highest(),
            configurations: configuration.into_iter().map(|it| (timeline(), it)).collect(),
        };
        if self.is_lost_on_the_way(id, Direction::ToProposer) {
            return;
        }
        let delay = self.pageservers.delay();
        self.after(delay, Action::AnswerOwnership { pageserver, number, node: id, answer });
    }

    pub(crate) fn pageserver_hears(
        &mut self,
        pageserver: u32,
        number: u64,
        node: NodeId,
        answer: OwnershipAnswer,
    ) {
        let Some(life) = self.pageservers.lives.get_mut(&pageserver) else { return };
        let contacts = life.contacts;
        if life.number != number {
            return;
        }
        let known = life.canvass.missing([timeline()]);
        life.canvass.answered(node, node.0 <= contacts, answer);
        let (verdict, missing) = (life.canvass.verdict([timeline()]), life.canvass.missing([timeline()]));
        if verdict != Verdict::Open {
            // It waits for no more answers, as the daemon does: a newer configuration in a later one changes nothing.
            life.number += 1;
            self.pageserver_knows(pageserver, verdict);
            return;
        }
        let new = missing.iter().filter(|member| !known.contains(member) && member.id.0 > contacts);
        new.for_each(|member| self.pageserver_asks(pageserver, member.id));
    }

    fn pageserver_knows(&mut self, pageserver: u32, verdict: Verdict) {
        let Some(life) = self.pageservers.lives.get_mut(&pageserver) else { return };
        let begun = life.begun;
        match (life.request, verdict) {
            (OwnershipRequest::Claim { generation }, Verdict::Agreed) => {
                life.generation = Some(generation);
                self.granted(pageserver, generation, begun);
            }
            (OwnershipRequest::Confirm { generation }, Verdict::Agreed) => {
                self.confirmed(pageserver, generation, begun);
            }
            (OwnershipRequest::Confirm { generation }, Verdict::Refused) => {
                life.generation = None;
                self.counts.superseded += 1;
                self.note(52, u64::from(pageserver), Lsn::INVALID, || {
                    format!("pageserver {pageserver} has lost generation {generation}")
                });
            }
            _ => {}
        }
    }

    fn granted(&mut self, pageserver: u32, generation: Generation, begun: Micros) {
        self.counts.grants += 1;
        self.note(50, u64::from(pageserver), Lsn::INVALID, || {
            format!("pageserver {pageserver} is granted generation {generation}")
        });
        let highest = self.pageservers.highest_before(begun);
        self.require(generation > highest, || {
            format!("generation {generation} was granted after generation {highest}")
        });
        let first = self.pageservers.granted.insert(generation, (pageserver, self.now));
        self.require(first.is_none(), || format!("generation {generation} was granted twice"));
    }

    fn confirmed(&mut self, pageserver: u32, generation: Generation, begun: Micros) {
        self.counts.confirmations += 1;
        self.note(51, u64::from(pageserver), Lsn::INVALID, || {
            format!("pageserver {pageserver} still has generation {generation}")
        });
        let highest = self.pageservers.highest_before(begun);
        self.require(generation >= highest, || {
            format!("generation {generation} was confirmed after generation {highest} was granted")
        });
    }
}

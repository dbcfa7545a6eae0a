//! Which pageserver owns a tenant: the one that was granted the highest *generation*. Its number is part of the name
//! of every object that it writes, so two owners never write the same one.
//!
//! [`Ownership`] is what a safekeeper remembers of a tenant, [`Canvass`] how a pageserver counts what safekeepers
//! answer. There is no value to agree on, so a promise is enough (the first half of Paxos):
//!
//! - A generation is *granted* for a timeline when a quorum of its members has granted it, each of them in the same
//!   configuration. A safekeeper grants a generation once, and only above all that it has heard of. Any two quorums
//!   share a safekeeper, so no generation has two owners, and the later one is higher.
//! - It is *confirmed* when a quorum knows of no higher one. Whoever is granted a higher one is so after that, and
//!   finds what was in object storage when it was confirmed. So objects are deleted, and WAL is given up, only after
//!   a confirmation.
//! - Members change as in [`MembershipChange`](crate::MembershipChange): before the old ones are left out, a majority
//!   of the new ones has heard of the highest generation that a majority of the old ones had, after these had taken on
//!   the joint configuration.
//!
//! What a safekeeper remembers is for the tenant as a whole, so that an owner of a thousand timelines costs one write.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use types::{Generation, NodeId, TimelineId};
use utoipa::ToSchema;
use utoipa::openapi::schema::{Object, ObjectBuilder, OneOfBuilder, Ref, Schema, Type};

use crate::membership::{Configuration, Member};

/// What a safekeeper must remember of a tenant, whichever of its timelines it keeps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Ownership {
    highest: Generation,
}

/// What a pageserver asks a safekeeper about a tenant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum OwnershipRequest {
    /// Which is the highest?
    Look,
    /// To be granted this one.
    Claim { generation: Generation },
    /// Is none higher than this one?
    Confirm { generation: Generation },
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct OwnershipAnswer {
    pub agrees: bool,
    /// The highest that the safekeeper knows of, durable.
    pub highest: Generation,
    /// The configurations that it was in when it agreed, of all timelines of the tenant that it keeps. None: it has
    /// the timeline, but cannot read it.
    #[schema(schema_with = configurations)]
    pub configurations: BTreeMap<TimelineId, Option<Configuration>>,
}

/// How documents describe them: utoipa's macro knows no map whose values may be none.
fn configurations() -> Object {
    let some = Ref::from_schema_name(Configuration::name());
    let either = OneOfBuilder::new().item(some).item(ObjectBuilder::new().schema_type(Type::Null));
    ObjectBuilder::new().additional_properties(Some(Schema::OneOf(either.build()))).build()
}

impl Ownership {
    pub fn highest(self) -> Generation {
        self.highest
    }

    /// Whether it agrees. What has changed is to be durable before anybody is told. A claim whose answer was lost is
    /// not granted again: the claimant goes on with a higher one.
    pub fn ask(&mut self, request: OwnershipRequest) -> bool {
        match request {
            OwnershipRequest::Look => true,
            OwnershipRequest::Claim { generation } => self.raise(generation),
            OwnershipRequest::Confirm { generation } => {
                self.raise(generation);
                self.highest == generation
            }
        }
    }

    /// Heard of from somebody else. True if it is new.
    pub fn raise(&mut self, generation: Generation) -> bool {
        let is_higher = generation > self.highest;
        self.highest = self.highest.max(generation);
        is_higher
    }
}

/// The answers to one request about one tenant.
#[derive(Clone, Debug, Default)]
pub struct Canvass {
    /// How many safekeepers the pageserver was told of at its start. For a timeline that none of them has, a majority
    /// of these is a quorum: there is nothing that another pageserver could have of it.
    contacts: usize,
    answering_contacts: BTreeSet<NodeId>,
    answers: BTreeMap<NodeId, OwnershipAnswer>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Agreed,
    /// No quorum can agree any more.
    Refused,
    /// More answers are needed.
    Open,
}

impl Canvass {
    pub fn new(contacts: usize) -> Self {
        Self { contacts, ..Self::default() }
    }

    pub fn answered(&mut self, node: NodeId, is_contact: bool, answer: OwnershipAnswer) {
        if is_contact {
            self.answering_contacts.insert(node);
        }
        self.answers.insert(node, answer);
    }

    /// The highest generation that anybody knows of.
    pub fn highest(&self) -> Generation {
        self.answers.values().map(|answer| answer.highest).max().unwrap_or_default()
    }

    /// About these timelines of the tenant, or about the tenant if it has none.
    pub fn verdict(&self, timelines: impl IntoIterator<Item = TimelineId>) -> Verdict {
        let mut verdicts: Vec<Verdict> =
            timelines.into_iter().map(|timeline| self.of_timeline(timeline)).collect();
        if verdicts.is_empty() {
            verdicts.push(self.of_contacts());
        }
        let has = |verdict| verdicts.contains(&verdict);
        match () {
            () if has(Verdict::Refused) => Verdict::Refused,
            () if has(Verdict::Open) => Verdict::Open,
            () => Verdict::Agreed,
        }
    }

    /// Members of these timelines that have not answered.
    pub fn missing(&self, timelines: impl IntoIterator<Item = TimelineId>) -> Vec<Member> {
        let mut missing: BTreeMap<NodeId, Member> = BTreeMap::new();
        for configuration in timelines.into_iter().filter_map(|timeline| self.newest(timeline)) {
            let members = configuration.all_members().into_iter();
            missing.extend(members.map(|member| (member.id, member.clone())));
        }
        missing.into_values().filter(|member| !self.answers.contains_key(&member.id)).collect()
    }

    fn newest(&self, timeline: TimelineId) -> Option<&Configuration> {
        let known = self.answers.values().filter_map(|answer| answer.configurations.get(&timeline)?.as_ref());
        known.max_by_key(|configuration| configuration.generation)
    }

    fn of_timeline(&self, timeline: TimelineId) -> Verdict {
        let Some(newest) = self.newest(timeline) else {
            let somebody_has_it =
                self.answers.values().any(|answer| answer.configurations.contains_key(&timeline));
            return if somebody_has_it { Verdict::Open } else { self.of_contacts() };
        };
        let (quorum, generation) = (newest.quorum(), newest.generation);
        let agrees = |id| {
            self.answers.get(&id).is_some_and(|answer| {
                let here = answer.configurations.get(&timeline).and_then(Option::as_ref);
                answer.agrees && here.is_some_and(|here| here.generation == generation)
            })
        };
        match () {
            () if quorum.reached(agrees) => Verdict::Agreed,
            () if !quorum.reached(|id| self.answers.get(&id).is_none_or(|answer| answer.agrees)) => {
                Verdict::Refused
            }
            () => Verdict::Open,
        }
    }

    fn of_contacts(&self) -> Verdict {
        let majority = self.contacts / 2 + 1;
        let count = |agrees| {
            let answers = self.answering_contacts.iter().filter_map(|id| self.answers.get(id));
            answers.filter(|answer| answer.agrees == agrees).count()
        };
        match () {
            () if count(true) >= majority => Verdict::Agreed,
            () if count(false) + majority > self.contacts => Verdict::Refused,
            () => Verdict::Open,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMELINE: TimelineId = TimelineId([7; 16]);

    fn member(id: u64) -> Member {
        Member { id: NodeId(id), pg_connstr: String::new(), http_connstr: String::new() }
    }

    fn configuration(ids: &[u64]) -> Configuration {
        Configuration::initial(ids.iter().map(|id| member(*id)).collect()).unwrap()
    }

    fn answer(agrees: bool, configuration: Option<&Configuration>) -> OwnershipAnswer {
        let configurations = configuration.into_iter().map(|it| (TIMELINE, Some(it.clone()))).collect();
        OwnershipAnswer { agrees, highest: Generation(3), configurations }
    }

    /// Of contacts 1 to 3, in this order, and of others.
    fn canvass(answers: &[(u64, bool, Option<&Configuration>)]) -> Canvass {
        let mut canvass = Canvass::new(3);
        for (id, agrees, configuration) in answers {
            canvass.answered(NodeId(*id), *id <= 3, answer(*agrees, *configuration));
        }
        canvass
    }

    #[test]
    fn a_generation_is_granted_once_and_confirmed_until_a_higher_one_is_known() {
        let mut ownership = Ownership::default();
        let claim = |generation| OwnershipRequest::Claim { generation: Generation(generation) };
        let confirm = |generation| OwnershipRequest::Confirm { generation: Generation(generation) };
        assert!(ownership.ask(claim(2)));
        assert!(!ownership.ask(claim(2)), "the same one again may be somebody else's");
        assert!(!ownership.ask(claim(1)));
        assert!(ownership.ask(confirm(2)));
        assert!(ownership.ask(claim(4)));
        assert!(!ownership.ask(confirm(2)));
        // It has not heard of this one, whose owner asks: from now on it has.
        assert!(ownership.ask(confirm(6)));
        assert!(!ownership.ask(claim(6)));
        assert_eq!(ownership.highest(), Generation(6));
        assert!(ownership.ask(OwnershipRequest::Look));
    }

    #[test]
    fn a_quorum_of_the_timelines_members_counts_and_nobody_else() {
        let three = configuration(&[1, 2, 3]);
        let verdict = |answers: &[_]| canvass(answers).verdict([TIMELINE]);
        assert_eq!(verdict(&[(1, true, Some(&three))]), Verdict::Open);
        assert_eq!(verdict(&[(1, true, Some(&three)), (2, true, Some(&three))]), Verdict::Agreed);
        assert_eq!(verdict(&[(1, true, Some(&three)), (2, false, Some(&three))]), Verdict::Open);
        assert_eq!(verdict(&[(1, false, Some(&three)), (2, false, Some(&three))]), Verdict::Refused);
        let others = configuration(&[1, 4, 5]);
        let some = [(1, true, Some(&others)), (2, true, None), (3, true, None)];
        assert_eq!(verdict(&some), Verdict::Open, "who does not keep the timeline has no say");
        let missing: Vec<u64> = canvass(&some).missing([TIMELINE]).iter().map(|it| it.id.0).collect();
        assert_eq!(missing, [4, 5]);
        assert_eq!(verdict(&[(1, true, Some(&others)), (5, true, Some(&others))]), Verdict::Agreed);
    }

    #[test]
    fn answers_of_different_configurations_do_not_add_up() {
        let three = configuration(&[1, 2, 3]);
        let joint = three.joint_with(vec![member(1), member(4), member(5)]);
        let verdict = |answers: &[_]| canvass(answers).verdict([TIMELINE]);
        assert_eq!(verdict(&[(1, true, Some(&joint)), (2, true, Some(&three))]), Verdict::Open);
        let both = [(1, true, Some(&joint)), (2, true, Some(&joint)), (4, true, Some(&joint))];
        assert_eq!(verdict(&both), Verdict::Agreed);
        assert_eq!(verdict(&both[..2]), Verdict::Open);
    }

    #[test]
    fn where_there_is_no_timeline_the_contacts_decide() {
        assert_eq!(canvass(&[(1, true, None)]).verdict([]), Verdict::Open);
        assert_eq!(canvass(&[(1, true, None), (3, true, None)]).verdict([]), Verdict::Agreed);
        assert_eq!(canvass(&[(1, true, None), (3, true, None)]).verdict([TIMELINE]), Verdict::Agreed);
        assert_eq!(canvass(&[(1, true, None), (4, true, None)]).verdict([]), Verdict::Open);
        assert_eq!(canvass(&[(1, false, None), (3, false, None)]).verdict([]), Verdict::Refused);
        let mut unreadable = canvass(&[(1, true, None), (2, true, None)]);
        let mut damaged = answer(true, None);
        damaged.configurations.insert(TIMELINE, None);
        unreadable.answered(NodeId(3), true, damaged);
        assert_eq!(unreadable.verdict([TIMELINE]), Verdict::Open);
    }
}

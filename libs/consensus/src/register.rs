//! A register that is written once: single-decree Paxos (Lamport, "Paxos Made Simple", 2001).
//!
//! [`Slot`] is the acceptor's half, [`Decree`] the proposer's. A chain of such registers is a register that changes:
//! the value of one says who decides about the next. So [`Configuration`](crate::Configuration)s follow one another,
//! and no two administrators can both win a generation.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};
use types::NodeId;
use utoipa::ToSchema;

use crate::membership::Quorum;

/// The number of an attempt. No two proposers have the same, so each has a number of its own in it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Ballot {
    #[schema(format = "uint64")]
    pub round: u64,
    #[schema(format = "uint64")]
    pub proposer: u64,
}

/// What an acceptor must remember of a register that is not decided as far as it knows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Slot<V> {
    promised: Ballot,
    accepted: Option<(Ballot, V)>,
}

impl<V> Default for Slot<V> {
    fn default() -> Self {
        Self { promised: Ballot::default(), accepted: None }
    }
}

/// In words.
impl<V: fmt::Display> fmt::Display for Slot<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.accepted {
            Some((ballot, value)) => {
                write!(f, "undecided as far as is known here, accepted in round {}: {value}", ballot.round)
            }
            None => f.write_str("undecided as far as is known here"),
        }
    }
}

/// A higher ballot was promised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outbid(pub Ballot);

impl<V: Clone> Slot<V> {
    /// To accept nothing of a lower ballot from now on. Returns what was accepted last.
    pub fn promise(&mut self, ballot: Ballot) -> Result<Option<(Ballot, V)>, Outbid> {
        self.raise(ballot)?;
        Ok(self.accepted.clone())
    }

    pub fn accept(&mut self, ballot: Ballot, value: V) -> Result<(), Outbid> {
        self.raise(ballot)?;
        self.accepted = Some((ballot, value));
        Ok(())
    }

    fn raise(&mut self, ballot: Ballot) -> Result<(), Outbid> {
        if ballot < self.promised {
            return Err(Outbid(self.promised));
        }
        self.promised = ballot;
        Ok(())
    }
}

/// One ballot of one proposer's.
#[derive(Clone, Debug)]
pub struct Decree<V> {
    quorum: Quorum,
    ballot: Ballot,
    value: V,
    promises: BTreeMap<NodeId, Option<(Ballot, V)>>,
    accepting: bool,
    accepted: BTreeSet<NodeId>,
}

/// What is to be asked now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DecreeStage<V> {
    Promise,
    /// The value may be one that somebody else has begun to write.
    Accept(V),
    Decided(V),
}

impl<V: Clone> Decree<V> {
    pub fn new(quorum: Quorum, ballot: Ballot, value: V) -> Self {
        Self { quorum, ballot, value, promises: BTreeMap::new(), accepting: false, accepted: BTreeSet::new() }
    }

    pub fn ballot(&self) -> Ballot {
        self.ballot
    }

    pub fn stage(&self) -> DecreeStage<V> {
        match self.accepting {
            false => DecreeStage::Promise,
            true if self.quorum.reached(|id| self.accepted.contains(&id)) => {
                DecreeStage::Decided(self.value.clone())
            }
            true => DecreeStage::Accept(self.value.clone()),
        }
    }

    pub fn promised(&mut self, node: NodeId, accepted: Option<(Ballot, V)>) {
        if self.accepting {
            return;
        }
        self.promises.insert(node, accepted);
        if !self.quorum.reached(|id| self.promises.contains_key(&id)) {
            return;
        }
        self.accepting = true;
        // What a quorum may have accepted is in the highest ballot that any quorum knows.
        let begun = self.promises.values().flatten().max_by_key(|(ballot, _)| *ballot);
        if let Some((_, value)) = begun {
            self.value = value.clone();
        }
    }

    pub fn accepted(&mut self, node: NodeId) {
        if self.accepting {
            self.accepted.insert(node);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::membership::{Configuration, Member};

    fn ballot(round: u64, proposer: u64) -> Ballot {
        Ballot { round, proposer }
    }

    fn quorum() -> Quorum {
        let member = |id| Member { id: NodeId(id), pg_connstr: String::new(), http_connstr: String::new() };
        Configuration::initial((1..=3).map(member).collect()).unwrap().quorum()
    }

    #[test]
    fn a_lower_ballot_is_outbid() {
        let mut slot = Slot::default();
        assert_eq!(slot.promise(ballot(1, 7)), Ok(None));
        assert_eq!(slot.promise(ballot(1, 7)), Ok(None), "asked twice");
        assert_eq!(slot.accept(ballot(1, 6), 'a'), Err(Outbid(ballot(1, 7))));
        assert_eq!(slot.accept(ballot(1, 7), 'b'), Ok(()));
        assert_eq!(slot.promise(ballot(2, 1)), Ok(Some((ballot(1, 7), 'b'))));
        assert_eq!(slot.accept(ballot(1, 7), 'b'), Err(Outbid(ballot(2, 1))));
    }

    #[test]
    fn what_may_be_decided_is_written_again() {
        let mut slots = vec![Slot::default(); 3];
        let mut first = Decree::new(quorum(), ballot(1, 1), 'a');
        for (id, slot) in (1..).zip(&mut slots) {
            first.promised(NodeId(id), slot.promise(first.ballot()).unwrap());
        }
        assert_eq!(first.stage(), DecreeStage::Accept('a'));
        slots[0].accept(first.ballot(), 'a').unwrap();
        first.accepted(NodeId(1));
        assert_eq!(first.stage(), DecreeStage::Accept('a'), "one is no quorum");

        let mut second = Decree::new(quorum(), ballot(1, 2), 'b');
        for id in [1, 2] {
            let accepted = slots[id - 1].promise(second.ballot()).unwrap();
            second.promised(NodeId(id as u64), accepted);
        }
        assert_eq!(second.stage(), DecreeStage::Accept('a'));
        assert!(slots[1].accept(first.ballot(), 'a').is_err());
        for id in [2, 3] {
            slots[id - 1].accept(second.ballot(), 'a').unwrap();
            second.accepted(NodeId(id as u64));
        }
        assert_eq!(second.stage(), DecreeStage::Decided('a'));
    }

    #[test]
    fn acceptances_before_the_promises_do_not_count() {
        let mut decree = Decree::new(quorum(), ballot(1, 1), 'a');
        decree.accepted(NodeId(1));
        decree.promised(NodeId(1), None);
        decree.promised(NodeId(2), None);
        decree.accepted(NodeId(2));
        assert_eq!(decree.stage(), DecreeStage::Accept('a'));
    }
}

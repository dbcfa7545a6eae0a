//! Who the acceptors of a timeline are, and what counts as a quorum of them.

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};
use types::{Lsn, NodeId};
use utoipa::ToSchema;

/// The number of a configuration. Higher is newer; the first is 1. It stands in every message after the
/// greeting, so that votes and acknowledgements of different sets of members never mix.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(transparent)]
pub struct MembershipGeneration(pub u32);

impl MembershipGeneration {
    pub const FIRST: Self = Self(1);

    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

/// A safekeeper and where it listens. The addresses are only carried here, never used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Member {
    pub id: NodeId,
    /// `host:port` of the PostgreSQL protocol.
    pub pg_connstr: String,
    /// `host:port` of the HTTP API.
    pub http_connstr: String,
}

/// The members of one generation. While members change, `new_members` is present and every decision needs
/// a majority of both sets (a joint configuration).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Configuration {
    pub generation: MembershipGeneration,
    pub members: Vec<Member>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub new_members: Option<Vec<Member>>,
}

#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum ConfigurationError {
    #[error("a configuration needs at least one member")]
    NoMembers,
    #[error("safekeeper {0} stands twice among the members")]
    Twice(NodeId),
    #[error("configuration {} cannot follow {}", next.0, of.0)]
    DoesNotFollow { of: MembershipGeneration, next: MembershipGeneration },
}

impl Configuration {
    /// The first configuration of a timeline.
    pub fn initial(members: Vec<Member>) -> Result<Self, ConfigurationError> {
        let configuration = Self { generation: MembershipGeneration::FIRST, members, new_members: None };
        configuration.validate()?;
        Ok(configuration)
    }

    /// Where to ask who the members are: older than every configuration, so nobody takes part in it.
    pub fn contacts(members: Vec<Member>) -> Result<Self, ConfigurationError> {
        let configuration = Self { generation: MembershipGeneration(0), members, new_members: None };
        configuration.validate()?;
        Ok(configuration)
    }

    /// To be called on what came from outside.
    pub fn validate(&self) -> Result<(), ConfigurationError> {
        for set in [Some(&self.members), self.new_members.as_ref()].into_iter().flatten() {
            if set.is_empty() {
                return Err(ConfigurationError::NoMembers);
            }
            let mut seen = BTreeSet::new();
            if let Some(twice) = set.iter().find(|member| !seen.insert(member.id)) {
                return Err(ConfigurationError::Twice(twice.id));
            }
        }
        Ok(())
    }

    /// The joint configuration in which `new_members` come in.
    pub fn joint_with(&self, new_members: Vec<Member>) -> Self {
        let members = self.members.clone();
        Self { generation: self.generation.next(), members, new_members: Some(new_members) }
    }

    /// The one behind a joint configuration: with the new members only.
    pub fn finished(&self) -> Self {
        let members = self.new_members.clone().unwrap_or_else(|| self.members.clone());
        Self { generation: self.generation.next(), members, new_members: None }
    }

    /// The one behind a joint configuration that came to nothing: with the old members only. Whatever was decided in
    /// the joint one, a majority of these has it.
    pub fn aborted(&self) -> Self {
        Self { generation: self.generation.next(), members: self.members.clone(), new_members: None }
    }

    /// Members never change in one step: a joint configuration is always in between.
    pub fn check_follows(&self, of: &Configuration) -> Result<(), ConfigurationError> {
        self.validate()?;
        let follows = match (&of.new_members, &self.new_members) {
            (None, Some(_)) => self.members == of.members,
            (Some(new_members), None) => self.members == *new_members || self.members == of.members,
            (None, None) | (Some(_), Some(_)) => false,
        };
        if follows && self.generation == of.generation.next() {
            Ok(())
        } else {
            Err(ConfigurationError::DoesNotFollow { of: of.generation, next: self.generation })
        }
    }

    /// Members of either set, each once.
    pub fn all_members(&self) -> Vec<&Member> {
        let mut all: Vec<&Member> = Vec::new();
        for member in self.members.iter().chain(self.new_members.iter().flatten()) {
            if !all.iter().any(|known| known.id == member.id) {
                all.push(member);
            }
        }
        all
    }

    pub fn ids(&self) -> BTreeSet<NodeId> {
        self.all_members().into_iter().map(|member| member.id).collect()
    }

    pub fn contains(&self, id: NodeId) -> bool {
        self.all_members().iter().any(|member| member.id == id)
    }

    pub fn quorum(&self) -> Quorum {
        Quorum { sets: std::iter::once(&self.members).chain(&self.new_members).map(|set| ids(set)).collect() }
    }

    /// A majority of the members before a change.
    pub fn old_quorum(&self) -> Quorum {
        Quorum { sets: vec![ids(&self.members)] }
    }

    /// A majority of the members after a change.
    pub fn new_quorum(&self) -> Quorum {
        Quorum { sets: vec![ids(self.new_members.as_ref().unwrap_or(&self.members))] }
    }
}

/// In words: the generation and the ids.
impl fmt::Display for Configuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ids = |members: &[Member]| {
            members.iter().map(|member| member.id.to_string()).collect::<Vec<_>>().join(", ")
        };
        write!(f, "{}: safekeepers {}", self.generation.0, ids(&self.members))?;
        match &self.new_members {
            Some(new_members) => write!(f, " and {} together", ids(new_members)),
            None => Ok(()),
        }
    }
}

/// Who they are, without their addresses.
pub(crate) fn ids(set: &[Member]) -> BTreeSet<NodeId> {
    set.iter().map(|member| member.id).collect()
}

/// Answers "is that enough?": a majority of every set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quorum {
    sets: Vec<BTreeSet<NodeId>>,
}

impl Quorum {
    /// True if those for whom `agrees` holds are a quorum.
    pub fn reached(&self, agrees: impl Fn(NodeId) -> bool) -> bool {
        self.sets.iter().all(|set| set.iter().filter(|id| agrees(**id)).count() > set.len() / 2)
    }

    /// The highest LSN that a quorum has reached, when each member has reached `reached(id)`.
    pub fn lsn(&self, reached: impl Fn(NodeId) -> Lsn) -> Lsn {
        Lsn(self.number(|id| reached(id).0))
    }

    /// The same for other numbers.
    pub fn number(&self, reached: impl Fn(NodeId) -> u64) -> u64 {
        let of_set = |set: &BTreeSet<NodeId>| {
            let mut numbers: Vec<u64> = set.iter().map(|id| reached(*id)).collect();
            numbers.sort_unstable();
            // The majority's slowest: with n members, n/2 of them may be behind it (rounded down, less one when even).
            numbers[(numbers.len() - 1) / 2]
        };
        self.sets.iter().map(of_set).min().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn members(ids: &[u64]) -> Vec<Member> {
        let member =
            |id: &u64| Member { id: NodeId(*id), pg_connstr: String::new(), http_connstr: String::new() };
        ids.iter().map(member).collect()
    }

    #[test]
    fn majority_of_each_size() {
        for (count, needed) in [(1, 1), (2, 2), (3, 2), (4, 3), (5, 3)] {
            let ids: Vec<u64> = (1..=count).collect();
            let quorum = Configuration::initial(members(&ids)).unwrap().quorum();
            assert!(quorum.reached(|id| id.0 <= needed), "{count}");
            assert!(!quorum.reached(|id| id.0 < needed), "{count}");
            // Member i has reached 10 * i; the `needed` most advanced ones begin at this one.
            assert_eq!(quorum.lsn(|id| Lsn(id.0 * 10)), Lsn((count - needed + 1) * 10), "{count}");
        }
    }

    #[test]
    fn a_joint_configuration_needs_both_majorities() {
        let configuration = Configuration {
            generation: MembershipGeneration(2),
            members: members(&[1, 2, 3]),
            new_members: Some(members(&[3, 4, 5])),
        };
        let quorum = configuration.quorum();
        assert!(!quorum.reached(|id| id.0 <= 3));
        assert!(quorum.reached(|id| [1, 3, 4].contains(&id.0)));
        let reached = |id: NodeId| Lsn(if id.0 <= 3 { 100 } else { 50 });
        assert_eq!(quorum.lsn(reached), Lsn(50));
        assert_eq!(configuration.all_members().len(), 5);
    }

    #[test]
    fn a_joint_configuration_is_always_in_between() {
        let first = Configuration::initial(members(&[1, 2, 3])).unwrap();
        let joint = first.joint_with(members(&[2, 3, 4]));
        joint.check_follows(&first).unwrap();
        joint.finished().check_follows(&joint).unwrap();
        joint.aborted().check_follows(&joint).unwrap();
        assert_eq!(
            (joint.finished().members, joint.aborted().members),
            (members(&[2, 3, 4]), first.members.clone())
        );
        let jump = Configuration { generation: MembershipGeneration(2), ..joint.finished() };
        assert!(jump.check_follows(&first).is_err());
        assert!(joint.joint_with(members(&[5])).check_follows(&joint).is_err());
        let skips = Configuration { generation: MembershipGeneration(4), ..joint.finished() };
        assert!(skips.check_follows(&joint).is_err());
    }

    #[test]
    fn wrong_configurations_are_refused() {
        assert_eq!(Configuration::initial(vec![]), Err(ConfigurationError::NoMembers));
        assert_eq!(Configuration::initial(members(&[1, 2, 1])), Err(ConfigurationError::Twice(NodeId(1))));
    }
}

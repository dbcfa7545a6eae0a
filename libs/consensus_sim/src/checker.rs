//! What must hold, whatever goes wrong. Everything is held against one history: the bytes that anybody was ever told
//! to be committed.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Bound;

use consensus::{Configuration, Member, MembershipGeneration, Refusal, TimelineIdentity};
use types::{Lsn, NodeId, PgVersion, TenantId, TenantTimelineId, Term, TimelineId, WalSegmentSize};

use crate::disk::START;
use crate::node::Node;
use crate::schedule::Micros;
use crate::world::World;

/// A rule that was broken, and when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    pub at: Micros,
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "at {:.6} s: {}", self.at as f64 / 1e6, self.what)
    }
}

/// What happened: a world in which nothing does proves nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub elections: u64,
    /// Of those, by further lives of computes.
    pub successions: u64,
    pub commits: u64,
    pub truncations: u64,
    pub crashes: u64,
    /// Restarts that found a torn tail.
    pub torn: u64,
    /// Batches that a full disk undid.
    pub undone: u64,
    pub refusals: u64,
    pub fenced: u64,
    pub fetches: u64,
    /// Commits that an acceptor found out by itself.
    pub inferred: u64,
    pub stalls: u64,
    /// Configurations that were decided.
    pub changes: u64,
    /// WAL that one acceptor fetched from another.
    pub pulls: u64,
    /// Acceptors that came in with WAL that was committed before.
    pub snapshots: u64,
    /// Attempts of an administrator's that another outbid.
    pub outbid: u64,
    /// Times at which a leader was known to be followed.
    pub leases: u64,
    /// Pageserver generations.
    pub grants: u64,
    pub confirmations: u64,
    /// Pageservers that found out that another came after them.
    pub superseded: u64,
    /// Segments that an acceptor has seen in object storage, and such that it removed.
    pub offloaded: u64,
    pub removed: u64,
    /// Timelines that came to rest, whose WAL left the disk then, and that were woken.
    pub rests: u64,
    pub evicted: u64,
    pub woken: u64,
}

impl Counts {
    fn fields(&mut self, other: &Counts) -> [(&mut u64, u64); 25] {
        [
            (&mut self.elections, other.elections),
            (&mut self.successions, other.successions),
            (&mut self.commits, other.commits),
            (&mut self.truncations, other.truncations),
            (&mut self.crashes, other.crashes),
            (&mut self.torn, other.torn),
            (&mut self.undone, other.undone),
            (&mut self.refusals, other.refusals),
            (&mut self.fenced, other.fenced),
            (&mut self.fetches, other.fetches),
            (&mut self.inferred, other.inferred),
            (&mut self.stalls, other.stalls),
            (&mut self.changes, other.changes),
            (&mut self.pulls, other.pulls),
            (&mut self.snapshots, other.snapshots),
            (&mut self.outbid, other.outbid),
            (&mut self.leases, other.leases),
            (&mut self.grants, other.grants),
            (&mut self.confirmations, other.confirmations),
            (&mut self.superseded, other.superseded),
            (&mut self.offloaded, other.offloaded),
            (&mut self.removed, other.removed),
            (&mut self.rests, other.rests),
            (&mut self.evicted, other.evicted),
            (&mut self.woken, other.woken),
        ]
    }

    pub fn add(&mut self, other: &Counts) {
        for (sum, value) in self.fields(other) {
            *sum += value;
        }
    }

    /// Whether every kind of thing happened at least once.
    pub fn is_lively(mut self) -> bool {
        self.fields(&Counts::default()).iter().all(|(value, _)| **value > 0)
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} elections ({} successions), {} truncations, {} commits ({} inferred), {} crashes ({} torn tails), {} full disks, \
             {} stalled connections, {} fetches, {} pulls, {} snapshots, {} refusals, {} fenced, {} membership changes ({} outbid), \
             {} leases, {} pageserver generations ({} confirmations, {} superseded), \
             {} segments offloaded, {} removed, {} rests, {} evictions, {} wakes",
            self.elections,
            self.successions,
            self.truncations,
            self.commits,
            self.inferred,
            self.crashes,
            self.torn,
            self.undone,
            self.stalls,
            self.fetches,
            self.pulls,
            self.snapshots,
            self.refusals,
            self.fenced,
            self.changes,
            self.outbid,
            self.leases,
            self.grants,
            self.confirmations,
            self.superseded,
            self.offloaded,
            self.removed,
            self.rests,
            self.evicted,
            self.woken
        )
    }
}

pub fn identity() -> TimelineIdentity {
    TimelineIdentity {
        ttid: TenantTimelineId::new(TenantId([1; 16]), TimelineId([2; 16])),
        pg_version: PgVersion::V15,
        system_id: 7,
        wal_seg_size: WalSegmentSize::DEFAULT,
    }
}

pub fn member(id: u64) -> Member {
    Member { id: NodeId(id), pg_connstr: String::new(), http_connstr: String::new() }
}

pub fn first_configuration(nodes: u64) -> Configuration {
    let members = (1..=nodes).map(member).collect();
    Configuration { generation: MembershipGeneration(1), members, new_members: None }
}

/// What is known to be committed, and by whom.
#[derive(Debug, Default)]
pub struct History {
    /// From [`START`] on.
    pub bytes: Vec<u8>,
    by_term: BTreeMap<Term, Lsn>,
    /// Who was elected, and where its WAL begins: also those that nobody followed.
    elected: BTreeMap<Term, (u32, Lsn)>,
    /// And when that was known.
    won: BTreeMap<Term, Micros>,
    /// What each acceptor has said to be committed since it was started.
    by_node: BTreeMap<NodeId, Lsn>,
    /// One after the other, from the first.
    configurations: BTreeMap<MembershipGeneration, Configuration>,
}

impl History {
    /// Nothing further is known to be committed.
    fn end(&self) -> Lsn {
        START + self.bytes.len() as u64
    }

    /// The newest that was decided, or the first.
    pub fn configuration(&self, newest: bool) -> &Configuration {
        let mut all = self.configurations.values();
        let found = if newest { all.next_back() } else { all.next() };
        found.expect("a world begins with one")
    }
}

impl World {
    pub(crate) fn require(&mut self, holds: bool, what: impl FnOnce() -> String) {
        if !holds && self.violation.is_none() {
            self.violation = Some(Violation { at: self.now, what: what() });
        }
    }

    pub(crate) fn established(&mut self, compute: u32, term: Term, start_lsn: Lsn) {
        self.counts.elections += 1;
        self.note(10, u64::from(compute), start_lsn, || {
            format!("compute {compute} leads term {term} from {start_lsn}")
        });
        let first = self.history.won.insert(term, self.now).is_none();
        self.require(first, || format!("term {term} was won twice"));
    }

    /// Who led before takes nothing back from who has led since.
    pub(crate) fn succeeded(&mut self, compute: u32, succeeds: Option<Term>, term: Term) {
        let Some(last) = succeeds else { return };
        self.counts.successions += 1;
        let between = (Bound::Excluded(last), Bound::Excluded(term));
        let other = self.history.won.range(between).next().map(|(other, _)| *other);
        self.require(other.is_none(), || {
            format!("compute {compute}, which led term {last}, leads term {term} after {other:?} was won")
        });
    }

    /// It tells so to an acceptor, the first or another one.
    pub(crate) fn elected(&mut self, compute: u32, term: Term, start_lsn: Lsn) {
        let known = *self.history.elected.entry(term).or_insert((compute, start_lsn));
        self.require(known == (compute, start_lsn), || {
            let (other, start) = known;
            format!(
                "computes {other} (from {start}) and {compute} (from {start_lsn}) were elected in term {term}"
            )
        });
        let older = self.history.by_term.range(..term).map(|(_, lsn)| *lsn).max();
        self.require(older.is_none_or(|lsn| start_lsn >= lsn), || {
            format!("term {term} begins at {start_lsn}, before WAL that older terms have committed")
        });
    }

    /// The compute may read, since nobody had taken over at the time of its tick.
    pub(crate) fn followed(&mut self, compute: u32, term: Term, tick: Micros) {
        self.counts.leases += 1;
        let later = (Bound::Excluded(term), Bound::Unbounded);
        let earlier = self.history.won.range(later).find(|(_, at)| **at < tick).map(|(later, _)| *later);
        self.require(earlier.is_none(), || {
            format!("compute {compute} is followed in term {term} after {earlier:?} was won")
        });
    }

    /// At this very moment a quorum must have it durable, from this term's beginning on, equal, and equal to all that
    /// was committed before. Whoever was elected in a later term must know it: acceptors believe the later term.
    pub(crate) fn committed(
        &mut self,
        who: &str,
        configuration: &Configuration,
        term: Term,
        commit_lsn: Lsn,
    ) {
        self.counts.commits += 1;
        self.note(11, term.0, commit_lsn, || format!("{who}: {commit_lsn} is committed in term {term}"));
        let before = self.history.by_term.entry(term).or_default();
        *before = commit_lsn.max(*before);
        let later = (Bound::Excluded(term), Bound::Unbounded);
        let ignorant = self
            .history
            .elected
            .range(later)
            .find(|(_, (_, start))| *start < commit_lsn)
            .map(|(term, _)| *term);
        self.require(ignorant.is_none(), || {
            format!("{who}: {commit_lsn} was committed in term {term} behind {ignorant:?}, whose WAL begins before")
        });
        let (quorum, known) = (configuration.quorum(), self.history.end());
        let holds = |id: NodeId| {
            let node = &self.nodes[&id];
            let in_term = node
                .disk
                .state()
                .history
                .lines()
                .iter()
                .any(|line| line.term == term && line.lsn <= commit_lsn);
            // Bytes that were compared before need no second look: nobody may write below a commit LSN.
            self.read_wal(id, known.min(commit_lsn), commit_lsn).filter(|_| in_term)
        };
        let reached = quorum.reached(|id| holds(id).is_some());
        let mut copies = self.nodes.keys().filter_map(|id| holds(*id));
        let new = copies.next().unwrap_or_default();
        let agree = copies.all(|copy| copy == new);
        self.history.bytes.extend(new);
        self.require(reached, || {
            format!("{who}: {commit_lsn} was committed in term {term} without a quorum")
        });
        self.require(agree, || format!("{who}: the quorum for {commit_lsn} in term {term} does not agree"));
    }

    /// Of each generation there is one configuration, and whoever is left at the end of a change has all.
    pub(crate) fn decided(&mut self, who: &str, configuration: &Configuration) {
        let generation = configuration.generation;
        if let Some(known) = self.history.configurations.get(&generation) {
            let same = known == configuration;
            self.require(same, || format!("{who}: configuration {} was decided twice", generation.0));
            return;
        }
        self.counts.changes += u64::from(generation.0 > 1);
        self.history.configurations.insert(generation, configuration.clone());
        let end = self.history.end();
        self.note(13, u64::from(generation.0), end, || {
            format!("{who}: configuration {} is decided: {configuration:?}", generation.0)
        });
        if configuration.new_members.is_none() && generation.0 > 1 {
            let has_all = |id| self.holds_history(id, START, end);
            let reached = configuration.quorum().reached(has_all);
            self.require(reached, || format!("{who}: configuration {} lacks WAL up to {end}", generation.0));
        }
    }

    /// Those who must have everything in the end.
    pub(crate) fn members(&self) -> impl Iterator<Item = &Node> {
        let configuration = self.history.configuration(true);
        configuration.all_members().into_iter().map(|member| &self.nodes[&member.id])
    }

    /// The highest commit LSN that the acceptor has told anybody since it was started.
    pub(crate) fn commit_lsn_of(&self, id: NodeId) -> Lsn {
        self.history.by_node.get(&id).copied().unwrap_or(START)
    }

    /// Readers of the acceptor see WAL up to there.
    pub(crate) fn commit_advanced(&mut self, id: NodeId, commit_lsn: Lsn) {
        let before = self.commit_lsn_of(id);
        self.require(commit_lsn >= before, || {
            format!("{id}: the commit LSN moved back from {before} to {commit_lsn}")
        });
        if commit_lsn > self.history.end() {
            self.counts.inferred += 1;
            if let Some(acceptor) = &self.nodes[&id].acceptor {
                let (configuration, term) =
                    (acceptor.state().configuration.clone(), acceptor.last_log_term());
                self.committed(&format!("acceptor {id}"), &configuration, term, commit_lsn);
            }
        }
        let same = self.holds_history(id, before, commit_lsn);
        self.require(same, || {
            format!("{id}: readers see other WAL than was committed, within {before}..{commit_lsn}")
        });
        self.history.by_node.insert(id, commit_lsn);
    }

    /// After a restart it knows what it had written down.
    pub(crate) fn begin_commit_again(&mut self, id: NodeId) {
        let state = self.nodes[&id].disk.state();
        let commit_lsn = state.commit_lsn;
        // It found out, wrote it down, and went down before it could tell.
        if commit_lsn > self.history.end() {
            self.counts.inferred += 1;
            let (configuration, term) =
                (state.configuration.clone(), state.history.last_log_term(commit_lsn));
            self.committed(&format!("acceptor {id}, before it went down"), &configuration, term, commit_lsn);
        }
        self.history.by_node.insert(id, commit_lsn);
        let same = self.holds_history(id, START, commit_lsn);
        self.require(same, || format!("{id}: committed WAL is damaged after a restart"));
    }

    fn holds_history(&self, id: NodeId, from: Lsn, to: Lsn) -> bool {
        let range = (from - START) as usize..(to - START) as usize;
        let here = self.read_wal(id, from, to);
        here.is_some() && here.as_deref() == self.history.bytes.get(range)
    }

    pub(crate) fn refused(&mut self, id: NodeId, refusal: &Refusal) {
        self.counts.refusals += 1;
        self.note(12, id.0, Lsn::INVALID, || format!("{id} refuses: {refusal}"));
        let harmless = !matches!(refusal, Refusal::WouldTruncateCommitted { .. });
        self.require(harmless, || format!("{id}: somebody won without committed WAL: {refusal}"));
    }

    /// All copies, from the first byte to the last that was committed.
    pub(crate) fn check_all_copies(&mut self) {
        let ids: Vec<NodeId> = self.nodes.keys().copied().collect();
        for id in ids {
            let commit_lsn = self.commit_lsn_of(id);
            let same = self.holds_history(id, START, commit_lsn);
            self.require(same, || format!("{id}: committed WAL differs at rest"));
        }
    }
}

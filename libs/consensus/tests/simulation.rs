//! Random worlds, each from a seed: three acceptors, competing proposers, messages lost, doubled, late and
//! out of order, crashes that lose what was not flushed. Whatever was committed must stay, everywhere.
//! `SEEDS=n cargo test -p consensus --test simulation` for more of them, `SEED=n` for one.

#[allow(dead_code, reason = "each test binary uses its part of the world")]
mod world;

use std::collections::{BTreeMap, BTreeSet};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use types::{Lsn, NodeId, Term};
use world::{Happening, START, World};

const NODES: u64 = 3;
const STEPS: usize = 3000;

struct Simulation {
    world: World,
    random: StdRng,
    /// All that any proposer has ever committed, from START on.
    committed: Vec<u8>,
    committed_by: BTreeMap<Term, Lsn>,
    terms: BTreeSet<Term>,
    next_claim: u32,
    next_byte: u8,
    counts: Counts,
}

/// What happened: a world in which nothing does proves nothing.
#[derive(Default, Debug)]
struct Counts {
    established: usize,
    commits: usize,
    truncations: usize,
    crashes: usize,
    refusals: usize,
    fenced: usize,
    fetches: usize,
    inferred: usize,
}

impl Simulation {
    fn new(seed: u64) -> Self {
        Self {
            world: World::new(NODES),
            random: StdRng::seed_from_u64(seed),
            committed: Vec::new(),
            committed_by: BTreeMap::new(),
            terms: BTreeSet::new(),
            next_claim: 0,
            next_byte: 0,
            counts: Counts::default(),
        }
    }

    fn any_node(&mut self) -> NodeId {
        NodeId(self.random.random_range(1..=NODES))
    }

    fn any_claim(&mut self) -> Option<String> {
        let names: Vec<String> = self.world.claims.keys().cloned().collect();
        (!names.is_empty()).then(|| names[self.random.random_range(0..names.len())].clone())
    }

    fn new_claim(&mut self) -> String {
        self.next_claim += 1;
        let name = format!("p{:05}", self.next_claim);
        self.world.propose(&name, 1);
        // Two live proposers at most; the older ones are gone without a word.
        while self.world.claims.len() > 2 {
            self.world.claims.pop_first();
        }
        name
    }

    fn random_step(&mut self) {
        let what = self.random.random_range(0..1000);
        match what {
            0..700 => self.deliver_one(),
            700..790 => {
                let bytes = self.random.random_range(1..40);
                self.write(bytes);
            }
            790..890 => {
                let node = self.any_node();
                self.world.batch_end(node);
            }
            890..910 => {
                let node = self.any_node();
                self.world.publish(node);
            }
            910..940 => {
                let (node, peer) = (self.any_node(), self.any_node());
                self.world.hear_of(node, peer);
            }
            940..960 => {
                let node = self.any_node();
                if let Some(name) = self.any_claim() {
                    self.world.connect(&name, node);
                }
            }
            960..970 => {
                if let Some(name) = self.any_claim() {
                    self.world.step_proposer(&name, consensus::ProposerEvent::Tick);
                }
            }
            970..982 => {
                if let Some(name) = self.any_claim() {
                    self.world.step_proposer(&name, consensus::ProposerEvent::CampaignAgain);
                }
            }
            982..992 => self.crash_or_restart(),
            992..996 => {
                self.new_claim();
            }
            _ => {
                self.world.packets.truncate(self.world.packets.len() / 2);
            }
        }
    }

    /// In any order, some twice, some never.
    fn deliver_one(&mut self) {
        if self.world.packets.is_empty() {
            return;
        }
        let mostly_first = self.random.random_range(0..40) > 0;
        let at = if mostly_first { 0 } else { self.random.random_range(0..self.world.packets.len()) };
        let packet = match self.random.random_range(0..60) {
            0 => self.world.packets[at].clone(),
            _ => self.world.packets.remove(at),
        };
        if self.random.random_range(0..150) > 0 {
            self.world.deliver(packet);
        }
    }

    fn write(&mut self, bytes: usize) {
        let Some(name) = self.any_claim() else { return };
        self.next_byte = self.next_byte.wrapping_add(1);
        let wal = vec![self.next_byte; bytes];
        self.world.write(&name, &wal);
    }

    fn crash_or_restart(&mut self) {
        let node = self.any_node();
        if self.world.nodes[&node].acceptor.is_some() {
            let kept = self.random.random_range(0..60);
            self.world.crash(node, kept);
            self.counts.crashes += 1;
        } else {
            self.world.restart(node);
        }
    }

    fn check(&mut self) {
        for happening in std::mem::take(&mut self.world.happenings) {
            match happening {
                Happening::Established { term, start_lsn, .. } => {
                    assert!(self.terms.insert(term), "term {term} was won twice");
                    // News of an old term may come late, so only what older terms have committed binds it.
                    let older = self.committed_by.range(..term).map(|(_, lsn)| *lsn).max();
                    assert!(older.is_none_or(|lsn| start_lsn >= lsn), "X lies before committed WAL");
                    self.counts.established += 1;
                }
                Happening::Committed { term, commit_lsn, .. } => self.committed(term, commit_lsn),
                Happening::Truncated { .. } => self.counts.truncations += 1,
                Happening::Refused { why, .. } => {
                    assert!(!why.contains("cut off"), "a proposer won without committed WAL: {why}");
                    self.counts.refusals += 1;
                }
                Happening::Dropped { why, .. } => panic!("a proposer met an impossible acceptor: {why}"),
                Happening::Fetched { .. } => self.counts.fetches += 1,
                Happening::Fenced { .. } => self.counts.fenced += 1,
                Happening::Reconfigured { .. } => panic!("nobody changes the members here"),
            }
        }
        self.inferred();
        for node in self.world.nodes.values() {
            let known =
                node.acceptor.as_ref().map_or(node.state.commit_lsn, |acceptor| acceptor.commit_lsn());
            assert!(known <= START + self.committed.len() as u64, "{}: committed by nobody", node.id);
            let here = node.wal_up_to(known);
            assert!(here == &self.committed[..here.len()], "{}: committed WAL differs", node.id);
        }
    }

    /// An acceptor may find out before any proposer does. The same must hold then.
    fn inferred(&mut self) {
        let known = self.world.nodes.values().filter_map(|node| node.acceptor.as_ref());
        let furthest = known.max_by_key(|acceptor| acceptor.commit_lsn());
        let Some((term, lsn)) = furthest.map(|it| (it.last_log_term(), it.commit_lsn())) else { return };
        if lsn > START + self.committed.len() as u64 {
            self.committed(term, lsn);
            self.counts.inferred += 1;
        }
    }

    /// At this very moment a quorum must have it durable, equal, and equal to all that was committed before.
    fn committed(&mut self, term: Term, commit_lsn: Lsn) {
        self.counts.commits += 1;
        self.committed_by.insert(term, commit_lsn);
        let length = (commit_lsn - START) as usize;
        let mut copies: Vec<&[u8]> = Vec::new();
        for node in self.world.nodes.values() {
            let in_term = node.state.history.lines().iter().any(|line| line.term == term);
            if node.durable >= length && in_term {
                copies.push(&node.wal[..length]);
            }
        }
        assert!(copies.len() as u64 > NODES / 2, "{commit_lsn} was committed without a quorum");
        let agreed = copies[0].to_vec();
        assert!(copies.iter().all(|copy| *copy == agreed), "the quorum for {commit_lsn} does not agree");
        let common = length.min(self.committed.len());
        assert!(agreed[..common] == self.committed[..common], "committed WAL was changed");
        if length > self.committed.len() {
            self.committed = agreed;
        }
    }

    /// Faults stop: one proposer must be able to get all three to the same end.
    fn settle(&mut self) {
        for id in (1..=NODES).map(NodeId) {
            if self.world.nodes[&id].acceptor.is_none() {
                self.world.restart(id);
            }
        }
        self.world.packets.clear();
        self.world.claims.clear();
        let name = self.new_claim();
        for round in 0..40 {
            while !self.world.packets.is_empty() {
                let packet = self.world.packets.remove(0);
                self.world.deliver(packet);
                self.check();
            }
            for id in (1..=NODES).map(NodeId) {
                self.world.batch_end(id);
                if !self.world.claims[&name].connections.contains_key(&id) {
                    self.world.connect(&name, id);
                }
            }
            if round == 20 {
                self.world.write(&name, &[0xee; 24]);
            }
            self.world.step_proposer(&name, consensus::ProposerEvent::Tick);
        }
        self.check();
        let (_, start) = self.world.claims[&name].established.expect("no progress once faults stopped");
        let end = start + 24;
        assert_eq!(self.world.claims[&name].proposer.commit_lsn(), end, "no commit once faults stopped");
        let first = self.world.nodes[&NodeId(1)].wal_up_to(end);
        for node in self.world.nodes.values() {
            let acceptor = node.acceptor.as_ref().unwrap();
            assert_eq!((acceptor.flush_lsn(), acceptor.commit_lsn()), (end, end));
            assert!(node.wal_up_to(end) == first, "logs differ at rest");
        }
    }
}

fn run(seed: u64) -> Counts {
    let mut simulation = Simulation::new(seed);
    simulation.new_claim();
    for _ in 0..STEPS {
        simulation.random_step();
        simulation.check();
    }
    simulation.settle();
    simulation.counts
}

#[test]
#[allow(clippy::print_stdout, reason = "how much happened is part of the result")]
fn committed_wal_is_never_lost() {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
    if let Some(seed) = number("SEED") {
        println!("seed {seed}: {:?}", run(seed));
        return;
    }
    let seeds = number("SEEDS").unwrap_or(200);
    let mut sum = Counts::default();
    for seed in 0..seeds {
        let counts = std::panic::catch_unwind(|| run(seed)).unwrap_or_else(|_| panic!("SEED={seed} fails"));
        sum.established += counts.established;
        sum.commits += counts.commits;
        sum.truncations += counts.truncations;
        sum.crashes += counts.crashes;
        sum.refusals += counts.refusals;
        sum.fenced += counts.fenced;
        sum.fetches += counts.fetches;
        sum.inferred += counts.inferred;
    }
    println!("{seeds} seeds: {sum:?}");
    let enough = seeds as usize;
    assert!(
        sum.established > enough && sum.commits > 10 * enough && sum.truncations > enough,
        "an idle world"
    );
    assert!(sum.inferred > enough / 2, "an idle world");
    assert!(sum.crashes > enough && sum.fenced > enough / 2 && sum.fetches > enough / 2, "an idle world");
}

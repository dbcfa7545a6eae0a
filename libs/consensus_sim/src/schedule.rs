//! What goes wrong in a world, and when: made from the seed before the world begins, so that faults can be left out
//! one by one when a failure is made smaller.

use std::fmt;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use types::NodeId;

/// Time in the world, in microseconds since it began.
pub type Micros = u64;

pub const SECOND: Micros = 1_000_000;
/// Faults begin before this, and all have ended a little later.
pub const FAULTS_END: Micros = 8 * SECOND;

/// Which messages between two are lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    Both,
    ToAcceptor,
    FromAcceptor,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The power goes, and comes back after a while.
    PowerCut {
        node: NodeId,
        lasts: Micros,
    },
    PowerCutOfAll {
        lasts: Micros,
    },
    /// No compute reaches the acceptor, or hears of it.
    Isolate {
        node: NodeId,
        way: Way,
        lasts: Micros,
    },
    /// Syncs take that many times as long.
    SlowDisk {
        node: NodeId,
        factor: u64,
        lasts: Micros,
    },
    FullDisk {
        node: NodeId,
        lasts: Micros,
    },
    /// The next sync fails: the process ends and comes back.
    FailedSync {
        node: NodeId,
    },
    /// Another compute claims the timeline. The one before it is killed, or does not know.
    Failover {
        kill: bool,
    },
    /// The newest compute reaches nobody, or hears of nobody.
    CutCompute {
        way: Way,
        lasts: Micros,
    },
    /// The newest compute hears everything that much later.
    LateAnswers {
        by: Micros,
        lasts: Micros,
    },
    /// Every connection breaks.
    Disconnect,
    /// Acceptors hear nothing of each other.
    BrokerAway {
        lasts: Micros,
    },
    /// An administrator begins to bring the timeline to these acceptors (bit n: acceptor n + 1), and may be gone
    /// before the end. Others may be at it.
    ChangeMembers {
        to: u16,
        gone_after: Micros,
    },
}

/// A world's size and its faults.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schedule {
    /// The first members.
    pub nodes: u64,
    /// Safekeepers that do not have the timeline.
    pub spares: u64,
    /// In a quarter of the worlds, messages of one connection overtake each other and come twice.
    pub unordered: bool,
    /// How often acceptors look at each other for what they lack. In half of the worlds not while faults go on.
    pub catch_up: Option<Micros>,
    /// In a third of the worlds, segments go to object storage, and timelines that nobody uses come to rest.
    pub offloads: bool,
    pub faults: Vec<(Micros, Fault)>,
}

impl Schedule {
    pub fn of_seed(seed: u64) -> Self {
        let mut random = StdRng::seed_from_u64(seed ^ 0x5EED_0FFA_0175);
        let nodes = [3, 3, 3, 4, 5, 5, 6, 7][random.random_range(0..8)];
        let unordered = random.random_range(0..4) == 0;
        let spares = [0, 0, 1, 2, 3][random.random_range(0..5)];
        let count = random.random_range(6..30);
        let mut faults: Vec<(Micros, Fault)> = (0..count)
            .map(|_| (random.random_range(0..FAULTS_END), any_fault(&mut random, nodes, spares)))
            .collect();
        if spares > 0 && random.random_range(0..3) == 0 {
            quarrel(&mut random, nodes + spares, &mut faults);
        }
        late_answers(seed, &mut faults);
        let claimed = spares > 1 && claim_amid_change(seed, nodes, spares, &mut faults);
        faults.sort_by_key(|(at, _)| *at);
        let drawn = [None, None, Some(20_000), Some(300_000)][random.random_range(0..4)];
        // Those who come in then have nothing yet.
        let catch_up = if claimed { Some(20_000) } else { drawn };
        let offloads = StdRng::seed_from_u64(seed ^ 0x0FF1_0ADE).random_range(0..3) == 0;
        Self { nodes, spares, unordered, catch_up, offloads, faults }
    }
}

fn any_fault(random: &mut StdRng, nodes: u64, spares: u64) -> Fault {
    let all = nodes + spares;
    if spares > 0 && random.random_range(0..6) == 0 {
        return change_of_members(random, all);
    }
    let node = NodeId(random.random_range(1..=all));
    let way = [Way::Both, Way::ToAcceptor, Way::FromAcceptor][random.random_range(0..3)];
    let lasts = random.random_range(1000..2 * SECOND);
    match random.random_range(0..100) {
        0..22 => Fault::PowerCut { node, lasts },
        22..26 => Fault::PowerCutOfAll { lasts: lasts / 4 },
        26..40 => Fault::Isolate { node, way, lasts },
        40..50 => Fault::SlowDisk { node, factor: random.random_range(2..300), lasts },
        50..56 => Fault::FullDisk { node, lasts },
        56..62 => Fault::FailedSync { node },
        62..82 => Fault::Failover { kill: random.random_range(0..2) == 0 },
        82..90 => Fault::CutCompute { way, lasts },
        90..95 => Fault::Disconnect,
        _ => Fault::BrokerAway { lasts },
    }
}

fn change_of_members(random: &mut StdRng, all: u64) -> Fault {
    let count = [1, 2, 3, 3, 3, 4, 5][random.random_range(0..7)];
    let mut to = 0u16;
    while u64::from(to.count_ones()) < all.min(count) {
        to |= 1 << random.random_range(0..all);
    }
    let stays = random.random_range(0..3) > 0;
    let gone_after = if stays { FAULTS_END } else { random.random_range(1000..SECOND) };
    Fault::ChangeMembers { to, gone_after }
}

/// In a fifth of the worlds: somebody takes over while the newest compute hears what was said long ago. With dice of its
/// own, so that the other worlds are as they were before there was this.
fn late_answers(seed: u64, faults: &mut Vec<(Micros, Fault)>) {
    let mut random = StdRng::seed_from_u64(seed ^ 0x01A7_E000);
    if random.random_range(0..5) > 0 {
        return;
    }
    for _ in 0..random.random_range(1..4) {
        let begin = random.random_range(SECOND..FAULTS_END);
        let by = random.random_range(100_000..900_000);
        faults.push((begin, Fault::LateAnswers { by, lasts: random.random_range(SECOND / 10..SECOND) }));
        let take_over = Fault::Failover { kill: false };
        faults.push((begin + random.random_range(1000..by), take_over));
    }
}

/// In half of the worlds with spares enough: who led hears of nothing for a while; somebody else is elected, reaches
/// one acceptor and no more; that one is gone as well, and the members become others, none of whom has heard of that
/// election. Dice as for [`late_answers`].
fn claim_amid_change(seed: u64, nodes: u64, spares: u64, faults: &mut Vec<(Micros, Fault)>) -> bool {
    let mut random = StdRng::seed_from_u64(seed ^ 0xC1A1_3000);
    if random.random_range(0..2) > 0 {
        return false;
    }
    let way = Way::Both;
    let begin = random.random_range(SECOND / 2..FAULTS_END - SECOND);
    let deaf = random.random_range(SECOND / 3..SECOND);
    let claim = begin + random.random_range(0..20_000);
    // That long an election takes.
    let elected = claim + random.random_range(5_000..9_000);
    let cut = elected + random.random_range(2_000..10_000);
    let reached = NodeId(random.random_range(1..=nodes));
    faults.push((begin, Fault::CutCompute { way, lasts: deaf }));
    faults.push((claim, Fault::Failover { kill: false }));
    for node in (1..=nodes).map(NodeId).filter(|node| *node != reached) {
        faults.push((elected, Fault::Isolate { node, way: Way::ToAcceptor, lasts: cut - elected }));
    }
    faults.push((cut, Fault::CutCompute { way, lasts: 2 * SECOND }));
    faults.push((cut, Fault::PowerCut { node: reached, lasts: deaf + random.random_range(0..SECOND) }));
    let mut to = ((1u16 << spares) - 1) << nodes;
    if spares == 2 || random.random_range(0..2) == 0 {
        to |= 1 << (reached.0 - 1);
    }
    faults.push((cut, Fault::ChangeMembers { to, gone_after: FAULTS_END }));
    true
}

/// Administrators at the very same time, and acceptors that forget what they did not write down.
fn quarrel(random: &mut StdRng, all: u64, faults: &mut Vec<(Micros, Fault)>) {
    let begin = random.random_range(0..FAULTS_END);
    for _ in 0..random.random_range(2..5) {
        let mut change = change_of_members(random, all);
        if let Fault::ChangeMembers { gone_after, .. } = &mut change
            && random.random_range(0..3) > 0
        {
            // About when it has just won.
            *gone_after = random.random_range(4_000..30_000);
        }
        faults.push((begin + random.random_range(0..30_000), change));
    }
    for _ in 0..random.random_range(4..20) {
        let (node, lasts) = (NodeId(random.random_range(1..=all)), random.random_range(1000..15_000));
        faults.push((begin + random.random_range(4_000..60_000), Fault::PowerCut { node, lasts }));
    }
    // What only memory knew of the first one's success, nobody knows then, and somebody else tries.
    if random.random_range(0..2) == 0 {
        let lasts = random.random_range(1000..15_000);
        faults.push((begin + random.random_range(4_000..30_000), Fault::PowerCutOfAll { lasts }));
        faults.push((begin + random.random_range(30_000..100_000), change_of_members(random, all)));
    }
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let order = if self.unordered { "messages in any order" } else { "messages in order" };
        let (nodes, spares, faults) = (self.nodes, self.spares, self.faults.len());
        let catch_up = if self.catch_up.is_some() { "that catch up" } else { "that only hear computes" };
        let offloads = if self.offloads { "with" } else { "without" };
        write!(
            f,
            "{nodes} acceptors and {spares} spare ones {catch_up}, {offloads} object storage, {order}, {faults} faults"
        )?;
        for (at, fault) in &self.faults {
            write!(f, "\n  at {:.3} s: {fault:?}", *at as f64 / SECOND as f64)?;
        }
        Ok(())
    }
}

//! Arrows between transactions, and the cycles among them.

use std::collections::BTreeSet;
use std::fmt;

use petgraph::algo::{has_path_connecting, tarjan_scc};
use petgraph::graphmap::DiGraphMap;

/// Why one transaction must come before another. The order is that of the names of cycles.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Arrow {
    WriteWrite,
    WriteRead,
    ReadWrite,
}

/// The worst of what the transactions of a knot did to one another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cycle {
    G0,
    G1c,
    GSingle,
    G2,
}

impl fmt::Display for Cycle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Cycle::G0 => "G0",
            Cycle::G1c => "G1c",
            Cycle::GSingle => "G-single",
            Cycle::G2 => "G2",
        })
    }
}

#[derive(Debug, Default)]
pub struct Dependencies {
    arrows: BTreeSet<(usize, usize, Arrow)>,
}

impl Dependencies {
    /// `from` must come before `to`; a transaction does not depend on itself.
    pub fn add(&mut self, from: usize, to: usize, arrow: Arrow) {
        if from != to {
            self.arrows.insert((from, to, arrow));
        }
    }

    /// Each knot of transactions that no order can undo, with the name of what it is, the plainest that applies.
    pub fn cycles(&self) -> Vec<(Cycle, Vec<usize>)> {
        let knots = |graph: &DiGraphMap<usize, ()>| {
            let mut knots: Vec<Vec<usize>> =
                tarjan_scc(graph).into_iter().filter(|knot| knot.len() > 1).collect();
            knots.iter_mut().for_each(|knot| knot.sort_unstable());
            knots
        };
        let writes = self.graph(Arrow::WriteWrite);
        let reads = self.graph(Arrow::WriteRead);
        let mut found: Vec<(Cycle, Vec<usize>)> = Vec::new();
        found.extend(knots(&writes).into_iter().map(|knot| (Cycle::G0, knot)));
        found.extend(knots(&reads).into_iter().map(|knot| (Cycle::G1c, knot)));
        for knot in knots(&self.graph(Arrow::ReadWrite)) {
            let inside = |id: &usize| knot.binary_search(id).is_ok();
            let single = self.arrows.iter().any(|(from, to, arrow)| {
                *arrow == Arrow::ReadWrite
                    && inside(from)
                    && inside(to)
                    && reads.contains_node(*to)
                    && reads.contains_node(*from)
                    && has_path_connecting(&reads, *to, *from, None)
            });
            found.push((if single { Cycle::GSingle } else { Cycle::G2 }, knot));
        }
        // A knot of a plainer kind is a part of one of the next kind, and is told once.
        let mut told: BTreeSet<usize> = BTreeSet::new();
        found.retain(|(_, knot)| {
            let is_new = knot.iter().any(|id| !told.contains(id));
            told.extend(knot);
            is_new
        });
        found
    }

    /// With the arrows up to this kind.
    fn graph(&self, most: Arrow) -> DiGraphMap<usize, ()> {
        let arrows = self.arrows.iter().filter(|(_, _, arrow)| *arrow <= most);
        DiGraphMap::from_edges(arrows.map(|(from, to, _)| (*from, *to)))
    }
}

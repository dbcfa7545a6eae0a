//! Connections between computes and acceptors. As with TCP, bytes arrive in order or the connection breaks, at both
//! ends but not at the same time; in an unordered world messages also come late and twice.

use std::collections::BTreeMap;

use consensus::ConnectionId;
use rand::RngExt;
use rand::rngs::StdRng;
use types::NodeId;

use crate::schedule::{Micros, Way};

/// One way through the network, within a rack.
const DELAY: std::ops::Range<Micros> = 50..1500;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    ToAcceptor,
    ToProposer,
}

#[derive(Clone, Debug)]
pub struct Connection {
    pub compute: u32,
    pub node: NodeId,
    pub open_at_compute: bool,
    pub open_at_node: bool,
    /// Something was lost: nothing arrives any more, and both ends will find out.
    pub stalled: bool,
    last_arrival: [Micros; 2],
}

/// How often the messages to and from somebody are cut off; faults may overlap.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cut {
    to_acceptor: u32,
    from_acceptor: u32,
}

impl Cut {
    pub fn begin(&mut self, way: Way) {
        self.change(way, |count| count + 1);
    }

    pub fn end(&mut self, way: Way) {
        self.change(way, |count| count - 1);
    }

    fn change(&mut self, way: Way, to: impl Fn(u32) -> u32) {
        if way != Way::FromAcceptor {
            self.to_acceptor = to(self.to_acceptor);
        }
        if way != Way::ToAcceptor {
            self.from_acceptor = to(self.from_acceptor);
        }
    }

    pub fn blocks(&self, direction: Direction) -> bool {
        match direction {
            Direction::ToAcceptor => self.to_acceptor > 0,
            Direction::ToProposer => self.from_acceptor > 0,
        }
    }
}

#[derive(Debug, Default)]
pub struct Network {
    pub connections: BTreeMap<ConnectionId, Connection>,
    unordered: bool,
    numbers: u64,
}

impl Network {
    pub fn new(unordered: bool) -> Network {
        Network { unordered, ..Network::default() }
    }

    pub fn open(&mut self, compute: u32, node: NodeId) -> ConnectionId {
        self.numbers += 1;
        let connection = Connection {
            compute,
            node,
            open_at_compute: true,
            open_at_node: true,
            stalled: false,
            last_arrival: [0; 2],
        };
        self.connections.insert(ConnectionId(self.numbers), connection);
        ConnectionId(self.numbers)
    }

    /// When what is sent now arrives: once, or twice.
    pub fn arrivals(
        &mut self,
        id: ConnectionId,
        direction: Direction,
        now: Micros,
        random: &mut StdRng,
    ) -> Vec<Micros> {
        let Some(connection) = self.connections.get_mut(&id) else { return Vec::new() };
        let last = &mut connection.last_arrival[direction as usize];
        let arrival = (now + random.random_range(DELAY)).max(*last);
        if self.unordered && random.random_range(0..40) == 0 {
            // Others overtake it.
            return vec![arrival + random.random_range(0..50_000)];
        }
        *last = arrival;
        let again = self.unordered && random.random_range(0..50) == 0;
        let mut arrivals = vec![arrival];
        arrivals.extend(again.then(|| arrival + random.random_range(0..100_000)));
        arrivals
    }

    /// Messages arrive in order from now on.
    pub fn calm_down(&mut self) {
        self.unordered = false;
    }

    /// Forgets connections that neither end knows.
    pub fn forget_closed(&mut self) {
        self.connections.retain(|_, connection| connection.open_at_compute || connection.open_at_node);
    }
}

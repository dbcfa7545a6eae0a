//! Object storage, and WAL as a reader of a safekeeper gets it: from its disk, and what is not there from objects.

use std::collections::BTreeMap;

use types::{Lsn, NodeId};

use crate::disk::{Partial, SEGMENT, START};
use crate::world::World;

/// A put replaces what there was.
#[derive(Debug, Default)]
pub struct Storage {
    segments: BTreeMap<u64, Vec<u8>>,
    /// Beginnings of segments, each under the name of the acceptor whose they are.
    partials: BTreeMap<(NodeId, u64), Vec<u8>>,
}

impl Storage {
    pub fn segment(&self, number: u64) -> Option<&Vec<u8>> {
        self.segments.get(&number)
    }

    pub fn put_segment(&mut self, number: u64, wal: Vec<u8>) {
        self.segments.insert(number, wal);
    }

    pub fn put_partial(&mut self, node: NodeId, number: u64, wal: Vec<u8>) -> Partial {
        let crc32c = crc32c::crc32c(&wal);
        self.partials.insert((node, number), wal);
        Partial { number, crc32c }
    }

    /// None if it is not there, or another than was put.
    pub fn partial(&self, node: NodeId, partial: Partial) -> Option<&Vec<u8>> {
        let wal = self.partials.get(&(node, partial.number))?;
        (crc32c::crc32c(wal) == partial.crc32c).then_some(wal)
    }

    pub fn delete_partial(&mut self, node: NodeId, partial: Partial) {
        self.partials.remove(&(node, partial.number));
    }
}

/// Where a segment's WAL begins: the first one's with the timeline.
pub fn begin_of(number: u64) -> Lsn {
    Lsn(number * SEGMENT).max(START)
}

impl World {
    /// None if not all of it is durable.
    pub(crate) fn read_wal(&self, id: NodeId, from: Lsn, to: Lsn) -> Option<Vec<u8>> {
        let disk = &self.nodes[&id].disk;
        if to > disk.end() {
            return None;
        }
        let mut wal = Vec::with_capacity(to.saturating_distance(from) as usize);
        let mut at = from;
        while at < to {
            let number = at.segment_number(SEGMENT);
            let end = to.min(begin_of(number + 1));
            wal.extend_from_slice(disk.read(at, end).or_else(|| self.read_object(id, number, at, end))?);
            at = end;
        }
        Some(wal)
    }

    fn read_object(&self, id: NodeId, number: u64, from: Lsn, to: Lsn) -> Option<&[u8]> {
        let partial = self.nodes[&id].disk.kept().at_rest.as_ref().and_then(|rest| rest.partial);
        let own = partial.filter(|partial| partial.number == number);
        let object = match own {
            Some(partial) => self.storage.partial(id, partial),
            None => self.storage.segment(number),
        };
        let begin = begin_of(number);
        object?.get((from - begin) as usize..(to - begin) as usize)
    }
}

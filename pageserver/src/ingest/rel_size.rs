//! The value of a relation fork's size key: how long it is, and which of its blocks are holes.
//!
//! ```text
//!  0        4       8     12
//!  blocks   start   end   start end …      integers little-endian; holes in order, none touches another
//! ```
//! A **hole** was grown over and not written since. It reads as zeros whatever older versions its blocks have, from
//! before the fork was cut or dropped. Only long gaps are holes: short ones are given an empty image for each block.
//! So a jump far behind the end costs no more than another record, and a fork cannot have very many holes.

use std::ops::Range;

use bytes::Bytes;

/// Blocks; with fewer, images cost less than a longer size value does with each later one.
const SHORTEST_HOLE: u32 = 1 << 14;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RelSize {
    pub blocks: u32,
    holes: Vec<Range<u32>>,
}

impl RelSize {
    /// None: there is no such fork. Holes that are not whole are none of ours.
    pub fn decode(image: &[u8]) -> Option<RelSize> {
        let (blocks, holes) = image.split_first_chunk()?;
        let number = |bytes: &[u8]| bytes.try_into().ok().map(u32::from_le_bytes);
        let holes = holes.chunks(8).map(|hole| Some(number(hole.get(..4)?)?..number(hole.get(4..)?)?));
        Some(RelSize { blocks: u32::from_le_bytes(*blocks), holes: holes.collect::<Option<_>>()? })
    }

    pub fn encode(&self) -> Bytes {
        let holes = self.holes.iter().flat_map(|hole| [hole.start, hole.end]);
        std::iter::once(self.blocks).chain(holes).flat_map(u32::to_le_bytes).collect()
    }

    /// Whether the block can have versions that count: it is neither in a hole nor behind the end.
    pub fn is_written(&self, block: u32) -> bool {
        block < self.blocks && self.hole_of(block).is_err()
    }

    /// The parts of `blocks` that are neither holes nor behind the end.
    pub fn written(&self, blocks: Range<u32>) -> Vec<Range<u32>> {
        let end = blocks.end.min(self.blocks);
        let mut parts = Vec::new();
        let mut at = blocks.start;
        while at < end {
            match self.hole_of(at) {
                Ok(hole) => at = self.holes[hole].end,
                Err(next) => {
                    let stop = self.holes.get(next).map_or(end, |hole| hole.start.min(end));
                    parts.push(at..stop);
                    at = stop;
                }
            }
        }
        parts
    }

    /// The block is written, and the fork grows over it if need be. Of each block of the ranges that this gives,
    /// older versions count no more: they need an empty image.
    pub(super) fn write(&mut self, block: u32) -> Vec<Range<u32>> {
        let gaps = if block >= self.blocks {
            let gap = self.blocks..block;
            self.blocks = block.saturating_add(1);
            vec![(self.holes.len(), gap)]
        } else if let Ok(index) = self.hole_of(block) {
            let hole = self.holes.remove(index);
            vec![(index, block + 1..hole.end), (index, hole.start..block)]
        } else {
            Vec::new()
        };
        gaps.into_iter().filter_map(|(index, gap)| self.keep(index, gap)).collect()
    }

    /// The fork is cut to a shorter length. The range that this gives is as those of [`RelSize::write`].
    pub(super) fn cut(&mut self, blocks: u32) -> Option<Range<u32>> {
        self.blocks = blocks;
        self.holes.retain(|hole| hole.start < blocks);
        let last = self.holes.pop_if(|hole| hole.end > blocks)?;
        self.keep(self.holes.len(), last.start..blocks)
    }

    /// A gap becomes a hole, unless it is short.
    fn keep(&mut self, index: usize, gap: Range<u32>) -> Option<Range<u32>> {
        match gap.end.saturating_sub(gap.start) {
            0 => None,
            1..SHORTEST_HOLE => Some(gap),
            SHORTEST_HOLE.. => {
                self.holes.insert(index, gap);
                None
            }
        }
    }

    /// The hole that the block is in, or the place of the next one.
    fn hole_of(&self, block: u32) -> Result<usize, usize> {
        let next = self.holes.partition_point(|hole| hole.end <= block);
        if self.holes.get(next).is_some_and(|hole| hole.start <= block) { Ok(next) } else { Err(next) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const L: u32 = SHORTEST_HOLE;

    #[test]
    fn short_gaps_are_filled_and_long_ones_are_holes() {
        let mut size = RelSize::default();
        assert_eq!(size.write(0), []);
        assert_eq!(size.write(L), vec![1..L], "one short of a hole");
        assert_eq!(size.write(u32::MAX - 1), []);
        assert_eq!((size.blocks, size.holes.len()), (u32::MAX, 1));
        assert_eq!(RelSize::decode(&size.encode()), Some(size.clone()));
        assert!(size.is_written(L) && !size.is_written(L + 1) && !size.is_written(u32::MAX));
        assert_eq!(size.written(0..u32::MAX), [0..L + 1, u32::MAX - 1..u32::MAX]);
        assert_eq!(size.written(L + 5..L + 9), []);
    }

    #[test]
    fn writing_into_a_hole_takes_it_apart() {
        let mut size = RelSize::default();
        size.write(10 * L);
        assert_eq!(size.write(5 * L), []);
        assert_eq!(size.holes, [0..5 * L, 5 * L + 1..10 * L]);
        assert_eq!(size.write(4 * L + 1), vec![4 * L + 2..5 * L]);
        assert_eq!(size.write(0), []);
        assert_eq!(size.holes, [1..4 * L + 1, 5 * L + 1..10 * L]);
        assert_eq!(size.write(0), [], "written before");
    }

    #[test]
    fn cutting_leaves_no_short_hole() {
        let mut size = RelSize::default();
        size.write(10 * L);
        size.write(5 * L);
        assert_eq!(size.cut(7 * L + 1), None);
        assert_eq!(size.holes, [0..5 * L, 5 * L + 1..7 * L + 1]);
        assert_eq!(size.cut(5 * L + 3), Some(5 * L + 1..5 * L + 3));
        assert_eq!(size.holes, vec![0..5 * L]);
        assert_eq!(size.cut(0), None);
        assert_eq!(size, RelSize::default());
    }

    #[test]
    fn damage_is_no_size() {
        assert_eq!(RelSize::decode(&[]), None);
        assert_eq!(RelSize::decode(&[1, 0, 0, 0, 5]), None);
    }
}

//! Key filter of a delta layer: says "surely not here" about most keys that the layer does not hold.
//!
//! A Bloom filter of ten bits for each distinct key and seven probes, about one false "maybe" in a hundred.
//! ```text
//!  0  u8   number of probes
//!  1  n    bits; the number of bits is 8 n
//! ```
//! The hash is part of the format: two FNV-1a passes with different bases, finished by a 64-bit mix.

use bytes::Bytes;
use types::Key;

const BITS_PER_KEY: usize = 10;
const PROBES: u8 = 7;

/// A layer with more distinct keys has no filter: collecting their hashes must not take unbounded memory.
const MAX_KEYS: usize = 8 << 20;

fn hash(key: &Key) -> u64 {
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    for byte in key.as_bytes() {
        hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
    }
    // SplitMix64's finisher: FNV alone leaves the high bits of short keys poor.
    hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^ (hash >> 31)
}

fn probes(hash: u64, count: u8, bits: u64) -> impl Iterator<Item = u64> {
    let step = (hash >> 32) | 1;
    (0..u64::from(count)).map(move |i| hash.wrapping_add(i.wrapping_mul(step)) % bits)
}

/// Collects the keys of a layer that is being written.
#[derive(Default)]
pub(crate) struct FilterBuilder {
    hashes: Vec<u64>,
    overflown: bool,
}

impl FilterBuilder {
    /// Call once for each distinct key.
    pub(crate) fn add(&mut self, key: &Key) {
        if self.hashes.len() == MAX_KEYS {
            self.overflown = true;
            self.hashes = Vec::new();
        }
        if !self.overflown {
            self.hashes.push(hash(key));
        }
    }

    /// The filter's contents; none for a layer that is empty or has too many keys.
    pub(crate) fn finish(self) -> Option<Vec<u8>> {
        if self.overflown || self.hashes.is_empty() {
            return None;
        }
        let bytes = (self.hashes.len() * BITS_PER_KEY).div_ceil(8);
        let mut contents = vec![0; 1 + bytes];
        contents[0] = PROBES;
        for hash in self.hashes {
            for bit in probes(hash, PROBES, bytes as u64 * 8) {
                contents[1 + (bit / 8) as usize] |= 1 << (bit % 8);
            }
        }
        Some(contents)
    }
}

/// The filter of a layer that is read.
pub(crate) struct Filter(Bytes);

impl Filter {
    pub(crate) fn new(contents: Bytes) -> Result<Filter, String> {
        if contents.len() < 2 || contents[0] == 0 {
            Err("an empty filter".to_owned())
        } else {
            Ok(Filter(contents))
        }
    }

    pub(crate) fn may_contain(&self, key: &Key) -> bool {
        let bits = (self.0.len() as u64 - 1) * 8;
        probes(hash(key), self.0[0], bits).all(|bit| self.0[1 + (bit / 8) as usize] & (1 << (bit % 8)) != 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use types::RelTag;

    fn key(block: u32) -> Key {
        Key::rel_block(RelTag { spc: 1663, db: 5, rel: 16384, fork: types::Fork::Main }, block)
    }

    #[test]
    fn holds_what_was_put_and_little_else() {
        let mut builder = FilterBuilder::default();
        (0..10_000).for_each(|block| builder.add(&key(block)));
        let filter = Filter::new(builder.finish().unwrap().into()).unwrap();
        assert!((0..10_000).all(|block| filter.may_contain(&key(block))));
        let wrong = (10_000..110_000).filter(|block| filter.may_contain(&key(*block))).count();
        assert!(wrong < 2_000, "{wrong} false positives in 100,000");
    }
}

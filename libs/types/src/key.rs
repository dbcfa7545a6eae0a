//! [`Key`]: what the pageserver stores versions of.
//!
//! ```text
//!  byte   0      1..5     5..9    9..13    13     14..18
//!       kind     field 1  field 2 field 3  fork   block          integers big-endian
//! ```
//! Keys sort by kind first, so all blocks of a relation are neighbours, and all relation sizes of a
//! database are neighbours, which is how a database's relations are listed. Creating or dropping a
//! table touches that table's own keys alone.

use std::fmt;
use std::ops::Range;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::{Fork, Oid, RelTag};

/// What a key's value is. The numbers are on disk: never reuse one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum KeyKind {
    /// A page of a relation: 8192 bytes.
    RelBlock = 0x01,
    /// A page of an SLRU: 8192 bytes.
    SlruBlock = 0x02,
    /// A relation fork's length in blocks: u32 little-endian, and which of them are holes. Empty when it was dropped.
    RelSize = 0x10,
    /// A database in a tablespace: its `PG_VERSION` exists. One byte 1, empty when it was dropped.
    Database = 0x11,
    /// A `pg_filenode.map`, whole. Empty when it was dropped.
    RelMap = 0x12,
    /// An SLRU segment's length in blocks: u32 little-endian. Empty when it was removed.
    SlruSegSize = 0x13,
    /// The state of a prepared transaction, as PostgreSQL keeps it in pg_twophase. Empty when resolved.
    TwoPhase = 0x14,
    /// A user tablespace's directory as CREATE TABLESPACE named it (text). Empty when it was dropped.
    Tablespace = 0x15,
    /// `pg_control` as initdb or the last parameter change left it.
    ControlFile = 0x20,
    /// `CheckPoint` (88 bytes) as a checkpoint at this LSN would say it.
    Checkpoint = 0x21,
    /// The latest time of a commit so far: microseconds since 2000-01-01, i64 little-endian. A version for each commit.
    CommitTime = 0x23,
    /// The last checkpoint in WAL, where a standby begins: its record's LSN (u64 little-endian), then `CheckPoint`.
    LastCheckpoint = 0x24,
    /// A file that PostgreSQL keeps beside the database, by hash of its name. Empty when it was removed.
    AuxFile = 0x22,
    /// How far a subscription has got: LSN of the server that is replicated from (u64 little-endian). Empty when it was
    /// dropped.
    ReplicationOrigin = 0x25,
}

impl KeyKind {
    pub const ALL: [KeyKind; 14] = [
        KeyKind::RelBlock,
        KeyKind::SlruBlock,
        KeyKind::RelSize,
        KeyKind::Database,
        KeyKind::RelMap,
        KeyKind::SlruSegSize,
        KeyKind::TwoPhase,
        KeyKind::Tablespace,
        KeyKind::ControlFile,
        KeyKind::Checkpoint,
        KeyKind::CommitTime,
        KeyKind::LastCheckpoint,
        KeyKind::AuxFile,
        KeyKind::ReplicationOrigin,
    ];

    pub fn from_number(number: u8) -> Option<KeyKind> {
        KeyKind::ALL.into_iter().find(|kind| *kind as u8 == number)
    }
}

/// PostgreSQL's "simple LRU" files that are part of a cluster's durable state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum SlruKind {
    /// pg_xact: two bits for each transaction.
    Clog = 0,
    /// pg_multixact/members
    MultiXactMembers = 1,
    /// pg_multixact/offsets
    MultiXactOffsets = 2,
}

impl SlruKind {
    pub const ALL: [SlruKind; 3] = [SlruKind::Clog, SlruKind::MultiXactMembers, SlruKind::MultiXactOffsets];

    /// Blocks in one segment file (`SLRU_PAGES_PER_SEGMENT`).
    pub const BLOCKS_PER_SEGMENT: u32 = 32;

    pub const fn from_number(number: u8) -> Option<SlruKind> {
        match number {
            0 => Some(SlruKind::Clog),
            1 => Some(SlruKind::MultiXactMembers),
            2 => Some(SlruKind::MultiXactOffsets),
            _ => None,
        }
    }

    /// Directory under PGDATA.
    pub const fn directory(self) -> &'static str {
        match self {
            SlruKind::Clog => "pg_xact",
            SlruKind::MultiXactMembers => "pg_multixact/members",
            SlruKind::MultiXactOffsets => "pg_multixact/offsets",
        }
    }
}

/// See the head of this module.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key([u8; Key::SIZE]);

/// Keys from `start` up to but not including `end`.
pub type KeyRange = Range<Key>;

impl Key {
    pub const SIZE: usize = 18;
    pub const MIN: Key = Key([0; Key::SIZE]);
    /// Greater than every key that is ever stored (no kind has the number 0xff).
    pub const MAX: Key = Key([0xff; Key::SIZE]);

    const fn pack(kind: KeyKind, one: u32, two: u32, three: u32, fork: u8, block: u32) -> Key {
        let (a, b, c, d) = (one.to_be_bytes(), two.to_be_bytes(), three.to_be_bytes(), block.to_be_bytes());
        Key([
            kind as u8, a[0], a[1], a[2], a[3], b[0], b[1], b[2], b[3], c[0], c[1], c[2], c[3], fork, d[0],
            d[1], d[2], d[3],
        ])
    }

    pub const fn rel_block(rel: RelTag, block: u32) -> Key {
        Key::pack(KeyKind::RelBlock, rel.spc, rel.db, rel.rel, rel.fork as u8, block)
    }

    pub const fn rel_size(rel: RelTag) -> Key {
        Key::pack(KeyKind::RelSize, rel.spc, rel.db, rel.rel, rel.fork as u8, 0)
    }

    pub const fn database(spc: Oid, db: Oid) -> Key {
        Key::pack(KeyKind::Database, spc, db, 0, 0, 0)
    }

    /// The map of a database; of the shared catalogs with tablespace 1664 and database 0.
    pub const fn rel_map(spc: Oid, db: Oid) -> Key {
        Key::pack(KeyKind::RelMap, spc, db, 0, 0, 0)
    }

    pub const fn slru_block(slru: SlruKind, segment: u32, block: u32) -> Key {
        Key::pack(KeyKind::SlruBlock, slru as u32, segment, 0, 0, block)
    }

    pub const fn slru_seg_size(slru: SlruKind, segment: u32) -> Key {
        Key::pack(KeyKind::SlruSegSize, slru as u32, segment, 0, 0, 0)
    }

    /// `xid` with its epoch where the version of PostgreSQL has it, else the bare 32 bits.
    pub const fn two_phase(xid: u64) -> Key {
        Key::pack(KeyKind::TwoPhase, (xid >> 32) as u32, xid as u32, 0, 0, 0)
    }

    pub const fn tablespace(spc: Oid) -> Key {
        Key::pack(KeyKind::Tablespace, spc, 0, 0, 0, 0)
    }

    pub const fn control_file() -> Key {
        Key::pack(KeyKind::ControlFile, 0, 0, 0, 0, 0)
    }

    pub const fn checkpoint() -> Key {
        Key::pack(KeyKind::Checkpoint, 0, 0, 0, 0, 0)
    }

    pub const fn commit_time() -> Key {
        Key::pack(KeyKind::CommitTime, 0, 0, 0, 0, 0)
    }

    pub const fn last_checkpoint() -> Key {
        Key::pack(KeyKind::LastCheckpoint, 0, 0, 0, 0, 0)
    }

    pub const fn replication_origin(origin: u16) -> Key {
        Key::pack(KeyKind::ReplicationOrigin, origin as u32, 0, 0, 0, 0)
    }

    /// The file of that path below the data directory.
    pub fn aux_file(path: &str) -> Key {
        let mut key = [0; Key::SIZE];
        key[0] = KeyKind::AuxFile as u8;
        key[1..17].copy_from_slice(&fnv1a_128(path.as_bytes()).to_be_bytes());
        Key(key)
    }

    /// All keys of one kind.
    pub fn kind_range(kind: KeyKind) -> KeyRange {
        let mut end = [0; Key::SIZE];
        end[0] = kind as u8 + 1;
        Key::pack(kind, 0, 0, 0, 0, 0)..Key(end)
    }

    /// The sizes of the relations that blocks within `keys` are of.
    pub fn rel_sizes_of_blocks(keys: &KeyRange) -> KeyRange {
        let blocks = Key::kind_range(KeyKind::RelBlock);
        let size = |key: Key, block: u32| {
            let mut bytes = key.0;
            bytes[0] = KeyKind::RelSize as u8;
            bytes[14..].copy_from_slice(&block.to_be_bytes());
            Key(bytes)
        };
        match (keys.start.max(blocks.start), keys.end.min(blocks.end)) {
            (start, end) if start >= end => Key::MIN..Key::MIN,
            (start, end) if end == blocks.end => size(start, 0)..Key::kind_range(KeyKind::RelSize).end,
            (start, end) => size(start, 0)..size(end, u32::MAX),
        }
    }

    /// All sizes of relations of one database in one tablespace.
    pub fn rel_sizes_of_database(spc: Oid, db: Oid) -> KeyRange {
        Key::pack(KeyKind::RelSize, spc, db, 0, 0, 0)
            ..Key::pack(KeyKind::RelSize, spc, db, u32::MAX, u8::MAX, u32::MAX)
    }

    /// All sizes of segments of one SLRU.
    pub fn slru_seg_sizes(slru: SlruKind) -> KeyRange {
        Key::pack(KeyKind::SlruSegSize, slru as u32, 0, 0, 0, 0)
            ..Key::pack(KeyKind::SlruSegSize, slru as u32, u32::MAX, u32::MAX, u8::MAX, u32::MAX)
    }

    pub const fn from_bytes(bytes: [u8; Key::SIZE]) -> Key {
        Key(bytes)
    }

    pub const fn as_bytes(&self) -> &[u8; Key::SIZE] {
        &self.0
    }

    /// None for [`Key::MIN`], [`Key::MAX`] and other keys that only bound ranges.
    pub fn kind(&self) -> Option<KeyKind> {
        KeyKind::from_number(self.0[0])
    }

    /// The three 32-bit fields.
    pub fn fields(&self) -> [u32; 3] {
        let word =
            |at: usize| u32::from_be_bytes([self.0[at], self.0[at + 1], self.0[at + 2], self.0[at + 3]]);
        [word(1), word(5), word(9)]
    }

    /// Block number; zero for kinds without blocks.
    pub fn block(&self) -> u32 {
        u32::from_be_bytes([self.0[14], self.0[15], self.0[16], self.0[17]])
    }

    /// The relation fork of a [`KeyKind::RelBlock`] or [`KeyKind::RelSize`].
    pub fn rel_tag(&self) -> Option<RelTag> {
        match self.kind()? {
            KeyKind::RelBlock | KeyKind::RelSize => {
                let [spc, db, rel] = self.fields();
                Some(RelTag { spc, db, rel, fork: Fork::from_number(self.0[13])? })
            }
            _ => None,
        }
    }

    /// The SLRU and segment of a [`KeyKind::SlruBlock`] or [`KeyKind::SlruSegSize`].
    pub fn slru_segment(&self) -> Option<(SlruKind, u32)> {
        match self.kind()? {
            KeyKind::SlruBlock | KeyKind::SlruSegSize => {
                let [kind, segment, _] = self.fields();
                Some((SlruKind::from_number(kind.try_into().ok()?)?, segment))
            }
            _ => None,
        }
    }

    /// The next key in order. [`Key::MAX`] has none.
    pub fn next(&self) -> Option<Key> {
        let mut bytes = self.0;
        for byte in bytes.iter_mut().rev() {
            let (sum, carry) = byte.overflowing_add(1);
            *byte = sum;
            if !carry {
                return Some(Key(bytes));
            }
        }
        None
    }
}

/// The hash of Fowler, Noll and Vo with 128 bits. A tenant that finds two names of one hash gains nothing: it loses its
/// own file.
fn fnv1a_128(bytes: &[u8]) -> u128 {
    const OFFSET_BASIS: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
    const PRIME: u128 = 0x0000_0000_0100_0000_0000_0000_0000_013b;
    bytes.iter().fold(OFFSET_BASIS, |hash, byte| (hash ^ u128::from(*byte)).wrapping_mul(PRIME))
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode_upper(self.0))
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [one, two, three] = self.fields();
        match self.kind() {
            Some(kind @ (KeyKind::RelBlock | KeyKind::RelSize)) => {
                write!(f, "{kind:?}({one}/{two}/{three} fork {} block {})", self.0[13], self.block())
            }
            Some(kind) => write!(f, "{kind:?}({one}, {two}, {three}, block {})", self.block()),
            None => write!(f, "Key({self})"),
        }
    }
}

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{0:?} is not a key: expected 36 hexadecimal digits")]
pub struct ParseKeyError(pub String);

impl FromStr for Key {
    type Err = ParseKeyError;

    fn from_str(text: &str) -> Result<Key, ParseKeyError> {
        let mut bytes = [0; Key::SIZE];
        hex::decode_to_slice(text, &mut bytes).map_err(|_| ParseKeyError(text.to_owned()))?;
        Ok(Key(bytes))
    }
}

impl Serialize for Key {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Key, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REL: RelTag = RelTag { spc: 1663, db: 5, rel: 16384, fork: Fork::Vm };

    #[test]
    fn keys_say_what_they_were_made_of() {
        let key = Key::rel_block(REL, 7);
        assert_eq!((key.kind(), key.rel_tag(), key.block()), (Some(KeyKind::RelBlock), Some(REL), 7));
        assert_eq!(key.to_string().parse(), Ok(key));
        let key = Key::slru_block(SlruKind::MultiXactOffsets, 3, 31);
        assert_eq!((key.slru_segment(), key.block()), (Some((SlruKind::MultiXactOffsets, 3)), 31));
    }

    #[test]
    fn ranges_hold_their_own_and_nothing_else() {
        let sizes = Key::rel_sizes_of_database(1663, 5);
        assert!(sizes.contains(&Key::rel_size(REL)));
        assert!(!sizes.contains(&Key::rel_size(RelTag { db: 6, ..REL })));
        assert!(!sizes.contains(&Key::rel_block(REL, 0)));
        for kind in KeyKind::ALL {
            assert!(Key::kind_range(kind).start < Key::kind_range(kind).end);
            assert!(Key::kind_range(kind).end < Key::MAX);
        }
    }

    #[test]
    fn blocks_have_the_sizes_of_their_relations() {
        let [one, other] = [REL, RelTag { rel: 16390, ..REL }];
        let of_both = Key::rel_sizes_of_blocks(&(Key::rel_block(one, 7)..Key::rel_block(other, 1)));
        assert!(of_both.contains(&Key::rel_size(one)) && of_both.contains(&Key::rel_size(other)));
        for outside in [RelTag { fork: Fork::Fsm, ..one }, RelTag { rel: 16391, ..REL }] {
            assert!(!of_both.contains(&Key::rel_size(outside)), "{outside}");
        }
        let of_all = Key::rel_sizes_of_blocks(&(Key::MIN..Key::MAX));
        assert_eq!(of_all.end, Key::kind_range(KeyKind::RelSize).end);
        assert!(of_all.contains(&Key::rel_size(RelTag { spc: 0, db: 0, rel: 0, fork: Fork::Main })));
        let none = Key::slru_block(SlruKind::Clog, 0, 0)..Key::MAX;
        assert!(Key::rel_sizes_of_blocks(&none).is_empty());
    }

    #[test]
    fn files_are_known_by_a_hash_of_their_names() {
        let key = Key::aux_file("pg_replslot/sub/state");
        assert_eq!(key.kind(), Some(KeyKind::AuxFile));
        assert!(Key::kind_range(KeyKind::AuxFile).contains(&key));
        assert_ne!(key, Key::aux_file("pg_replslot/sub2/state"));
        // As published for FNV-1a of 128 bits.
        assert_eq!(fnv1a_128(b"a"), 0xd228_cb69_6f1a_8caf_7891_2b70_4e4a_8964);
    }

    #[test]
    fn next_carries() {
        assert_eq!(
            Key::rel_block(REL, u32::MAX).next(),
            Some(Key::rel_block(RelTag { fork: Fork::Init, ..REL }, 0))
        );
        assert_eq!(Key::MAX.next(), None);
    }
}

//! [`CheckPoint`]: the body of checkpoint records, kept in pg_control too.
//!
//! ```text
//!   0 redo u64        8 tli u32       12 prev_tli u32   16 full_page_writes u8   17 zero
//!  20 wal_level i32 (from version 17 on, else zero)     24 next_xid u64 (epoch in the high half)
//!  32 next_oid u32   36 next_multi   40 next_multi_offset  44 oldest_xid  48 oldest_xid_db
//!  52 oldest_multi   56 oldest_multi_db  60 zero        64 time i64
//!  72 oldest_commit_ts_xid  76 newest_commit_ts_xid     80 oldest_active_xid    84 zero
//! ```

use types::{Lsn, Oid, PgVersion, TransactionId};

use crate::field::{put, u32_at, u64_at};

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CheckPoint {
    /// Where redo would begin; for a shutdown checkpoint the position of its own record.
    pub redo: Lsn,
    pub tli: u32,
    pub prev_tli: u32,
    pub full_page_writes: bool,
    /// Zero in version 15, which does not have it.
    pub wal_level: i32,
    /// With its epoch.
    pub next_xid: u64,
    pub next_oid: Oid,
    pub next_multi: u32,
    pub next_multi_offset: u32,
    pub oldest_xid: TransactionId,
    pub oldest_xid_db: Oid,
    pub oldest_multi: u32,
    pub oldest_multi_db: Oid,
    /// Seconds since 1970.
    pub time: i64,
    pub oldest_commit_ts_xid: TransactionId,
    pub newest_commit_ts_xid: TransactionId,
    /// Only online checkpoints have it.
    pub oldest_active_xid: TransactionId,
}

impl CheckPoint {
    pub const SIZE: usize = 88;

    pub fn decode(bytes: &[u8; CheckPoint::SIZE], version: PgVersion) -> CheckPoint {
        CheckPoint {
            redo: Lsn(u64_at(bytes, 0)),
            tli: u32_at(bytes, 8),
            prev_tli: u32_at(bytes, 12),
            full_page_writes: bytes[16] != 0,
            wal_level: match version {
                PgVersion::V15 => 0,
                PgVersion::V17 => u32_at(bytes, 20) as i32,
            },
            next_xid: u64_at(bytes, 24),
            next_oid: u32_at(bytes, 32),
            next_multi: u32_at(bytes, 36),
            next_multi_offset: u32_at(bytes, 40),
            oldest_xid: u32_at(bytes, 44),
            oldest_xid_db: u32_at(bytes, 48),
            oldest_multi: u32_at(bytes, 52),
            oldest_multi_db: u32_at(bytes, 56),
            time: u64_at(bytes, 64) as i64,
            oldest_commit_ts_xid: u32_at(bytes, 72),
            newest_commit_ts_xid: u32_at(bytes, 76),
            oldest_active_xid: u32_at(bytes, 80),
        }
    }

    pub fn encode(&self, version: PgVersion) -> [u8; CheckPoint::SIZE] {
        let mut bytes = [0; CheckPoint::SIZE];
        put(&mut bytes, 0, &self.redo.0.to_le_bytes());
        put(&mut bytes, 8, &self.tli.to_le_bytes());
        put(&mut bytes, 12, &self.prev_tli.to_le_bytes());
        bytes[16] = self.full_page_writes as u8;
        match version {
            PgVersion::V15 => (),
            PgVersion::V17 => put(&mut bytes, 20, &self.wal_level.to_le_bytes()),
        }
        put(&mut bytes, 24, &self.next_xid.to_le_bytes());
        let words = [
            (32, self.next_oid),
            (36, self.next_multi),
            (40, self.next_multi_offset),
            (44, self.oldest_xid),
            (48, self.oldest_xid_db),
            (52, self.oldest_multi),
            (56, self.oldest_multi_db),
            (72, self.oldest_commit_ts_xid),
            (76, self.newest_commit_ts_xid),
            (80, self.oldest_active_xid),
        ];
        for (at, word) in words {
            put(&mut bytes, at, &word.to_le_bytes());
        }
        put(&mut bytes, 64, &self.time.to_le_bytes());
        bytes
    }
}

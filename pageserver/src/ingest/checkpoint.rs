//! The checkpoint that a clean stop right now would write, kept up to date record by record. Pure.

use bytes::Bytes;
use pg_format::CheckPoint;
use types::{Lsn, PgVersion};

/// A checkpoint as it stands in WAL: the value of [`types::Key::last_checkpoint`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WrittenCheckpoint {
    /// Where its record begins.
    pub record_lsn: Lsn,
    pub checkpoint: CheckPoint,
}

impl WrittenCheckpoint {
    const SIZE: usize = 8 + CheckPoint::SIZE;

    pub(super) fn encode(&self, version: PgVersion) -> Bytes {
        let mut bytes = Vec::with_capacity(Self::SIZE);
        bytes.extend(self.record_lsn.0.to_le_bytes());
        bytes.extend(self.checkpoint.encode(version));
        bytes.into()
    }

    /// None if these bytes are none.
    pub fn decode(bytes: &[u8], version: PgVersion) -> Option<Self> {
        let (lsn, checkpoint) = bytes.split_first_chunk()?;
        let checkpoint = CheckPoint::decode(checkpoint.try_into().ok()?, version);
        Some(Self { record_lsn: Lsn(u64::from_le_bytes(*lsn)), checkpoint })
    }
}

const FIRST_NORMAL_XID: u32 = 3;
const FIRST_MULTIXACT: u32 = 1;

/// `TransactionIdPrecedes` for normal ones, and for multixacts and their offsets: modulo 2^32.
fn precedes(one: u32, other: u32) -> bool {
    (one.wrapping_sub(other) as i32) < 0
}

/// `AdvanceNextFullTransactionIdPastXid`: `xid` is in use, so the next one is behind it.
pub(super) fn advance_next_xid(checkpoint: &mut CheckPoint, xid: u32) {
    let next = checkpoint.next_xid as u32;
    if xid < FIRST_NORMAL_XID || precedes(xid, next) {
        return;
    }
    let epoch = checkpoint.next_xid >> 32;
    let after = xid.wrapping_add(1).max(FIRST_NORMAL_XID);
    let epoch = if after < next { epoch + 1 } else { epoch };
    checkpoint.next_xid = epoch << 32 | u64::from(after);
}

/// The epoch of a transaction that has begun: its number lies before the next one, modulo 2^32.
pub(super) fn epoch_of(checkpoint: &CheckPoint, xid: u32) -> u32 {
    let epoch = (checkpoint.next_xid >> 32) as u32;
    if xid < checkpoint.next_xid as u32 { epoch } else { epoch.saturating_sub(1) }
}

pub(super) fn advance_oldest_xid(checkpoint: &mut CheckPoint, xid: u32, database: u32) {
    if precedes(checkpoint.oldest_xid, xid) {
        (checkpoint.oldest_xid, checkpoint.oldest_xid_db) = (xid, database);
    }
}

pub(super) fn advance_next_multi(checkpoint: &mut CheckPoint, multi: u32, offset: u32) {
    let multi = multi.max(FIRST_MULTIXACT);
    if precedes(checkpoint.next_multi, multi) {
        checkpoint.next_multi = multi;
    }
    if precedes(checkpoint.next_multi_offset, offset) {
        checkpoint.next_multi_offset = offset;
    }
}

pub(super) fn advance_oldest_multi(checkpoint: &mut CheckPoint, multi: u32, database: u32) {
    if precedes(checkpoint.oldest_multi, multi) {
        (checkpoint.oldest_multi, checkpoint.oldest_multi_db) = (multi, database);
    }
}

/// `xlog_redo` of an online checkpoint: what it says may be older than what is known by now, so counters only go
/// forward. Its next OID is passed over; XLOG_NEXTOID has that.
pub(super) fn online(checkpoint: &mut CheckPoint, written: &CheckPoint) {
    let next_xid = checkpoint.next_xid.max(written.next_xid);
    *checkpoint = CheckPoint {
        redo: written.redo,
        time: written.time,
        tli: written.tli,
        prev_tli: written.prev_tli,
        full_page_writes: written.full_page_writes,
        wal_level: written.wal_level,
        oldest_active_xid: written.oldest_active_xid,
        oldest_commit_ts_xid: written.oldest_commit_ts_xid,
        newest_commit_ts_xid: written.newest_commit_ts_xid,
        next_xid,
        ..*checkpoint
    };
    advance_next_multi(checkpoint, written.next_multi, written.next_multi_offset);
    advance_oldest_multi(checkpoint, written.oldest_multi, written.oldest_multi_db);
    advance_oldest_xid(checkpoint, written.oldest_xid, written.oldest_xid_db);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn next_after(next_xid: u64, xid: u32) -> u64 {
        let mut checkpoint = CheckPoint { next_xid, ..CheckPoint::default() };
        advance_next_xid(&mut checkpoint, xid);
        checkpoint.next_xid
    }

    #[test]
    fn xids_go_forward_and_carry_into_the_epoch() {
        assert_eq!(next_after(700, 699), 700);
        assert_eq!(next_after(700, 700), 701);
        assert_eq!(next_after(700, 0), 700, "no transaction");
        assert_eq!(next_after(700, 2), 700, "frozen");
        assert_eq!(next_after(0xffff_fff0, u32::MAX), 0x1_0000_0003);
        assert_eq!(next_after(0xffff_fff0, 5), 0x1_0000_0006);
        assert_eq!(next_after(0x1_0000_0005, 0xffff_fff0), 0x1_0000_0005, "before the wrap");
    }

    #[test]
    fn transactions_from_before_the_wrap_are_of_the_epoch_before() {
        let checkpoint = CheckPoint { next_xid: 0x2_0000_0010, ..CheckPoint::default() };
        assert_eq!(epoch_of(&checkpoint, 15), 2);
        assert_eq!(epoch_of(&checkpoint, 0xffff_fff0), 1);
    }

    #[test]
    fn an_online_checkpoint_never_goes_back() {
        let mut now = CheckPoint { next_xid: 800, next_oid: 20000, next_multi: 9, ..CheckPoint::default() };
        let written = CheckPoint {
            next_xid: 750,
            next_oid: 16384,
            next_multi: 5,
            next_multi_offset: 7,
            oldest_xid: 400,
            oldest_xid_db: 1,
            time: 5,
            ..CheckPoint::default()
        };
        online(&mut now, &written);
        assert_eq!((now.next_xid, now.next_oid, now.next_multi, now.next_multi_offset), (800, 20000, 9, 7));
        assert_eq!((now.oldest_xid, now.oldest_xid_db, now.time), (400, 1, 5));
    }

    #[test]
    fn a_written_checkpoint_is_read_back() {
        let checkpoint =
            CheckPoint { redo: Lsn(0x16B_9188), next_xid: 800, wal_level: 2, ..CheckPoint::default() };
        let written = WrittenCheckpoint { record_lsn: Lsn(0x16B_9200), checkpoint };
        let bytes = written.encode(PgVersion::V17);
        assert_eq!(WrittenCheckpoint::decode(&bytes, PgVersion::V17), Some(written));
        assert_eq!(WrittenCheckpoint::decode(&bytes[1..], PgVersion::V17), None);
        assert_eq!(WrittenCheckpoint::decode(b"", PgVersion::V17), None);
    }

    #[test]
    fn multixacts_skip_zero() {
        let mut checkpoint = CheckPoint { next_multi: u32::MAX, ..CheckPoint::default() };
        advance_next_multi(&mut checkpoint, 0, 1);
        assert_eq!((checkpoint.next_multi, checkpoint.next_multi_offset), (1, 1));
    }
}

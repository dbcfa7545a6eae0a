//! Hot standby feedback: the oldest transactions whose rows a standby's queries may still see, so that the primary's
//! vacuum leaves these rows alone. Standbys say it to safekeepers, safekeepers to the walproposer, and that to PostgreSQL.
//!
//! ```text
//! xmin, epoch of xmin, catalog xmin, epoch of catalog xmin       4 × u32, big-endian; an id that is not normal: none
//! ```
//! The order is that of PostgreSQL's 'h' message (`XLogWalRcvSendHSFeedback`, src/backend/replication/walreceiver.c).

use bytes::{BufMut, BytesMut};

use crate::cursor::{Cursor, DecodeError};

/// The first id that is a transaction's (src/include/access/transam.h).
const FIRST_NORMAL_XID: u32 = 3;

/// A transaction id below its epoch, as PostgreSQL's `FullTransactionId` of that name: the older one is the smaller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct FullTransactionId(pub u64);

/// What is to be kept; by default nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StandbyFeedback {
    pub xmin: Option<FullTransactionId>,
    /// The same for catalogs alone, which logical decoding on a standby needs.
    pub catalog_xmin: Option<FullTransactionId>,
}

impl StandbyFeedback {
    /// What is enough for both.
    #[must_use]
    pub fn and(self, other: StandbyFeedback) -> StandbyFeedback {
        let oldest = |one: Option<_>, other: Option<_>| one.into_iter().chain(other).min();
        StandbyFeedback {
            xmin: oldest(self.xmin, other.xmin),
            catalog_xmin: oldest(self.catalog_xmin, other.catalog_xmin),
        }
    }

    pub(crate) fn put(self, out: &mut BytesMut) {
        for xid in [self.xmin, self.catalog_xmin] {
            let FullTransactionId(xid) = xid.unwrap_or(FullTransactionId(0));
            out.put_u32(xid as u32);
            out.put_u32((xid >> 32) as u32);
        }
    }

    pub(crate) fn take(cursor: &mut Cursor) -> Result<StandbyFeedback, DecodeError> {
        let mut xid = || -> Result<_, DecodeError> {
            let (xid, epoch) = (cursor.u32("xmin")?, cursor.u32("epoch")?);
            let full = FullTransactionId((u64::from(epoch) << 32) | u64::from(xid));
            Ok((xid >= FIRST_NORMAL_XID).then_some(full))
        };
        Ok(StandbyFeedback { xmin: xid()?, catalog_xmin: xid()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn feedback(xmin: u64, catalog_xmin: u64) -> StandbyFeedback {
        let some = |xid| (xid != 0).then_some(FullTransactionId(xid));
        StandbyFeedback { xmin: some(xmin), catalog_xmin: some(catalog_xmin) }
    }

    #[test]
    fn the_oldest_is_kept_and_none_keeps_nothing() {
        let wrapped = (1 << 32) | 5;
        assert_eq!(feedback(700, 0).and(feedback(800, 900)), feedback(700, 900));
        assert_eq!(feedback(wrapped, 0).and(feedback(4_000_000_000, 0)), feedback(4_000_000_000, 0));
        assert_eq!(feedback(0, 0).and(feedback(0, 0)), StandbyFeedback::default());
    }

    #[test]
    fn an_id_that_is_no_transactions_is_none_whatever_its_epoch() {
        let mut bytes = BytesMut::new();
        bytes.put_slice(&[0, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0, 2, 0, 0, 0, 7]);
        let mut cursor = Cursor::new("hot standby feedback", bytes.freeze());
        assert_eq!(StandbyFeedback::take(&mut cursor), Ok(StandbyFeedback::default()));
    }
}

//! What readers of WAL send back: standby status, hot-standby feedback, pageserver feedback.
//!
//! ```text
//!  'r'  write u64   flush u64   apply u64   time i64   reply u8           any standby, pg_receivewal
//!  'h'  …                                                                 a hot standby; not used yet
//!  'z'  version u8 = 1   received u64   on disk u64   in remote storage u64    the pageserver
//! ```

use bytes::{Buf, Bytes};
use types::Lsn;

/// How far the pageserver is with this timeline.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PageserverPositions {
    /// Ingested.
    pub last_received_lsn: Lsn,
    /// Survives a restart of the pageserver.
    pub disk_consistent_lsn: Lsn,
    /// In object storage: WAL before it is needed by no pageserver.
    pub remote_consistent_lsn: Lsn,
}

impl PageserverPositions {
    /// Positions never go back: what an old message says is not news.
    pub fn merged(self, other: PageserverPositions) -> PageserverPositions {
        PageserverPositions {
            last_received_lsn: self.last_received_lsn.max(other.last_received_lsn),
            disk_consistent_lsn: self.disk_consistent_lsn.max(other.disk_consistent_lsn),
            remote_consistent_lsn: self.remote_consistent_lsn.max(other.remote_consistent_lsn),
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
pub enum ReaderMessage {
    StandbyStatus { flush: Lsn, reply_requested: bool },
    HotStandbyFeedback,
    Pageserver(PageserverPositions),
}

const PAGESERVER_FEEDBACK_VERSION: u8 = 1;

impl ReaderMessage {
    pub fn decode(mut bytes: Bytes) -> Result<ReaderMessage, String> {
        let length = bytes.len();
        let tag = bytes.try_get_u8().map_err(|_| "an empty message".to_owned())?;
        let malformed = |_| format!("a message {:?} of {length} bytes is too short", char::from(tag));
        let mut lsn = |bytes: &mut Bytes| bytes.try_get_u64().map(Lsn).map_err(malformed);
        match tag {
            b'r' => {
                let _write = lsn(&mut bytes)?;
                let flush = lsn(&mut bytes)?;
                let _apply = lsn(&mut bytes)?;
                bytes.try_get_i64().map_err(malformed)?;
                let reply_requested = bytes.try_get_u8().map_err(malformed)? != 0;
                Ok(ReaderMessage::StandbyStatus { flush, reply_requested })
            }
            b'h' => Ok(ReaderMessage::HotStandbyFeedback),
            b'z' => match bytes.try_get_u8().map_err(malformed)? {
                PAGESERVER_FEEDBACK_VERSION => Ok(ReaderMessage::Pageserver(PageserverPositions {
                    last_received_lsn: lsn(&mut bytes)?,
                    disk_consistent_lsn: lsn(&mut bytes)?,
                    remote_consistent_lsn: lsn(&mut bytes)?,
                })),
                other => Err(format!("pageserver feedback of version {other}, expected {PAGESERVER_FEEDBACK_VERSION}")),
            },
            other => Err(format!("a message of unknown type 0x{other:02x}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_read_and_short_ones_refused() {
        let mut status = vec![b'r'];
        for position in [1u64, 2, 3, 4] {
            status.extend(position.to_be_bytes());
        }
        status.push(1);
        let expected = ReaderMessage::StandbyStatus { flush: Lsn(2), reply_requested: true };
        assert_eq!(ReaderMessage::decode(status.clone().into()), Ok(expected));

        let mut feedback = vec![b'z', 1];
        for position in [7u64, 6, 5] {
            feedback.extend(position.to_be_bytes());
        }
        let positions = PageserverPositions {
            last_received_lsn: Lsn(7),
            disk_consistent_lsn: Lsn(6),
            remote_consistent_lsn: Lsn(5),
        };
        assert_eq!(ReaderMessage::decode(feedback.clone().into()), Ok(ReaderMessage::Pageserver(positions)));

        for whole in [status, feedback.clone()] {
            for length in 0..whole.len() {
                assert!(ReaderMessage::decode(Bytes::copy_from_slice(&whole[..length])).is_err());
            }
        }
        feedback[1] = 2;
        assert!(ReaderMessage::decode(feedback.into()).is_err(), "a version of the future");
        assert!(ReaderMessage::decode(Bytes::from_static(b"?")).is_err());
    }
}

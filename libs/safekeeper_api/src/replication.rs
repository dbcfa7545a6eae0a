//! PostgreSQL's streaming replication inside COPY BOTH, as safekeepers and walsenders speak it, plus 'z'.
//!
//! ```text
//! sender → receiver
//!   'w'  WAL start, end of WAL at the sender, i64 time, WAL to the end of the message
//!   'k'  end of WAL at the sender, i64 time, u8 reply requested
//! receiver → sender
//!   'r'  write, flush, apply, i64 time, u8 reply requested        (standby status update)
//!   'h'  i64 time, what to keep: see `standby_feedback`            (hot standby feedback)
//!   'z'  u8 version 1, last received, disk consistent, remote consistent     (ours: the pageserver)
//! ```
//! Big-endian; positions are u64; a time is microseconds since 2000-01-01 and is not interpreted here.

mod client;

use bytes::{BufMut, Bytes, BytesMut};
use types::Lsn;

use crate::cursor::{Cursor, DecodeError};
use crate::standby_feedback::StandbyFeedback;

pub use client::{
    ReplicationError, ReplicationReader, ReplicationWriter, StartReplication, Until, WalRange, connect_params,
};

/// Microseconds from 1970 to 2000: PostgreSQL counts from the latter.
const POSTGRES_EPOCH_MICROS: i64 = 946_684_800_000_000;

/// A point in time as replication messages carry it.
pub fn timestamp(time: std::time::SystemTime) -> i64 {
    let since_1970 = time.duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since_1970.as_micros()).unwrap_or(i64::MAX).saturating_sub(POSTGRES_EPOCH_MICROS)
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SenderMessage {
    XLogData(XLogData),
    Keepalive(Keepalive),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct XLogData {
    pub start_lsn: Lsn,
    /// How far the sender could send at this moment.
    pub wal_end: Lsn,
    pub timestamp: i64,
    pub wal: Bytes,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keepalive {
    pub wal_end: Lsn,
    pub timestamp: i64,
    pub reply_requested: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReceiverMessage {
    StandbyStatus(StandbyStatus),
    HotStandbyFeedback { timestamp: i64, feedback: StandbyFeedback },
    PageserverFeedback(PageserverFeedback),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StandbyStatus {
    pub write_lsn: Lsn,
    pub flush_lsn: Lsn,
    pub apply_lsn: Lsn,
    pub timestamp: i64,
    pub reply_requested: bool,
}

/// How far a pageserver is: received and in memory, on its disk, in object storage.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PageserverFeedback {
    pub last_received_lsn: Lsn,
    pub disk_consistent_lsn: Lsn,
    pub remote_consistent_lsn: Lsn,
}

const PAGESERVER_FEEDBACK_VERSION: u8 = 1;

impl SenderMessage {
    pub fn encode(&self) -> Bytes {
        let mut out = BytesMut::new();
        match self {
            SenderMessage::XLogData(data) => {
                out.reserve(25 + data.wal.len());
                out.put_u8(b'w');
                out.put_u64(data.start_lsn.0);
                out.put_u64(data.wal_end.0);
                out.put_i64(data.timestamp);
                out.put_slice(&data.wal);
            }
            SenderMessage::Keepalive(keepalive) => {
                out.put_u8(b'k');
                out.put_u64(keepalive.wal_end.0);
                out.put_i64(keepalive.timestamp);
                out.put_u8(keepalive.reply_requested.into());
            }
        }
        out.freeze()
    }

    pub fn decode(bytes: Bytes) -> Result<Self, DecodeError> {
        let mut cursor = Cursor::new("from WAL sender", bytes);
        match cursor.u8("tag")? {
            b'w' => {
                cursor.message = "XLogData";
                let start_lsn = Lsn(cursor.u64("start")?);
                let wal_end = Lsn(cursor.u64("end")?);
                let timestamp = cursor.i64("time")?;
                let message = cursor.message;
                let wal = cursor.remainder();
                if start_lsn.0.checked_add(wal.len() as u64).is_none() {
                    let reason = format!("{start_lsn} with {} bytes goes past the last LSN", wal.len());
                    return Err(DecodeError::Invalid { message, field: "start", reason });
                }
                Ok(SenderMessage::XLogData(XLogData { start_lsn, wal_end, timestamp, wal }))
            }
            b'k' => {
                cursor.message = "keepalive";
                let wal_end = Lsn(cursor.u64("end")?);
                let timestamp = cursor.i64("time")?;
                let reply_requested = cursor.bool("reply requested")?;
                cursor.finish()?;
                Ok(SenderMessage::Keepalive(Keepalive { wal_end, timestamp, reply_requested }))
            }
            other => Err(DecodeError::UnknownTag(other)),
        }
    }
}

impl ReceiverMessage {
    pub fn encode(&self) -> Bytes {
        let mut out = BytesMut::with_capacity(34);
        match self {
            ReceiverMessage::StandbyStatus(status) => {
                out.put_u8(b'r');
                out.put_u64(status.write_lsn.0);
                out.put_u64(status.flush_lsn.0);
                out.put_u64(status.apply_lsn.0);
                out.put_i64(status.timestamp);
                out.put_u8(status.reply_requested.into());
            }
            ReceiverMessage::HotStandbyFeedback { timestamp, feedback } => {
                out.put_u8(b'h');
                out.put_i64(*timestamp);
                feedback.put(&mut out);
            }
            ReceiverMessage::PageserverFeedback(feedback) => {
                out.put_slice(&[b'z', PAGESERVER_FEEDBACK_VERSION]);
                out.put_u64(feedback.last_received_lsn.0);
                out.put_u64(feedback.disk_consistent_lsn.0);
                out.put_u64(feedback.remote_consistent_lsn.0);
            }
        }
        out.freeze()
    }

    pub fn decode(bytes: Bytes) -> Result<Self, DecodeError> {
        let mut cursor = Cursor::new("from WAL receiver", bytes);
        match cursor.u8("tag")? {
            b'r' => {
                cursor.message = "standby status";
                let write_lsn = Lsn(cursor.u64("write")?);
                let flush_lsn = Lsn(cursor.u64("flush")?);
                let apply_lsn = Lsn(cursor.u64("apply")?);
                let timestamp = cursor.i64("time")?;
                let reply_requested = cursor.bool("reply requested")?;
                cursor.finish()?;
                let status = StandbyStatus { write_lsn, flush_lsn, apply_lsn, timestamp, reply_requested };
                Ok(ReceiverMessage::StandbyStatus(status))
            }
            b'h' => {
                cursor.message = "hot standby feedback";
                let timestamp = cursor.i64("time")?;
                let feedback = StandbyFeedback::take(&mut cursor)?;
                cursor.finish()?;
                Ok(ReceiverMessage::HotStandbyFeedback { timestamp, feedback })
            }
            b'z' => {
                cursor.message = "pageserver feedback";
                let version = cursor.u8("version")?;
                if version != PAGESERVER_FEEDBACK_VERSION {
                    let reason = format!("{version}, expected {PAGESERVER_FEEDBACK_VERSION}");
                    return Err(cursor.invalid("version", reason));
                }
                let last_received_lsn = Lsn(cursor.u64("last received")?);
                let disk_consistent_lsn = Lsn(cursor.u64("disk consistent")?);
                let remote_consistent_lsn = Lsn(cursor.u64("remote consistent")?);
                cursor.finish()?;
                Ok(ReceiverMessage::PageserverFeedback(PageserverFeedback {
                    last_received_lsn,
                    disk_consistent_lsn,
                    remote_consistent_lsn,
                }))
            }
            other => Err(DecodeError::UnknownTag(other)),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::standby_feedback::FullTransactionId;

    proptest! {
        #[test]
        fn sender_messages_come_back(start in 0u64..1 << 60, end: u64, timestamp: i64, reply_requested: bool, wal: Vec<u8>) {
            let data = XLogData { start_lsn: Lsn(start), wal_end: Lsn(end), timestamp, wal: wal.into() };
            let keepalive = Keepalive { wal_end: Lsn(end), timestamp, reply_requested };
            for message in [SenderMessage::XLogData(data), SenderMessage::Keepalive(keepalive)] {
                prop_assert_eq!(SenderMessage::decode(message.encode()), Ok(message));
            }
        }

        #[test]
        fn receiver_messages_come_back(
            one: u64, two: u64, three: u64, timestamp: i64, reply_requested: bool, xid in 3u32.., epoch: u32,
        ) {
            let xid = FullTransactionId((u64::from(epoch) << 32) | u64::from(xid));
            let standby = StandbyFeedback { xmin: Some(xid), catalog_xmin: None };
            let (one, two, three) = (Lsn(one), Lsn(two), Lsn(three));
            let status =
                StandbyStatus { write_lsn: one, flush_lsn: two, apply_lsn: three, timestamp, reply_requested };
            let feedback = PageserverFeedback {
                last_received_lsn: one, disk_consistent_lsn: two, remote_consistent_lsn: three,
            };
            for message in [
                ReceiverMessage::StandbyStatus(status),
                ReceiverMessage::PageserverFeedback(feedback),
                ReceiverMessage::HotStandbyFeedback { timestamp, feedback: standby },
            ] {
                let bytes = message.encode();
                prop_assert_eq!(ReceiverMessage::decode(bytes.clone()), Ok(message));
                prop_assert!(ReceiverMessage::decode(bytes.slice(..bytes.len() - 1)).is_err());
            }
        }

        #[test]
        fn noise_never_panics(noise: Vec<u8>) {
            let _ = SenderMessage::decode(noise.clone().into());
            let _ = ReceiverMessage::decode(noise.into());
        }
    }

    #[test]
    fn timestamps_count_from_2000() {
        let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(946_684_801);
        assert_eq!(timestamp(time), 1_000_000);
    }
}

//! What travels inside COPY BOTH after `START_REPLICATION`: PostgreSQL's own messages, and one of ours.
//!
//! ```text
//! out  'w'  start u64  end of WAL u64  time i64  WAL bytes             XLogData
//!      'k'  end of WAL u64  time i64  reply requested u8               primary keepalive
//! in   'r'  write u64  flush u64  apply u64  time i64  reply requested u8    standby status update
//!      'z'  version u8 = 1  last received u64  disk consistent u64  remote consistent u64    ours
//! ```
//! Big-endian; times are microseconds since 2000-01-01. → PostgreSQL's protocol documentation, "Streaming
//! Replication Protocol".

use bytes::{Buf, BufMut, Bytes, BytesMut};
use types::Lsn;

const FEEDBACK_VERSION: u8 = 1;

/// From the server that has the WAL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ServerMessage {
    /// WAL from `start` on.
    XLogData {
        start: Lsn,
        end_of_wal: Lsn,
        time: i64,
        data: Bytes,
    },
    Keepalive {
        end_of_wal: Lsn,
        time: i64,
        reply_requested: bool,
    },
}

/// From the reader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientMessage {
    StandbyStatus {
        write: Lsn,
        flush: Lsn,
        apply: Lsn,
        time: i64,
        reply_requested: bool,
    },
    /// Hot standby feedback: its contents do not concern us.
    HotStandbyFeedback,
    PageserverFeedback(PageserverFeedback),
}

/// How far a pageserver is with a timeline.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PageserverFeedback {
    /// Ingested: pages can be read up to here.
    pub last_received_lsn: Lsn,
    /// In layer files on its disk.
    pub disk_consistent_lsn: Lsn,
    /// In object storage: WAL below is not needed for recovery of the pageserver.
    pub remote_consistent_lsn: Lsn,
}

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ReplicationMessageError {
    #[error("a replication message of unknown kind {tag:#04x}")]
    UnknownKind { tag: u8 },
    #[error("a replication message without a single byte")]
    Empty,
    #[error("a replication message of kind {kind:?} with {length} bytes, which is too short")]
    Short { kind: char, length: usize },
    #[error("pageserver feedback of version {version}; this program reads {FEEDBACK_VERSION}")]
    FeedbackVersion { version: u8 },
}

impl ServerMessage {
    pub fn encode(&self) -> Bytes {
        let mut out = BytesMut::new();
        match self {
            ServerMessage::XLogData { start, end_of_wal, time, data } => {
                out.reserve(25 + data.len());
                out.put_u8(b'w');
                out.put_u64(start.0);
                out.put_u64(end_of_wal.0);
                out.put_i64(*time);
                out.put_slice(data);
            }
            ServerMessage::Keepalive { end_of_wal, time, reply_requested } => {
                out.put_u8(b'k');
                out.put_u64(end_of_wal.0);
                out.put_i64(*time);
                out.put_u8(u8::from(*reply_requested));
            }
        }
        out.freeze()
    }

    pub fn decode(mut message: Bytes) -> Result<ServerMessage, ReplicationMessageError> {
        match take_kind(&mut message)? {
            b'w' => {
                need(&message, 'w', 24)?;
                Ok(ServerMessage::XLogData {
                    start: Lsn(message.get_u64()),
                    end_of_wal: Lsn(message.get_u64()),
                    time: message.get_i64(),
                    data: message,
                })
            }
            b'k' => {
                need(&message, 'k', 17)?;
                Ok(ServerMessage::Keepalive {
                    end_of_wal: Lsn(message.get_u64()),
                    time: message.get_i64(),
                    reply_requested: message.get_u8() != 0,
                })
            }
            tag => Err(ReplicationMessageError::UnknownKind { tag }),
        }
    }
}

impl ClientMessage {
    pub fn encode(&self) -> Bytes {
        let mut out = BytesMut::new();
        match self {
            ClientMessage::StandbyStatus { write, flush, apply, time, reply_requested } => {
                out.put_u8(b'r');
                for lsn in [write, flush, apply] {
                    out.put_u64(lsn.0);
                }
                out.put_i64(*time);
                out.put_u8(u8::from(*reply_requested));
            }
            ClientMessage::HotStandbyFeedback => {
                out.put_u8(b'h');
                out.put_bytes(0, 24);
            }
            ClientMessage::PageserverFeedback(feedback) => {
                out.put_u8(b'z');
                out.put_u8(FEEDBACK_VERSION);
                out.put_u64(feedback.last_received_lsn.0);
                out.put_u64(feedback.disk_consistent_lsn.0);
                out.put_u64(feedback.remote_consistent_lsn.0);
            }
        }
        out.freeze()
    }

    pub fn decode(mut message: Bytes) -> Result<ClientMessage, ReplicationMessageError> {
        match take_kind(&mut message)? {
            b'r' => {
                need(&message, 'r', 33)?;
                Ok(ClientMessage::StandbyStatus {
                    write: Lsn(message.get_u64()),
                    flush: Lsn(message.get_u64()),
                    apply: Lsn(message.get_u64()),
                    time: message.get_i64(),
                    reply_requested: message.get_u8() != 0,
                })
            }
            b'h' => Ok(ClientMessage::HotStandbyFeedback),
            b'z' => {
                need(&message, 'z', 1)?;
                let version = message.get_u8();
                if version != FEEDBACK_VERSION {
                    return Err(ReplicationMessageError::FeedbackVersion { version });
                }
                need(&message, 'z', 24)?;
                Ok(ClientMessage::PageserverFeedback(PageserverFeedback {
                    last_received_lsn: Lsn(message.get_u64()),
                    disk_consistent_lsn: Lsn(message.get_u64()),
                    remote_consistent_lsn: Lsn(message.get_u64()),
                }))
            }
            tag => Err(ReplicationMessageError::UnknownKind { tag }),
        }
    }
}

fn take_kind(message: &mut Bytes) -> Result<u8, ReplicationMessageError> {
    if message.is_empty() { Err(ReplicationMessageError::Empty) } else { Ok(message.get_u8()) }
}

fn need(message: &Bytes, kind: char, length: usize) -> Result<(), ReplicationMessageError> {
    if message.len() < length {
        return Err(ReplicationMessageError::Short { kind, length: message.len() });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_survive_the_wire() {
        for message in [
            ServerMessage::XLogData {
                start: Lsn(8),
                end_of_wal: Lsn(11),
                time: -5,
                data: Bytes::from_static(b"wal"),
            },
            ServerMessage::Keepalive { end_of_wal: Lsn(11), time: 7, reply_requested: true },
        ] {
            assert_eq!(ServerMessage::decode(message.encode()), Ok(message));
        }
        let feedback = PageserverFeedback {
            last_received_lsn: Lsn(3),
            disk_consistent_lsn: Lsn(2),
            remote_consistent_lsn: Lsn(1),
        };
        for message in [
            ClientMessage::StandbyStatus {
                write: Lsn(3),
                flush: Lsn(2),
                apply: Lsn(1),
                time: 9,
                reply_requested: false,
            },
            ClientMessage::HotStandbyFeedback,
            ClientMessage::PageserverFeedback(feedback),
        ] {
            assert_eq!(ClientMessage::decode(message.encode()), Ok(message));
        }
    }

    #[test]
    fn every_cut_message_is_an_error() {
        let whole = ClientMessage::PageserverFeedback(PageserverFeedback::default()).encode();
        for length in 0..whole.len() {
            assert!(ClientMessage::decode(whole.slice(..length)).is_err(), "{length}");
        }
        let whole = ServerMessage::Keepalive { end_of_wal: Lsn(1), time: 0, reply_requested: false }.encode();
        for length in 0..whole.len() {
            assert!(ServerMessage::decode(whole.slice(..length)).is_err(), "{length}");
        }
        assert!(ServerMessage::decode(Bytes::from_static(b"?x")).is_err());
        assert!(ClientMessage::decode(Bytes::from_static(b"z\x02")).is_err());
    }
}

//! START_REPLICATION from the receiving side: against a safekeeper, or a walsender of PostgreSQL.

use std::time::Duration;

use auth::Credentials;
use bytes::Bytes;
use pg_frontend::{Address, ConnectParams, CopyReader, CopyWriter, PgClient, PgError};
use types::{Lsn, TenantTimelineId, Term};

use crate::cursor::DecodeError;
use crate::replication::{ReceiverMessage, SenderMessage};

/// Without a piece of a range for so long, another safekeeper may be better.
const SILENCE: Duration = Duration::from_secs(10);

#[derive(Debug, thiserror::Error)]
pub enum ReplicationError {
    #[error(transparent)]
    Connection(#[from] PgError),
    #[error(transparent)]
    Message(#[from] DecodeError),
    #[error("no WAL for {} s", SILENCE.as_secs())]
    Silent,
    #[error("WAL of {found} came, not of {expected}")]
    OutOfOrder { found: Lsn, expected: Lsn },
    #[error("it ended the session at {at}, before {end}")]
    Ended { at: Lsn, end: Lsn },
}

/// How to reach a timeline on a safekeeper's PostgreSQL port.
pub fn connect_params(
    address: Address,
    ttid: TenantTimelineId,
    credentials: &Credentials,
    user: &str,
) -> ConnectParams {
    ConnectParams::new(address, user)
        .credentials(credentials)
        .option("tenant_id", &ttid.tenant_id.to_string())
        .option("timeline_id", &ttid.timeline_id.to_string())
        .application_name(user)
        .physical_replication()
}

/// The command and its parts.
#[derive(Clone, Debug)]
pub struct StartReplication {
    pub slot: Option<String>,
    pub start_lsn: Lsn,
    pub until: Until,
}

/// How far WAL is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Until {
    /// What is committed, and on and on.
    Committed,
    /// Up to the flush LSN of a safekeeper that is in this term, and on.
    Flushed(Term),
    /// Up to there, as long as the entry that ends there is of this term.
    Entry { last_term: Term, end: Lsn },
}

impl StartReplication {
    pub fn command(&self) -> String {
        let slot = self.slot.as_ref().map(|slot| format!(" SLOT {slot}")).unwrap_or_default();
        let options = match self.until {
            Until::Committed => String::new(),
            Until::Flushed(term) => format!(" (term='{term}')"),
            Until::Entry { last_term, end } => format!(" (last_term='{last_term}', until='{end}')"),
        };
        format!("START_REPLICATION{slot} PHYSICAL {}{options}", self.start_lsn)
    }

    pub async fn begin(
        &self,
        client: PgClient,
    ) -> Result<(ReplicationReader, ReplicationWriter), ReplicationError> {
        let (reader, writer) = client.copy_both(&self.command()).await?.split();
        Ok((ReplicationReader(reader), ReplicationWriter(writer)))
    }
}

/// WAL between two positions, read piece by piece.
pub struct WalRange {
    reader: ReplicationReader,
    writer: ReplicationWriter,
    at: Lsn,
    end: Lsn,
}

impl WalRange {
    /// Connects, and asks for the WAL from `begin` to `end`; `until` is under which condition it is to be had.
    pub async fn open(
        params: &ConnectParams,
        begin: Lsn,
        end: Lsn,
        until: Until,
    ) -> Result<Self, ReplicationError> {
        let client = PgClient::connect(params).await?;
        let (reader, writer) = StartReplication { slot: None, start_lsn: begin, until }.begin(client).await?;
        Ok(Self { reader, writer, at: begin, end })
    }

    /// The next piece and where it begins: without a gap, never beyond the end, at which there is none any more.
    pub async fn next(&mut self) -> Result<Option<(Lsn, Bytes)>, ReplicationError> {
        while self.at < self.end {
            let message = tokio::time::timeout(SILENCE, self.reader.next()).await;
            match message.map_err(|_| ReplicationError::Silent)?? {
                Some(SenderMessage::XLogData(data)) if data.start_lsn == self.at => {
                    let (begin, mut wal) = (self.at, data.wal);
                    wal.truncate(self.end.saturating_distance(begin).try_into().unwrap_or(usize::MAX));
                    self.at += wal.len() as u64;
                    return Ok(Some((begin, wal)));
                }
                Some(SenderMessage::XLogData(data)) => {
                    let (found, expected) = (data.start_lsn, self.at);
                    return Err(ReplicationError::OutOfOrder { found, expected });
                }
                Some(SenderMessage::Keepalive(_)) => {}
                None => return Err(ReplicationError::Ended { at: self.at, end: self.end }),
            }
        }
        // All of it is here; how the conversation ends matters no more.
        let _ = self.writer.finish().await;
        Ok(None)
    }
}

pub struct ReplicationReader(CopyReader);

impl ReplicationReader {
    /// None when the sender has ended replication cleanly.
    pub async fn next(&mut self) -> Result<Option<SenderMessage>, ReplicationError> {
        match self.0.next().await? {
            Some(bytes) => Ok(Some(SenderMessage::decode(bytes)?)),
            None => Ok(None),
        }
    }
}

pub struct ReplicationWriter(CopyWriter);

impl ReplicationWriter {
    pub async fn send(&mut self, message: &ReceiverMessage) -> Result<(), ReplicationError> {
        Ok(self.0.send(&message.encode()).await?)
    }

    /// Ends our half; the sender answers by ending its own.
    pub async fn finish(&mut self) -> Result<(), ReplicationError> {
        Ok(self.0.finish().await?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_what_postgres_parses() {
        let plain = StartReplication {
            slot: Some("walproposer".to_owned()),
            start_lsn: Lsn(0x16B_9188),
            until: Until::Committed,
        };
        assert_eq!(plain.command(), "START_REPLICATION SLOT walproposer PHYSICAL 0/16B9188");
        let recovery = StartReplication { slot: None, start_lsn: Lsn(0x8), until: Until::Flushed(Term(7)) };
        assert_eq!(recovery.command(), "START_REPLICATION PHYSICAL 0/8 (term='7')");
    }
}

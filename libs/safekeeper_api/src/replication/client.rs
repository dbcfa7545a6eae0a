//! START_REPLICATION from the receiving side: against a safekeeper, or a walsender of PostgreSQL.

use auth::ClusterToken;
use pg_frontend::{Address, ConnectParams, CopyReader, CopyWriter, PgClient, PgError};
use types::{Lsn, TenantTimelineId, Term};

use crate::cursor::DecodeError;
use crate::replication::{ReceiverMessage, SenderMessage};

#[derive(Debug, thiserror::Error)]
pub enum ReplicationError {
    #[error(transparent)]
    Connection(#[from] PgError),
    #[error(transparent)]
    Message(#[from] DecodeError),
}

/// How to reach a timeline on a safekeeper's PostgreSQL port.
pub fn connect_params(
    address: Address,
    ttid: TenantTimelineId,
    token: &ClusterToken,
    user: &str,
) -> ConnectParams {
    ConnectParams::new(address, user)
        .password(token.as_str())
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

//! START_REPLICATION from the receiving side: against a safekeeper, or a walsender of PostgreSQL.

use std::time::Duration;

use auth::Credentials;
use bytes::Bytes;
use pg_frontend::{Address, ConnectParams, CopyReader, CopyWriter, PgClient, PgError};
use tokio::time::Instant;
use types::{Lsn, TenantTimelineId, Term};

use crate::cursor::DecodeError;
use crate::replication::{ReceiverMessage, SenderMessage};

/// Without a piece of a range for so long, another safekeeper may be better.
const SILENCE: Duration = Duration::from_secs(10);
/// For the first answer: a timeline that was at rest may have to come out of object storage.
const OPENING: Duration = Duration::from_secs(30);

#[derive(Debug, thiserror::Error)]
pub enum ReplicationError {
    #[error(transparent)]
    Connection(#[from] PgError),
    #[error(transparent)]
    Message(#[from] DecodeError),
    #[error("no WAL for {} s", _0.as_secs())]
    Silent(Duration),
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
    /// Up to the flush LSN of a safekeeper that is in this term and has the WAL of its compute, and on.
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
    silence: Duration,
}

impl WalRange {
    /// Connects, and asks for the WAL from `begin` to `end`; `until` is under which condition it is to be had.
    pub async fn open(
        params: &ConnectParams,
        begin: Lsn,
        end: Lsn,
        until: Until,
    ) -> Result<Self, ReplicationError> {
        let opening = async {
            let client = PgClient::connect(params).await?;
            StartReplication { slot: None, start_lsn: begin, until }.begin(client).await
        };
        let opened = tokio::time::timeout(OPENING, opening).await;
        let (reader, writer) = opened.map_err(|_| ReplicationError::Silent(OPENING))??;
        Ok(Self { reader, writer, at: begin, end, silence: SILENCE })
    }

    /// The next piece and where it begins: without a gap, never beyond the end, at which there is none any more.
    pub async fn next(&mut self) -> Result<Option<(Lsn, Bytes)>, ReplicationError> {
        // Not renewed by keepalives: who lacks the rest of the range sends those for ever.
        let deadline = Instant::now() + self.silence;
        while self.at < self.end {
            let message = tokio::time::timeout_at(deadline, self.reader.next()).await;
            match message.map_err(|_| ReplicationError::Silent(self.silence))?? {
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
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};

    use super::*;
    use crate::replication::{Keepalive, XLogData};

    async fn say(server: &mut TcpStream, tag: u8, body: &[u8]) -> std::io::Result<()> {
        let length = u32::try_from(body.len() + 4).unwrap().to_be_bytes();
        server.write_all(&[&[tag], &length[..], body].concat()).await
    }

    async fn hear(server: &mut TcpStream) {
        let length = server.read_u32().await.unwrap() as usize;
        server.read_exact(&mut vec![0; length - 4]).await.unwrap();
    }

    /// Has `wal`, and no more for ever; but it lives, and says so.
    async fn lag_behind(listener: TcpListener, wal: XLogData) -> std::io::Result<()> {
        let (mut server, _) = listener.accept().await?;
        hear(&mut server).await;
        say(&mut server, b'R', &[0; 4]).await?;
        say(&mut server, b'Z', b"I").await?;
        assert_eq!(server.read_u8().await?, b'Q');
        hear(&mut server).await;
        say(&mut server, b'W', &[0; 3]).await?;
        let keepalive = Keepalive { wal_end: wal.wal_end, timestamp: 0, reply_requested: false };
        say(&mut server, b'd', &SenderMessage::XLogData(wal).encode()).await?;
        loop {
            say(&mut server, b'd', &SenderMessage::Keepalive(keepalive).encode()).await?;
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    #[tokio::test]
    async fn who_lacks_the_rest_of_a_range_is_not_waited_for_because_he_lives() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = Address::parse(&listener.local_addr().unwrap().to_string()).unwrap();
        let wal = Bytes::from_static(b"twelve bytes");
        let has = XLogData { start_lsn: Lsn(8), wal_end: Lsn(20), timestamp: 0, wal: wal.clone() };
        let server = tokio::spawn(lag_behind(listener, has));
        let params = ConnectParams::new(address, "test");
        let mut range =
            WalRange::open(&params, Lsn(8), Lsn(100), Until::Flushed(Term(1))).await.ok().unwrap();
        range.silence = Duration::from_millis(300);
        assert_eq!(range.next().await.unwrap(), Some((Lsn(8), wal)));
        let rest = tokio::time::timeout(Duration::from_secs(30), range.next()).await;
        assert!(matches!(rest, Ok(Err(ReplicationError::Silent(_)))), "{rest:?}");
        assert!(!server.is_finished(), "it was to live");
        server.abort();
    }

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

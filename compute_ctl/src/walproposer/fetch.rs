//! WAL of one safekeeper for another: what the walproposer has no longer in memory.

use std::time::Duration;

use pg_frontend::{Address, PgClient};
use safekeeper_api::replication::{ReplicationError, SenderMessage, StartReplication, Until, connect_params};
use tokio::sync::mpsc;
use types::{Lsn, NodeId, Term};

use super::owner::Input;
use super::{NAME, Reach};

/// Without a piece for so long, another source may be better.
const SILENCE: Duration = Duration::from_secs(10);

pub struct Fetch {
    /// Who lacks it.
    pub node: NodeId,
    pub source: Address,
    pub reach: Reach,
    pub term: Term,
    pub begin: Lsn,
    pub end: Lsn,
    pub inputs: mpsc::Sender<Input>,
}

impl Fetch {
    pub async fn run(self) {
        if let Err(reason) = self.read().await {
            tracing::warn!(
                timeline = %self.reach.ttid, safekeeper = %self.node, lsn = %self.begin,
                "WAL for it could not be read from {}: {reason}", self.source
            );
            let _ = self.inputs.send(Input::FetchFailed { node: self.node }).await;
        }
    }

    async fn read(&self) -> Result<(), String> {
        let text = |error: ReplicationError| error.to_string();
        let params = connect_params(self.source.clone(), self.reach.ttid, &self.reach.token, NAME);
        let client = PgClient::connect(&params).await.map_err(|error| error.to_string())?;
        let start = StartReplication { slot: None, start_lsn: self.begin, until: Until::Flushed(self.term) };
        let (mut reader, _writer) = start.begin(client).await.map_err(text)?;
        let mut at = self.begin;
        while at < self.end {
            let message = match tokio::time::timeout(SILENCE, reader.next()).await {
                Ok(message) => message.map_err(text)?,
                Err(_) => return Err(format!("no WAL for {} s", SILENCE.as_secs())),
            };
            match message {
                Some(SenderMessage::XLogData(data)) if data.start_lsn == at => {
                    at += data.wal.len() as u64;
                    let (node, term) = (self.node, self.term);
                    let piece = Input::Fetched { node, term, begin: data.start_lsn, wal: data.wal };
                    if self.inputs.send(piece).await.is_err() {
                        return Ok(());
                    }
                }
                Some(SenderMessage::XLogData(data)) => {
                    return Err(format!("got {}, not {at}", data.start_lsn));
                }
                Some(SenderMessage::Keepalive(_)) => {}
                None => return Err("the source ended the session".to_owned()),
            }
        }
        Ok(())
    }
}

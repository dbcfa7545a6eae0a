//! WAL of one safekeeper for another: what the walproposer has no longer in memory.

use pg_frontend::Address;
use safekeeper_api::replication::{ReplicationError, Until, WalRange, connect_params};
use tokio::sync::mpsc;
use types::{Lsn, NodeId, Term};

use super::owner::Input;
use super::{NAME, Reach};

pub struct Fetch {
    /// Who lacks it.
    pub node: NodeId,
    pub number: u64,
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
            let _ = self.inputs.send(Input::FetchFailed { node: self.node, fetch: self.number }).await;
        }
    }

    async fn read(&self) -> Result<(), ReplicationError> {
        let params = connect_params(self.source.clone(), self.reach.ttid, &self.reach.credentials, NAME);
        let mut range = WalRange::open(&params, self.begin, self.end, Until::Flushed(self.term)).await?;
        while let Some((begin, wal)) = range.next().await? {
            let piece = Input::Fetched { node: self.node, fetch: self.number, begin, wal };
            if self.inputs.send(piece).await.is_err() {
                break;
            }
        }
        Ok(())
    }
}

//! Catching up from another safekeeper, when no compute brings what is missing: none runs, or it is away from here.
//!
//! ```text
//! broker: a peer has more ──▶ wait, a compute may be about to bring it ──▶ ask the peer for its log
//!                                    read the WAL from it ◀── compare with ours (consensus::Acceptor decides)
//! ```
//! What is read is handed to the timeline's owner piece by piece; it drops it if a proposer has come meanwhile.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use auth::ClusterToken;
use consensus::PeerPosition;
use pg_frontend::{Address, PgClient};
use safekeeper_api::http::{Client, HttpError};
use safekeeper_api::replication::{ReplicationError, SenderMessage, StartReplication, Until, connect_params};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use types::{NodeId, TenantTimelineId};

use super::core::{Input, PullRequest};
use super::{Stopped, Timeline};

/// So long a compute has for bringing WAL itself.
const GRACE: Duration = Duration::from_secs(2);
/// Timelines that are caught up at a time.
const AT_A_TIME: usize = 4;
/// Without a piece for so long, another peer may be better.
const SILENCE: Duration = Duration::from_secs(10);

/// Where a peer is reached.
#[derive(Clone, Debug)]
pub struct Peer {
    pub node: NodeId,
    pub pg_connstr: String,
    pub http_connstr: String,
}

/// All catching up of a safekeeper.
pub struct CatchUp {
    token: ClusterToken,
    at_work: Mutex<HashSet<TenantTimelineId>>,
    permits: Semaphore,
    shutdown: CancellationToken,
}

#[derive(Debug, thiserror::Error)]
enum CatchUpError {
    #[error(transparent)]
    Http(#[from] HttpError),
    #[error(transparent)]
    Connection(#[from] pg_frontend::PgError),
    #[error(transparent)]
    Replication(#[from] ReplicationError),
    #[error(transparent)]
    Stopped(#[from] Stopped),
    #[error("no WAL for {} s", SILENCE.as_secs())]
    Silent,
    #[error("WAL of {found} came, not of {expected}")]
    OutOfOrder { found: types::Lsn, expected: types::Lsn },
    #[error("it ended the session")]
    Ended,
}

impl CatchUp {
    pub fn new(token: ClusterToken, shutdown: CancellationToken) -> Arc<Self> {
        Arc::new(Self { token, at_work: Mutex::default(), permits: Semaphore::new(AT_A_TIME), shutdown })
    }

    /// A peer has told where it is. Returns at once.
    pub fn consider(
        self: &Arc<Self>,
        timeline: &Arc<Timeline>,
        peer: impl FnOnce() -> Peer,
        position: &PeerPosition,
    ) {
        if !lacks(timeline, position) || !self.at_work().insert(timeline.ttid()) {
            return;
        }
        let (this, timeline, peer, position) = (Arc::clone(self), Arc::clone(timeline), peer(), *position);
        tokio::spawn(async move {
            tokio::select! {
                () = this.shutdown.cancelled() => {}
                () = this.catch_up(&timeline, &peer, &position) => {}
            }
            this.at_work().remove(&timeline.ttid());
        });
    }

    fn at_work(&self) -> std::sync::MutexGuard<'_, HashSet<TenantTimelineId>> {
        self.at_work.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn catch_up(&self, timeline: &Timeline, peer: &Peer, position: &PeerPosition) {
        tokio::time::sleep(GRACE).await;
        let Ok(_permit) = self.permits.acquire().await else { return };
        if !lacks(timeline, position) {
            return;
        }
        if let Err(error) = self.read_from(timeline, peer).await {
            tracing::warn!(timeline = %timeline.ttid(), "cannot catch up from safekeeper {}: {error}", peer.node);
        }
    }

    async fn read_from(&self, timeline: &Timeline, peer: &Peer) -> Result<(), CatchUpError> {
        let log = Client::new(&peer.http_connstr, self.token.clone()).log(timeline.ttid()).await?;
        let Some(pull) = timeline.compare_log(peer.node, log).await? else { return Ok(()) };
        let PullRequest { pull: number, last_term, begin, end } = pull;
        let address = Address::parse(&peer.pg_connstr)?;
        let client =
            PgClient::connect(&connect_params(address, timeline.ttid(), &self.token, "safekeeper")).await?;
        let until = Until::Entry { last_term, end };
        let (mut reader, mut writer) =
            StartReplication { slot: None, start_lsn: begin, until }.begin(client).await?;
        let mut at = begin;
        while at < end {
            match tokio::time::timeout(SILENCE, reader.next()).await.map_err(|_| CatchUpError::Silent)?? {
                Some(SenderMessage::XLogData(data)) if data.start_lsn == at => {
                    at += data.wal.len() as u64;
                    let piece = Input::Pulled { pull: number, begin: data.start_lsn, wal: data.wal };
                    timeline.inputs.send(piece).await.map_err(|_| Stopped(timeline.ttid()))?;
                }
                Some(SenderMessage::XLogData(data)) => {
                    return Err(CatchUpError::OutOfOrder { found: data.start_lsn, expected: at });
                }
                Some(SenderMessage::Keepalive(_)) => {}
                None => return Err(CatchUpError::Ended),
            }
        }
        // All of it is here; how the conversation ends matters no more.
        drop(writer.finish().await);
        tracing::info!(timeline = %timeline.ttid(), %begin, %end, "caught up from safekeeper {}", peer.node);
        Ok(())
    }
}

/// Whether the peer has what nobody brings.
fn lacks(timeline: &Timeline, peer: &PeerPosition) -> bool {
    let ours = timeline.positions();
    let is_ahead = (peer.last_log_term, peer.flush_lsn) > (ours.last_log_term, ours.flush_lsn);
    ours.leader.is_none() && (is_ahead || peer.commit_lsn > ours.flush_lsn)
}

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

use auth::Credentials;
use consensus::PeerPosition;
use pg_frontend::Address;
use safekeeper_api::http::{Client, HttpError};
use safekeeper_api::replication::{ReplicationError, Until, WalRange, connect_params};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use types::{NodeId, TenantTimelineId};

use super::core::{Input, PullRequest};
use super::{Manager, Positions, Stopped, Timeline};

/// So long a compute has for bringing WAL itself.
const GRACE: Duration = Duration::from_secs(2);
/// Timelines that are caught up at a time.
const AT_A_TIME: usize = 4;

/// Where a peer is reached.
#[derive(Clone, Debug)]
pub struct Peer {
    pub node: NodeId,
    pub pg_connstr: String,
    pub http_connstr: String,
}

/// All catching up of a safekeeper.
pub struct CatchUp {
    manager: Arc<Manager>,
    credentials: Credentials,
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
}

impl CatchUp {
    pub fn new(manager: Arc<Manager>, credentials: Credentials, shutdown: CancellationToken) -> Arc<Self> {
        let (at_work, permits) = (Mutex::default(), Semaphore::new(AT_A_TIME));
        Arc::new(Self { manager, credentials, at_work, permits, shutdown })
    }

    /// A peer has told where it is. Returns at once.
    pub fn consider(
        self: &Arc<Self>,
        ttid: TenantTimelineId,
        peer: impl FnOnce() -> Peer,
        position: &PeerPosition,
    ) {
        let lacks = self.manager.summary(ttid).is_some_and(|ours| lacks(&ours.positions, position));
        if !lacks || !self.at_work().insert(ttid) {
            return;
        }
        let (this, peer, position) = (Arc::clone(self), peer(), *position);
        tokio::spawn(async move {
            tokio::select! {
                () = this.shutdown.cancelled() => {}
                () = this.catch_up(ttid, &peer, &position) => {}
            }
            this.at_work().remove(&ttid);
        });
    }

    fn at_work(&self) -> std::sync::MutexGuard<'_, HashSet<TenantTimelineId>> {
        self.at_work.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn catch_up(&self, ttid: TenantTimelineId, peer: &Peer, position: &PeerPosition) {
        tokio::time::sleep(GRACE).await;
        let Ok(_permit) = self.permits.acquire().await else { return };
        let Ok(timeline) = self.manager.get(ttid).await else { return };
        if !lacks(&timeline.positions(), position) {
            return;
        }
        // It may have been evicted when this was told.
        timeline.note_peer(peer.node, *position);
        if let Err(error) = self.read_from(&timeline, peer).await {
            tracing::warn!(timeline = %ttid, "cannot catch up from safekeeper {}: {error}", peer.node);
        }
    }

    async fn read_from(&self, timeline: &Timeline, peer: &Peer) -> Result<(), CatchUpError> {
        let log = Client::new(&peer.http_connstr, self.credentials.clone()).log(timeline.ttid()).await?;
        let Some(pull) = timeline.compare_log(peer.node, log).await? else { return Ok(()) };
        let PullRequest { pull: number, last_term, begin, end } = pull;
        let address = Address::parse(&peer.pg_connstr)?;
        let params = connect_params(address, timeline.ttid(), &self.credentials, "safekeeper");
        let mut range = WalRange::open(&params, begin, end, Until::Entry { last_term, end }).await?;
        while let Some((begin, wal)) = range.next().await? {
            let piece = Input::Pulled { pull: number, begin, wal };
            timeline.inputs.send(piece).await.map_err(|_| Stopped(timeline.ttid()))?;
        }
        tracing::info!(timeline = %timeline.ttid(), %begin, %end, "caught up from safekeeper {}", peer.node);
        Ok(())
    }
}

/// Whether the peer has what nobody brings.
fn lacks(ours: &Positions, peer: &PeerPosition) -> bool {
    let is_ahead = (peer.last_log_term, peer.flush_lsn) > (ours.last_log_term, ours.flush_lsn);
    ours.leader.is_none() && (is_ahead || peer.commit_lsn > ours.flush_lsn)
}

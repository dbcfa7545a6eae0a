//! Catching up from another safekeeper, when no compute brings what is missing: none runs, or it is away from here.
//!
//! ```text
//! broker: a peer has more ──▶ wait, a compute may be about to bring it ──▶ ask the peer for its log
//!                                    read the WAL from it ◀── compare with ours (consensus::Acceptor decides)
//! ```
//! What is read is handed to the timeline's owner piece by piece; it drops it if a proposer has come meanwhile.
//!
//! A peer says where it is when it moves, and then no more. So all who are ahead are remembered, and asked in turn, the
//! most advanced one first, again and again until nothing is lacking that one of them has.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use auth::Credentials;
use consensus::PeerPosition;
use pg_frontend::Address;
use safekeeper_api::http::{Client, HttpError};
use safekeeper_api::replication::{ReplicationError, Until, WalRange, connect_params};
use tokio::sync::{Notify, Semaphore};
use tokio_util::sync::CancellationToken;
use types::{Lsn, NodeId, TenantTimelineId, Term};

use super::core::{Input, PullRequest};
use super::{LookupError, Manager, Positions, Stopped};

/// So long a compute has for bringing WAL itself.
const GRACE: Duration = Duration::from_secs(2);
/// Between two rounds that have brought nothing, at first and at last.
const PAUSE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));
/// Timelines that are caught up at a time.
const AT_A_TIME: usize = 4;
/// So many peers are remembered of a timeline. It has nine members at most, and as many that are to come in.
const MOST_DONORS: usize = 18;

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
    /// The timelines that are behind. Each has a task, which ends when it takes its entry out.
    behind: Mutex<HashMap<TenantTimelineId, Behind>>,
    permits: Semaphore,
    shutdown: CancellationToken,
}

/// A timeline that is behind.
#[derive(Default)]
struct Behind {
    donors: BTreeMap<NodeId, Donor>,
    /// Somebody is further ahead than was known.
    news: Arc<Notify>,
}

/// A peer that is ahead, and where it has told last to be.
#[derive(Clone)]
struct Donor {
    peer: Peer,
    position: PeerPosition,
}

impl Donor {
    /// By which the more advanced one comes first.
    fn advance(&self) -> (Term, Lsn) {
        (self.position.last_log_term, self.position.flush_lsn)
    }
}

/// What came of asking a donor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    /// All that was to be had of it has gone to the owner, or a compute is here now and brings it.
    Read,
    /// There is nothing to be had of it, as its log is now.
    Nothing,
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
    Lookup(#[from] LookupError),
    #[error(transparent)]
    Stopped(#[from] Stopped),
}

impl CatchUp {
    pub fn new(manager: Arc<Manager>, credentials: Credentials, shutdown: CancellationToken) -> Arc<Self> {
        let (behind, permits) = (Mutex::default(), Semaphore::new(AT_A_TIME));
        Arc::new(Self { manager, credentials, behind, permits, shutdown })
    }

    /// A peer has told where it is. Returns at once.
    pub fn consider(
        self: &Arc<Self>,
        ttid: TenantTimelineId,
        peer: impl FnOnce() -> Peer,
        position: &PeerPosition,
    ) {
        // Also while a compute leads here: it may leave before it has brought everything, and the peer tells no more.
        if !self.manager.summary(ttid).is_some_and(|ours| is_ahead(position, &ours.positions)) {
            return;
        }
        let mut all = self.behind();
        let is_new = !all.contains_key(&ttid);
        let behind = all.entry(ttid).or_default();
        let donor = Donor { peer: peer(), position: *position };
        behind.donors.insert(donor.peer.node, donor);
        if behind.donors.len() > MOST_DONORS {
            let least = behind.donors.iter().min_by_key(|(_, donor)| donor.advance()).map(|(node, _)| *node);
            least.map(|node| behind.donors.remove(&node));
        }
        behind.news.notify_one();
        if is_new {
            let (this, news) = (Arc::clone(self), behind.news.clone());
            tokio::spawn(async move {
                let shutdown = this.shutdown.clone();
                shutdown.run_until_cancelled(this.catch_up(ttid, &news)).await;
            });
        }
    }

    fn behind(&self) -> MutexGuard<'_, HashMap<TenantTimelineId, Behind>> {
        self.behind.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn catch_up(&self, ttid: TenantTimelineId, news: &Notify) {
        let (mut pause, mut before) = (PAUSE.0, None);
        loop {
            // Who has moved is asked soon, however often others have failed.
            if tokio::time::timeout(pause, news.notified()).await.is_ok() {
                pause = PAUSE.0;
                tokio::time::sleep(GRACE).await;
            }
            let Some((positions, donors)) = self.still_behind(ttid) else { return };
            if positions.leader.is_some() {
                pause = GRACE;
                continue;
            }
            let now = (positions.last_log_term, positions.flush_lsn);
            let has_moved = before.replace(now) != Some(now);
            pause = if has_moved { PAUSE.0 } else { (pause * 2).min(PAUSE.1) };
            self.ask_in_turn(ttid, donors).await;
        }
    }

    /// Where the timeline is, and who is ahead of it, the most advanced one first. None if nobody is any more: then it is
    /// forgotten.
    fn still_behind(&self, ttid: TenantTimelineId) -> Option<(Positions, Vec<Donor>)> {
        let mut all = self.behind();
        let positions = self.manager.summary(ttid).map(|ours| ours.positions);
        if let (Some(behind), Some(positions)) = (all.get_mut(&ttid), positions) {
            behind.donors.retain(|_, donor| is_ahead(&donor.position, &positions));
            let mut donors: Vec<Donor> = behind.donors.values().cloned().collect();
            donors.sort_by_key(|donor| Reverse(donor.advance()));
            if !donors.is_empty() {
                return Some((positions, donors));
            }
        }
        all.remove(&ttid);
        None
    }

    /// Until one of them has given something.
    async fn ask_in_turn(&self, ttid: TenantTimelineId, donors: Vec<Donor>) {
        let Ok(_permit) = self.permits.acquire().await else { return };
        for donor in donors {
            match self.read_from(ttid, &donor).await {
                Ok(Asked::Read) => return,
                Ok(Asked::Nothing) => self.forget(ttid, &donor),
                Err(error) => {
                    tracing::warn!(timeline = %ttid, "cannot catch up from safekeeper {}: {error}", donor.peer.node);
                }
            }
        }
    }

    /// Unless it has moved meanwhile.
    fn forget(&self, ttid: TenantTimelineId, donor: &Donor) {
        if let Some(behind) = self.behind().get_mut(&ttid) {
            behind.donors.retain(|node, known| *node != donor.peer.node || known.position != donor.position);
        }
    }

    async fn read_from(&self, ttid: TenantTimelineId, donor: &Donor) -> Result<Asked, CatchUpError> {
        let Donor { peer, position } = donor;
        // First of all, so that nobody's being away keeps the timeline in memory.
        let log = Client::new(&peer.http_connstr, self.credentials.clone()).log(ttid).await?;
        let timeline = self.manager.get(ttid).await?;
        // It may have been evicted when this was told.
        timeline.note_peer(peer.node, *position);
        let Some(pull) = timeline.compare_log(peer.node, log).await? else {
            // Nothing is taken while a compute is here. It may be once that is gone.
            let came = timeline.positions().leader.is_some();
            return Ok(if came { Asked::Read } else { Asked::Nothing });
        };
        let PullRequest { pull: number, last_term, begin, end } = pull;
        let address = Address::parse(&peer.pg_connstr)?;
        let params = connect_params(address, ttid, &self.credentials, "safekeeper");
        let mut range = WalRange::open(&params, begin, end, Until::Entry { last_term, end }).await?;
        while let Some((begin, wal)) = range.next().await? {
            let piece = Input::Pulled { pull: number, begin, wal };
            timeline.inputs.send(piece).await.map_err(|_| Stopped(ttid))?;
        }
        tracing::info!(timeline = %ttid, %begin, %end, "caught up from safekeeper {}", peer.node);
        Ok(Asked::Read)
    }
}

/// Whether the peer has what is lacking here.
fn is_ahead(peer: &PeerPosition, ours: &Positions) -> bool {
    (peer.last_log_term, peer.flush_lsn) > (ours.last_log_term, ours.flush_lsn)
        || peer.commit_lsn > ours.flush_lsn
}

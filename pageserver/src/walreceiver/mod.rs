//! WAL from safekeepers into timelines: one task per timeline.
//!
//! ```text
//! choose.rs      which safekeeper to read from (pure)
//! candidates.rs  safekeepers of a timeline, and how attempts to connect to them went
//! connection.rs  one stream of WAL, from its start to its end
//! offloaded.rs   WAL from object storage, when safekeepers have lost theirs
//! positions.rs   what the broker says of all timelines, by one subscription
//! receiver.rs    the task: choose, read, choose again
//! ```

mod candidates;
mod choose;
mod connection;
mod metrics;
mod offloaded;
mod positions;
mod receiver;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use auth::Credentials;
use broker_api::BrokerClient;
use remote_storage::RemoteStorage;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use types::{Lsn, NodeId, TenantId, TenantTimelineId};

use crate::ingest::IngestMetrics;
use crate::pages::PageReader;
use crate::storage::Timeline;
use metrics::Standing;
pub use metrics::{WalReceiverMetrics, watch};
use positions::Positions;

/// What all receivers share.
#[derive(Clone)]
pub struct ReceiverContext {
    pub node: NodeId,
    pub broker: BrokerClient,
    pub remote: Arc<dyn RemoteStorage>,
    pub credentials: Credentials,
    pub pages: PageReader,
    pub ingest: IngestMetrics,
    pub metrics: WalReceiverMetrics,
    pub silence_timeout: Duration,
    pub lagging_timeout: Duration,
}

/// How a receiver is doing, for people.
#[derive(Clone, Debug, Default)]
pub struct ReceiverStatus {
    pub text: String,
    /// It met a record or a state that it cannot pass.
    pub broken: bool,
    /// A stream of WAL is open.
    pub connected: bool,
    /// What a quorum of safekeepers has, as far as was heard.
    pub known_lsn: Lsn,
}

type StatusCell = Arc<Mutex<ReceiverStatus>>;

struct Running {
    status: StatusCell,
    /// Its task has it; who only looks does not keep it.
    timeline: Weak<Timeline>,
    replays: mpsc::Sender<ReplayRequest>,
    stop: CancellationToken,
}

/// To be answered with where the timeline ends then.
type ReplayRequest = oneshot::Sender<Result<Lsn, ReplayError>>;

/// Why WAL from object storage was not taken in.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    #[error("WAL of timeline {0} comes from a safekeeper")]
    Connected(TenantTimelineId),
    #[error("nothing receives WAL for timeline {0}: it is archived or deleted, or the pageserver stops")]
    NotRunning(TenantTimelineId),
    #[error("timeline {timeline} at {lsn}: {reason}")]
    Failed { timeline: TenantTimelineId, lsn: Lsn, reason: String },
}

pub struct WalReceivers {
    context: ReceiverContext,
    positions: Arc<Positions>,
    running: Mutex<HashMap<TenantTimelineId, Running>>,
    tasks: TaskTracker,
    shutdown: CancellationToken,
}

impl WalReceivers {
    /// Begins to hear the broker. Must be called inside a tokio runtime.
    pub fn new(context: ReceiverContext, shutdown: CancellationToken) -> Arc<Self> {
        let (positions, tasks) = (Arc::<Positions>::default(), TaskTracker::new());
        let (heard, broker, until) = (Arc::clone(&positions), context.broker.clone(), shutdown.clone());
        tasks.spawn(async move { heard.hear(&broker, &until).await });
        Arc::new(Self { context, positions, running: Mutex::default(), tasks, shutdown })
    }

    /// Begins to receive WAL for a timeline. Idempotent.
    pub fn start(&self, timeline: Arc<Timeline>) {
        let mut running = self.running.lock().expect("no holder panics");
        let id = timeline.id();
        running.entry(id).or_insert_with(|| {
            let status = StatusCell::default();
            let looked_at = Arc::downgrade(&timeline);
            let (replays, requests) = mpsc::channel(1);
            let positions = self.positions.of(id);
            let receiver = receiver::Receiver::new(
                self.context.clone(),
                timeline,
                Arc::clone(&status),
                positions,
                requests,
            );
            let stop = self.shutdown.child_token();
            self.tasks.spawn(receiver.run(stop.clone()));
            Running { status, timeline: looked_at, replays, stop }
        });
    }

    /// Of a timeline that was deleted.
    pub fn stop(&self, id: TenantTimelineId) {
        if let Some(running) = self.running.lock().expect("no holder panics").remove(&id) {
            running.stop.cancel();
        }
    }

    /// Those of a tenant that was deleted.
    pub fn stop_all_of(&self, tenant: TenantId) {
        self.running.lock().expect("no holder panics").retain(|id, running| {
            let stays = id.tenant_id != tenant;
            if !stays {
                running.stop.cancel();
            }
            stays
        });
    }

    /// Takes in what safekeepers have put into object storage. It is for timelines that no safekeeper has.
    pub async fn replay_offloaded(&self, id: TenantTimelineId) -> Result<Lsn, ReplayError> {
        let replays = self.running.lock().expect("no holder panics").get(&id).map(|it| it.replays.clone());
        let (reply, answer) = oneshot::channel();
        let gone = ReplayError::NotRunning(id);
        let Some(replays) = replays else { return Err(gone) };
        if replays.send(reply).await.is_err() {
            return Err(gone);
        }
        answer.await.unwrap_or(Err(gone))
    }

    pub fn status(&self, id: TenantTimelineId) -> ReceiverStatus {
        let running = self.running.lock().expect("no holder panics");
        let status = |running: &Running| running.status.lock().expect("no holder panics").clone();
        running.get(&id).map(status).unwrap_or_default()
    }

    fn standing(&self) -> Standing {
        let mut sum = Standing::default();
        for running in self.running.lock().expect("no holder panics").values() {
            let Some(timeline) = running.timeline.upgrade() else { continue };
            let (connected, broken, known_lsn) = {
                let status = running.status.lock().expect("no holder panics");
                (status.connected, status.broken, status.known_lsn)
            };
            let lag = known_lsn.saturating_distance(timeline.last_record_lsn());
            sum.timelines += 1;
            sum.streams += i64::from(connected);
            sum.waiting += i64::from(!connected && lag > 0);
            sum.broken += i64::from(broken);
            sum.lag = sum.lag.max(lag);
        }
        sum
    }

    /// Returns when all have put what they had; the token they were given has been cancelled.
    pub async fn stopped(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }
}

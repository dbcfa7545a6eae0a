//! WAL from safekeepers into timelines: one task per timeline.
//!
//! ```text
//! choose.rs      which safekeeper to read from (pure)
//! candidates.rs  what the broker says of a timeline's safekeepers
//! connection.rs  one stream of WAL, from its start to its end
//! receiver.rs    the task: choose, read, choose again
//! ```

mod candidates;
mod choose;
mod connection;
mod metrics;
mod receiver;

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use auth::ClusterToken;
use broker_api::BrokerClient;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use types::{NodeId, TenantTimelineId};

use crate::ingest::IngestMetrics;
use crate::pages::PageReader;
use crate::storage::Timeline;
pub use metrics::WalReceiverMetrics;

/// What all receivers share.
#[derive(Clone)]
pub struct ReceiverContext {
    pub node: NodeId,
    pub broker: BrokerClient,
    pub token: ClusterToken,
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
}

type StatusCell = Arc<Mutex<ReceiverStatus>>;

pub struct WalReceivers {
    context: ReceiverContext,
    running: Mutex<HashMap<TenantTimelineId, StatusCell>>,
    tasks: TaskTracker,
    shutdown: CancellationToken,
}

impl WalReceivers {
    pub fn new(context: ReceiverContext, shutdown: CancellationToken) -> Arc<Self> {
        Arc::new(Self { context, running: Mutex::default(), tasks: TaskTracker::new(), shutdown })
    }

    /// Begins to receive WAL for a timeline. Idempotent.
    pub fn start(&self, timeline: Arc<Timeline>) {
        let mut running = self.running.lock().expect("no holder panics");
        let id = timeline.id();
        running.entry(id).or_insert_with(|| {
            let status = StatusCell::default();
            let receiver = receiver::Receiver::new(self.context.clone(), timeline, Arc::clone(&status));
            self.tasks.spawn(receiver.run(self.shutdown.clone()));
            status
        });
    }

    pub fn status(&self, id: TenantTimelineId) -> ReceiverStatus {
        let running = self.running.lock().expect("no holder panics");
        running.get(&id).map(|cell| cell.lock().expect("no holder panics").clone()).unwrap_or_default()
    }

    /// Returns when all have put what they had; the token they were given has been cancelled.
    pub async fn stopped(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }
}

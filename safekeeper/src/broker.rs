//! Telling the broker where the timelines are: soon after a change, and every few seconds in any case.
//! Nothing here waits for the broker, and nothing is lost with it: the next message says everything again.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use broker_api::{BrokerClient, SafekeeperTimelineInfo};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use types::TenantTimelineId;

use crate::config::Advertised;
use crate::metrics::Metrics;
use crate::timeline::{Manager, Positions, Timeline};

/// How often changes are looked for. A throttle for commits, and the most that a reader learns late.
const CHANGES: Duration = Duration::from_millis(250);
/// A timeline that did not change is told again after this.
const HEARTBEAT: Duration = Duration::from_secs(5);
/// After the connection ended.
const RECONNECT: Duration = Duration::from_secs(1);
/// Messages that wait for the connection; when there are more, the newer ones are left out until later.
const QUEUE: usize = 256;

/// Publishes until `shutdown`.
pub async fn publish(
    client: BrokerClient,
    manager: Arc<Manager>,
    advertised: Advertised,
    metrics: Arc<Metrics>,
    shutdown: CancellationToken,
) {
    while !shutdown.is_cancelled() {
        let (sender, receiver) = mpsc::channel(QUEUE);
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = feed(&manager, &advertised, sender) => {}
            outcome = client.publish(ReceiverStream::new(receiver)) => {
                metrics.broker_connection_failures.inc();
                match outcome {
                    Ok(()) => tracing::info!("the storage broker ended the connection"),
                    Err(error) => tracing::warn!(%error, "cannot tell the storage broker where timelines are"),
                }
            }
        }
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(RECONNECT) => {}
        }
    }
}

/// Ends when the connection does. Starts with everything: a new broker knows nothing.
async fn feed(manager: &Manager, advertised: &Advertised, sender: mpsc::Sender<SafekeeperTimelineInfo>) {
    let mut told: HashMap<TenantTimelineId, (Positions, Instant)> = HashMap::new();
    let mut tick = tokio::time::interval(CHANGES);
    loop {
        tick.tick().await;
        for timeline in manager.list() {
            let positions = timeline.positions();
            let due = told
                .get(&timeline.ttid())
                .is_none_or(|(before, at)| *before != positions || at.elapsed() >= HEARTBEAT);
            if !due {
                continue;
            }
            match sender.try_send(info(&timeline, &positions, advertised)) {
                Ok(()) => {
                    told.insert(timeline.ttid(), (positions, Instant::now()));
                }
                Err(mpsc::error::TrySendError::Full(_)) => break,
                Err(mpsc::error::TrySendError::Closed(_)) => return,
            }
        }
    }
}

fn info(timeline: &Timeline, positions: &Positions, advertised: &Advertised) -> SafekeeperTimelineInfo {
    SafekeeperTimelineInfo {
        safekeeper_id: advertised.id,
        ttid: timeline.ttid(),
        term: positions.term,
        last_log_term: positions.last_log_term,
        flush_lsn: positions.flush_lsn,
        commit_lsn: positions.commit_lsn,
        remote_consistent_lsn: positions.remote_consistent_lsn,
        timeline_start_lsn: timeline.start_lsn(),
        pg_connstr: advertised.pg_connstr.clone(),
        http_connstr: advertised.http_connstr.clone(),
    }
}

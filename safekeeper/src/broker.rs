//! Telling the broker where the timelines are: all of them when a connection begins, then each that moves; and hearing
//! from it where they are on the other safekeepers. Nothing waits for the broker, and nothing is lost with it: it keeps
//! what a connection has said as long as the connection lasts, and the next connection says everything again.

use std::sync::Arc;
use std::time::Duration;

use broker_api::{BrokerClient, BrokerError, SafekeeperTimelineInfo};
use consensus::{MembershipGeneration, PeerPosition};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use types::{Lsn, NodeId, TenantTimelineId, Term};

use crate::config::Advertised;
use crate::metrics::Metrics;
use crate::timeline::{CatchUp, Manager, Peer, Summary};

/// Between two looks at what has moved. A throttle for commits, and the most that a reader learns late.
const THROTTLE: Duration = Duration::from_millis(250);
/// After the connection ended.
const RECONNECT: Duration = Duration::from_secs(1);
/// Messages that wait for the connection.
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

/// Passes on what the other safekeepers publish, until `shutdown`.
pub async fn hear(
    client: BrokerClient,
    manager: Arc<Manager>,
    own: NodeId,
    catch_up: Arc<CatchUp>,
    metrics: Arc<Metrics>,
    shutdown: CancellationToken,
) {
    while !shutdown.is_cancelled() {
        tokio::select! {
            () = shutdown.cancelled() => return,
            heard = hear_peers(&client, &manager, own, &catch_up) => {
                metrics.broker_connection_failures.inc();
                if let Err(error) = heard {
                    tracing::warn!(%error, "cannot hear from the storage broker where the peers are");
                }
            }
        }
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(RECONNECT) => {}
        }
    }
}

async fn hear_peers(
    client: &BrokerClient,
    manager: &Manager,
    own: NodeId,
    catch_up: &Arc<CatchUp>,
) -> Result<(), BrokerError> {
    let mut peers = client.subscribe(None).await?;
    while let Some(info) = peers.next().await {
        let info = info?;
        if info.safekeeper_id == own || info.gone {
            continue;
        }
        manager.note_address(info.safekeeper_id, &info.http_connstr);
        let position = PeerPosition {
            generation: MembershipGeneration(info.generation),
            term: info.term,
            last_log_term: info.last_log_term,
            flush_lsn: info.flush_lsn,
            commit_lsn: info.commit_lsn,
        };
        if let Ok(Some(timeline)) = manager.resident(info.ttid) {
            timeline.note_peer(info.safekeeper_id, position);
            // The pageserver tells one safekeeper at a time.
            timeline.note_remote_consistent(info.remote_consistent_lsn);
        }
        let peer = || Peer {
            node: info.safekeeper_id,
            pg_connstr: info.pg_connstr.clone(),
            http_connstr: info.http_connstr.clone(),
        };
        catch_up.consider(info.ttid, peer, &position);
    }
    Ok(())
}

/// Ends when the connection does. Starts with everything: the broker knows nothing of it.
async fn feed(manager: &Manager, advertised: &Advertised, sender: mpsc::Sender<SafekeeperTimelineInfo>) {
    manager.changes().take();
    let mut due: Vec<_> = manager.summaries().iter().map(|summary| info(summary, advertised)).collect();
    loop {
        for position in due {
            if sender.send(position).await.is_err() {
                return;
            }
        }
        tokio::time::sleep(THROTTLE).await;
        let moved = tokio::select! {
            moved = manager.changes().next() => moved,
            () = sender.closed() => return,
        };
        let now = |ttid| match manager.summary(ttid) {
            Some(summary) => info(&summary, advertised),
            None => gone(ttid, advertised),
        };
        due = moved.into_iter().map(now).collect();
    }
}

fn info(summary: &Summary, advertised: &Advertised) -> SafekeeperTimelineInfo {
    let Summary { ttid, start_lsn, positions, .. } = *summary;
    SafekeeperTimelineInfo {
        safekeeper_id: advertised.id,
        ttid,
        generation: positions.generation.0,
        term: positions.term,
        last_log_term: positions.last_log_term,
        flush_lsn: positions.flush_lsn,
        commit_lsn: positions.commit_lsn,
        remote_consistent_lsn: positions.remote_consistent_lsn,
        timeline_start_lsn: start_lsn,
        pg_connstr: advertised.pg_connstr.clone(),
        http_connstr: advertised.http_connstr.clone(),
        gone: false,
    }
}

/// Of a timeline that is deleted here: whoever keeps what was said of it keeps it no more.
fn gone(ttid: TenantTimelineId, advertised: &Advertised) -> SafekeeperTimelineInfo {
    SafekeeperTimelineInfo {
        safekeeper_id: advertised.id,
        ttid,
        generation: 0,
        term: Term(0),
        last_log_term: Term(0),
        flush_lsn: Lsn::INVALID,
        commit_lsn: Lsn::INVALID,
        remote_consistent_lsn: Lsn::INVALID,
        timeline_start_lsn: Lsn::INVALID,
        pg_connstr: advertised.pg_connstr.clone(),
        http_connstr: advertised.http_connstr.clone(),
        gone: true,
    }
}

//! Telling the broker where the timelines are: soon after a change, and every few seconds in any case; and
//! hearing from it where they are on the other safekeepers. Nothing here waits for the broker, and nothing is lost with it: the next message says everything again.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use broker_api::{BrokerClient, BrokerError, SafekeeperTimelineInfo};
use consensus::{MembershipGeneration, PeerPosition};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use types::{NodeId, TenantTimelineId};

use crate::config::Advertised;
use crate::metrics::Metrics;
use crate::timeline::{CatchUp, Manager, Peer, Positions, Timeline};

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
        if info.safekeeper_id == own {
            continue;
        }
        if let Ok(timeline) = manager.get(info.ttid) {
            let position = PeerPosition {
                generation: MembershipGeneration(info.generation),
                term: info.term,
                last_log_term: info.last_log_term,
                flush_lsn: info.flush_lsn,
                commit_lsn: info.commit_lsn,
            };
            timeline.note_peer(info.safekeeper_id, position);
            let peer = || Peer {
                node: info.safekeeper_id,
                pg_connstr: info.pg_connstr.clone(),
                http_connstr: info.http_connstr.clone(),
            };
            catch_up.consider(&timeline, peer, &position);
        }
    }
    Ok(())
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
        generation: positions.generation.0,
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

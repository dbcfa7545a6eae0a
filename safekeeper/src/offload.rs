//! Offload: whole segments of WAL go to object storage, so that they can be removed here.
//!
//! Each safekeeper goes through a timeline's segments in order. What is there already is compared with what is here; what
//! is not there is put by the one whose turn it is (`consensus::offload`), and then read back and compared like any other. So each
//! knows of itself that what it removes is there, and nobody has to believe anybody.
//!
//! It is done by timelines that are resident. A stop brings all to rest, whatever they still had to offload, and nobody may
//! ever use them again: so those are opened after a start.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use consensus::offload::patience;
use telemetry::timeline_span;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::Instrument;
use types::{NodeId, TenantTimelineId};

use crate::metrics::Metrics;
use crate::timeline::{LookupError, Manager, Stopped, Timeline};
use crate::wal_store::{RemoteSegments, RemoteWalError, WalReader, WalStoreError};

/// How often it is looked for whole segments.
const LOOK: Duration = Duration::from_secs(1);
/// Timelines that are worked on at a time; each takes the memory of two segments.
const AT_A_TIME: usize = 4;
/// Between two attempts that fail, at first and at last.
const PAUSE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(300));
/// Timelines that are in memory for no other reason than that a stop came before their last segments were offloaded.
const MOST_LEFT_BEHIND: usize = 16;

#[derive(Debug, thiserror::Error)]
enum OffloadError {
    #[error(transparent)]
    Remote(#[from] RemoteWalError),
    #[error(transparent)]
    Wal(#[from] WalStoreError),
    #[error(transparent)]
    Stopped(#[from] Stopped),
}

/// Of one timeline that has a whole segment.
#[derive(Clone, Copy)]
struct Attempt {
    /// Since when the segment has been whole.
    segment: (u64, Instant),
    failures: u32,
    not_before: Instant,
}

/// Offloads until the safekeeper stops.
pub async fn run(manager: Arc<Manager>, node_id: NodeId, metrics: Arc<Metrics>, shutdown: CancellationToken) {
    let looking = look(&manager, node_id, metrics, &shutdown);
    tokio::join!(looking, shutdown.run_until_cancelled(open_what_was_left_behind(&manager)));
}

async fn look(manager: &Manager, node_id: NodeId, metrics: Arc<Metrics>, shutdown: &CancellationToken) {
    let offload = Arc::new(Offload { node_id, metrics, attempts: Mutex::default() });
    let mut tasks = JoinSet::new();
    while shutdown.run_until_cancelled(tokio::time::sleep(LOOK)).await.is_some() {
        for timeline in manager.residents(|timeline| offload.is_due(timeline)) {
            while tasks.len() >= AT_A_TIME {
                tasks.join_next().await;
            }
            tasks.spawn(Arc::clone(&offload).offload(timeline, shutdown.clone()));
        }
        // The next look is at what these have left.
        while tasks.join_next().await.is_some() {}
    }
}

/// One after the other, as those that were opened before get done. Ends when all were.
async fn open_what_was_left_behind(manager: &Arc<Manager>) {
    let (mut left, mut pause) = (manager.with_wal_to_offload(), PAUSE.0);
    let mut opened: Vec<TenantTimelineId> = Vec::new();
    while !left.is_empty() {
        let mut later = Vec::new();
        for ttid in left {
            while opened.len() >= MOST_LEFT_BEHIND {
                tokio::time::sleep(LOOK).await;
                opened.retain(|ttid| has_more(manager, *ttid));
            }
            match manager.get(ttid).await {
                Ok(_) => opened.push(ttid),
                // Its disk is full, or its last segment cannot be had.
                Err(LookupError::NotNow { .. }) => later.push(ttid),
                Err(LookupError::NotFound(_) | LookupError::Broken { .. }) => {}
            }
        }
        left = later;
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(PAUSE.1);
    }
}

fn has_more(manager: &Manager, ttid: TenantTimelineId) -> bool {
    let resident = manager.resident(ttid).ok().flatten();
    resident.is_some_and(|timeline| timeline.next_to_offload().is_some())
}

struct Offload {
    node_id: NodeId,
    metrics: Arc<Metrics>,
    attempts: Mutex<HashMap<TenantTimelineId, Attempt>>,
}

impl Offload {
    fn attempts(&self) -> std::sync::MutexGuard<'_, HashMap<TenantTimelineId, Attempt>> {
        self.attempts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_due(&self, timeline: &Timeline) -> bool {
        let Some(number) = timeline.next_to_offload() else {
            self.attempts().remove(&timeline.ttid());
            return false;
        };
        let now = Instant::now();
        let new = Attempt { segment: (number, now), failures: 0, not_before: now };
        let mut attempts = self.attempts();
        let attempt = attempts.entry(timeline.ttid()).or_insert(new);
        if attempt.segment.0 != number {
            *attempt = new;
        }
        attempt.not_before <= now
    }

    async fn offload(self: Arc<Self>, timeline: Arc<Timeline>, shutdown: CancellationToken) {
        let Some(attempt) = self.attempts().get(&timeline.ttid()).copied() else { return };
        let Some(_alone) = timeline.offloading().await else {
            self.attempts().remove(&timeline.ttid());
            return;
        };
        let worked = shutdown.run_until_cancelled(self.segments(&timeline, attempt)).await;
        let mut attempts = self.attempts();
        let Some(attempt) = attempts.get_mut(&timeline.ttid()) else { return };
        match worked {
            None => {}
            Some(Ok(())) => attempt.failures = 0,
            Some(Err(error)) => {
                self.metrics.offload_failures.inc();
                let pause = PAUSE.0.saturating_mul(1 << attempt.failures.min(10)).min(PAUSE.1);
                attempt.failures = attempt.failures.saturating_add(1);
                attempt.not_before = Instant::now() + pause;
                tracing::warn!(timeline = %timeline.ttid(), "a segment is not offloaded yet: {error}");
            }
        }
    }

    /// One segment after the other, as long as there are some.
    async fn segments(&self, timeline: &Timeline, mut attempt: Attempt) -> Result<(), OffloadError> {
        let Some(remote) = timeline.remote() else { return Ok(()) };
        while let Some(number) = timeline.next_to_offload() {
            if attempt.segment.0 != number {
                attempt.segment = (number, Instant::now());
            }
            let span = timeline_span!(None, timeline.ttid(), "offload", varve.lsn = %timeline.segments().start(number));
            if !self.segment(timeline, remote, number, attempt.segment.1).instrument(span).await? {
                return Ok(());
            }
            self.metrics.offloaded_segments.inc();
            let backup_lsn = timeline.segments().start(number + 1);
            let mut positions = timeline.watch_positions();
            timeline.note_backed_up(backup_lsn).await?;
            if positions.wait_for(|positions| positions.backup_lsn >= backup_lsn).await.is_err() {
                return Err(Stopped(timeline.ttid()).into());
            }
            tracing::info!(timeline = %timeline.ttid(), %backup_lsn, "in object storage, compared");
        }
        Ok(())
    }

    /// False while it is another's turn to put it there.
    async fn segment(
        &self,
        timeline: &Timeline,
        remote: &RemoteSegments,
        number: u64,
        whole_since: Instant,
    ) -> Result<bool, OffloadError> {
        let is_there = remote.exists(number).await?;
        if !is_there && whole_since.elapsed() < self.patience(timeline) {
            return Ok(false);
        }
        let (segments, begin) = (timeline.segments().clone(), timeline.segments().start(number));
        let end = segments.start(number + 1);
        let segment = WalReader::new(segments, None, begin).read(end, usize::MAX).await?;
        if !is_there {
            remote.put(number, segment.clone()).await?;
        }
        remote.compare(number, &segment).await?;
        Ok(true)
    }

    fn patience(&self, timeline: &Timeline) -> Duration {
        let members: Vec<NodeId> = timeline.persisted_state().configuration.ids().into_iter().collect();
        patience(timeline.ttid().timeline_id, &members, self.node_id)
    }
}

//! Eviction: a timeline that nobody uses goes out of memory, and its WAL out of this machine (`consensus::rest` says in
//! which steps).
//!
//! ```text
//!  the owner writes down that it is at rest, and ends ─▶ the last segment goes to object storage, is read back
//!    ─▶ the control file says that it is there ─▶ the segments here are removed
//! ```
//! A crash between two of these steps leaves a timeline that is at rest, with its WAL here or there or both. A stop of the
//! safekeeper does only the first step for those in memory, and so does an eviction while object storage is away: the
//! others come when they can. Without object storage they never do.

use std::sync::Arc;
use std::time::{Duration, Instant};

use consensus::rest::{self, Leaving, Resting};
use durable_fs::{DurableFsError, run_blocking};
use tokio::sync::oneshot;
use types::TenantTimelineId;

use super::control_file::{self, AtRest, ControlFile};
use super::core::Input;
use super::manager::{Entry, Manager, Settings, Summary, to_its_end};
use super::{Timeline, open};
use crate::datadir;
use crate::wal_store::{RemoteWalError, WalReader, WalStoreError};

/// How often it is looked at who may go, at the least and at the most.
const LOOK: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(10));

#[derive(Debug, thiserror::Error)]
enum EvictError {
    #[error(transparent)]
    ControlFile(#[from] control_file::ControlFileError),
    #[error(transparent)]
    Disk(#[from] DurableFsError),
    #[error(transparent)]
    Wal(#[from] WalStoreError),
    #[error(transparent)]
    Remote(#[from] RemoteWalError),
}

impl EvictError {
    fn sync_failure(&self) -> Option<String> {
        let must_end = match self {
            EvictError::Disk(error) => error.is_sync_failure(),
            EvictError::Wal(error) => error.is_sync_failure(),
            EvictError::ControlFile(_) | EvictError::Remote(_) => false,
        };
        must_end.then(|| self.to_string())
    }
}

/// Evicts until the safekeeper stops.
pub async fn run(manager: Arc<Manager>) {
    let shutdown = manager.settings.shutdown.clone();
    let evict_after = manager.settings.evict_after;
    let look = (evict_after / 4).clamp(LOOK.0, LOOK.1);
    let (started, mut tried) = (Instant::now(), None);
    while shutdown.run_until_cancelled(tokio::time::sleep(look)).await.is_some() {
        let idle = manager.residents(|timeline| timeline.is_idle());
        let idle: Vec<TenantTimelineId> = idle.into_iter().map(|timeline| timeline.ttid()).collect();
        for ttid in idle {
            if shutdown.run_until_cancelled(manager.evict(ttid)).await.is_none() {
                return;
            }
        }
        // Who used a timeline before a stop may come back to it.
        if started.elapsed() >= evict_after {
            let offloading = manager.offload_what_was_left_behind(&mut tried);
            let _: Option<()> = shutdown.run_until_cancelled(offloading).await;
        }
    }
}

impl Manager {
    /// Evicts a timeline if nobody uses it.
    pub async fn evict(self: &Arc<Self>, ttid: TenantTimelineId) {
        let manager = Arc::clone(self);
        to_its_end(async move {
            let _alone = manager.lock(ttid).await;
            let Some(timeline) = manager.take_unused(ttid) else { return };
            if !timeline.rest().await {
                // Somebody is there, or the disk is full.
                manager.insert(ttid, Entry::Resident(timeline));
                return;
            }
            manager.settings.metrics.forget_timeline(ttid);
            manager.settings.metrics.evicted.inc();
            manager.offload_last_segment(ttid).await;
        })
        .await;
    }

    /// Until one fails: object storage may be away still. The next time begins behind the last one that was tried, so that
    /// one with a damaged file keeps no other here.
    async fn offload_what_was_left_behind(self: &Arc<Self>, tried: &mut Option<TenantTimelineId>) {
        let mut left = self.with_last_segment();
        let behind = left.partition_point(|ttid| Some(*ttid) <= *tried);
        left.rotate_left(behind);
        for ttid in left {
            *tried = Some(ttid);
            let manager = Arc::clone(self);
            let offloaded = to_its_end(async move {
                let _alone = manager.lock(ttid).await;
                let is_left = manager.is_evicted(ttid, Summary::has_last_segment_alone);
                // Or somebody has come to use it.
                !is_left || manager.offload_last_segment(ttid).await
            });
            if !offloaded.await {
                return;
            }
        }
    }

    /// Takes a timeline that nobody has out of the map: who asks for it now waits for the lock, and wakes it.
    fn take_unused(&self, ttid: TenantTimelineId) -> Option<Arc<Timeline>> {
        self.change(|timelines| {
            let entry = timelines.get_mut(&ttid)?;
            match entry {
                // While this map is locked nobody can come by a timeline that only the map has.
                Entry::Resident(timeline) if Arc::strong_count(timeline) == 1 && timeline.is_idle() => {
                    let evicted = Entry::Evicted(Box::new(timeline.summary()));
                    match std::mem::replace(entry, evicted) {
                        Entry::Resident(timeline) => Some(timeline),
                        Entry::Evicted(_) | Entry::Broken(_) => None,
                    }
                }
                Entry::Resident(_) | Entry::Evicted(_) | Entry::Broken(_) => None,
            }
        })
    }

    /// With the lock held, and no owner. Whether its WAL is in object storage now.
    async fn offload_last_segment(&self, ttid: TenantTimelineId) -> bool {
        match offload_last_segment(&self.settings, ttid).await {
            Ok(control) => {
                // Or there was nothing: one to which nobody has written has no segment.
                let summary = Summary { has_wal: false, ..Summary::at_rest(&control) };
                let before = self.summary(ttid).map(|summary| summary.positions);
                self.insert(ttid, Entry::Evicted(Box::new(summary)));
                if before != Some(summary.positions) {
                    self.changes().note(ttid);
                }
                true
            }
            Err(error) => {
                self.stop_if_sync_failed(ttid, error.sync_failure());
                tracing::warn!(timeline = %ttid, %error, "its WAL stays here while it is not used, until object storage takes it");
                false
            }
        }
    }
}

async fn offload_last_segment(
    settings: &Settings,
    ttid: TenantTimelineId,
) -> Result<ControlFile, EvictError> {
    let directory = datadir::timeline_directory(&settings.datadir, ttid);
    let place = directory.clone();
    let control = run_blocking(move || control_file::read(&place)).await?;
    let segments = open::segments_of(&control, directory.clone());
    let Some(remote) = open::remote_of(settings, &control, &segments) else { return Ok(control) };
    let Some(AtRest { flush_lsn, .. }) = control.at_rest else { return Ok(control) };
    let existing =
        segments.existing().map_err(|source| WalStoreError::Read { path: directory.clone(), source })?;
    let resting = Resting {
        start_lsn: control.acceptor.timeline_start_lsn,
        flush_lsn,
        backup_lsn: control.backup_lsn,
        local_start_lsn: control.local_start_lsn,
    };
    let steps = rest::leave(&resting, &existing, segments.size());
    if steps.is_empty() {
        return Ok(control);
    }
    let (mut control, mut partial) = (control, None);
    for step in steps {
        let (fs, directory, segments) = (settings.fs.clone(), directory.clone(), segments.clone());
        match step {
            Leaving::StorePartial { begin, end } => {
                let number = segments.number(begin);
                let wal = WalReader::new(segments, None, begin).read(end, usize::MAX).await?;
                partial = Some(remote.put_partial(number, wal).await?);
            }
            Leaving::WriteControlFile { local_start_lsn } => {
                let at_rest = Some(AtRest { flush_lsn, partial: partial.take() });
                control = ControlFile { at_rest, local_start_lsn, ..control };
                let written = control.clone();
                run_blocking(move || control_file::write(&written, &fs, &directory)).await?;
            }
            Leaving::RemoveSegments => {
                let existing = existing.clone();
                let mut paths = existing.into_iter().map(move |number| segments.path(number));
                run_blocking(move || paths.try_for_each(|path| fs.remove_file_durably(&path))).await?;
            }
        }
    }
    tracing::info!(timeline = %ttid, lsn = %flush_lsn, "evicted, its WAL is in object storage");
    Ok(control)
}

impl Timeline {
    /// Tells the owner to end. Whether it did.
    async fn rest(&self) -> bool {
        let (reply, rested) = oneshot::channel();
        self.inputs.send(Input::Rest { reply }).await.is_ok() && rested.await.unwrap_or(false)
    }
}

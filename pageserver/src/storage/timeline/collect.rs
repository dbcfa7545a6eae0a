//! Garbage collection: what nobody may read any more goes.

use std::sync::Arc;
use std::time::Instant;

use types::Lsn;

use super::{Horizon, Timeline};
use crate::storage::{StorageError, compaction};

/// A round of collection that found nothing more to do, by what it depends on. Layers that are flushed meanwhile lie above
/// its cutoff.
#[derive(PartialEq, Eq)]
pub(super) struct Collected {
    horizon: Horizon,
    /// Of the view.
    changes: u64,
}

impl Timeline {
    pub fn gc_cutoff(&self) -> Lsn {
        self.horizon.load().cutoff
    }

    /// From now on only these may be read. The cutoff never goes back, and never beyond what is in layer files or where
    /// somebody reads on.
    pub(in crate::storage) fn set_horizon(&self, cutoff: Lsn, mut pins: Vec<Lsn>) {
        let mut leases = self.leases.lock().expect("no holder panics");
        let now = Instant::now();
        pins.extend(leases.pins(now));
        let cutoff = leases.floor(now).map_or(cutoff, |floor| cutoff.min(floor));
        pins.sort_unstable();
        pins.dedup();
        let cutoff = cutoff.min(self.disk_consistent_lsn()).max(self.gc_cutoff());
        self.horizon.store(Arc::new(Horizon { cutoff, pins }));
    }

    /// Removes what the horizon has made garbage; makes images where that sets more free than it costs. Returns how
    /// many layers were removed. Their objects are deleted by and by.
    pub(in crate::storage) async fn collect_garbage(self: &Arc<Self>) -> Result<usize, StorageError> {
        let mut removed = 0;
        loop {
            let horizon = self.horizon.load_full();
            // A timeline that nobody writes to is not read again and again for it.
            if self.collected.load().as_deref() == Some(&self.collected_by(&horizon)) {
                return Ok(removed);
            }
            match self.collect_below(&horizon).await {
                Ok(layers) => removed += layers,
                Err(StorageError::Collected { .. }) if horizon != self.horizon.load_full() => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// How many layers went. It is noted if that was all; it is not if the horizon has moved meanwhile: what is live at the LSNs
    /// of the old one may not be known any more.
    async fn collect_below(self: &Arc<Self>, horizon: &Arc<Horizon>) -> Result<usize, StorageError> {
        let reads = self.reads(horizon).await?;
        // They may have had a base since: each is tried once more in each round.
        self.unmakeable.lock().expect("no holder panics").clear();
        let mut removed = 0;
        loop {
            let _turn = self.turn().await?;
            let _compacting = self.compacting.lock().await;
            if *horizon != self.horizon.load_full() {
                return Ok(removed);
            }
            let garbage = compaction::garbage(&self.view.load().layers, &reads);
            if !garbage.is_empty() {
                self.replace_layers(&garbage, Vec::new())?;
                self.environment.metrics.collected_layers.inc_by(garbage.len() as u64);
                tracing::info!(timeline = %self.id, cutoff = %horizon.cutoff, layers = garbage.len(), "removed layers");
                removed += garbage.len();
            }
            let job = {
                let unmakeable = self.unmakeable.lock().expect("no holder panics");
                let layers = &self.view.load().layers;
                compaction::rewrite(layers, &reads, &unmakeable, &self.limits())
            };
            let Some(job) = job else {
                self.collected.store(Some(Arc::new(self.collected_by(horizon))));
                return Ok(removed);
            };
            self.run_job(job).await?;
        }
    }

    fn collected_by(&self, horizon: &Horizon) -> Collected {
        Collected { horizon: horizon.clone(), changes: self.view.load().changes }
    }
}

//! Garbage collection of a tenant: branches pin what their ancestors have.

use std::collections::BTreeMap;

use types::{Lsn, TenantId, TimelineId};

use super::{Tenant, TenantManager};
use crate::storage::StorageError;

impl Tenant {
    /// Where the branches of each timeline begin.
    fn pins(&self) -> BTreeMap<TimelineId, Vec<Lsn>> {
        let mut pins: BTreeMap<TimelineId, Vec<Lsn>> = BTreeMap::new();
        for timeline in self.timelines() {
            if let Some((ancestor, lsn)) = timeline.ancestor() {
                pins.entry(ancestor).or_default().push(lsn);
            }
        }
        pins
    }

    /// Moves the cutoffs of the timelines that are named; the pins are of this moment. Nobody makes a branch meanwhile.
    pub(super) fn set_horizons(&self, cutoffs: &BTreeMap<TimelineId, Lsn>) {
        let mut pins = self.pins();
        for timeline in self.timelines() {
            let id = timeline.id().timeline_id;
            let cutoff = cutoffs.get(&id).copied().unwrap_or(Lsn::INVALID);
            timeline.set_horizon(cutoff, pins.remove(&id).unwrap_or_default());
        }
    }
}

impl TenantManager {
    /// From now on nothing below these cutoffs may be read, but where branches begin; removes what that makes garbage.
    /// Returns how many layers were removed. Those of archived timelines stay: they are not on the disk, and would have to be
    /// fetched.
    pub async fn collect_garbage(
        &self,
        tenant: TenantId,
        cutoffs: &BTreeMap<TimelineId, Lsn>,
    ) -> Result<usize, StorageError> {
        let tenant = self.tenant(tenant)?;
        {
            let _creating = tenant.creating.lock().await;
            tenant.set_horizons(cutoffs);
        }
        let (mut removed, mut failed) = (0, None);
        for timeline in tenant.timelines() {
            if tenant.is_archived(timeline.id().timeline_id) {
                continue;
            }
            match timeline.collect_garbage().await {
                Ok(layers) => removed += layers,
                // The others go on.
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        failed.map_or(Ok(removed), Err)
    }
}

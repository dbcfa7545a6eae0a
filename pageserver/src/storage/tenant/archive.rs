//! Archived timelines: kept, and not used. They receive no WAL, serve no computes, and have no files on the local disk.
//!
//! What an archived timeline's branches need of it is read all the same, so a timeline is archived after its branches,
//! and comes back before them.

use std::sync::Arc;

use durable_fs::run_blocking;
use types::{TenantTimelineId, TimelineId};

use super::{EvictableLayer, Tenant, TenantManager};
use crate::storage::{StorageError, Timeline};

impl Tenant {
    pub(super) fn is_archived(&self, timeline: TimelineId) -> bool {
        self.record.lock().expect("no holder panics").archived_timelines.contains(&timeline)
    }
}

impl TenantManager {
    pub fn is_archived(&self, id: TenantTimelineId) -> bool {
        self.tenant(id.tenant_id).is_ok_and(|tenant| tenant.is_archived(id.timeline_id))
    }

    /// Puts a timeline away. One that is already is fine.
    pub async fn archive_timeline(&self, id: TenantTimelineId) -> Result<(), StorageError> {
        let tenant = self.tenant(id.tenant_id)?;
        let timeline = tenant.find(id)?;
        // Nobody waits for it later.
        timeline.flush_and_upload().await?;
        {
            let _creating = tenant.creating.lock().await;
            // It may have been deleted meanwhile.
            tenant.find(id)?;
            let mut branches = tenant.branches_of(id.timeline_id);
            branches.retain(|branch| !tenant.is_archived(*branch));
            if !branches.is_empty() {
                return Err(StorageError::HasBranches { timeline: id, branches });
            }
            let mut record = tenant.record();
            if record.archived_timelines.insert(id.timeline_id) {
                self.put_confirmed(&tenant, record, &[id]).await?;
                timeline.set_at_rest(true);
                tracing::info!(timeline = %id, "archived a timeline");
            }
        }
        let layers: Vec<EvictableLayer> =
            timeline.evictable_layers().into_iter().map(EvictableLayer).collect();
        let evicted = run_blocking(move || layers.iter().filter_map(EvictableLayer::evict).count()).await;
        tracing::debug!(timeline = %id, layers = evicted, "evicted the layers of an archived timeline");
        Ok(())
    }

    /// The timeline, which may be used again. One that was not put away is fine.
    pub async fn unarchive_timeline(&self, id: TenantTimelineId) -> Result<Arc<Timeline>, StorageError> {
        let tenant = self.tenant(id.tenant_id)?;
        let _creating = tenant.creating.lock().await;
        let timeline = tenant.find(id)?;
        if let Some((ancestor, _)) = timeline.ancestor()
            && tenant.is_archived(ancestor)
        {
            return Err(StorageError::Archived(TenantTimelineId::new(id.tenant_id, ancestor)));
        }
        let mut record = tenant.record();
        if record.archived_timelines.remove(&id.timeline_id) {
            self.put_confirmed(&tenant, record, &[id]).await?;
            timeline.set_at_rest(false);
            tracing::info!(timeline = %id, "a timeline is archived no more");
        }
        Ok(timeline)
    }
}

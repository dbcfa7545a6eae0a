//! A branch becomes a timeline of its own, so that its ancestor may go.

use types::{TenantTimelineId, TimelineId};

use super::TenantManager;
use crate::storage::StorageError;

impl TenantManager {
    /// Copies what a branch has from its ancestors and makes it independent of them. Returns the ancestor that it left;
    /// none if it had none.
    pub async fn detach_ancestor(&self, id: TenantTimelineId) -> Result<Option<TimelineId>, StorageError> {
        let tenant = self.tenant(id.tenant_id)?;
        let timeline = tenant.find(id)?;
        loop {
            if tenant.is_archived(id.timeline_id) {
                return Err(StorageError::Archived(id));
            }
            let Some((ancestor, lsn)) = timeline.ancestor() else { return Ok(None) };
            timeline.copy_from_ancestors().await?;
            let _creating = tenant.creating.lock().await;
            // It may have been deleted meanwhile.
            tenant.find(id)?;
            // Branches of it that came since the last collection are to be read as well: one that begins where it does itself has
            // all from its ancestor until now.
            tenant.set_horizons(&Default::default());
            if timeline.ancestor().is_some() && timeline.leave_ancestor().await? {
                // What only its beginning kept of its ancestor is garbage now.
                tenant.set_horizons(&Default::default());
                tracing::info!(timeline = %id, %ancestor, %lsn, "a timeline left its ancestor");
                return Ok(Some(ancestor));
            }
        }
    }
}

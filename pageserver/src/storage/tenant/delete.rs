//! Deletion of timelines and tenants.
//!
//! One put of the tenant's object says that something is gone for good. From then on whatever is found of it is rubbish,
//! whoever put it there, and is removed: now, or after the next start.

use std::collections::BTreeMap;
use std::sync::Arc;

use durable_fs::run_blocking;
use remote_storage::{ListMode, ObjectKey};
use types::{TenantId, TenantTimelineId};

use super::tenant_object::TenantRecord;
use super::{Tenant, TenantManager, load};
use crate::storage::environment::{Environment, TENANT_STEM, generation_of};
use crate::storage::{StorageError, Timeline};

impl TenantManager {
    /// Deletes a timeline that has no branches. Of one that was deleted before, or that was never made to the end, what is left
    /// goes.
    pub async fn delete_timeline(&self, id: TenantTimelineId) -> Result<(), StorageError> {
        let tenant = self.tenant(id.tenant_id)?;
        // One that is still being imported comes first.
        let _alone = tenant.under_way.begin(id.timeline_id).await;
        {
            let _creating = tenant.creating.lock().await;
            match tenant.timeline(id.timeline_id) {
                Some(timeline) => self.forget_timeline(&tenant, &timeline).await?,
                // It was said before; maybe that was not confirmed.
                None if tenant.record().deleted_timelines.contains(&id.timeline_id) => {
                    self.confirm(&tenant, &[tenant.any_timeline().unwrap_or(id)]).await?;
                }
                None if self.is_begun(id).await? => self.forget_begun(&tenant, id).await?,
                None => return Err(StorageError::TimelineNotFound(id)),
            }
        }
        remove_timeline(&self.environment, id).await
    }

    /// Whether there is something of a timeline that nobody was told of.
    async fn is_begun(&self, id: TenantTimelineId) -> Result<bool, StorageError> {
        let prefix = Environment::timeline_prefix(id);
        let listing = self.environment.remote.list(Some(&prefix), ListMode::Children).await?;
        Ok(!listing.objects.is_empty() || self.environment.timeline_dir(id).exists())
    }

    /// With `creating` held.
    async fn forget_begun(&self, tenant: &Tenant, id: TenantTimelineId) -> Result<(), StorageError> {
        let mut record = tenant.record();
        record.deleted_timelines.insert(id.timeline_id);
        self.put_confirmed(tenant, record, &[tenant.any_timeline().unwrap_or(id)]).await?;
        tracing::info!(timeline = %id, "deleted what there was of a timeline that was never made to the end");
        Ok(())
    }

    /// With `creating` held.
    async fn forget_timeline(&self, tenant: &Tenant, timeline: &Arc<Timeline>) -> Result<(), StorageError> {
        let id = timeline.id();
        let branches = tenant.branches_of(id.timeline_id);
        if !branches.is_empty() {
            return Err(StorageError::HasBranches { timeline: id, branches });
        }
        let mut record = tenant.record();
        record.deleted_timelines.insert(id.timeline_id);
        record.archived_timelines.remove(&id.timeline_id);
        self.put_confirmed(tenant, record, &[id]).await?;
        tenant.timelines.write().expect("no holder panics").remove(&id.timeline_id);
        // What only its beginning kept of its ancestor is garbage now.
        tenant.set_horizons(&BTreeMap::new());
        timeline.end().await;
        tracing::info!(timeline = %id, "deleted a timeline");
        Ok(())
    }

    /// Deletes a tenant with all its timelines. Of one that was deleted before, what is left goes.
    pub async fn delete_tenant(&self, id: TenantId) -> Result<(), StorageError> {
        {
            let _making = self.creating.lock().await;
            match self.tenant(id) {
                Ok(tenant) => self.forget_tenant(&tenant).await?,
                Err(error @ StorageError::TenantNotFound(_)) => {
                    if !load::is_deleted(&self.environment, id).await? {
                        return Err(error);
                    }
                }
                Err(error) => return Err(error),
            }
        }
        remove_tenant(&self.environment, id).await
    }

    async fn forget_tenant(&self, tenant: &Tenant) -> Result<(), StorageError> {
        let id = tenant.ownership.tenant;
        let _creating = tenant.creating.lock().await;
        let timelines = tenant.timelines();
        let ids: Vec<TenantTimelineId> = timelines.iter().map(|timeline| timeline.id()).collect();
        let record = TenantRecord { deleted: true, ..TenantRecord::default() };
        self.put_confirmed(tenant, record, &ids).await?;
        self.tenants.write().expect("no holder panics").remove(&id);
        for timeline in timelines {
            timeline.end().await;
        }
        tracing::info!(tenant = %id, timelines = ids.len(), "deleted a tenant");
        Ok(())
    }

    /// Confirmed before, so that nothing is put for what belongs to another pageserver; and after, so that whoever owns
    /// it next begins with what was put. What fails is taken back: nothing that was told to have failed counts at the next start.
    pub(super) async fn put_confirmed(
        &self,
        tenant: &Tenant,
        record: TenantRecord,
        timelines: &[TenantTimelineId],
    ) -> Result<(), StorageError> {
        self.confirm(tenant, timelines).await?;
        let before = tenant.record();
        let put = async {
            tenant.put_record(&self.environment, record).await?;
            self.confirm(tenant, timelines).await
        };
        let Err(error) = put.await else { return Ok(()) };
        // If another pageserver owns the tenant, what counts is what that one has read.
        if tenant.ownership.check().is_ok()
            && let Err(error) = tenant.put_record(&self.environment, before).await
        {
            let tenant = tenant.ownership.tenant;
            tracing::error!(%tenant, %error, "a change that failed cannot be taken back: it may count at the next start");
        }
        Err(error)
    }

    async fn confirm(&self, tenant: &Tenant, timelines: &[TenantTimelineId]) -> Result<(), StorageError> {
        for timeline in timelines {
            tenant.ownership.confirm(&self.environment, *timeline).await?;
        }
        Ok(())
    }
}

/// What is left of a timeline that was deleted.
pub(super) async fn remove_timeline(
    environment: &Arc<Environment>,
    id: TenantTimelineId,
) -> Result<(), StorageError> {
    let (fs, directory) = (environment.fs.clone(), environment.timeline_dir(id));
    run_blocking(move || fs.remove_tree(&directory)).await?;
    delete_objects(environment, &Environment::timeline_prefix(id), |_| true).await
}

/// What is left of a tenant that was deleted, but for the object that says so.
pub(super) async fn remove_tenant(environment: &Arc<Environment>, id: TenantId) -> Result<(), StorageError> {
    let (fs, directory) = (environment.fs.clone(), environment.tenant_dir(id));
    run_blocking(move || fs.remove_tree(&directory)).await?;
    let prefix = Environment::tenant_prefix(id);
    let is_other = |key: &ObjectKey| {
        let directly_below = key.as_str().len() == prefix.as_str().len() + 1 + key.file_name().len();
        !directly_below || generation_of(key.file_name(), TENANT_STEM).is_none()
    };
    delete_objects(environment, &prefix, is_other).await
}

async fn delete_objects(
    environment: &Environment,
    prefix: &ObjectKey,
    goes: impl Fn(&ObjectKey) -> bool,
) -> Result<(), StorageError> {
    let listing = environment.remote.list(Some(prefix), ListMode::Recursive).await?;
    for object in listing.objects.iter().filter(|object| goes(&object.key)) {
        environment.remote.delete(&object.key).await?;
        environment.metrics.deleted_objects.inc();
    }
    Ok(())
}

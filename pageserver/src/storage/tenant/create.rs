//! New tenants, root timelines and branches.

use std::collections::BTreeMap;
use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use durable_fs::run_blocking;
use layer_map::LayerMap;
use pageserver_api::history::TenantConfig;
use types::{Generation, Key, Lsn, TenantId, TenantTimelineId, TimelineId};

use super::delete::remove_timeline;
use super::tenant_object::TenantRecord;
use super::{Tenant, TenantManager, load};
use crate::storage::environment::{Environment, with_generation};
use crate::storage::layers::{DiskLayer, ImageLayersWriter, Written};
use crate::storage::ownership::{Claim, Ownership};
use crate::storage::timeline::{Orphans, extent};
use crate::storage::upload::{INDEX_STEM, IndexLayer, IndexPart};
use crate::storage::{StorageError, Timeline, TimelineMetadata};

/// For a new tenant.
const GRANT_TIMEOUT: Duration = Duration::from_secs(20);

impl TenantManager {
    pub async fn create_tenant(&self, id: TenantId) -> Result<(), StorageError> {
        let _creating = self.creating.lock().await;
        match self.tenant(id) {
            Ok(_) => return Err(StorageError::TenantExists(id)),
            Err(StorageError::TenantNotFound(_)) => {}
            // It is another pageserver's: to claim it anew here would hide what that one has.
            Err(error) => return Err(error),
        }
        if load::is_deleted(&self.environment, id).await? {
            return Err(StorageError::TenantDeleted(id));
        }
        let claim = self.environment.owners.claim(BTreeMap::from([(id, Claim::default())]));
        let granted = tokio::time::timeout(GRANT_TIMEOUT, claim).await;
        let granted =
            granted.map_err(|_| StorageError::NotGranted { tenant: id, timeout: GRANT_TIMEOUT })??;
        let generation = granted[&id];
        let ownership = Arc::new(Ownership::new(id, generation));
        let tenant = Tenant::new(ownership, TenantRecord::default(), BTreeMap::new());
        tenant.put_record(&self.environment, TenantRecord::default()).await?;
        self.tenants.write().expect("no holder panics").insert(id, tenant);
        Ok(())
    }

    pub fn tenant_config(&self, id: TenantId) -> Result<TenantConfig, StorageError> {
        Ok(self.tenant(id)?.record().config)
    }

    /// Takes the place of what was set before. In remote storage when this returns.
    pub async fn set_tenant_config(&self, id: TenantId, config: TenantConfig) -> Result<(), StorageError> {
        let tenant = self.tenant(id)?;
        let _creating = tenant.creating.lock().await;
        let record = TenantRecord { config, ..tenant.record() };
        let asked = tenant.any_timeline();
        self.put_confirmed(&tenant, record, asked.as_slice()).await
    }

    /// A timeline that begins with `entries`, each key's whole value as of `metadata.initdb_lsn`. They come in
    /// ascending order of their keys and are streamed to image layers. In remote storage when this returns.
    ///
    /// `prev_record_lsn` is the start of the record that ends at `initdb_lsn`, zero if unknown.
    pub async fn create_root_timeline<E, I>(
        &self,
        id: TenantTimelineId,
        metadata: TimelineMetadata,
        prev_record_lsn: Lsn,
        entries: I,
    ) -> Result<Arc<Timeline>, StorageError>
    where
        I: Iterator<Item = Result<(Key, Bytes), E>> + Send + 'static,
        E: Into<Box<dyn Error + Send + Sync>>,
    {
        let tenant = self.tenant(id.tenant_id)?;
        let _alone = tenant.under_way.begin(id.timeline_id).await;
        self.check_new(&tenant, id)?;
        // An import takes hours, in which the tenant's other timelines must not wait.
        let (environment, lsn) = (Arc::clone(&self.environment), metadata.initdb_lsn);
        let generation = tenant.ownership.generation;
        let write = move || write_images(&environment, id, generation, lsn, entries);
        let layers = run_blocking(write).await?;
        let mut index = IndexPart::new(id, generation, metadata, None);
        index.prev_record_lsn = prev_record_lsn;
        for layer in layers.iter() {
            self.environment.remote.put_file(&layer.remote_key, &layer.path).await?;
            layer.set_uploaded();
            index.layers.insert(layer.file_name.name.to_string(), IndexLayer::of(layer));
        }
        let _creating = tenant.creating.lock().await;
        if let Err(error) = self.check_new(&tenant, id) {
            // The tenant was deleted meanwhile.
            remove_timeline(&self.environment, id).await?;
            return Err(error);
        }
        let layers = layers.keep().into_iter().map(|layer| (extent(&layer.identity.name), Arc::new(layer)));
        self.publish(&tenant, &index, None, LayerMap::default().with_changes(&[], layers)).await
    }

    /// A branch of `ancestor` at `lsn`, or where the ancestor is now. Metadata only, whatever the size.
    pub async fn branch_timeline(
        &self,
        id: TenantTimelineId,
        ancestor: TimelineId,
        lsn: Option<Lsn>,
    ) -> Result<Arc<Timeline>, StorageError> {
        let tenant = self.tenant(id.tenant_id)?;
        let _alone = tenant.under_way.begin(id.timeline_id).await;
        let _creating = tenant.creating.lock().await;
        self.check_new(&tenant, id)?;
        let ancestor_id = TenantTimelineId::new(id.tenant_id, ancestor);
        let ancestor = tenant.timeline(ancestor).ok_or(StorageError::TimelineNotFound(ancestor_id))?;
        if tenant.is_archived(ancestor_id.timeline_id) {
            return Err(StorageError::Archived(ancestor_id));
        }
        let (last, prev) = ancestor.last_and_prev_record_lsn();
        let lsn = lsn.unwrap_or(last);
        let bad = |reason| Err(StorageError::BadBranchPoint { timeline: ancestor_id, lsn, reason });
        if lsn < ancestor.start_lsn() {
            return bad(format!("its history starts at {}", ancestor.start_lsn()));
        }
        if lsn > last {
            return bad(format!("its WAL has arrived only up to {last}"));
        }
        ancestor.check_readable(lsn)?;
        let metadata = TimelineMetadata { initdb_lsn: lsn, ..ancestor.metadata().clone() };
        let branch_point = Some((ancestor_id.timeline_id, lsn));
        let mut index = IndexPart::new(id, tenant.ownership.generation, metadata, branch_point);
        index.prev_record_lsn = if lsn == last { prev } else { Lsn::INVALID };
        let (environment, directory) = (Arc::clone(&self.environment), self.environment.timeline_dir(id));
        run_blocking(move || environment.fs.create_dir_durably(&directory)).await?;
        self.publish(&tenant, &index, Some(ancestor), LayerMap::default()).await
    }

    /// Whether there may come to be one with this id.
    pub fn check_new_timeline(&self, id: TenantTimelineId) -> Result<(), StorageError> {
        let tenant = self.tenant(id.tenant_id)?;
        self.check_new(&tenant, id)
    }

    fn check_new(&self, tenant: &Tenant, id: TenantTimelineId) -> Result<(), StorageError> {
        let record = tenant.record();
        match () {
            () if record.deleted => Err(StorageError::TenantNotFound(id.tenant_id)),
            () if record.deleted_timelines.contains(&id.timeline_id) => {
                Err(StorageError::TimelineDeleted(id))
            }
            () if tenant.timeline(id.timeline_id).is_some() => Err(StorageError::TimelineExists(id)),
            () => Ok(()),
        }
    }

    /// Puts the index, by which the timeline begins to exist, and starts it, unless somebody has come after this pageserver,
    /// who may have looked before that. Asked is for a timeline that this somebody was granted as well; where the tenant has
    /// none, those are asked who grant new tenants.
    async fn publish(
        &self,
        tenant: &Tenant,
        index: &IndexPart,
        ancestor: Option<Arc<Timeline>>,
        layers: LayerMap<Arc<DiskLayer>>,
    ) -> Result<Arc<Timeline>, StorageError> {
        let name = with_generation(INDEX_STEM, index.generation);
        let key = self.environment.timeline_object(index.timeline, &name);
        let ancestor_id = ancestor.as_ref().map(|ancestor| ancestor.id());
        let asked = ancestor_id.or_else(|| tenant.any_timeline()).unwrap_or(index.timeline);
        // Before, so that one which nobody would answer for is not put.
        tenant.ownership.confirm(&self.environment, asked).await?;
        let held = match &ancestor {
            Some(ancestor) => Some(ancestor.hold_lsn(index.metadata.initdb_lsn)?),
            None => None,
        };
        let put = async {
            self.environment.remote.put(&key, index.encode()).await?;
            tenant.ownership.confirm(&self.environment, asked).await
        };
        if let Err(error) = put.await {
            // It may be there all the same, and be found at the next start: what it begins with must be there then.
            std::mem::forget(held);
            return Err(error);
        }
        let timeline =
            Timeline::open(&self.environment, &tenant.ownership, index, ancestor, layers, Orphans::default());
        timeline.start_background();
        let mut timelines = tenant.timelines.write().expect("no holder panics");
        timelines.insert(index.timeline.timeline_id, Arc::clone(&timeline));
        tracing::info!(timeline = %index.timeline, lsn = %index.disk_consistent_lsn, "created a timeline");
        Ok(timeline)
    }
}

fn write_images<E: Into<Box<dyn Error + Send + Sync>>>(
    environment: &Arc<Environment>,
    id: TenantTimelineId,
    generation: Generation,
    lsn: Lsn,
    entries: impl Iterator<Item = Result<(Key, Bytes), E>>,
) -> Result<Written, StorageError> {
    environment.fs.create_dir_durably(&environment.timeline_dir(id))?;
    let mut writer = ImageLayersWriter::create(environment, id, generation, Key::MIN..Key::MAX, lsn)?;
    for entry in entries {
        let (key, image) = entry.map_err(|error| StorageError::Source(error.into()))?;
        writer.put(key, image)?;
    }
    writer.finish()
}

//! What every timeline needs of its surroundings, and where its files and objects lie.
//!
//! ```text
//! local, below the workdir; remote, below the root of the store
//!   tenants/TENANT/tenant.json-GENERATION                             (remote only)
//!   tenants/TENANT/timelines/TIMELINE/index_part.json-GENERATION      (remote only)
//!   tenants/TENANT/timelines/TIMELINE/LAYER-GENERATION
//! ```

use std::path::PathBuf;
use std::sync::Arc;

use durable_fs::DurableFs;
use remote_storage::{ListMode, Listing, ObjectKey, RemoteStorage};
use tokio::sync::Semaphore;
use types::{Generation, TenantId, TenantTimelineId};

use super::layers::OpenFiles;
use super::room::Room;
use super::{Owners, Redo, StorageConfig, StorageError, StorageMetrics};

/// Of the object whose presence makes a tenant exist.
pub(super) const TENANT_STEM: &str = "tenant.json";

pub(super) struct Environment {
    pub(super) config: StorageConfig,
    pub(super) remote: Arc<dyn RemoteStorage>,
    pub(super) fs: DurableFs,
    pub(super) metrics: StorageMetrics,
    pub(super) owners: Arc<dyn Owners>,
    pub(super) redo: Option<Arc<dyn Redo>>,
    pub(super) open_files: Arc<OpenFiles>,
    pub(super) room: Room,
    /// Turns for heavy work; whoever waits longest is next, so no timeline starves another.
    pub(super) background: Semaphore,
}

/// Ids, generations and layer names have only characters that keys may have.
fn key(text: String) -> ObjectKey {
    ObjectKey::new(text).expect("made of characters that keys may have")
}

impl Environment {
    pub(super) fn tenant_dir(&self, tenant: TenantId) -> PathBuf {
        self.config.workdir.join(format!("tenants/{tenant}"))
    }

    pub(super) fn timelines_dir(&self, tenant: TenantId) -> PathBuf {
        self.tenant_dir(tenant).join("timelines")
    }

    pub(super) fn timeline_dir(&self, id: TenantTimelineId) -> PathBuf {
        self.timelines_dir(id.tenant_id).join(id.timeline_id.to_string())
    }

    pub(super) fn tenants_prefix() -> ObjectKey {
        key("tenants".to_owned())
    }

    pub(super) fn tenant_object(tenant: TenantId, file_name: &str) -> ObjectKey {
        key(format!("tenants/{tenant}/{file_name}"))
    }

    pub(super) fn tenant_prefix(tenant: TenantId) -> ObjectKey {
        key(format!("tenants/{tenant}"))
    }

    /// The newest of the objects that make a tenant exist, up to a generation.
    pub(super) async fn newest_tenant_object(
        &self,
        tenant: TenantId,
        up_to: Generation,
    ) -> Result<Option<ObjectKey>, StorageError> {
        let listing = self.remote.list(Some(&Self::tenant_prefix(tenant)), ListMode::Children).await?;
        Ok(newest_of(&listing, TENANT_STEM, up_to))
    }

    /// The highest one that has said in object storage that it owns the tenant; zero if none has.
    pub(super) async fn newest_generation(&self, tenant: TenantId) -> Result<Generation, StorageError> {
        let newest = self.newest_tenant_object(tenant, Generation(u32::MAX)).await?;
        Ok(newest.and_then(|key| generation_of(key.file_name(), TENANT_STEM)).unwrap_or_default())
    }

    pub(super) fn timelines_prefix(tenant: TenantId) -> ObjectKey {
        key(format!("tenants/{tenant}/timelines"))
    }

    pub(super) fn timeline_prefix(id: TenantTimelineId) -> ObjectKey {
        key(format!("tenants/{}/timelines/{}", id.tenant_id, id.timeline_id))
    }

    pub(super) fn timeline_object(&self, id: TenantTimelineId, file_name: &str) -> ObjectKey {
        key(format!("{}/{file_name}", Self::timeline_prefix(id)))
    }
}

/// The object of that stem with the highest generation up to the given one: a higher one belongs to a pageserver that came
/// after.
pub(super) fn newest_of(listing: &Listing, stem: &str, up_to: Generation) -> Option<ObjectKey> {
    let generation = |key: &ObjectKey| generation_of(key.file_name(), stem).filter(|it| *it <= up_to);
    let found = listing.objects.iter().filter_map(|object| Some((generation(&object.key)?, &object.key)));
    found.max().map(|(_, key)| key.clone())
}

/// `STEM-GGGGGGGG`
pub(super) fn with_generation(stem: &str, generation: Generation) -> String {
    format!("{stem}-{:08x}", generation.0)
}

/// The generation of an object that [`with_generation`] named.
pub(super) fn generation_of(file_name: &str, stem: &str) -> Option<Generation> {
    let digits = file_name.strip_prefix(stem)?.strip_prefix('-')?;
    u32::from_str_radix(digits, 16).ok().map(Generation).filter(|g| with_generation(stem, *g) == file_name)
}

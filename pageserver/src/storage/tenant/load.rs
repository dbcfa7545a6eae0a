//! Start-up: remote storage says which tenants and timelines there are; local files that agree with it are kept.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::Arc;

use durable_fs::run_blocking;
use layer_format::{Identity, LayerName};
use layer_map::LayerMap;
use remote_storage::{ListMode, ObjectKey};
use types::{Generation, TenantId, TenantTimelineId, TimelineId};

use super::Tenant;
use super::tenant_object::{TENANT_STEM, TenantObject};
use crate::storage::environment::{Environment, generation_of};
use crate::storage::layers::{DiskLayer, LayerFileName, is_temporary};
use crate::storage::timeline::extent;
use crate::storage::upload::{INDEX_STEM, IndexPart};
use crate::storage::{StorageError, Timeline};

pub(super) async fn load_tenants(
    environment: &Arc<Environment>,
) -> Result<BTreeMap<TenantId, Arc<Tenant>>, StorageError> {
    let mut tenants = BTreeMap::new();
    let listing = environment.remote.list(Some(&Environment::tenants_prefix()), ListMode::Children).await?;
    for directory in listing.directories {
        let Ok(id) = directory.file_name().parse::<TenantId>() else { continue };
        let Some(key) = newest_generation(environment, &directory, TENANT_STEM).await? else { continue };
        TenantObject::check(key.as_str(), &environment.remote.get(&key).await?, id)?;
        tenants.insert(id, Tenant::new(load_timelines(environment, id).await?));
    }
    Ok(tenants)
}

/// The object of that stem with the highest generation that is not above our own: a higher one belongs to a
/// pageserver that came after us.
async fn newest_generation(
    environment: &Environment,
    directory: &ObjectKey,
    stem: &str,
) -> Result<Option<ObjectKey>, StorageError> {
    let listing = environment.remote.list(Some(directory), ListMode::Children).await?;
    let ours = |generation: &Generation| *generation <= environment.config.generation;
    let found = listing
        .objects
        .into_iter()
        .filter_map(|object| {
            generation_of(object.key.file_name(), stem).filter(ours).map(|g| (g, object.key))
        })
        .max();
    Ok(found.map(|(_, key)| key))
}

async fn load_timelines(
    environment: &Arc<Environment>,
    tenant: TenantId,
) -> Result<BTreeMap<TimelineId, Arc<Timeline>>, StorageError> {
    let prefix = Environment::timelines_prefix(tenant);
    let listing = environment.remote.list(Some(&prefix), ListMode::Children).await?;
    let mut waiting: BTreeMap<TimelineId, IndexPart> = BTreeMap::new();
    for directory in listing.directories {
        let Ok(timeline) = directory.file_name().parse::<TimelineId>() else { continue };
        // Without an index it was never finished, and nobody was told that it exists.
        let Some(key) = newest_generation(environment, &directory, INDEX_STEM).await? else { continue };
        let bytes = environment.remote.get(&key).await?;
        let id = TenantTimelineId::new(tenant, timeline);
        waiting.insert(timeline, IndexPart::decode(key.as_str(), &bytes, id)?);
    }
    open_in_order(environment, waiting).await
}

/// Opens each timeline after its ancestor.
async fn open_in_order(
    environment: &Arc<Environment>,
    mut waiting: BTreeMap<TimelineId, IndexPart>,
) -> Result<BTreeMap<TimelineId, Arc<Timeline>>, StorageError> {
    let mut opened: BTreeMap<TimelineId, Arc<Timeline>> = BTreeMap::new();
    loop {
        let ready = |index: &IndexPart| index.ancestor().is_none_or(|(id, _)| opened.contains_key(&id));
        let Some(id) = waiting.iter().find(|(_, index)| ready(index)).map(|(id, _)| *id) else { break };
        let Some(index) = waiting.remove(&id) else { break };
        let ancestor = index.ancestor().and_then(|(id, _)| opened.get(&id).cloned());
        let layers = load_layers(environment, &index).await?;
        opened.insert(id, Timeline::open(environment, &index, ancestor, layers));
        tracing::info!(timeline = %index.timeline, disk_consistent_lsn = %index.disk_consistent_lsn, "loaded a timeline");
    }
    match waiting.into_values().next() {
        Some(orphan) => Err(StorageError::DamagedObject {
            key: Environment::timeline_prefix(orphan.timeline).to_string(),
            reason: format!("its ancestor {:?} does not exist", orphan.ancestor_timeline_id),
        }),
        None => Ok(opened),
    }
}

async fn load_layers(
    environment: &Arc<Environment>,
    index: &IndexPart,
) -> Result<LayerMap<Arc<DiskLayer>>, StorageError> {
    let mut layers: BTreeMap<String, Arc<DiskLayer>> = BTreeMap::new();
    for (name, entry) in &index.layers {
        let name: LayerName = name.parse().map_err(|error| StorageError::DamagedObject {
            key: Environment::timeline_prefix(index.timeline).to_string(),
            reason: format!("its index: {error}"),
        })?;
        let identity = Identity { timeline: index.timeline, name: name.clone() };
        let file_name = LayerFileName { name, generation: entry.generation };
        let text = file_name.to_string();
        let layer = DiskLayer::new(environment, identity, file_name, entry.file_size, true);
        layers.insert(text, Arc::new(layer));
    }
    let directory = environment.timeline_dir(index.timeline);
    let (environment, known) = (Arc::clone(environment), layers.clone());
    run_blocking(move || tidy_directory(&environment, &directory, &known)).await?;
    let layers = layers.into_values().map(|layer| (extent(&layer.identity.name), layer));
    Ok(LayerMap::default().with_changes(&[], layers))
}

/// Makes the directory if it is missing, and removes files that the index does not know: what was being written,
/// layers that no index came to name (their WAL comes again), layers of the wrong size (they are fetched again).
fn tidy_directory(
    environment: &Environment,
    directory: &Path,
    layers: &BTreeMap<String, Arc<DiskLayer>>,
) -> Result<(), StorageError> {
    environment.fs.create_dir_durably(directory)?;
    let list = || -> io::Result<Vec<(String, u64)>> {
        let mut files = Vec::new();
        for entry in std::fs::read_dir(directory)? {
            let entry = entry?;
            files.extend(entry.file_name().into_string().ok().zip(Some(entry.metadata()?.len())));
        }
        Ok(files)
    };
    for (file_name, size) in list().map_err(StorageError::io("list", directory))? {
        let ours = is_temporary(&file_name) || file_name.parse::<LayerFileName>().is_ok();
        let good = layers.get(&file_name).is_some_and(|layer| layer.file_size == size);
        if ours && !good {
            tracing::info!(file = %directory.join(&file_name).display(), size, "removing a file that no index names");
            environment.fs.remove_file_durably(&directory.join(&file_name))?;
        }
    }
    Ok(())
}

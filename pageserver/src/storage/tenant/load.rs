//! Start-up: remote storage says which tenants and timelines there are; local files that agree with it are kept.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use durable_fs::run_blocking;
use futures_util::{StreamExt, stream};
use layer_format::{Identity, LayerName};
use layer_map::LayerMap;
use remote_storage::{ListMode, Listing, ObjectKey};
use types::{Generation, TenantId, TenantTimelineId, TimelineId};

use super::delete::{remove_tenant, remove_timeline};
use super::tenant_object::TenantRecord;
use super::{Tenant, put_record};
use crate::storage::environment::{Environment, TENANT_STEM, generation_of, newest_of};
use crate::storage::layers::{DiskLayer, LayerFileName, is_temporary};
use crate::storage::ownership::{Claim, Ownership};
use crate::storage::timeline::{Orphans, extent};
use crate::storage::upload::{INDEX_STEM, IndexPart};
use crate::storage::{StorageError, Timeline};

/// Tenants that are loaded at a time.
const AT_A_TIME: usize = 16;

/// After so long those are served that are granted. One whose timeline has no quorum does not hold up all others.
const PATIENCE: Duration = Duration::from_secs(10);

/// What became of a tenant that was to be loaded.
pub(super) enum Outcome {
    Served(Arc<Tenant>),
    /// It was deleted.
    Gone,
    /// No quorum has granted it yet.
    Waits(Claim),
    /// What there is of it cannot be read. It holds up no other. With the generation that was granted before, if it came
    /// to that.
    Failed(StorageError, Option<Generation>),
}

pub(super) type Outcomes = BTreeMap<TenantId, Outcome>;

/// All that there are. An error if what is wrong is wrong with all of them.
pub(super) async fn load_tenants(environment: &Arc<Environment>) -> Result<Outcomes, StorageError> {
    let listing = environment.remote.list(Some(&Environment::tenants_prefix()), ListMode::Children).await?;
    let ids: Vec<TenantId> =
        listing.directories.iter().filter_map(|directory| directory.file_name().parse().ok()).collect();
    let mut finding = stream::iter(ids)
        .map(async |id| (id, find_tenant(environment, id).await))
        .buffer_unordered(AT_A_TIME);
    let (mut found, mut failed) = (BTreeMap::new(), Outcomes::new());
    while let Some((id, outcome)) = finding.next().await {
        match outcome {
            Ok(claim) => found.extend(claim.map(|claim| (id, claim))),
            Err(error) => drop(failed.insert(id, Outcome::Failed(error, None))),
        }
    }
    let mut outcomes = load_some(environment, found, PATIENCE).await?;
    outcomes.append(&mut failed);
    let is_there = |outcome: &Outcome| matches!(outcome, Outcome::Served(_) | Outcome::Waits(_));
    if outcomes.values().any(is_there) {
        return Ok(outcomes);
    }
    let failure = |outcome| if let Outcome::Failed(error, _) = outcome { Some(error) } else { None };
    outcomes.into_values().find_map(failure).map_or(Ok(Outcomes::new()), Err)
}

/// As many as are granted, once one is.
pub(super) async fn load_some(
    environment: &Arc<Environment>,
    mut waiting: BTreeMap<TenantId, Claim>,
    patience: Duration,
) -> Result<Outcomes, StorageError> {
    // Only now is it read what they are: whoever owned them before may have written until now.
    let granted = environment.owners.claim_some(waiting.clone(), patience).await?;
    let mut loading = Vec::with_capacity(granted.len());
    for (id, generation) in granted {
        let known = waiting.remove(&id).unwrap_or_default().timelines;
        loading.push(async move {
            let outcome = match load_tenant(environment, id, generation, known).await {
                Ok(Some(tenant)) => Outcome::Served(tenant),
                Ok(None) => Outcome::Gone,
                Err(error) => Outcome::Failed(error, Some(generation)),
            };
            (id, outcome)
        });
    }
    let mut outcomes: Outcomes = stream::iter(loading).buffer_unordered(AT_A_TIME).collect().await;
    outcomes.extend(waiting.into_iter().map(|(id, claim)| (id, Outcome::Waits(claim))));
    Ok(outcomes)
}

/// One that could not be loaded before, once it is granted again. Unless somebody has come after `ours`, who serves it: it
/// is not taken away from there.
pub(super) async fn load_again(
    environment: &Arc<Environment>,
    id: TenantId,
    ours: Generation,
) -> Result<Outcome, StorageError> {
    if environment.newest_generation(id).await? > ours {
        return Err(StorageError::Superseded { tenant: id, generation: ours });
    }
    let Some(claim) = find_tenant(environment, id).await? else { return Ok(Outcome::Gone) };
    let mut outcomes = load_some(environment, BTreeMap::from([(id, claim)]), Duration::ZERO).await?;
    Ok(outcomes.remove(&id).unwrap_or(Outcome::Gone))
}

/// The newest that is known of a tenant, up to a generation. None: it does not exist.
async fn read_record(
    environment: &Environment,
    id: TenantId,
    ours: Generation,
) -> Result<Option<(ObjectKey, TenantRecord)>, StorageError> {
    let Some(key) = environment.newest_tenant_object(id, ours).await? else { return Ok(None) };
    let record = TenantRecord::decode(key.as_str(), &environment.remote.get(&key).await?, id)?;
    Ok(Some((key, record)))
}

pub(super) async fn is_deleted(environment: &Environment, id: TenantId) -> Result<bool, StorageError> {
    let found = read_record(environment, id, Generation(u32::MAX)).await?;
    Ok(found.is_some_and(|(_, record)| record.deleted))
}

/// A tenant as it is in remote storage.
struct FoundTenant {
    /// The object that has the record.
    key: ObjectKey,
    record: TenantRecord,
    /// Of timelines, whatever is in them.
    directories: Vec<TimelineId>,
}

impl FoundTenant {
    /// The newest that there is, up to a generation. None: it does not exist, or not any more.
    async fn look(
        environment: &Arc<Environment>,
        id: TenantId,
        ours: Generation,
    ) -> Result<Option<Self>, StorageError> {
        match read_record(environment, id, ours).await? {
            None => Ok(None),
            Some((_, record)) if record.deleted => {
                sweep(environment, id, |environment| async move { remove_tenant(&environment, id).await });
                Ok(None)
            }
            Some((key, record)) => {
                let directories = directories_of(environment, id).await?;
                Ok(Some(Self { key, record, directories }))
            }
        }
    }

    fn timelines(&self) -> Vec<TimelineId> {
        let deleted = &self.record.deleted_timelines;
        self.directories.iter().filter(|timeline| !deleted.contains(timeline)).copied().collect()
    }

    fn claim(&self) -> Claim {
        let above = generation_of(self.key.file_name(), TENANT_STEM).unwrap_or_default();
        Claim { timelines: self.timelines(), above }
    }

    /// Of what is left something.
    fn deleted_timelines(&self) -> Vec<TimelineId> {
        let deleted = &self.record.deleted_timelines;
        self.directories.iter().filter(|timeline| deleted.contains(timeline)).copied().collect()
    }
}

/// What is known of a tenant that is to be claimed. None: it does not exist.
async fn find_tenant(environment: &Arc<Environment>, id: TenantId) -> Result<Option<Claim>, StorageError> {
    let found = FoundTenant::look(environment, id, Generation(u32::MAX)).await?;
    Ok(found.map(|found| found.claim()))
}

async fn load_tenant(
    environment: &Arc<Environment>,
    id: TenantId,
    generation: Generation,
    known: Vec<TimelineId>,
) -> Result<Option<Arc<Tenant>>, StorageError> {
    let (generation, found) = claim_new_timelines(environment, id, generation, known).await?;
    let Some(found) = found else { return Ok(None) };
    let ownership = Arc::new(Ownership::new(id, generation));
    // From now on it does not count what a pageserver puts there that does not know of us. One that asks others than we do
    // who owns the tenant sees it here: so it stands there before we look at what there is.
    put_record(environment, &ownership, &found.record).await?;
    let timelines = load_timelines(environment, &ownership, found.timelines()).await?;
    let deleted = found.deleted_timelines();
    let FoundTenant { key, record, .. } = found;
    let tenant = Tenant::new(ownership, record, timelines);
    sweep(environment, id, |environment| async move {
        for timeline in deleted {
            remove_timeline(&environment, TenantTimelineId::new(id, timeline)).await?;
        }
        remove_older_records(&environment, id, &key).await
    });
    Ok(Some(tenant))
}

/// Removes what is rubbish, beside all else. What fails is tried again after the next start.
fn sweep<R>(environment: &Arc<Environment>, id: TenantId, work: impl FnOnce(Arc<Environment>) -> R)
where
    R: Future<Output = Result<(), StorageError>> + Send + 'static,
{
    let work = work(Arc::clone(environment));
    tokio::spawn(async move {
        if let Err(error) = work.await {
            tracing::warn!(tenant = %id, %error, "what is left of deleted timelines is not all removed");
        }
    });
}

/// Tenant objects from before the one that was read. That one stays, for whoever is just reading it.
async fn remove_older_records(
    environment: &Environment,
    id: TenantId,
    read: &ObjectKey,
) -> Result<(), StorageError> {
    let generation = |key: &ObjectKey| generation_of(key.file_name(), TENANT_STEM);
    let listing = environment.remote.list(Some(&Environment::tenant_prefix(id)), ListMode::Children).await?;
    for object in listing.objects {
        if generation(&object.key).is_some_and(|it| Some(it) < generation(read)) {
            environment.remote.delete(&object.key).await?;
        }
    }
    Ok(())
}

/// A timeline may have been made before the generation was granted, and after it was looked which there are: then its
/// safekeepers were not asked. Returns what there is, and the generation that is granted for all of it.
async fn claim_new_timelines(
    environment: &Arc<Environment>,
    id: TenantId,
    mut generation: Generation,
    mut known: Vec<TimelineId>,
) -> Result<(Generation, Option<FoundTenant>), StorageError> {
    loop {
        let found = FoundTenant::look(environment, id, generation).await?;
        let now = found.as_ref().map(FoundTenant::claim).unwrap_or_default();
        if now.timelines.iter().all(|timeline| known.contains(timeline)) {
            return Ok((generation, found));
        }
        known = now.timelines.clone();
        let granted = environment.owners.claim(BTreeMap::from([(id, now)])).await?;
        generation = granted[&id];
    }
}

/// Of timelines, whatever is in them.
async fn directories_of(environment: &Environment, id: TenantId) -> Result<Vec<TimelineId>, StorageError> {
    let prefix = Environment::timelines_prefix(id);
    let listing = environment.remote.list(Some(&prefix), ListMode::Children).await?;
    Ok(listing.directories.iter().filter_map(|directory| directory.file_name().parse().ok()).collect())
}

/// Layers that the index does not name, and older indexes. What has a higher generation belongs to a pageserver that
/// came after us, and what has a name of another kind is not ours to judge.
fn orphans(listing: &Listing, index: &IndexPart, index_key: &ObjectKey, ours: Generation) -> Orphans {
    let is_orphan = |key: &ObjectKey| {
        if let Some(generation) = generation_of(key.file_name(), INDEX_STEM) {
            return generation <= ours && key != index_key;
        }
        key.file_name().parse::<LayerFileName>().is_ok_and(|layer| {
            let named = index.layers.get(&layer.name.to_string());
            layer.generation <= ours && named.is_none_or(|named| named.generation != layer.generation)
        })
    };
    let keys = listing.objects.iter().map(|object| &object.key);
    Orphans(keys.filter(|key| is_orphan(key)).cloned().collect())
}

async fn load_timelines(
    environment: &Arc<Environment>,
    ownership: &Arc<Ownership>,
    timelines: Vec<TimelineId>,
) -> Result<BTreeMap<TimelineId, Arc<Timeline>>, StorageError> {
    let mut waiting: BTreeMap<TimelineId, (IndexPart, Orphans)> = BTreeMap::new();
    for timeline in timelines {
        let id = TenantTimelineId::new(ownership.tenant, timeline);
        let directory = Environment::timeline_prefix(id);
        let ours = ownership.generation;
        let listing = environment.remote.list(Some(&directory), ListMode::Children).await?;
        // Without an index it was never finished, and nobody was told that it exists.
        let Some(key) = newest_of(&listing, INDEX_STEM, ours) else { continue };
        let bytes = environment.remote.get(&key).await?;
        let index = IndexPart::decode(key.as_str(), &bytes, id)?;
        let orphans = orphans(&listing, &index, &key, ours);
        waiting.insert(timeline, (index, orphans));
    }
    let known: Vec<TimelineId> = waiting.keys().copied().collect();
    let (surroundings, tenant) = (Arc::clone(environment), ownership.tenant);
    run_blocking(move || remove_unknown_directories(&surroundings, tenant, &known)).await?;
    open_in_order(environment, ownership, waiting).await
}

/// Local files of timelines that were deleted while another pageserver owned the tenant.
fn remove_unknown_directories(
    environment: &Environment,
    tenant: TenantId,
    known: &[TimelineId],
) -> Result<(), StorageError> {
    let directory = environment.timelines_dir(tenant);
    let entries = match std::fs::read_dir(&directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => other.map_err(StorageError::io("list", &directory))?,
    };
    for entry in entries {
        let name = entry.map_err(StorageError::io("list", &directory))?.file_name();
        let timeline = name.to_str().and_then(|name| name.parse::<TimelineId>().ok());
        if timeline.is_some_and(|timeline| !known.contains(&timeline)) {
            let path = directory.join(&name);
            tracing::info!(directory = %path.display(), "removing the local files of a timeline that does not exist");
            environment.fs.remove_tree(&path)?;
        }
    }
    Ok(())
}

/// Opens each timeline after its ancestor.
async fn open_in_order(
    environment: &Arc<Environment>,
    ownership: &Arc<Ownership>,
    mut waiting: BTreeMap<TimelineId, (IndexPart, Orphans)>,
) -> Result<BTreeMap<TimelineId, Arc<Timeline>>, StorageError> {
    let mut opened: BTreeMap<TimelineId, Arc<Timeline>> = BTreeMap::new();
    loop {
        let ready = |index: &IndexPart| index.ancestor().is_none_or(|(id, _)| opened.contains_key(&id));
        let next = waiting.iter().find(|(_, (index, _))| ready(index)).map(|(id, _)| *id);
        let Some((id, (index, orphans))) = next.and_then(|id| waiting.remove_entry(&id)) else { break };
        let ancestor = index.ancestor().and_then(|(id, _)| opened.get(&id).cloned());
        let layers = load_layers(environment, &index).await?;
        opened.insert(id, Timeline::open(environment, ownership, &index, ancestor, layers, orphans));
        tracing::info!(timeline = %index.timeline, disk_consistent_lsn = %index.disk_consistent_lsn, "loaded a timeline");
    }
    match waiting.into_values().next() {
        Some((alone, _)) => Err(StorageError::DamagedObject {
            key: Environment::timeline_prefix(alone.timeline).to_string(),
            reason: format!("its ancestor {:?} does not exist", alone.ancestor_timeline_id),
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
        let layer = DiskLayer::new(environment, identity, file_name, entry.file_size, entry.entries, true);
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
        if let Some(layer) = layers.get(&file_name).filter(|_| good) {
            layer.set_local(true);
        }
        if ours && !good {
            tracing::info!(file = %directory.join(&file_name).display(), size, "removing a file that no index names");
            environment.fs.remove_file_durably(&directory.join(&file_name))?;
        }
    }
    Ok(())
}

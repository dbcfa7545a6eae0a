//! All tenants of this pageserver, each with its timelines.
//!
//! Remote storage says what exists; the local disk is a cache of it. Making a tenant or timeline ends with one put,
//! and before that put it does not exist.

mod archive;
mod collect;
mod create;
mod delete;
mod detach;
mod evict;
mod load;
mod tenant_object;
mod under_way;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, RwLock};
use std::time::{Duration, Instant};

use durable_fs::DurableFs;
use remote_storage::{ObjectKey, RemoteStorage};
use tokio::sync::{Semaphore, watch};
use tokio_util::sync::CancellationToken;
use types::{Generation, PgVersion, TenantId, TenantTimelineId, TimelineId};

pub use self::evict::EvictableLayer;
use self::load::{Outcome, Outcomes};
use self::tenant_object::TenantRecord;
use self::under_way::UnderWay;
use super::environment::{Environment, TENANT_STEM, with_generation};
use super::layers::OpenFiles;
use super::ownership::{Claim, Ownership};
use super::room::Room;
use super::{FixedGeneration, Owners, Redo, StorageConfig, StorageError, StorageMetrics, Timeline};

/// Object that holds what a new root timeline of this version begins with: `initdb`'s output, packed.
pub fn template_key(version: PgVersion) -> ObjectKey {
    ObjectKey::new(format!("templates/pg{version}.tar.zst")).expect("letters, digits and dots")
}

/// What the storage engine works with.
pub struct Surroundings {
    pub remote: Arc<dyn RemoteStorage>,
    pub metrics: StorageMetrics,
    pub fs: DurableFs,
    pub owners: Arc<dyn Owners>,
    /// Who makes pages of changes; see [`Redo`].
    pub redo: Option<Arc<dyn Redo>>,
}

struct Tenant {
    ownership: Arc<Ownership>,
    /// When it came here.
    since: Instant,
    record: Mutex<TenantRecord>,
    timelines: RwLock<BTreeMap<TimelineId, Arc<Timeline>>>,
    /// Timelines that are being made or deleted. What is for one of them waits; the others go on.
    under_way: UnderWay,
    /// Held while it is decided which timelines there are, what is said of them, and what they keep. Taken after a place in `under_way`.
    creating: tokio::sync::Mutex<()>,
}

/// In remote storage when this returns.
async fn put_record(
    environment: &Environment,
    ownership: &Ownership,
    record: &TenantRecord,
) -> Result<(), StorageError> {
    let Ownership { tenant, generation, .. } = ownership;
    let key = Environment::tenant_object(*tenant, &with_generation(TENANT_STEM, *generation));
    environment.remote.put(&key, record.encode(*tenant)).await?;
    Ok(())
}

impl Tenant {
    fn new(
        ownership: Arc<Ownership>,
        record: TenantRecord,
        timelines: BTreeMap<TimelineId, Arc<Timeline>>,
    ) -> Arc<Self> {
        let (record, timelines) = (Mutex::new(record), RwLock::new(timelines));
        let (under_way, creating) = (UnderWay::default(), tokio::sync::Mutex::new(()));
        Arc::new(Self { ownership, since: Instant::now(), record, timelines, under_way, creating })
    }

    fn record(&self) -> TenantRecord {
        self.record.lock().expect("no holder panics").clone()
    }

    /// In remote storage when this returns. Nobody else changes it meanwhile: `creating` is held.
    async fn put_record(&self, environment: &Environment, record: TenantRecord) -> Result<(), StorageError> {
        put_record(environment, &self.ownership, &record).await?;
        *self.record.lock().expect("no holder panics") = record;
        Ok(())
    }

    fn timeline(&self, id: TimelineId) -> Option<Arc<Timeline>> {
        self.timelines.read().expect("no holder panics").get(&id).cloned()
    }

    /// One whose safekeepers know whose the tenant is, if it has any.
    fn any_timeline(&self) -> Option<TenantTimelineId> {
        let timelines = self.timelines.read().expect("no holder panics");
        timelines.values().next().map(|timeline| timeline.id())
    }

    fn find(&self, id: TenantTimelineId) -> Result<Arc<Timeline>, StorageError> {
        self.timeline(id.timeline_id).ok_or(StorageError::TimelineNotFound(id))
    }

    /// Those that left it.
    fn branches_of(&self, id: TimelineId) -> Vec<TimelineId> {
        let left_it = |branch: &Arc<Timeline>| branch.ancestor().is_some_and(|(ancestor, _)| ancestor == id);
        let mut branches = self.timelines();
        branches.retain(left_it);
        branches.iter().map(|branch| branch.id().timeline_id).collect()
    }

    fn timelines(&self) -> Vec<Arc<Timeline>> {
        self.timelines.read().expect("no holder panics").values().cloned().collect()
    }
}

pub struct TenantManager {
    environment: Arc<Environment>,
    tenants: RwLock<BTreeMap<TenantId, Arc<Tenant>>>,
    /// There are more of them: why they are not served yet.
    absent: RwLock<BTreeMap<TenantId, Absence>>,
    arrivals: watch::Sender<()>,
    closed: CancellationToken,
    creating: tokio::sync::Mutex<()>,
}

/// Why a tenant that there is is not served.
enum Absence {
    NotGranted,
    /// It cannot be loaded, for this reason.
    Failed(String),
}

/// Before the next attempt to load what could not be; longer each time.
const FIRST_RELOAD: Duration = Duration::from_secs(5);
const SLOWEST_RELOAD: Duration = Duration::from_secs(300);

impl TenantManager {
    /// Loads all tenants and timelines that are in remote storage. Nothing shortens long histories of pages, and there
    /// is no other pageserver.
    pub async fn open(
        config: StorageConfig,
        remote: Arc<dyn RemoteStorage>,
        metrics: StorageMetrics,
    ) -> Result<Arc<Self>, StorageError> {
        let (fs, owners) = (DurableFs::default(), Arc::new(FixedGeneration(Generation(1))));
        Self::open_with(config, Surroundings { remote, metrics, fs, owners, redo: None }).await
    }

    /// Claims all tenants that are in remote storage, and loads them and their timelines. Waits until they are granted.
    pub async fn open_with(
        config: StorageConfig,
        surroundings: Surroundings,
    ) -> Result<Arc<Self>, StorageError> {
        let Surroundings { remote, metrics, fs, owners, redo } = surroundings;
        let open_files = Arc::new(OpenFiles::new(config.max_open_layers));
        let background = Semaphore::new(config.background_jobs.max(1));
        let room = Room::default();
        let environment =
            Arc::new(Environment { config, remote, fs, metrics, owners, redo, open_files, room, background });
        let outcomes = load::load_tenants(&environment).await?;
        let manager = Arc::new(Self {
            environment,
            tenants: RwLock::default(),
            absent: RwLock::default(),
            arrivals: watch::Sender::new(()),
            closed: CancellationToken::new(),
            creating: tokio::sync::Mutex::new(()),
        });
        let waiting = manager.take_in(outcomes);
        for tenant in waiting.keys() {
            tracing::warn!(
                %tenant, "no quorum of safekeepers has granted it: it is served when one has, the others are now"
            );
        }
        if !waiting.is_empty() {
            tokio::spawn(Arc::clone(&manager).load_the_rest(waiting));
        }
        Ok(manager)
    }

    /// Serves what is loaded, tries again what could not be, and returns what waits still.
    fn take_in(self: &Arc<Self>, outcomes: Outcomes) -> BTreeMap<TenantId, Claim> {
        let mut waiting = BTreeMap::new();
        for (id, outcome) in outcomes {
            // In this order: nobody finds one in neither.
            let absence = match outcome {
                Outcome::Served(tenant) => {
                    tenant.set_horizons(&BTreeMap::new());
                    for timeline in tenant.timelines() {
                        timeline.set_at_rest(tenant.is_archived(timeline.id().timeline_id));
                        timeline.start_background();
                    }
                    self.tenants.write().expect("no holder panics").insert(id, tenant);
                    None
                }
                Outcome::Gone => None,
                Outcome::Waits(claim) => {
                    waiting.insert(id, claim);
                    Some(Absence::NotGranted)
                }
                Outcome::Failed(error, granted) => {
                    tracing::error!(tenant = %id, %error, "a tenant cannot be loaded and is not served, the others are");
                    tokio::spawn(Arc::clone(self).load_later(id, granted));
                    Some(Absence::Failed(error.to_string()))
                }
            };
            self.note_absence(id, absence);
        }
        self.arrivals.send_replace(());
        waiting
    }

    fn note_absence(&self, id: TenantId, absence: Option<Absence>) {
        let mut absent = self.absent.write().expect("no holder panics");
        match absence {
            Some(absence) => drop(absent.insert(id, absence)),
            None => drop(absent.remove(&id)),
        }
    }

    /// Those that were not granted in time, whenever they are.
    async fn load_the_rest(self: Arc<Self>, mut waiting: BTreeMap<TenantId, Claim>) {
        while !waiting.is_empty() {
            let loading = load::load_some(&self.environment, waiting.clone(), Duration::ZERO);
            let loaded = tokio::select! {
                loaded = loading => loaded,
                () = self.closed.cancelled() => return,
            };
            match loaded {
                Ok(outcomes) => waiting = self.take_in(outcomes),
                Err(error) => {
                    tracing::error!(tenants = waiting.len(), %error, "tenants cannot be claimed, will try again");
                    tokio::time::sleep(FIRST_RELOAD).await;
                }
            }
        }
    }

    /// One that could not be loaded: somebody may mend it. Until somebody else owns it, by what is known of generations:
    /// the one that this pageserver was granted last, or where none was, the newest that there was.
    async fn load_later(self: Arc<Self>, id: TenantId, granted: Option<Generation>) {
        let mut delay = FIRST_RELOAD;
        let mut ours = granted;
        loop {
            let attempt = async {
                if ours.is_none() {
                    ours = self.environment.newest_generation(id).await.ok();
                }
                tokio::time::sleep(delay).await;
                match ours {
                    Some(ours) => load::load_again(&self.environment, id, ours).await,
                    None => Ok(Outcome::Waits(Claim::default())),
                }
            };
            let outcome = tokio::select! {
                outcome = attempt => outcome,
                () = self.closed.cancelled() => return,
            };
            match outcome {
                Err(error @ StorageError::Superseded { .. }) => {
                    tracing::error!(tenant = %id, %error, "a tenant that could not be loaded is somebody else's");
                    self.note_absence(id, Some(Absence::Failed(error.to_string())));
                    return;
                }
                Err(error) => delay = self.note_failure(id, &error, delay),
                Ok(Outcome::Failed(error, granted)) => {
                    ours = granted.or(ours);
                    delay = self.note_failure(id, &error, delay);
                }
                Ok(Outcome::Waits(_)) => {}
                Ok(outcome) => {
                    self.take_in(BTreeMap::from([(id, outcome)]));
                    return;
                }
            }
        }
    }

    /// Returns after how long it is tried again.
    fn note_failure(&self, id: TenantId, error: &StorageError, delay: Duration) -> Duration {
        let delay = (delay * 2).min(SLOWEST_RELOAD);
        tracing::error!(tenant = %id, %error, ?delay, "a tenant cannot be loaded, will try again");
        self.note_absence(id, Some(Absence::Failed(error.to_string())));
        delay
    }

    /// Changes whenever tenants come that had not been granted before.
    pub fn arrivals(&self) -> watch::Receiver<()> {
        self.arrivals.subscribe()
    }

    /// For objects that belong to no tenant, such as templates.
    pub fn remote(&self) -> &Arc<dyn RemoteStorage> {
        &self.environment.remote
    }

    pub fn list_tenants(&self) -> Vec<TenantId> {
        self.tenants.read().expect("no holder panics").keys().copied().collect()
    }

    /// Those that have been here for at least this long.
    pub fn tenants_served_for(&self, time: Duration) -> Vec<TenantId> {
        let tenants = self.tenants.read().expect("no holder panics");
        let served = tenants.iter().filter(|(_, tenant)| tenant.since.elapsed() >= time);
        served.map(|(id, _)| *id).collect()
    }

    fn tenant(&self, id: TenantId) -> Result<Arc<Tenant>, StorageError> {
        let tenants = self.tenants.read().expect("no holder panics");
        let tenant = tenants.get(&id).cloned().ok_or_else(|| {
            match self.absent.read().expect("no holder panics").get(&id) {
                None => StorageError::TenantNotFound(id),
                Some(Absence::NotGranted) => StorageError::NotGrantedYet(id),
                Some(Absence::Failed(reason)) => {
                    StorageError::NotLoaded { tenant: id, reason: reason.clone() }
                }
            }
        })?;
        tenant.ownership.check()?;
        Ok(tenant)
    }

    pub fn get_timeline(&self, id: TenantTimelineId) -> Result<Arc<Timeline>, StorageError> {
        self.tenant(id.tenant_id)?.timeline(id.timeline_id).ok_or(StorageError::TimelineNotFound(id))
    }

    pub fn list_timelines(&self, tenant: TenantId) -> Result<Vec<Arc<Timeline>>, StorageError> {
        Ok(self.tenant(tenant)?.timelines())
    }

    fn all_timelines(&self) -> Vec<Arc<Timeline>> {
        let tenants = self.tenants.read().expect("no holder panics");
        tenants.values().flat_map(|tenant| tenant.timelines()).collect()
    }

    /// Puts all that was ingested into remote storage and ends all background work. Tries every timeline; the first
    /// error is returned.
    pub async fn shutdown(&self) -> Result<(), StorageError> {
        self.closed.cancel();
        let mut outcome = Ok(());
        for timeline in self.all_timelines() {
            if let Err(error) = timeline.close().await {
                tracing::error!(timeline = %timeline.id(), %error, "not all is in remote storage");
                outcome = outcome.and(Err(error));
            }
        }
        outcome
    }

    /// Ends all background work as a crash would: what is only in memory is forgotten.
    pub async fn abandon(&self) {
        self.closed.cancel();
        for timeline in self.all_timelines() {
            timeline.stop().await;
        }
    }
}

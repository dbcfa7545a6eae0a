//! [`Manager`]: all timelines of this safekeeper.
//!
//! A timeline is *resident* when it has an owner, and *evicted* when it has only an entry here and its control file.
//! Evicted are those that nobody has used for a while; [`Manager::get`] makes them resident again.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use auth::Credentials;
use consensus::TimelineIdentity;
use consensus::offload::next_segment;
use durable_fs::{DurableFs, run_blocking};
use remote_storage::RemoteStorage;
use tokio::sync::{Semaphore, mpsc};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use types::{Lsn, NodeId, TenantId, TenantTimelineId, TimelineId, WalSegmentSize};

use crate::datadir;
use crate::metrics::Metrics;
use crate::timeline::changes::Changes;
use crate::timeline::control_file::{self, ControlFile};
use crate::timeline::core::FatalError;
use crate::timeline::create::{self, CreateError, TimelineSpec};
use crate::timeline::open::{self, OpenError};
use crate::timeline::owners::OwnersFile;
use crate::timeline::{Positions, Timeline, genesis, joining, owner};

/// What all timelines have in common.
#[derive(Clone)]
pub struct Settings {
    pub node_id: NodeId,
    pub datadir: PathBuf,
    pub credentials: Credentials,
    pub fs: DurableFs,
    /// Where WAL goes that is not needed here any more.
    pub remote: Option<Arc<dyn RemoteStorage>>,
    /// How long nobody must have used a timeline before it is evicted.
    pub evict_after: Duration,
    pub metrics: Arc<Metrics>,
    pub shutdown: CancellationToken,
}

/// A timeline cannot be used.
#[derive(Clone, Debug, thiserror::Error)]
pub enum LookupError {
    #[error("timeline {0} does not exist on this safekeeper")]
    NotFound(TenantTimelineId),
    #[error("timeline {ttid} could not be opened when this safekeeper started: {reason}")]
    Broken { ttid: TenantTimelineId, reason: Arc<str> },
    #[error("timeline {ttid} cannot be used just now: {reason}")]
    NotNow { ttid: TenantTimelineId, reason: Arc<str> },
}

/// Where a timeline is, evicted or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Summary {
    pub ttid: TenantTimelineId,
    pub start_lsn: Lsn,
    pub wal_seg_size: WalSegmentSize,
    pub positions: Positions,
    /// Whether the end of its WAL may be on this disk.
    pub has_wal: bool,
}

pub(super) enum Entry {
    Resident(Arc<Timeline>),
    /// Boxed, so that no entry is larger than need be.
    Evicted(Box<Summary>),
    Broken(Arc<str>),
}

impl Entry {
    fn summary(&self) -> Option<Summary> {
        match self {
            Entry::Resident(timeline) => Some(timeline.summary()),
            Entry::Evicted(summary) => Some(**summary),
            Entry::Broken(_) => None,
        }
    }
}

/// So many addresses of others are remembered. A timeline has nine members at most.
const MOST_ADDRESSES: usize = 1024;

/// Locks for making, waking and evicting timelines: two timelines seldom share one.
const LOCKS: usize = 64;

pub struct Manager {
    pub(super) settings: Settings,
    timelines: RwLock<BTreeMap<TenantTimelineId, Entry>>,
    /// Held while a timeline is made, woken or evicted, so that two of these never meet.
    locks: [tokio::sync::Mutex<()>; LOCKS],
    changes: Arc<Changes>,
    pub(super) owners_file: OwnersFile,
    /// Where other safekeepers have their HTTP APIs, as they told the broker.
    addresses: Mutex<BTreeMap<NodeId, String>>,
    owners: TaskTracker,
    /// Of owners that stay on a thread.
    staying: Arc<Semaphore>,
    fatal: mpsc::Sender<FatalError>,
}

impl Manager {
    pub fn node_id(&self) -> NodeId {
        self.settings.node_id
    }

    /// With which it comes to others.
    pub fn credentials(&self) -> &Credentials {
        &self.settings.credentials
    }

    /// Another safekeeper has told the broker where it is.
    pub fn note_address(&self, node: NodeId, http_connstr: &str) {
        let mut addresses = self.addresses.lock().unwrap_or_else(PoisonError::into_inner);
        let is_full = addresses.len() >= MOST_ADDRESSES;
        match addresses.get_mut(&node) {
            Some(known) if known == http_connstr => {}
            Some(known) => *known = http_connstr.to_owned(),
            None if is_full => {}
            None => drop(addresses.insert(node, http_connstr.to_owned())),
        }
    }

    pub fn addresses(&self) -> BTreeMap<NodeId, String> {
        self.addresses.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Opens all timelines in the data directory. What ends the process comes out of the receiver.
    pub async fn open(settings: Settings) -> anyhow::Result<(Arc<Self>, mpsc::Receiver<FatalError>)> {
        let (fatal, receiver) = mpsc::channel(1);
        let owners_file = OwnersFile::open(settings.fs.clone(), &settings.datadir)?;
        let manager = Arc::new(Self {
            settings,
            timelines: RwLock::default(),
            locks: std::array::from_fn(|_| tokio::sync::Mutex::default()),
            changes: Arc::default(),
            owners_file,
            addresses: Mutex::default(),
            owners: TaskTracker::new(),
            staying: Arc::new(Semaphore::new(owner::STAYING)),
            fatal,
        });
        let path = manager.settings.datadir.clone();
        let read = move || {
            datadir::remove_leftovers(&path)?;
            let directories = datadir::timeline_directories(&path)?.into_iter();
            let read = |ttid| (ttid, control_file::read_if_exists(&datadir::timeline_directory(&path, ttid)));
            std::io::Result::Ok(directories.map(read).collect::<Vec<_>>())
        };
        for (ttid, control) in run_blocking(read).await? {
            match control {
                Ok(None) => tracing::info!(timeline = %ttid, "never finished being created, and is ignored"),
                Ok(Some(control)) if control.at_rest.is_some() && control.acceptor.identity.ttid == ttid => {
                    let summary = Summary::at_rest(&control);
                    manager.insert(ttid, Entry::Evicted(Box::new(summary)));
                }
                Ok(Some(_)) | Err(_) => manager.load(ttid).await,
            }
        }
        Ok((manager, receiver))
    }

    /// One timeline that cannot be opened must not keep the others from being served.
    async fn load(&self, ttid: TenantTimelineId) {
        let entry = match self.start(ttid, Lsn::INVALID).await {
            Ok(timeline) => Entry::Resident(timeline),
            Err(error) => {
                tracing::error!(timeline = %ttid, %error, "timeline cannot be opened, so it takes no part in anything");
                self.settings.metrics.broken_timelines.inc();
                Entry::Broken(Arc::from(error.to_string()))
            }
        };
        self.insert(ttid, entry);
    }

    pub(super) fn insert(&self, ttid: TenantTimelineId, entry: Entry) {
        self.change(|timelines| {
            timelines.insert(ttid, entry);
        });
    }

    /// Changes entries, and counts them.
    pub(super) fn change<T>(&self, change: impl FnOnce(&mut BTreeMap<TenantTimelineId, Entry>) -> T) -> T {
        let mut timelines = self.timelines.write().unwrap_or_else(PoisonError::into_inner);
        let outcome = change(&mut timelines);
        self.settings.metrics.timelines.set(timelines.len() as i64);
        outcome
    }

    fn look<T>(&self, look: impl FnOnce(&BTreeMap<TenantTimelineId, Entry>) -> T) -> T {
        look(&self.timelines.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) async fn lock(&self, ttid: TenantTimelineId) -> tokio::sync::MutexGuard<'_, ()> {
        let sum = ttid.tenant_id.0.iter().chain(&ttid.timeline_id.0);
        let hash = sum.fold(0_usize, |hash, byte| hash.wrapping_mul(31).wrapping_add(usize::from(*byte)));
        self.locks[hash % LOCKS].lock().await
    }

    /// The timeline, for somebody who uses it: if it was evicted, it is made resident.
    pub async fn get(self: &Arc<Self>, ttid: TenantTimelineId) -> Result<Arc<Timeline>, LookupError> {
        if let Some(timeline) = self.resident(ttid)? {
            timeline.note_used();
            return Ok(timeline);
        }
        let manager = Arc::clone(self);
        to_its_end(async move {
            let _alone = manager.lock(ttid).await;
            manager.wake(ttid).await
        })
        .await
    }

    /// The timeline, if it is not evicted.
    pub fn resident(&self, ttid: TenantTimelineId) -> Result<Option<Arc<Timeline>>, LookupError> {
        self.look(|timelines| match timelines.get(&ttid) {
            None => Err(LookupError::NotFound(ttid)),
            Some(Entry::Broken(reason)) => Err(LookupError::Broken { ttid, reason: reason.clone() }),
            Some(Entry::Resident(timeline)) => Ok(Some(timeline.clone())),
            Some(Entry::Evicted(_)) => Ok(None),
        })
    }

    /// With the lock held.
    async fn wake(&self, ttid: TenantTimelineId) -> Result<Arc<Timeline>, LookupError> {
        // Somebody else may have been faster.
        if let Some(timeline) = self.resident(ttid)? {
            timeline.note_used();
            return Ok(timeline);
        }
        let woken = match open::wake(&self.settings, ttid).await {
            Ok(flush_lsn) => self.start(ttid, flush_lsn).await,
            Err(error) => Err(error),
        };
        match woken {
            Ok(timeline) => {
                self.settings.metrics.woken.inc();
                self.insert(ttid, Entry::Resident(timeline.clone()));
                Ok(timeline)
            }
            // It stays what it is: object storage may be away for a while, or the disk full.
            Err(error) => {
                self.stop_if_sync_failed(ttid, error.sync_failure());
                tracing::warn!(timeline = %ttid, %error, "cannot be used just now");
                Err(LookupError::NotNow { ttid, reason: Arc::from(error.to_string()) })
            }
        }
    }

    /// Where all are that could be opened.
    pub fn summaries(&self) -> Vec<Summary> {
        self.look(|timelines| timelines.values().filter_map(Entry::summary).collect())
    }

    pub(super) fn is_evicted(&self, ttid: TenantTimelineId, wanted: impl Fn(&Summary) -> bool) -> bool {
        self.look(
            |timelines| matches!(timelines.get(&ttid), Some(Entry::Evicted(summary)) if wanted(summary)),
        )
    }

    pub fn summary(&self, ttid: TenantTimelineId) -> Option<Summary> {
        self.look(|timelines| timelines.get(&ttid).and_then(Entry::summary))
    }

    /// All that have a directory here, those that could not be opened too.
    pub(super) fn timelines_of(&self, tenant: TenantId) -> Vec<TimelineId> {
        let first = TenantTimelineId::new(tenant, TimelineId([0; 16]));
        let last = TenantTimelineId::new(tenant, TimelineId([0xFF; 16]));
        self.look(|timelines| timelines.range(first..=last).map(|(ttid, _)| ttid.timeline_id).collect())
    }

    /// Those that are resident and of which `wanted` is true.
    pub fn residents(&self, mut wanted: impl FnMut(&Timeline) -> bool) -> Vec<Arc<Timeline>> {
        self.look(|timelines| {
            let resident = |entry: &Entry| match entry {
                Entry::Resident(timeline) if wanted(timeline) => Some(timeline.clone()),
                Entry::Resident(_) | Entry::Evicted(_) | Entry::Broken(_) => None,
            };
            timelines.values().filter_map(resident).collect()
        })
    }

    /// Those that came to rest with whole segments that are in no object storage. A process that stops leaves them behind.
    pub fn with_wal_to_offload(&self) -> Vec<TenantTimelineId> {
        self.evicted(|summary| summary.next_to_offload().is_some())
    }

    /// Those that came to rest and have left the end of their WAL here, in order: by a stop, or while object storage was away.
    pub(super) fn with_last_segment(&self) -> Vec<TenantTimelineId> {
        self.evicted(Summary::has_last_segment_alone)
    }

    /// Those that are evicted and of which `wanted` is true; none where there is no object storage.
    fn evicted(&self, wanted: impl Fn(&Summary) -> bool) -> Vec<TenantTimelineId> {
        if self.settings.remote.is_none() {
            return Vec::new();
        }
        self.look(|timelines| {
            let evicted = timelines.values().filter_map(|entry| match entry {
                Entry::Evicted(summary) if wanted(summary) => Some(summary.ttid),
                Entry::Evicted(_) | Entry::Resident(_) | Entry::Broken(_) => None,
            });
            evicted.collect()
        })
    }

    /// The control file as it is on disk, which is all that there is of an evicted timeline.
    pub async fn control_file(&self, ttid: TenantTimelineId) -> Result<ControlFile, LookupError> {
        let directory = datadir::timeline_directory(&self.settings.datadir, ttid);
        let control = run_blocking(move || control_file::read(&directory)).await;
        control.map_err(|error| LookupError::Broken { ttid, reason: Arc::from(error.to_string()) })
    }

    /// What moves.
    pub fn changes(&self) -> &Changes {
        &self.changes
    }

    /// Makes a timeline, or finds that it is there already. True if it was made now.
    pub async fn create(self: &Arc<Self>, spec: TimelineSpec) -> Result<(Arc<Timeline>, bool), CreateError> {
        let manager = Arc::clone(self);
        to_its_end(async move { manager.create_alone(spec).await }).await
    }

    async fn create_alone(
        self: &Arc<Self>,
        spec: TimelineSpec,
    ) -> Result<(Arc<Timeline>, bool), CreateError> {
        spec.check(self.settings.node_id)?;
        let ttid = spec.identity.ttid;
        if !spec.joins && matches!(self.resident(ttid), Err(LookupError::NotFound(_))) {
            genesis::check(&spec, self.settings.node_id, &self.settings.credentials).await?;
        }
        // Before the lock is taken: the ancestor's may be the same one.
        let ancestor = match spec.ancestor {
            Some(timeline_id) => self.get(TenantTimelineId { timeline_id, ..ttid }).await.ok(),
            None => None,
        };
        let _alone = self.lock(ttid).await;
        match self.resident(ttid) {
            Ok(_) => {
                spec.check_same(&self.control_file(ttid).await.map_err(conflict)?)?;
                return Ok((self.wake(ttid).await.map_err(conflict)?, false));
            }
            Err(LookupError::NotFound(_)) => {}
            Err(error @ (LookupError::Broken { .. } | LookupError::NotNow { .. })) => {
                return Err(conflict(error));
            }
        }
        let snapshot = match spec.joins && self.settings.remote.is_some() {
            true => joining::snapshot(&spec, &self.settings.credentials).await,
            false => None,
        };
        let (control, beginning) = match snapshot {
            Some(snapshot) => snapshot,
            None => {
                let (ancestor, credentials) = (ancestor.as_deref(), &self.settings.credentials);
                let bytes =
                    create::bytes_before_start(&spec, ancestor, self.settings.node_id, credentials).await?;
                (spec.control_file(), bytes)
            }
        };
        let (fs, directory) =
            (self.settings.fs.clone(), datadir::timeline_directory(&self.settings.datadir, ttid));
        let written =
            run_blocking(move || create::write_timeline(&fs, &directory, &control, &beginning)).await;
        if let Err(error) = written {
            self.stop_if_sync_failed(ttid, error.sync_failure());
            return Err(error);
        }
        let timeline =
            self.start(ttid, Lsn::INVALID).await.map_err(|error| CreateError::Conflict(error.to_string()))?;
        let flush_lsn = timeline.positions().flush_lsn;
        tracing::info!(timeline = %ttid, start_lsn = %timeline.start_lsn(), %flush_lsn, "timeline created");
        self.insert(ttid, Entry::Resident(timeline.clone()));
        self.changes.note(ttid);
        Ok((timeline, true))
    }

    /// The process must not go on when it is unknown what is on disk.
    pub(super) fn stop_if_sync_failed(&self, ttid: TenantTimelineId, failure: Option<String>) {
        if let Some(reason) = failure {
            self.stop(FatalError::Sync { ttid, reason });
        }
    }

    pub(super) fn stop(&self, error: FatalError) {
        // One is enough to end the process, so a full channel has said it already.
        drop(self.fatal.try_send(error));
    }

    /// Opens what is on disk, and starts the owner. WAL is known to be whole up to `known_good`, if not further.
    async fn start(&self, ttid: TenantTimelineId, known_good: Lsn) -> Result<Arc<Timeline>, OpenError> {
        let (settings, changes) = (self.settings.clone(), self.changes.clone());
        let (core, timeline, inputs) =
            run_blocking(move || open::open(&settings, ttid, known_good, changes)).await?;
        let (fatal, shutdown) = (self.fatal.clone(), self.settings.shutdown.clone());
        let staying = self.staying.clone();
        self.owners.spawn(async move {
            if let Err(error) = owner::run(core, inputs, staying, shutdown).await {
                drop(fatal.try_send(error));
            }
        });
        Ok(Arc::new(timeline))
    }

    /// Waits until all owners have ended; they do so at shutdown, with everything written down.
    pub async fn wait(&self) {
        self.owners.close();
        self.owners.wait().await;
    }
}

/// Does work on a timeline's files that goes on when the caller goes away: what is half done must not meet the next
/// attempt. Blocking work cannot be called off, so a lock that goes with the caller would not keep them apart.
pub(super) async fn to_its_end<T: Send + 'static>(work: impl Future<Output = T> + Send + 'static) -> T {
    match tokio::spawn(work).await {
        Ok(outcome) => outcome,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // The runtime is being dropped; so is this task.
            Err(_) => std::future::pending().await,
        },
    }
}

fn conflict(error: LookupError) -> CreateError {
    CreateError::Conflict(error.to_string())
}

impl Summary {
    /// Nothing has to be offloaded before it.
    pub(super) fn has_last_segment_alone(&self) -> bool {
        self.has_wal && self.next_to_offload().is_none()
    }

    /// The first segment that is whole, and not known to be in object storage.
    pub fn next_to_offload(&self) -> Option<u64> {
        let Positions { backup_lsn, commit_lsn, .. } = self.positions;
        next_segment(self.start_lsn, backup_lsn, commit_lsn, self.wal_seg_size.bytes())
    }

    /// Of a timeline that has just been brought to rest, or was found so.
    pub fn at_rest(control: &ControlFile) -> Self {
        let acceptor = &control.acceptor;
        let flush_lsn = control.at_rest.as_ref().map_or(acceptor.commit_lsn, |rest| rest.flush_lsn);
        let positions = Positions {
            generation: acceptor.configuration.generation,
            term: acceptor.term,
            elected_term: acceptor.history.last().term,
            last_log_term: acceptor.history.last_log_term(flush_lsn),
            flush_lsn,
            durable_lsn: flush_lsn,
            commit_lsn: acceptor.commit_lsn,
            remote_consistent_lsn: control.remote_consistent_lsn,
            backup_lsn: control.backup_lsn,
            local_start_lsn: control.local_start_lsn,
            leader: None,
        };
        let TimelineIdentity { ttid, wal_seg_size, .. } = acceptor.identity;
        let last = flush_lsn.segment_start(wal_seg_size.bytes());
        let partial = control.at_rest.as_ref().and_then(|rest| rest.partial.as_ref());
        let has_wal = control.local_start_lsn < last || (flush_lsn > last && partial.is_none());
        Self { ttid, start_lsn: acceptor.timeline_start_lsn, wal_seg_size, positions, has_wal }
    }
}

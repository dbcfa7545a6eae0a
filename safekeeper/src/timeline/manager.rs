//! [`Manager`]: all timelines of this safekeeper.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Instant;

use auth::ClusterToken;
use consensus::{Acceptor, MissingWal};
use durable_fs::{DurableFs, run_blocking};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use types::{NodeId, TenantTimelineId};

use crate::datadir;
use crate::metrics::Metrics;
use crate::timeline::control_file::{self, ControlFileError};
use crate::timeline::core::{Core, FatalError};
use crate::timeline::create::{self, CreateError, TimelineSpec};
use crate::timeline::registry::Registry;
use crate::timeline::{Positions, QUEUE, Timeline, owner};
use crate::wal_store::{Segments, WalStore, WalStoreError};
use safekeeper_api::replication::PageserverFeedback;

/// What all timelines have in common.
#[derive(Clone)]
pub struct Settings {
    pub node_id: NodeId,
    pub datadir: PathBuf,
    pub token: ClusterToken,
    pub fs: DurableFs,
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
}

#[derive(Debug, thiserror::Error)]
enum OpenError {
    #[error(transparent)]
    ControlFile(#[from] ControlFileError),
    #[error(transparent)]
    Wal(#[from] WalStoreError),
    #[error(transparent)]
    MissingWal(#[from] MissingWal),
    #[error("its control file is that of {0}")]
    OtherTimeline(TenantTimelineId),
}

type Entry = Result<Arc<Timeline>, Arc<str>>;

pub struct Manager {
    settings: Settings,
    timelines: RwLock<BTreeMap<TenantTimelineId, Entry>>,
    /// Held while a timeline is made, so that two requests for the same one do not meet.
    creating: tokio::sync::Mutex<()>,
    owners: TaskTracker,
    fatal: mpsc::Sender<FatalError>,
}

impl Manager {
    /// Opens all timelines in the data directory. What ends the process comes out of the receiver.
    pub async fn open(settings: Settings) -> std::io::Result<(Arc<Self>, mpsc::Receiver<FatalError>)> {
        let (fatal, receiver) = mpsc::channel(1);
        let manager = Arc::new(Self {
            settings,
            timelines: RwLock::default(),
            creating: tokio::sync::Mutex::default(),
            owners: TaskTracker::new(),
            fatal,
        });
        let path = manager.settings.datadir.clone();
        for ttid in run_blocking(move || datadir::timeline_directories(&path)).await? {
            let directory = datadir::timeline_directory(&manager.settings.datadir, ttid);
            if control_file::path_in(&directory).exists() {
                manager.load(ttid).await;
            } else {
                tracing::info!(timeline = %ttid, "never finished being created, and is ignored");
            }
        }
        Ok((manager, receiver))
    }

    /// One timeline that cannot be opened must not keep the others from being served.
    async fn load(&self, ttid: TenantTimelineId) {
        let entry = match self.start(ttid).await {
            Ok(timeline) => Ok(timeline),
            Err(error) => {
                tracing::error!(timeline = %ttid, %error, "timeline cannot be opened, so it takes no part in anything");
                self.settings.metrics.broken_timelines.inc();
                Err(Arc::from(error.to_string()))
            }
        };
        self.insert(ttid, entry);
    }

    fn insert(&self, ttid: TenantTimelineId, entry: Entry) {
        let mut timelines = self.timelines.write().unwrap_or_else(PoisonError::into_inner);
        timelines.insert(ttid, entry);
        self.settings.metrics.timelines.set(timelines.len() as i64);
    }

    pub fn get(&self, ttid: TenantTimelineId) -> Result<Arc<Timeline>, LookupError> {
        match self.timelines.read().unwrap_or_else(PoisonError::into_inner).get(&ttid) {
            None => Err(LookupError::NotFound(ttid)),
            Some(Err(reason)) => Err(LookupError::Broken { ttid, reason: reason.clone() }),
            Some(Ok(timeline)) => Ok(timeline.clone()),
        }
    }

    /// Those that could be opened.
    pub fn list(&self) -> Vec<Arc<Timeline>> {
        let timelines = self.timelines.read().unwrap_or_else(PoisonError::into_inner);
        timelines.values().flatten().cloned().collect()
    }

    /// Makes a timeline, or finds that it is there already. True if it was made now. Goes on when the caller goes
    /// away: files that are half made must not meet the next attempt.
    pub async fn create(self: &Arc<Self>, spec: TimelineSpec) -> Result<(Arc<Timeline>, bool), CreateError> {
        let manager = Arc::clone(self);
        match tokio::spawn(async move { manager.create_alone(spec).await }).await {
            Ok(outcome) => outcome,
            Err(error) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                // The runtime is being dropped; so is this task.
                Err(_) => std::future::pending().await,
            },
        }
    }

    async fn create_alone(&self, spec: TimelineSpec) -> Result<(Arc<Timeline>, bool), CreateError> {
        spec.check(self.settings.node_id)?;
        let _one_at_a_time = self.creating.lock().await;
        let ttid = spec.identity.ttid;
        match self.get(ttid) {
            Ok(timeline) => {
                let directory = datadir::timeline_directory(&self.settings.datadir, ttid);
                let existing = run_blocking(move || control_file::read(&directory)).await;
                spec.check_same(&existing.map_err(|error| CreateError::Conflict(error.to_string()))?)?;
                return Ok((timeline, false));
            }
            Err(LookupError::NotFound(_)) => {}
            Err(error @ LookupError::Broken { .. }) => return Err(CreateError::Conflict(error.to_string())),
        }
        let ancestor =
            spec.ancestor.and_then(|timeline_id| self.get(TenantTimelineId { timeline_id, ..ttid }).ok());
        let before_start = create::bytes_before_start(
            &spec,
            ancestor.as_deref(),
            self.settings.node_id,
            &self.settings.token,
        )
        .await?;
        let (fs, directory) =
            (self.settings.fs.clone(), datadir::timeline_directory(&self.settings.datadir, ttid));
        let written =
            run_blocking(move || create::write_timeline(&fs, &directory, &spec, before_start)).await;
        if let Err(error) = written {
            self.stop_if_sync_failed(ttid, &error);
            return Err(error);
        }
        let timeline = self.start(ttid).await.map_err(|error| CreateError::Conflict(error.to_string()))?;
        tracing::info!(timeline = %ttid, start_lsn = %timeline.start_lsn(), "timeline created");
        self.insert(ttid, Ok(timeline.clone()));
        Ok((timeline, true))
    }

    fn stop_if_sync_failed(&self, ttid: TenantTimelineId, error: &CreateError) {
        let text = match error {
            CreateError::Disk(error) if error.is_sync_failure() => error.to_string(),
            CreateError::Wal(error) if error.is_sync_failure() => error.to_string(),
            CreateError::Disk(_)
            | CreateError::Wal(_)
            | CreateError::Invalid(_)
            | CreateError::Conflict(_)
            | CreateError::AncestorUnavailable { .. } => return,
        };
        // One is enough to end the process, so a full channel has said it already.
        drop(self.fatal.try_send(FatalError::Creation { ttid, reason: text }));
    }

    /// Opens what is on disk, and starts the owner.
    async fn start(&self, ttid: TenantTimelineId) -> Result<Arc<Timeline>, OpenError> {
        let settings = self.settings.clone();
        let (core, timeline, inputs) = run_blocking(move || open(&settings, ttid)).await?;
        let (fatal, shutdown) = (self.fatal.clone(), self.settings.shutdown.clone());
        self.owners.spawn(async move {
            if let Err(error) = owner::run(core, inputs, shutdown).await {
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

fn open(
    settings: &Settings,
    ttid: TenantTimelineId,
) -> Result<(Core, Timeline, mpsc::Receiver<crate::timeline::core::Input>), OpenError> {
    let directory = datadir::timeline_directory(&settings.datadir, ttid);
    let control = control_file::read(&directory)?;
    let identity = control.acceptor.identity;
    if identity.ttid != ttid {
        return Err(OpenError::OtherTimeline(identity.ttid));
    }
    let segments = Segments::new(directory.clone(), control.tli, identity.wal_seg_size);
    let start_lsn = control.acceptor.timeline_start_lsn;
    let store = WalStore::open(
        settings.fs.clone(),
        segments.clone(),
        identity.pg_version,
        identity.wal_seg_size,
        start_lsn,
        control.acceptor.commit_lsn,
    )?;
    let acceptor = Acceptor::new(settings.node_id, control.acceptor.clone(), store.flush_lsn())?;
    tracing::info!(
        timeline = %ttid,
        flush_lsn = %acceptor.flush_lsn(),
        commit_lsn = %acceptor.commit_lsn(),
        term = %acceptor.term(),
        "timeline opened"
    );
    let (inputs, input_receiver) = mpsc::channel(QUEUE);
    let (positions, position_receiver) = watch::channel(Positions::default());
    let (state, state_receiver) = watch::channel(Arc::new(control.acceptor.clone()));
    let remote_consistent_lsn = control.remote_consistent_lsn;
    let core = Core {
        node_id: settings.node_id,
        fs: settings.fs.clone(),
        store,
        acceptor,
        pageserver: PageserverFeedback { remote_consistent_lsn, ..PageserverFeedback::default() },
        control,
        directory,
        requests: HashMap::new(),
        pull: None,
        numbers: 0,
        clients: HashMap::new(),
        positions,
        state,
        metrics: settings.metrics.clone(),
        gauges: settings.metrics.of_timeline(ttid),
        persisted_at: Instant::now(),
    };
    core.publish();
    let timeline = Timeline {
        identity,
        tli: core.control.tli,
        start_lsn,
        ancestor: core.control.ancestor,
        segments,
        inputs,
        positions: position_receiver,
        state: state_receiver,
        senders: Registry::default(),
        proposers: Registry::default(),
        metrics: settings.metrics.clone(),
    };
    Ok((core, timeline, input_receiver))
}

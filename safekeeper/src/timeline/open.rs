//! From what is on disk to a timeline that runs.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use consensus::rest::{self, Returning};
use consensus::{Acceptor, MissingWal};
use durable_fs::{DurableFsError, run_blocking};
use pg_format::wal::WalIdentity;
use safekeeper_api::control_file::PartialSegment;
use safekeeper_api::replication::PageserverFeedback;
use tokio::sync::{mpsc, watch};
use types::{Lsn, TenantTimelineId};

use crate::datadir;
use crate::timeline::changes::Changes;
use crate::timeline::control_file::{self, AtRest, ControlFile, ControlFileError};
use crate::timeline::core::{Core, Input};
use crate::timeline::manager::Settings;
use crate::timeline::registry::Registry;
use crate::timeline::standbys::Standbys;
use crate::timeline::{Positions, QUEUE, Timeline};
use crate::wal_store::{Begin, RemoteSegments, RemoteWalError, Segments, WalStore, WalStoreError};

#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error(transparent)]
    ControlFile(#[from] ControlFileError),
    #[error(transparent)]
    Disk(#[from] DurableFsError),
    #[error(transparent)]
    Wal(#[from] WalStoreError),
    #[error(transparent)]
    MissingWal(#[from] MissingWal),
    #[error("its last segment is in object storage, and cannot be had: {0}")]
    Remote(#[from] RemoteWalError),
    #[error("its last segment is the object {0}, but this safekeeper was started without --remote-storage")]
    NoRemote(String),
    #[error("its control file is that of {0}")]
    OtherTimeline(TenantTimelineId),
}

impl OpenError {
    /// Why the process must end, if it must.
    pub fn sync_failure(&self) -> Option<String> {
        let must_end = match self {
            OpenError::Disk(error) => error.is_sync_failure(),
            OpenError::Wal(error) => error.is_sync_failure(),
            OpenError::ControlFile(_)
            | OpenError::MissingWal(_)
            | OpenError::Remote(_)
            | OpenError::NoRemote(_)
            | OpenError::OtherTimeline(_) => false,
        };
        must_end.then(|| self.to_string())
    }
}

/// Makes a timeline that is at rest ready to be opened: brings its last segment back, and writes down that it is in use
/// from now on. Where its WAL ends, if it was at rest.
pub async fn wake(settings: &Settings, ttid: TenantTimelineId) -> Result<Lsn, OpenError> {
    let directory = datadir::timeline_directory(&settings.datadir, ttid);
    let place = directory.clone();
    let control = run_blocking(move || control_file::read(&place)).await?;
    let Some(AtRest { flush_lsn, partial }) = control.at_rest.clone() else {
        return Ok(Lsn::INVALID);
    };
    let segments = segments_of(&control, directory.clone());
    let remote = |partial: &PartialSegment| {
        let remote = remote_of(settings, &control, &segments);
        remote.ok_or_else(|| OpenError::NoRemote(partial.key.clone()))
    };
    for step in rest::come_back(partial) {
        let (fs, directory) = (settings.fs.clone(), directory.clone());
        match step {
            Returning::RestorePartial(partial) => {
                let wal = remote(&partial)?.get_partial(&partial, segments.offset(flush_lsn)).await?;
                let (segments, number) = (segments.clone(), segments.number(flush_lsn));
                run_blocking(move || segments.write_beginning(&fs, number, &wal)).await?;
            }
            Returning::WriteControlFile => {
                let control = ControlFile { at_rest: None, ..control.clone() };
                run_blocking(move || control_file::write(&control, &fs, &directory)).await?;
            }
            Returning::DeletePartial(partial) => {
                if let Err(error) = remote(&partial)?.delete_partial(&partial).await {
                    tracing::warn!(timeline = %ttid, %error, "an object that is not needed any more was not deleted");
                }
            }
        }
    }
    Ok(flush_lsn)
}

/// Opens what is on disk. WAL is known to be whole up to `known_good`, if not further.
pub fn open(
    settings: &Settings,
    ttid: TenantTimelineId,
    known_good: Lsn,
    changes: Arc<Changes>,
) -> Result<(Core, Timeline, mpsc::Receiver<Input>), OpenError> {
    let directory = datadir::timeline_directory(&settings.datadir, ttid);
    let control = control_file::read(&directory)?;
    let identity = control.acceptor.identity;
    if identity.ttid != ttid {
        return Err(OpenError::OtherTimeline(identity.ttid));
    }
    let start_lsn = control.acceptor.timeline_start_lsn;
    let segments = segments_of(&control, directory.clone());
    let store = WalStore::open(
        settings.fs.clone(),
        segments.clone(),
        identity.pg_version,
        identity.wal_seg_size,
        Begin { start_lsn, local_start_lsn: control.local_start_lsn },
        control.acceptor.commit_lsn.max(known_good),
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
    let remote = remote_of(settings, &control, &segments);
    let core = Core {
        node_id: settings.node_id,
        fs: settings.fs.clone(),
        store,
        acceptor,
        pageserver: PageserverFeedback { remote_consistent_lsn, ..PageserverFeedback::default() },
        backup_lsn: control.backup_lsn,
        control,
        directory,
        requests: HashMap::new(),
        pull: None,
        numbers: 0,
        clients: HashMap::new(),
        positions,
        state,
        metrics: settings.metrics.clone(),
        gauges: settings.metrics.of_timeline(ttid, remote.is_some()),
        changes,
        persisted_at: Instant::now(),
        lazily_not_before: None,
        ended: false,
    };
    core.publish();
    let timeline = Timeline {
        identity,
        tli: core.control.tli,
        start_lsn,
        ancestor: core.control.ancestor,
        segments,
        remote,
        inputs,
        positions: position_receiver,
        state: state_receiver,
        senders: Registry::default(),
        proposers: Registry::default(),
        standbys: Standbys::default(),
        used: std::sync::Mutex::new(Instant::now()),
        offloading: tokio::sync::Mutex::default(),
        evict_after: settings.evict_after,
        metrics: settings.metrics.clone(),
    };
    Ok((core, timeline, input_receiver))
}

pub fn segments_of(control: &ControlFile, directory: PathBuf) -> Segments {
    let identity = control.acceptor.identity;
    let segments = Segments::new(directory, control.tli, identity.wal_seg_size);
    if control.ancestor.is_some() {
        return segments;
    }
    let wal_identity = WalIdentity {
        version: identity.pg_version,
        system_identifier: identity.system_id,
        segment_size: identity.wal_seg_size,
        tli: control.tli,
    };
    segments.starting_at(wal_identity, control.acceptor.timeline_start_lsn)
}

pub fn remote_of(settings: &Settings, control: &ControlFile, segments: &Segments) -> Option<RemoteSegments> {
    let remote = settings.remote.clone()?;
    let ttid = control.acceptor.identity.ttid;
    Some(RemoteSegments::new(remote, settings.node_id, ttid, segments.clone()))
}

//! Making a timeline: its directory, the bytes before its start, its control file. The control file comes
//! last: a directory without one is what a crash left of an attempt, and the next attempt starts over.

use std::path::Path;
use std::time::Duration;

use auth::Credentials;
use consensus::{AcceptorState, Configuration, MembershipGeneration, TimelineIdentity};
use durable_fs::{DurableFs, DurableFsError};
use pg_format::wal::can_begin_record;
use pg_frontend::Address;
use safekeeper_api::framed::Framed;
use safekeeper_api::replication::{ReplicationError, Until, WalRange, connect_params};
use types::{Lsn, NodeId, TenantTimelineId, Term, TimelineId};

use crate::timeline::Timeline;
use crate::timeline::control_file::{self, ControlFile};
use crate::wal_store::{Segments, WalStoreError};

/// PostgreSQL's timeline number of every timeline here. Promotions are the compute's business and are
/// branches here, so it never changes.
pub const TLI: u32 = 1;

/// To get the ancestor's bytes from one peer.
const FETCH_TIMEOUT: Duration = Duration::from_secs(10);

/// What a timeline shall be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TimelineSpec {
    pub identity: TimelineIdentity,
    pub start_lsn: Lsn,
    pub configuration: Configuration,
    /// Others have the timeline, and this one is to come in.
    pub joins: bool,
    pub ancestor: Option<TimelineId>,
}

#[derive(Debug, thiserror::Error)]
pub enum CreateError {
    #[error("{0}")]
    Invalid(String),
    #[error("timeline exists already, and differs: {0}")]
    Conflict(String),
    #[error(
        "safekeeper {other} has it already, in term {term} and configuration {}: what safekeeper {node_id} had of it is \
         lost, and one that lost its data comes back under a new id", generation.0
    )]
    NotNew { other: NodeId, term: Term, generation: MembershipGeneration, node_id: NodeId },
    #[error("the bytes of ancestor {ancestor} before {start_lsn} cannot be had now: {reason}")]
    AncestorUnavailable { ancestor: TimelineId, start_lsn: Lsn, reason: String },
    #[error(transparent)]
    Disk(#[from] DurableFsError),
    #[error(transparent)]
    Wal(#[from] WalStoreError),
}

impl CreateError {
    /// Why the process must end, if it must.
    pub fn sync_failure(&self) -> Option<String> {
        let must_end = match self {
            CreateError::Disk(error) => error.is_sync_failure(),
            CreateError::Wal(error) => error.is_sync_failure(),
            CreateError::Invalid(_)
            | CreateError::Conflict(_)
            | CreateError::NotNew { .. }
            | CreateError::AncestorUnavailable { .. } => false,
        };
        must_end.then(|| self.to_string())
    }
}

impl TimelineSpec {
    pub fn control_file(&self) -> ControlFile {
        let acceptor = AcceptorState::genesis(self.identity, self.configuration.clone(), self.start_lsn);
        ControlFile::new(acceptor, TLI, self.ancestor)
    }

    /// Says what is wrong with it on this node, if anything.
    pub fn check(&self, node_id: NodeId) -> Result<(), CreateError> {
        let invalid = |reason: String| Err(CreateError::Invalid(reason));
        let start = self.start_lsn;
        let seg_size = self.identity.wal_seg_size;
        if start < Lsn(seg_size.bytes()) || !can_begin_record(start, seg_size) {
            return invalid(format!("no WAL record can begin at {start}"));
        }
        if let Err(error) = self.configuration.validate() {
            return invalid(error.to_string());
        }
        let is_member = self.configuration.contains(node_id);
        if !self.joins && !is_member {
            return invalid(format!("safekeeper {node_id} is not among the members"));
        }
        // It has promised what would not be here: WAL, and terms.
        if self.joins && is_member {
            let generation = self.configuration.generation.0;
            return invalid(format!(
                "safekeeper {node_id} is a member already (configuration {generation}): one that lost its data comes \
                 back under a new id"
            ));
        }
        if self.ancestor == Some(self.identity.ttid.timeline_id) {
            return invalid("a timeline cannot be its own ancestor".to_owned());
        }
        Ok(())
    }

    /// Whether an existing timeline is the one that is asked for.
    pub fn check_same(&self, existing: &ControlFile) -> Result<(), CreateError> {
        let differs = |what: &str, here: &dyn std::fmt::Debug, asked: &dyn std::fmt::Debug| {
            Err(CreateError::Conflict(format!("{what} is {here:?}, asked for was {asked:?}")))
        };
        let acceptor = &existing.acceptor;
        if acceptor.identity != self.identity {
            return differs("its identity", &acceptor.identity, &self.identity);
        }
        if acceptor.timeline_start_lsn != self.start_lsn {
            return differs("its start", &acceptor.timeline_start_lsn, &self.start_lsn);
        }
        if existing.ancestor != self.ancestor {
            return differs("its ancestor", &existing.ancestor, &self.ancestor);
        }
        Ok(())
    }
}

/// Writes everything, the control file last. `beginning`: the bytes of the first segment here before the commit LSN, where
/// WAL goes on.
pub fn write_timeline(
    fs: &DurableFs,
    directory: &Path,
    control: &ControlFile,
    beginning: &[u8],
) -> Result<(), CreateError> {
    fs.create_dir_durably(directory)?;
    let wal_seg_size = control.acceptor.identity.wal_seg_size;
    let segments = Segments::new(directory.to_owned(), TLI, wal_seg_size);
    let leftovers =
        segments.existing().map_err(|source| WalStoreError::Read { path: directory.to_owned(), source })?;
    for number in leftovers {
        fs.remove_file_durably(&segments.path(number))?;
    }
    if !beginning.is_empty() {
        segments.write_beginning(fs, segments.number(control.acceptor.commit_lsn), beginning)?;
    }
    fs.write_atomically(&control_file::path_in(directory), &control.encode())?;
    Ok(())
}

/// The bytes of the first segment before the start, by the rule in wal_store/prehistory.rs; none where they follow from
/// the start itself.
pub async fn bytes_before_start(
    spec: &TimelineSpec,
    ancestor: Option<&Timeline>,
    node_id: NodeId,
    credentials: &Credentials,
) -> Result<Vec<u8>, CreateError> {
    let from = spec.start_lsn.segment_start(spec.identity.wal_seg_size.bytes());
    if from == spec.start_lsn {
        return Ok(Vec::new());
    }
    let Some(ancestor_id) = spec.ancestor else { return Ok(Vec::new()) };
    let mut reasons = Vec::new();
    match ancestor {
        Some(ancestor) => match copy_from(ancestor, spec, from).await? {
            Ok(bytes) => return Ok(bytes),
            Err(reason) => reasons.push(format!("here {reason}")),
        },
        None => reasons.push("it is not here".to_owned()),
    }
    // Members that have the timeline have these bytes with it, and the ancestor may be deleted by now.
    let own = spec.joins.then_some(spec.identity.ttid);
    let ancestors = TenantTimelineId { timeline_id: ancestor_id, ..spec.identity.ttid };
    for ttid in own.into_iter().chain([ancestors]) {
        for peer in spec.configuration.all_members().into_iter().filter(|member| member.id != node_id) {
            let fetched = tokio::time::timeout(
                FETCH_TIMEOUT,
                fetch(&peer.pg_connstr, ttid, from, spec.start_lsn, credentials),
            );
            match fetched.await {
                Ok(Ok(bytes)) => return Ok(bytes),
                Ok(Err(error)) => reasons.push(format!("safekeeper {}: {error}", peer.id)),
                Err(_) => reasons.push(format!("safekeeper {} does not have them yet", peer.id)),
            }
        }
    }
    let (ancestor, start_lsn, reason) = (ancestor_id, spec.start_lsn, reasons.join("; "));
    Err(CreateError::AncestorUnavailable { ancestor, start_lsn, reason })
}

/// From the ancestor on this node, if the bytes are committed there. The inner error is no reason to give up.
async fn copy_from(
    ancestor: &Timeline,
    spec: &TimelineSpec,
    from: Lsn,
) -> Result<Result<Vec<u8>, String>, CreateError> {
    let theirs = ancestor.identity();
    let same = TimelineIdentity { ttid: theirs.ttid, ..spec.identity } == *theirs;
    if !same {
        return Err(CreateError::Invalid(format!("its ancestor is of another kind: {theirs:?}")));
    }
    if spec.start_lsn < ancestor.start_lsn() {
        return Err(CreateError::Invalid(format!(
            "it would begin at {}, before its ancestor, which begins at {}",
            spec.start_lsn,
            ancestor.start_lsn()
        )));
    }
    let commit_lsn = ancestor.positions().commit_lsn;
    if commit_lsn < spec.start_lsn {
        return Ok(Err(format!("it is committed up to {commit_lsn} only")));
    }
    let length = (spec.start_lsn - from) as usize;
    let mut reader = ancestor.reader(from);
    let mut bytes = Vec::with_capacity(length);
    while reader.position() < spec.start_lsn {
        bytes.extend_from_slice(&reader.read(spec.start_lsn, length).await?);
    }
    Ok(Ok(bytes))
}

/// What is committed of a timeline, from a peer, as any reader of WAL would.
pub async fn fetch(
    pg_connstr: &str,
    ttid: TenantTimelineId,
    from: Lsn,
    to: Lsn,
    credentials: &Credentials,
) -> Result<Vec<u8>, ReplicationError> {
    let params = connect_params(Address::parse(pg_connstr)?, ttid, credentials, "safekeeper");
    let mut range = WalRange::open(&params, from, to, Until::Committed).await?;
    let mut bytes = Vec::with_capacity((to - from) as usize);
    while let Some((_, wal)) = range.next().await? {
        bytes.extend_from_slice(&wal);
    }
    Ok(bytes)
}

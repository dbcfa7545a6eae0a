//! [`ComputeStatus`]: the answer of `GET /v1/status`.

use serde::{Deserialize, Serialize};
use types::{Lsn, NodeId, TenantId, Term, TimelineId};
use utoipa::ToSchema;

pub const STATUS_FORMAT_VERSION: u32 = 1;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ComputeStatus {
    pub format_version: u32,
    pub tenant_id: TenantId,
    pub timeline_id: TimelineId,
    pub endpoint_id: String,
    pub state: ComputeState,
    /// What it is waiting for, or why it failed.
    pub message: Option<String>,
    pub pg_listen_addr: String,
    pub pg_port: u16,
    pub postgres_pid: Option<u32>,
    /// How often PostgreSQL has been started by this process: after each time that it crashed or was suspended.
    pub starts: u32,
    /// Steps of the present start that are done, in order.
    pub start_steps: Vec<StepTime>,
    pub elected: Option<ElectedStatus>,
    pub walproposer: Option<WalproposerStatus>,
    /// Of a replica, instead of the two before.
    #[serde(default)]
    pub replica: Option<ReplicaStatus>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ComputeState {
    /// On the way to the first connection; `start_steps` says how far.
    Starting,
    Running,
    Stopping,
    /// PostgreSQL is stopped since nobody used it. The next client has it started, and waits for that.
    Suspended,
    /// PostgreSQL ended without being asked to; a new start follows.
    Crashed,
    /// A newer compute has taken the timeline over.
    Fenced,
    Stopped,
    Failed,
}

/// What a start consists of, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum StartStep {
    /// Whatever an earlier compute_ctl left running in this data directory is ended.
    EndPredecessor,
    /// A quorum of safekeepers has voted and holds everything up to the start LSN.
    Election,
    /// From asking for the base backup to its first byte: the pageserver catches up meanwhile.
    BasebackupWait,
    /// Receiving and unpacking the base backup.
    BasebackupUnpack,
    /// Sparse relation files, unlogged relations, tablespaces, configuration files.
    PrepareDataDirectory,
    /// From the start of the process to the first accepted connection.
    StartPostgres,
    /// Until a replica has replayed what was committed when it was started.
    CatchUp,
    /// Until the walproposer streams.
    StartWalproposer,
    /// Roles and databases.
    ApplySpec,
}

impl ComputeState {
    /// Whether a client who connects now gets a session, be it after a moment.
    pub const fn takes_clients(self) -> bool {
        matches!(self, ComputeState::Running | ComputeState::Suspended)
    }
}

impl StartStep {
    pub const fn name(self) -> &'static str {
        match self {
            StartStep::EndPredecessor => "end_predecessor",
            StartStep::Election => "election",
            StartStep::BasebackupWait => "basebackup_wait",
            StartStep::BasebackupUnpack => "basebackup_unpack",
            StartStep::PrepareDataDirectory => "prepare_data_directory",
            StartStep::StartPostgres => "start_postgres",
            StartStep::CatchUp => "catch_up",
            StartStep::StartWalproposer => "start_walproposer",
            StartStep::ApplySpec => "apply_spec",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct StepTime {
    pub step: StartStep,
    pub ms: f64,
}

/// The reign that this compute won.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ElectedStatus {
    pub term: Term,
    /// X: where PostgreSQL was started and its new WAL begins.
    pub start_lsn: Lsn,
}

/// The WAL path as the walproposer sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct WalproposerStatus {
    /// Up to here PostgreSQL has handed WAL over.
    pub received_lsn: Lsn,
    /// Up to here a quorum has it on disk.
    pub commit_lsn: Lsn,
    /// Up to here the pageserver has ingested it.
    pub pageserver_lsn: Lsn,
    pub safekeepers: Vec<SafekeeperPeerStatus>,
}

/// How far a replica is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ReplicaStatus {
    /// Its queries see what was committed up to here.
    pub replayed_lsn: Lsn,
    /// Up to here it has WAL; of a static replica the same.
    pub received_lsn: Lsn,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SafekeeperPeerStatus {
    pub id: NodeId,
    pub pg_connstr: String,
    /// In words: connecting, voting, recovering, streaming, …
    pub state: String,
    pub flush_lsn: Lsn,
}

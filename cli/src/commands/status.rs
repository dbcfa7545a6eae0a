//! `status`: all processes, how far each is, how far behind, and what to do about what is down.

mod draw;
mod troubles;

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::Duration;

use compute_api::{ComputeClient, ComputeMode, ComputeState, ComputeStatus};
use pageserver_api::models::{TimelineInfo, TimelineState};
use safekeeper_api::http::TimelineListEntry;
use serde::{Serialize, Serializer};
use types::{Lsn, NodeId, TenantTimelineId};

use crate::endpoints::{Endpoint, Endpoints, Unreadable, process};
use crate::local_env::{Branches, LocalEnv};
use crate::output::Output;
use crate::storage::{Daemon, pageserver_client, safekeeper_client};

/// A part that is alive answers within milliseconds; nobody waits long to read that one does not.
const PATIENCE: Duration = Duration::from_secs(3);

/// One process.
#[derive(Serialize)]
pub struct Row {
    pub name: String,
    pub state: State,
    pub pid: Option<i32>,
    pub ports: Vec<u16>,
    /// What a compute says it is waiting for, or why it failed; why nothing is known of an endpoint.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// How far it is on each timeline that it holds.
    pub positions: Vec<Position>,
    #[serde(skip)]
    pub part: Part,
}

#[derive(Clone, Debug)]
pub enum Part {
    Daemon(Daemon),
    Endpoint { name: String, branch: String, follows: bool },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    Up,
    /// An endpoint that somebody stopped, or has not started yet.
    Stopped,
    /// It should run.
    Down,
    /// It runs, and says nothing.
    NoAnswer,
    /// An endpoint whose file is not understood, whether it runs or not.
    Unreadable,
    Compute(ComputeState),
}

#[derive(Serialize)]
pub struct Position {
    pub timeline: TenantTimelineId,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub branch: Option<String>,
    pub lsn: Lsn,
    /// Bytes of WAL behind the highest position of the timeline that anybody has.
    pub lag: u64,
    /// What the part knows to be on a quorum.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub commit_lsn: Option<Lsn>,
    /// What a pageserver would still have after a crash.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disk_consistent_lsn: Option<Lsn>,
    /// Whether a pageserver met WAL that it cannot pass.
    #[serde(skip_serializing_if = "is_false")]
    pub broken: bool,
}

impl Position {
    fn new(timeline: TenantTimelineId, branches: &Branches, lsn: Lsn) -> Position {
        let branch = branches.name_of(timeline.tenant_id, timeline.timeline_id).map(str::to_owned);
        Position { timeline, branch, lsn, lag: 0, commit_lsn: None, disk_consistent_lsn: None, broken: false }
    }
}

impl State {
    pub fn name(self) -> String {
        match self {
            State::Up => "up".to_owned(),
            State::Stopped => "stopped".to_owned(),
            State::Down => "down".to_owned(),
            State::NoAnswer => "no answer".to_owned(),
            State::Unreadable => "unreadable".to_owned(),
            State::Compute(state) => format!("{state:?}").to_lowercase(),
        }
    }
}

impl Serialize for State {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.name())
    }
}

pub async fn status(env: &LocalEnv, output: Output) -> anyhow::Result<ExitCode> {
    let rows = rows(env).await?;
    output.result(&rows.rows, || rows.draw(env, None))?;
    Ok(if rows.troubles.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Bytes of WAL a second of each timeline.
pub type Rates = BTreeMap<TenantTimelineId, u64>;

/// How all parts are, and what the branches are called.
pub struct Rows {
    pub rows: Vec<Row>,
    branches: Branches,
    /// What is wrong, a sentence or two for each.
    pub troubles: Vec<String>,
}

impl Rows {
    /// For people. With rates, they stand beside the heads of branches.
    pub fn draw(&self, env: &LocalEnv, rates: Option<&Rates>) -> String {
        draw::draw(&self.rows, &self.troubles, env, &self.branches, rates)
    }

    /// The highest position of each timeline that anybody has.
    pub fn heads(&self) -> BTreeMap<TenantTimelineId, Lsn> {
        heads(&self.rows)
    }

    pub fn len(&self) -> usize {
        self.rows.len()
    }
}

/// Asks all parts.
pub async fn rows(env: &LocalEnv) -> anyhow::Result<Rows> {
    let branches = env.branches()?;
    let mut rows = Vec::new();
    for daemon in Daemon::all(env) {
        rows.push(daemon_row(env, &branches, daemon).await);
    }
    let endpoints = Endpoints::load(env)?;
    for endpoint in &endpoints.readable {
        rows.push(endpoint_row(env, &branches, endpoint).await);
    }
    rows.extend(endpoints.unreadable.iter().map(|unreadable| unreadable_row(env, unreadable)));
    fill_lag(&mut rows);
    let troubles = troubles::find(&rows, env);
    Ok(Rows { rows, branches, troubles })
}

async fn daemon_row(env: &LocalEnv, branches: &Branches, daemon: Daemon) -> Row {
    let pid = daemon.process(env).pid();
    // Where the parts have hosts of their own, no pid file says that one is down.
    let may_run = pid.is_some() || env.config.hosts.is_some();
    let answer = async {
        match daemon {
            Daemon::Broker => daemon.is_ready(env).await.then(Vec::new),
            Daemon::Safekeeper(id) => safekeeper_positions(env, branches, id).await,
            Daemon::Pageserver => pageserver_positions(env, branches).await,
        }
    };
    let positions = if may_run { tokio::time::timeout(PATIENCE, answer).await.ok().flatten() } else { None };
    let state = match (&positions, pid) {
        (Some(_), _) => State::Up,
        (None, Some(_)) => State::NoAnswer,
        (None, None) => State::Down,
    };
    Row {
        name: daemon.name(),
        state,
        pid,
        ports: daemon.ports(env).into_iter().map(|(_, port)| port).collect(),
        message: None,
        positions: positions.unwrap_or_default(),
        part: Part::Daemon(daemon),
    }
}

async fn safekeeper_positions(env: &LocalEnv, branches: &Branches, id: NodeId) -> Option<Vec<Position>> {
    let position = |status: TimelineListEntry| {
        let ttid = TenantTimelineId::new(status.tenant_id, status.timeline_id);
        let position = Position::new(ttid, branches, status.flush_lsn);
        Position { commit_lsn: Some(status.commit_lsn), ..position }
    };
    let timelines = safekeeper_client(env, id).timelines().await.ok()?;
    Some(timelines.into_iter().map(position).collect())
}

async fn pageserver_positions(env: &LocalEnv, branches: &Branches) -> Option<Vec<Position>> {
    let position = |info: TimelineInfo| Position {
        disk_consistent_lsn: Some(info.disk_consistent_lsn),
        broken: info.state == TimelineState::Broken,
        ..Position::new(
            TenantTimelineId::new(info.tenant_id, info.timeline_id),
            branches,
            info.last_record_lsn,
        )
    };
    let client = pageserver_client(env);
    let mut positions = Vec::new();
    for tenant in client.tenants().await.ok()? {
        positions.extend(client.timelines(tenant.id).await.ok()?.into_iter().map(position));
    }
    Some(positions)
}

/// In a word.
pub async fn endpoint_state(env: &LocalEnv, endpoint: &Endpoint) -> String {
    let (pid, status) = compute_status(env, endpoint).await;
    compute_state(pid, endpoint.wanted, status.as_ref()).name()
}

async fn compute_status(env: &LocalEnv, endpoint: &Endpoint) -> (Option<i32>, Option<ComputeStatus>) {
    let pid = endpoint.process(env).pid();
    if pid.is_none() {
        return (None, None);
    }
    let client = ComputeClient::new(&endpoint.http_address(), env.credentials.clone());
    (pid, tokio::time::timeout(PATIENCE, client.status()).await.ok().and_then(Result::ok))
}

async fn endpoint_row(env: &LocalEnv, branches: &Branches, endpoint: &Endpoint) -> Row {
    let (pid, status) = compute_status(env, endpoint).await;
    let ttid = endpoint.ttid();
    let walproposer = status.as_ref().and_then(|status| status.walproposer.as_ref());
    // In the first moment after a start the walproposer has nothing to say yet.
    let committed = walproposer.map(|proposer| proposer.commit_lsn).filter(|lsn| lsn.is_valid());
    let committed =
        committed.map(|lsn| Position { commit_lsn: Some(lsn), ..Position::new(ttid, branches, lsn) });
    // One that stands still in the past is not late.
    let follows = endpoint.mode == ComputeMode::Replica;
    let replayed = status.as_ref().and_then(|status| status.replica).filter(|_| follows);
    let replayed = replayed.map(|replica| Position::new(ttid, branches, replica.replayed_lsn));
    let branch = branches.name_of(endpoint.tenant_id, endpoint.timeline_id).unwrap_or("(no name)").to_owned();
    Row {
        name: format!("endpoint {}", endpoint.name),
        state: compute_state(pid, endpoint.wanted, status.as_ref()),
        pid,
        ports: vec![endpoint.pg_port, endpoint.http_port],
        message: status.as_ref().and_then(|status| status.message.clone()),
        positions: committed.or(replayed).into_iter().collect(),
        part: Part::Endpoint { name: endpoint.name.clone(), branch, follows },
    }
}

/// That it runs is all that can be told of it.
fn unreadable_row(env: &LocalEnv, Unreadable { name, why }: &Unreadable) -> Row {
    Row {
        name: format!("endpoint {name}"),
        state: State::Unreadable,
        pid: process(env, name).pid(),
        ports: Vec::new(),
        message: Some(format!("{why:#}")),
        positions: Vec::new(),
        part: Part::Endpoint { name: name.clone(), branch: "?".to_owned(), follows: false },
    }
}

const fn compute_state(pid: Option<i32>, wanted: bool, status: Option<&ComputeStatus>) -> State {
    match (pid, status) {
        (None, _) if wanted => State::Down,
        (None, _) => State::Stopped,
        (Some(_), None) => State::NoAnswer,
        (Some(_), Some(status)) => State::Compute(status.state),
    }
}

/// The highest position of each timeline that anybody has.
fn heads(rows: &[Row]) -> BTreeMap<TenantTimelineId, Lsn> {
    let mut heads = BTreeMap::new();
    for position in rows.iter().flat_map(|row| &row.positions) {
        let head = heads.entry(position.timeline).or_insert(position.lsn);
        *head = (*head).max(position.lsn);
    }
    heads
}

/// How far each position is behind the furthest one of its timeline.
fn fill_lag(rows: &mut [Row]) {
    let heads = heads(rows);
    for position in rows.iter_mut().flat_map(|row| &mut row.positions) {
        position.lag = heads[&position.timeline].saturating_distance(position.lsn);
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference")]
const fn is_false(truth: &bool) -> bool {
    !*truth
}

#[cfg(test)]
mod samples {
    //! Clusters for the tests of drawing and of troubles.

    use types::{TenantId, TimelineId};

    use super::*;

    pub const TTID: TenantTimelineId = TenantTimelineId::new(TenantId([1; 16]), TimelineId([2; 16]));

    fn row(name: &str, part: Part, ports: [u16; 2], positions: Vec<Position>) -> Row {
        Row {
            name: name.to_owned(),
            state: State::Up,
            pid: Some(12_345),
            ports: ports.to_vec(),
            message: None,
            positions,
            part,
        }
    }

    /// Three safekeepers at 0/2000000, the third of them behind, a pageserver behind, and an endpoint.
    pub fn cluster(branches: &Branches) -> Vec<Row> {
        let at = |lsn| vec![Position::new(TTID, branches, Lsn(lsn))];
        let daemon = |daemon: Daemon, positions| {
            row(&daemon.name(), Part::Daemon(daemon), [28_011, 28_031], positions)
        };
        let part = Part::Endpoint { name: "main".into(), branch: "main".into(), follows: false };
        let mut rows = vec![
            daemon(Daemon::Broker, Vec::new()),
            daemon(Daemon::Safekeeper(NodeId(1)), at(0x200_0000)),
            daemon(Daemon::Safekeeper(NodeId(2)), at(0x200_0000)),
            daemon(Daemon::Safekeeper(NodeId(3)), at(0x1FF_FF00)),
            daemon(Daemon::Pageserver, at(0x100_0000)),
            row("endpoint main", part, [28_100, 28_150], at(0x200_0000)),
        ];
        rows[5].state = State::Compute(ComputeState::Running);
        fill_lag(&mut rows);
        rows
    }

    /// A read replica of the branch.
    pub fn replica(lsn: Lsn) -> Row {
        let position = Position {
            timeline: TTID,
            branch: Some("main".into()),
            lsn,
            lag: 0,
            commit_lsn: None,
            disk_consistent_lsn: None,
            broken: false,
        };
        let part = Part::Endpoint { name: "ro".into(), branch: "main".into(), follows: true };
        let replica = row("endpoint ro", part, [28_101, 28_151], vec![position]);
        Row { state: State::Compute(ComputeState::Running), ..replica }
    }

    pub fn down(row: &mut Row) {
        row.state = State::Down;
        row.pid = None;
        row.positions.clear();
    }
}

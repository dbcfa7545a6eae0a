//! `status`: one table of all processes, how far each is, and how far behind.

use compute_api::{ComputeClient, ComputeStatus};
use pageserver_api::models::TimelineInfo;
use serde::Serialize;
use types::{Lsn, NodeId, TenantTimelineId};

use crate::endpoints::Endpoint;
use crate::local_env::LocalEnv;
use crate::output::{Output, bytes, table};
use crate::storage::{Daemon, pageserver_client, safekeeper_client};

#[derive(Serialize)]
struct Row {
    name: String,
    state: String,
    pid: Option<i32>,
    ports: Vec<u16>,
    /// What the part says of each timeline it holds, or of itself.
    positions: Vec<Position>,
}

#[derive(Serialize)]
struct Position {
    #[serde(skip_serializing_if = "Option::is_none")]
    timeline: Option<TenantTimelineId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    branch: Option<String>,
    lsn: Lsn,
    /// Bytes of WAL behind the highest commit LSN of the timeline.
    lag: u64,
    note: String,
}

pub async fn status(env: &LocalEnv, output: Output) -> anyhow::Result<()> {
    let branches = env.branches()?;
    let branch_of =
        |ttid: TenantTimelineId| branches.name_of(ttid.tenant_id, ttid.timeline_id).map(str::to_owned);
    let position =
        |ttid, lsn, note| Position { timeline: Some(ttid), branch: branch_of(ttid), lsn, lag: 0, note };
    let mut rows = Vec::new();
    for daemon in Daemon::all(env) {
        let positions = match daemon {
            Daemon::Broker => Vec::new(),
            Daemon::Safekeeper(id) => safekeeper_positions(env, id)
                .await
                .into_iter()
                .map(|(ttid, lsn, note)| position(ttid, lsn, note))
                .collect(),
            Daemon::Pageserver => pageserver_positions(env)
                .await
                .into_iter()
                .map(|info| {
                    let ttid = TenantTimelineId::new(info.tenant_id, info.timeline_id);
                    position(ttid, info.last_record_lsn, pageserver_note(&info))
                })
                .collect(),
        };
        let pid = daemon.process(env).pid();
        let is_up = pid.is_some() || (env.config.hosts.is_some() && daemon.is_ready(env).await);
        rows.push(Row {
            name: daemon.name(),
            state: if is_up { "up" } else { "down" }.to_owned(),
            pid,
            ports: daemon.ports(env).into_iter().map(|(_, port)| port).collect(),
            positions,
        });
    }
    for endpoint in Endpoint::all(env)? {
        let pid = endpoint.process(env).pid();
        let status = match pid {
            Some(_) => ComputeClient::new(&endpoint.http_address(), env.token.clone()).status().await.ok(),
            None => None,
        };
        let ttid = TenantTimelineId::new(endpoint.tenant_id, endpoint.timeline_id);
        let walproposer = status.as_ref().and_then(|status| status.walproposer.as_ref());
        // In the first moment after a start the walproposer has nothing to say yet.
        let committed = walproposer.map(|w| w.commit_lsn).filter(|lsn| lsn.is_valid());
        let positions = committed.map(|lsn| position(ttid, lsn, "committed".to_owned()));
        rows.push(Row {
            name: format!("endpoint {}", endpoint.name),
            state: compute_state(pid, status.as_ref()),
            pid,
            ports: vec![endpoint.pg_port, endpoint.http_port],
            positions: positions.into_iter().collect(),
        });
    }
    fill_lag(&mut rows);
    output.result(&rows, || draw(&rows))
}

fn compute_state(pid: Option<i32>, status: Option<&ComputeStatus>) -> String {
    match (pid, status) {
        (None, _) => "down".to_owned(),
        (Some(_), None) => "up, no answer".to_owned(),
        (Some(_), Some(status)) => serde_json::to_value(status.state)
            .ok()
            .and_then(|value| value.as_str().map(str::to_owned))
            .unwrap_or_default(),
    }
}

async fn safekeeper_positions(env: &LocalEnv, id: NodeId) -> Vec<(TenantTimelineId, Lsn, String)> {
    let timelines = safekeeper_client(env, id).timelines().await.unwrap_or_default();
    timelines
        .into_iter()
        .map(|status| {
            let ttid = TenantTimelineId::new(status.tenant_id, status.timeline_id);
            (ttid, status.flush_lsn, format!("flushed; committed {}", status.commit_lsn))
        })
        .collect()
}

async fn pageserver_positions(env: &LocalEnv) -> Vec<TimelineInfo> {
    let client = pageserver_client(env);
    let mut infos = Vec::new();
    for tenant in client.tenants().await.unwrap_or_default() {
        infos.extend(client.timelines(tenant.id).await.unwrap_or_default());
    }
    infos
}

fn pageserver_note(info: &TimelineInfo) -> String {
    let mut note = format!("ingested; on disk {}", info.disk_consistent_lsn);
    if info.inapplicable_records > 0 {
        note.push_str(&format!("; {} records cannot be applied yet", info.inapplicable_records));
    }
    note
}

/// How far each position is behind the furthest one of its timeline.
fn fill_lag(rows: &mut [Row]) {
    let mut heads = std::collections::HashMap::new();
    for position in rows.iter().flat_map(|row| &row.positions) {
        let head = heads.entry(position.timeline).or_insert(position.lsn);
        *head = (*head).max(position.lsn);
    }
    for position in rows.iter_mut().flat_map(|row| &mut row.positions) {
        position.lag = heads[&position.timeline].saturating_distance(position.lsn);
    }
}

fn draw(rows: &[Row]) -> String {
    let mut lines = Vec::new();
    for row in rows {
        let ports = row.ports.iter().map(u16::to_string).collect::<Vec<_>>().join(" ");
        let pid = row.pid.map_or("-".to_owned(), |pid| pid.to_string());
        let mut first = vec![row.name.clone(), row.state.clone(), pid, ports];
        if row.positions.is_empty() {
            first.extend([String::new(), String::new(), String::new()]);
            lines.push(first);
            continue;
        }
        for position in &row.positions {
            let branch = position.branch.clone().unwrap_or_else(|| "(no name)".to_owned());
            let lag = if position.lag == 0 { "-".to_owned() } else { bytes(position.lag) };
            let mut line = std::mem::replace(&mut first, vec![String::new(); 4]);
            line.extend([branch, format!("{} {}", position.lsn, position.note), lag]);
            lines.push(line);
        }
    }
    table(&["NAME", "STATE", "PID", "PORTS", "BRANCH", "POSITION", "LAG"], lines)
}

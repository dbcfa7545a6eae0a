//! `timeline`: branches. A timeline is made on the pageserver first, which says where its WAL begins, and
//! then on every safekeeper.

mod tree;

use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use consensus::Member;
use futures_util::future::try_join_all;
use pageserver_api::models::{TimelineCreateRequest, TimelineInfo};
use safekeeper_api::http as safekeeper;
use serde_json::json;
use types::{Lsn, NodeId, PgVersion, TenantId, TenantTimelineId, TimelineId};

use super::export;
use crate::arguments::TimelineCommand;
use crate::local_env::{Branches, LocalEnv};
use crate::output::Output;
use crate::storage::{pageserver_client, safekeeper_client};
use tree::draw_tree;

/// How long the pageserver may take to catch up before a branch or an export at the head is given up.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);

pub const fn only_reads(command: &TimelineCommand) -> bool {
    matches!(command, TimelineCommand::List { .. } | TimelineCommand::Export { .. })
}

pub async fn run(env: &LocalEnv, command: TimelineCommand, output: Output) -> anyhow::Result<()> {
    let mut branches = env.branches()?;
    match command {
        TimelineCommand::Create { branch_name, tenant_id, timeline_id, pg_version } => {
            let tenant = branches.tenant(tenant_id)?;
            branches.check_new_name(tenant, &branch_name)?;
            let timeline = timeline_id.unwrap_or_else(TimelineId::generate);
            let info = create_root(env, tenant, timeline, pg_version).await?;
            branches.add_branch(tenant, &branch_name, timeline)?;
            announce(&branch_name, &info, output)
        }
        TimelineCommand::Branch {
            branch_name,
            ancestor_branch_name,
            ancestor_start_lsn,
            tenant_id,
            timeline_id,
        } => {
            let tenant = branches.tenant(tenant_id)?;
            branches.check_new_name(tenant, &branch_name)?;
            let timeline = timeline_id.unwrap_or_else(TimelineId::generate);
            let ancestor = branches.timeline(tenant, &ancestor_branch_name)?;
            wait_for_pageserver(env, TenantTimelineId::new(tenant, ancestor), ancestor_start_lsn).await?;
            let request = TimelineCreateRequest::branch(timeline, ancestor, ancestor_start_lsn);
            let info = create(env, tenant, request).await?;
            branches.add_branch(tenant, &branch_name, timeline)?;
            announce(&branch_name, &info, output)
        }
        TimelineCommand::List { tenant_id, all } => {
            let tenants = match all {
                true => branches.tenants().map(|(tenant, _)| tenant).collect(),
                false => vec![branches.tenant(tenant_id)?],
            };
            list(env, &branches, &tenants, output).await
        }
        TimelineCommand::Export { branch_name, at_lsn, output: directory, tenant_id } => {
            let tenant = branches.tenant(tenant_id)?;
            let timeline = branches.timeline(tenant, &branch_name)?;
            if at_lsn.is_none() {
                wait_for_pageserver(env, TenantTimelineId::new(tenant, timeline), None).await?;
            }
            export::export(env, tenant, timeline, at_lsn, &directory, output).await
        }
    }
}

fn announce(branch: &str, info: &TimelineInfo, output: Output) -> anyhow::Result<()> {
    let value = json!({
        "branch_name": branch,
        "timeline_id": info.timeline_id,
        "ancestor_timeline_id": info.ancestor_timeline_id,
        "ancestor_lsn": info.ancestor_lsn,
        "start_lsn": info.initdb_lsn,
    });
    output
        .result(&value, || format!("branch {branch:?}: timeline {} at {}", info.timeline_id, info.initdb_lsn))
}

pub async fn create_root(
    env: &LocalEnv,
    tenant: TenantId,
    timeline: TimelineId,
    pg_version: PgVersion,
) -> anyhow::Result<TimelineInfo> {
    create(env, tenant, TimelineCreateRequest::root(timeline, pg_version)).await
}

/// The head of a branch is what was committed when the command came: the pageserver, which is asked for
/// it, may be a few milliseconds behind. No branch that begins at an LSN needs it to be further than there.
async fn wait_for_pageserver(
    env: &LocalEnv,
    ttid: TenantTimelineId,
    start_lsn: Option<Lsn>,
) -> anyhow::Result<()> {
    let mut statuses = Vec::new();
    for id in 1..=env.config.num_safekeepers {
        if let Ok(status) = safekeeper_client(env, NodeId(id)).timeline(ttid).await {
            statuses.push(status);
        }
    }
    let head = committed_lsn(&statuses, env.config.num_safekeepers as usize);
    let committed = start_lsn.map_or(head, |start| start.min(head));
    let pageserver = pageserver_client(env);
    let started = Instant::now();
    loop {
        let ingested = pageserver.timeline(ttid.tenant_id, ttid.timeline_id).await?.last_record_lsn;
        if ingested >= committed {
            return Ok(());
        }
        if started.elapsed() > HEAD_TIMEOUT {
            bail!(
                "the pageserver has the branch up to {ingested}, safekeepers up to {committed}: try again later"
            );
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// What one of them knows to be committed, or what a majority has from one term's compute: they will find out.
fn committed_lsn(statuses: &[safekeeper::TimelineStatus], safekeepers: usize) -> Lsn {
    let known = statuses.iter().map(|status| status.commit_lsn).max().unwrap_or(Lsn::INVALID);
    let term = statuses.iter().map(|status| status.term).max().unwrap_or_default();
    let mut held: Vec<Lsn> = statuses
        .iter()
        .filter(|status| status.term == term && status.term_history.last_log_term(status.flush_lsn) == term)
        .map(|status| status.flush_lsn)
        .collect();
    held.sort_unstable_by(|one, other| other.cmp(one));
    held.get(safekeepers / 2).map_or(known, |majority| known.max(*majority))
}

/// On the pageserver, then on all safekeepers. Every step may be repeated, so after a failure the same
/// command with the same ids goes on where it ended.
async fn create(
    env: &LocalEnv,
    tenant: TenantId,
    request: TimelineCreateRequest,
) -> anyhow::Result<TimelineInfo> {
    let ancestor = request.ancestor_timeline_id;
    let info = pageserver_client(env).create_timeline(tenant, &request).await?;
    let request = safekeeper::TimelineCreateRequest {
        tenant_id: tenant,
        timeline_id: info.timeline_id,
        pg_version: info.pg_version,
        system_id: info
            .system_identifier
            .parse()
            .context("the pageserver's system identifier is no number")?,
        wal_seg_size: info.wal_seg_size,
        start_lsn: info.initdb_lsn,
        members: members(env),
        ancestor: ancestor.map(|timeline_id| safekeeper::Ancestor { timeline_id }),
    };
    // Each of them makes a segment of WAL durable, which takes its time.
    try_join_all((1..=env.config.num_safekeepers).map(async |id| {
        safekeeper_client(env, NodeId(id)).create_timeline(&request).await.with_context(|| {
            format!(
                "safekeeper {id} did not make timeline {} (all of them must run for that); `varve start` starts them, and \
                 the same command with --timeline-id {} goes on",
                info.timeline_id, info.timeline_id
            )
        })
    }))
    .await?;
    Ok(info)
}

fn members(env: &LocalEnv) -> Vec<Member> {
    let member = |id| Member {
        id,
        pg_connstr: env.config.safekeeper_pg_address(id),
        http_connstr: env.config.safekeeper_http_address(id),
    };
    (1..=env.config.num_safekeepers).map(NodeId).map(member).collect()
}

/// A tree for each of the tenants.
async fn list(
    env: &LocalEnv,
    branches: &Branches,
    tenants: &[TenantId],
    output: Output,
) -> anyhow::Result<()> {
    let several = branches.tenants().count() > 1;
    let (mut values, mut trees) = (Vec::new(), Vec::new());
    for tenant in tenants {
        let infos = pageserver_client(env).timelines(*tenant).await?;
        for info in &infos {
            let mut value = serde_json::to_value(info)?;
            value["branch_name"] = json!(branches.name_of(*tenant, info.timeline_id));
            values.push(value);
        }
        let is_default = branches.default_tenant() == Some(*tenant);
        let heading = format!("Tenant {tenant}{}\n", if is_default { ", the default" } else { "" });
        let tree = draw_tree(&infos, &branches.names(*tenant));
        trees.push(if several { heading + &tree } else { tree });
    }
    if several && tenants.len() == 1 {
        trees.push("There are other tenants: --all shows theirs too.".to_owned());
    }
    output.result(&values, || trees.join("\n\n"))
}

//! `recover`: branches whose WAL no safekeeper has go on from what is in object storage, and branches whose names were lost get
//! new ones. For when all disks are gone, or some.
//!
//! ```text
//! main ────────────┤ what is in object storage: the pageserver's layers, then whole segments of WAL
//!                  └──▶ main, from here on: a new timeline, which safekeepers have from its beginning
//! ```
//! A new timeline, because the end of the old one's WAL is lost, and the part of it that is in object storage goes on with
//! what was lost: what is written now must not be taken for it, should one of the lost disks come back. Its id is the lost
//! one's plus one, so that the command can be repeated after a failure: see [`standing`].

mod standing;

use anyhow::{Context, bail};
use pageserver_api::models::{TimelineCreateRequest, TimelineInfo};
use serde::Serialize;
use types::{Lsn, TenantId, TenantTimelineId, TimelineId};

use self::standing::{Timelines, next_id};
use super::tenant::MAIN_BRANCH;
use super::timeline::{FINDS_RESTORED, create_on_safekeepers, endpoints_at_rest, put_in_place};
use crate::endpoints::Endpoint;
use crate::local_env::{Branches, LocalEnv};
use crate::output::Output;
use crate::output::table::{Cell, table};
use crate::storage::pageserver_client;

/// What became of one.
#[derive(Debug, Serialize)]
struct Recovered {
    tenant_id: TenantId,
    branch_name: String,
    timeline_id: TimelineId,
    /// Where it goes on.
    start_lsn: Lsn,
    /// The latest commit that it has, if it has one.
    last_commit: Option<String>,
    /// Why that is not known, if it is not.
    #[serde(skip_serializing_if = "Option::is_none")]
    last_commit_unknown: Option<String>,
    lost_timeline_id: TimelineId,
    kept_as: String,
    /// Endpoints of `kept_as`, since they stand at an LSN that is lost.
    endpoints_kept: Vec<String>,
}

/// A branch that is well, but had no name here.
#[derive(Debug, Serialize)]
struct Named {
    tenant_id: TenantId,
    branch_name: String,
    timeline_id: TimelineId,
}

#[derive(Debug, Default, Serialize)]
struct Report {
    recovered: Vec<Recovered>,
    named: Vec<Named>,
    /// Lost, archived, and left so.
    archived: usize,
    failed: Vec<Failed>,
}

/// A branch that did not come back, or all of a tenant; it is not in the way of the others.
#[derive(Debug, Serialize)]
struct Failed {
    tenant_id: TenantId,
    timeline_id: Option<TimelineId>,
    reason: String,
}

impl Report {
    fn fail(&mut self, tenant_id: TenantId, timeline_id: Option<TimelineId>, error: &anyhow::Error) {
        self.failed.push(Failed { tenant_id, timeline_id, reason: format!("{error:#}") });
    }
}

pub async fn recover(env: &LocalEnv, output: Output) -> anyhow::Result<()> {
    let mut branches = env.branches()?;
    let mut report = Report::default();
    for tenant in pageserver_client(env).tenants().await? {
        if let Err(error) = recover_tenant(env, &mut branches, tenant.id, &mut report, output).await {
            report.fail(tenant.id, None, &error);
        }
    }
    output.result(&report, || in_words(&report))?;
    match report.failed.len() {
        0 => Ok(()),
        failed => bail!("{failed} did not come back; when the reason is gone, the same command goes on"),
    }
}

/// An error is of the tenant as a whole.
async fn recover_tenant(
    env: &LocalEnv,
    branches: &mut Branches,
    tenant: TenantId,
    report: &mut Report,
    output: Output,
) -> anyhow::Result<()> {
    if branches.tenants().all(|(known, _)| known != tenant) {
        branches.add_tenant(tenant, false)?;
    }
    let timelines = Timelines::of(env, branches, tenant).await?;
    report.archived += timelines.archived;
    for info in &timelines.lost {
        output.progress(format!("branch {} goes on", branches.quoted(tenant, info.timeline_id)));
        match go_on(env, branches, info, &timelines).await {
            Ok(recovered) => report.recovered.push(recovered),
            Err(error) => report.fail(tenant, Some(info.timeline_id), &error),
        }
    }
    for info in &timelines.alive {
        if branches.name_of(tenant, info.timeline_id).is_some() {
            continue;
        }
        if let Err(error) = find_name(env, branches, info, &timelines, report).await {
            report.fail(tenant, Some(info.timeline_id), &error);
        }
    }
    Ok(())
}

/// Of a timeline that is well.
async fn find_name(
    env: &LocalEnv,
    branches: &mut Branches,
    info: &TimelineInfo,
    among: &Timelines,
    report: &mut Report,
) -> anyhow::Result<()> {
    let tenant = info.tenant_id;
    let lost = among.left_behind_by(info);
    let name = lost.and_then(|lost| Some((lost, branches.name_of(tenant, lost)?.to_owned())));
    match name {
        // It was made, and then something came between: a crash, or an old list of names.
        Some((lost, name)) => {
            let endpoints =
                endpoints_at_rest(env, TenantTimelineId::new(tenant, lost), &name, FINDS_RESTORED).await?;
            report.recovered.push(take_over(env, branches, &name, endpoints, lost, info).await?);
        }
        None => {
            let branch_name = name_it(branches, info, among)?;
            report.named.push(Named { tenant_id: tenant, branch_name, timeline_id: info.timeline_id });
        }
    }
    Ok(())
}

/// Everything that is done may be done once more after a failure.
async fn go_on(
    env: &LocalEnv,
    branches: &mut Branches,
    lost: &TimelineInfo,
    among: &Timelines,
) -> anyhow::Result<Recovered> {
    let tenant = lost.tenant_id;
    let name = match branches.name_of(tenant, lost.timeline_id) {
        Some(name) => name.to_owned(),
        None => name_it(branches, lost, among)?,
    };
    // Refused before anything is done.
    let endpoints =
        endpoints_at_rest(env, TenantTimelineId::new(tenant, lost.timeline_id), &name, FINDS_RESTORED)
            .await?;
    let pageserver = pageserver_client(env);
    // What safekeepers had put into object storage, and the pageserver had not.
    let at = pageserver.replay_offloaded_wal(tenant, lost.timeline_id).await?.last_record_lsn;
    let request = TimelineCreateRequest::branch(next_id(lost.timeline_id), lost.timeline_id, Some(at));
    let info = pageserver.create_timeline(tenant, &request).await?;
    // As a root: there is no WAL of what it left.
    create_on_safekeepers(env, tenant, &info, None).await?;
    take_over(env, branches, &name, endpoints, lost.timeline_id, &info).await
}

/// The name and its endpoints go to what goes on from the lost timeline.
async fn take_over(
    env: &LocalEnv,
    branches: &mut Branches,
    name: &str,
    endpoints: Vec<Endpoint>,
    lost: TimelineId,
    info: &TimelineInfo,
) -> anyhow::Result<Recovered> {
    let tenant = info.tenant_id;
    let kept = branches.free_name(tenant, name);
    let endpoints_kept = put_in_place(env, branches, endpoints, name, info, &kept)?;
    let start_lsn = info.initdb_lsn;
    // It has been moved, whether or not this can be said of it.
    let last_commit = pageserver_client(env).timestamp_of_lsn(tenant, info.timeline_id, start_lsn).await;
    let (last_commit, last_commit_unknown) = match last_commit {
        Ok(last_commit) => (last_commit, None),
        Err(error) => (None, Some(error.to_string())),
    };
    Ok(Recovered {
        tenant_id: tenant,
        branch_name: name.to_owned(),
        timeline_id: info.timeline_id,
        start_lsn,
        last_commit,
        last_commit_unknown,
        lost_timeline_id: lost,
        kept_as: kept,
        endpoints_kept,
    })
}

/// Names are this machine's, and lost with it. The first root is `main`, as `varve up` has it.
fn name_it(branches: &mut Branches, info: &TimelineInfo, among: &Timelines) -> anyhow::Result<String> {
    let names = branches.names(info.tenant_id);
    let name = match among.roots.contains(&info.timeline_id) && !names.contains_key(MAIN_BRANCH) {
        true => MAIN_BRANCH.to_owned(),
        false => {
            let mut candidates = (1..=names.len() + 1).map(|number| format!("recovered-{number}"));
            candidates.find(|name| !names.contains_key(name)).context("no name is free")?
        }
    };
    branches.add_branch(info.tenant_id, &name, info.timeline_id, info.pg_version)?;
    Ok(name)
}

fn in_words(report: &Report) -> String {
    let mut parts = Vec::new();
    if report.recovered.is_empty() && report.failed.is_empty() {
        parts.push("no branch is lost: safekeepers have the WAL of all".to_owned());
    } else if !report.recovered.is_empty() {
        let rows = report.recovered.iter().map(|branch| -> Vec<Cell> {
            let last_commit = match (&branch.last_commit, &branch.last_commit_unknown) {
                (Some(time), _) => time.clone(),
                (None, None) => "none".to_owned(),
                (None, Some(_)) => "unknown".to_owned(),
            };
            vec![
                branch.branch_name.clone().into(),
                branch.start_lsn.to_string().into(),
                last_commit.into(),
                branch.kept_as.clone().into(),
            ]
        });
        let table = table(&["BRANCH", "GOES ON AT", "LAST COMMIT", "WHAT IT WAS"], rows);
        parts.push(format!("{table}\nWhat was committed later was in no object storage, and is lost."));
    }
    for Recovered { branch_name, last_commit_unknown, kept_as, endpoints_kept, .. } in &report.recovered {
        if let Some(reason) = last_commit_unknown {
            parts.push(format!("the last commit of branch {branch_name:?} is not known: {reason}"));
        }
        for endpoint in endpoints_kept {
            parts.push(format!(
                "endpoint {endpoint:?} stands at an LSN that is lost, and so it is on branch {kept_as:?} now"
            ));
        }
    }
    for Named { branch_name, timeline_id, .. } in &report.named {
        parts.push(format!("timeline {timeline_id} had no name here, and is branch {branch_name:?} now"));
    }
    for Failed { tenant_id, timeline_id, reason } in &report.failed {
        let what = match timeline_id {
            Some(timeline) => format!("timeline {timeline}"),
            None => format!("tenant {tenant_id}"),
        };
        parts.push(format!("{what} did not come back: {reason}"));
    }
    if report.archived > 0 {
        let archived = report.archived;
        parts.push(format!(
            "{archived} archived are lost as well; `varve timeline unarchive`, then `varve recover` once more"
        ));
    }
    parts.join("\n")
}

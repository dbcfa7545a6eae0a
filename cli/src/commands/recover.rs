//! `recover`: branches whose WAL no safekeeper has go on from what is in object storage, and branches whose names were lost get
//! new ones. For when all disks are gone, or some.
//!
//! ```text
//! main ────────────┤ what is in object storage: the pageserver's layers, then whole segments of WAL
//!                  └──▶ main, from here on: a new timeline, which safekeepers have from its beginning
//! ```
//! A new timeline, because the end of the old one's WAL is lost, and the part of it that is in object storage goes on with
//! what was lost: what is written now must not be taken for it, should one of the lost disks come back. Its id is the lost
//! one's plus one, so that the command can be repeated after a failure.

use std::collections::BTreeSet;

use anyhow::Context;
use http_client::absent_is_none;
use pageserver_api::models::{TimelineCreateRequest, TimelineInfo};
use serde::Serialize;
use types::{Lsn, TenantId, TenantTimelineId, TimelineId};

use super::tenant::MAIN_BRANCH;
use super::timeline::{create_on_safekeepers, endpoints_at_rest, put_in_place};
use crate::local_env::{Branches, LocalEnv};
use crate::output::Output;
use crate::output::table::{Cell, table};
use crate::storage::{on_all_safekeepers, pageserver_client};

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
    lost_timeline_id: TimelineId,
    kept_as: String,
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
}

pub async fn recover(env: &LocalEnv, output: Output) -> anyhow::Result<()> {
    let mut branches = env.branches()?;
    let mut report = Report::default();
    for tenant in pageserver_client(env).tenants().await? {
        if branches.tenants().all(|(known, _)| known != tenant.id) {
            branches.add_tenant(tenant.id, false)?;
        }
        let timelines = Timelines::of(env, tenant.id).await?;
        report.archived += timelines.archived;
        for info in &timelines.lost {
            output.progress(format!("branch {} goes on", branches.quoted(tenant.id, info.timeline_id)));
            report.recovered.push(go_on(env, &mut branches, info).await?);
        }
        for info in &timelines.alive {
            if branches.name_of(tenant.id, info.timeline_id).is_none() {
                let branch_name = name_it(&mut branches, info)?;
                report.named.push(Named { tenant_id: tenant.id, branch_name, timeline_id: info.timeline_id });
            }
        }
    }
    output.result(&report, || in_words(&report))
}

/// Those of a tenant, each kind with roots first.
struct Timelines {
    /// No safekeeper has them, and nothing goes on from them yet.
    lost: Vec<TimelineInfo>,
    alive: Vec<TimelineInfo>,
    /// Those that are archived stay so, and are lost still.
    archived: usize,
}

impl Timelines {
    /// One that some safekeeper has is not lost, and one that does not answer may have it: then nothing is done.
    async fn of(env: &LocalEnv, tenant: TenantId) -> anyhow::Result<Timelines> {
        let mut timelines = pageserver_client(env).timelines(tenant).await?;
        timelines.sort_by_key(|info| (!begins_a_tree(info), info.initdb_lsn, info.timeline_id));
        let mut ids = BTreeSet::new();
        for info in &timelines {
            let ttid = TenantTimelineId::new(tenant, info.timeline_id);
            let answers =
                on_all_safekeepers(env, async |safekeeper| absent_is_none(safekeeper.timeline(ttid).await));
            let answers =
                answers.await.context("whether a branch is lost is known when all safekeepers answer")?;
            if answers.iter().any(Option::is_some) {
                ids.insert(info.timeline_id);
            }
        }
        let (alive, others): (Vec<_>, Vec<_>) =
            timelines.into_iter().partition(|info| ids.contains(&info.timeline_id));
        let lost = others.into_iter().filter(|info| !ids.contains(&next_id(info.timeline_id)));
        let (archived, lost): (Vec<_>, Vec<_>) = lost.partition(|info| info.is_archived);
        Ok(Timelines { lost, alive, archived: archived.len() })
    }
}

/// Everything that is done may be done once more after a failure.
async fn go_on(env: &LocalEnv, branches: &mut Branches, lost: &TimelineInfo) -> anyhow::Result<Recovered> {
    let tenant = lost.tenant_id;
    let ttid = TenantTimelineId::new(tenant, lost.timeline_id);
    let name = match branches.name_of(tenant, lost.timeline_id) {
        Some(name) => name.to_owned(),
        None => name_it(branches, lost)?,
    };
    let endpoints = endpoints_at_rest(env, ttid, &name)?;
    let pageserver = pageserver_client(env);
    // What safekeepers had put into object storage, and the pageserver had not.
    let at = pageserver.replay_offloaded_wal(tenant, lost.timeline_id).await?.last_record_lsn;
    let request = TimelineCreateRequest::branch(next_id(lost.timeline_id), lost.timeline_id, Some(at));
    let info = pageserver.create_timeline(tenant, &request).await?;
    // As a root: there is no WAL of what it left.
    create_on_safekeepers(env, tenant, &info, None).await?;
    let kept = branches.free_name(tenant, &name);
    put_in_place(env, branches, endpoints, &name, &info, &kept)?;
    Ok(Recovered {
        tenant_id: tenant,
        branch_name: name,
        timeline_id: info.timeline_id,
        start_lsn: at,
        last_commit: pageserver.timestamp_of_lsn(tenant, info.timeline_id, at).await?,
        lost_timeline_id: lost.timeline_id,
        kept_as: kept,
    })
}

/// Names are this machine's, and lost with it. The first root is `main`, as `varve up` has it.
fn name_it(branches: &mut Branches, info: &TimelineInfo) -> anyhow::Result<String> {
    let names = branches.names(info.tenant_id);
    let name = match begins_a_tree(info) && !names.contains_key(MAIN_BRANCH) {
        true => MAIN_BRANCH.to_owned(),
        false => {
            let mut candidates = (1..=names.len() + 1).map(|number| format!("recovered-{number}"));
            candidates.find(|name| !names.contains_key(name)).context("no name is free")?
        }
    };
    branches.add_branch(info.tenant_id, &name, info.timeline_id, info.pg_version)?;
    Ok(name)
}

/// A root, or what goes on from a root that was lost.
fn begins_a_tree(info: &TimelineInfo) -> bool {
    info.ancestor_timeline_id.is_none_or(|ancestor| next_id(ancestor) == info.timeline_id)
}

/// Of what goes on from it.
fn next_id(lost: TimelineId) -> TimelineId {
    TimelineId(u128::from_be_bytes(lost.0).wrapping_add(1).to_be_bytes())
}

fn in_words(report: &Report) -> String {
    let mut parts = Vec::new();
    if report.recovered.is_empty() {
        parts.push("no branch is lost: safekeepers have the WAL of all".to_owned());
    } else {
        let rows = report.recovered.iter().map(|branch| -> Vec<Cell> {
            let last_commit = branch.last_commit.clone().unwrap_or_else(|| "none".to_owned());
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
    for Named { branch_name, timeline_id, .. } in &report.named {
        parts.push(format!("timeline {timeline_id} had no name here, and is branch {branch_name:?} now"));
    }
    if report.archived > 0 {
        let archived = report.archived;
        parts.push(format!(
            "{archived} archived are lost as well; `varve timeline unarchive`, then `varve recover` once more"
        ));
    }
    parts.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_on_is_found_again_by_its_id() {
        let id: TimelineId = "000000000000000000000000000000ff".parse().unwrap();
        assert_eq!(next_id(id).to_string(), "00000000000000000000000000000100");
        assert_eq!(next_id(TimelineId([0xff; 16])), TimelineId([0; 16]));
    }
}

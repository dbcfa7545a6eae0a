//! `timeline restore`: a branch as it was, under its own name; what it was until now keeps its data under another.

use anyhow::bail;
use pageserver_api::models::{TimelineCreateRequest, TimelineInfo};
use serde::Serialize;
use types::{Lsn, TenantId, TenantTimelineId, TimelineId};

use super::{create, start_of_branch, storage_is_ready};
use crate::arguments::Moment;
use crate::endpoints::Endpoint;
use crate::local_env::{Branches, LocalEnv};
use crate::output::Output;

pub struct Restore {
    pub tenant: TenantId,
    pub branch: String,
    pub to_time: Option<Moment>,
    pub to_lsn: Option<Lsn>,
    pub keep_as: Option<String>,
}

/// What was done.
#[derive(Serialize)]
pub struct Restored {
    #[serde(rename = "branch_name")]
    pub branch: String,
    pub timeline_id: TimelineId,
    pub start_lsn: Lsn,
    pub kept_as: String,
    pub kept_timeline_id: TimelineId,
}

impl Restored {
    pub fn announce(&self, output: Output) -> anyhow::Result<()> {
        output.result(self, || self.in_words())
    }

    pub fn in_words(&self) -> String {
        format!(
            "branch {:?} is as it was at {}; what it was until now is branch {:?}",
            self.branch, self.start_lsn, self.kept_as
        )
    }
}

/// The caller holds the cluster's lock.
pub async fn restore(env: &LocalEnv, branches: &mut Branches, restore: Restore) -> anyhow::Result<Restored> {
    let Restore { tenant, branch, to_time, to_lsn, keep_as } = restore;
    let before = branches.timeline(tenant, &branch)?;
    let kept = keep_as.unwrap_or_else(|| branches.free_name(tenant, &branch));
    branches.check_new_name(tenant, &kept)?;
    let ttid = TenantTimelineId::new(tenant, before);
    let endpoints = endpoints_at_rest(env, ttid, &branch)?;
    let timeline = TimelineId::generate();
    storage_is_ready(env, TenantTimelineId::new(tenant, timeline)).await?;
    let start = start_of_branch(env, ttid, to_lsn, to_time).await?;
    let request = TimelineCreateRequest::branch(timeline, before, start);
    let info = create(env, tenant, request).await?;
    put_in_place(env, branches, endpoints, &branch, &info, &kept)?;
    Ok(Restored {
        branch,
        timeline_id: info.timeline_id,
        start_lsn: info.initdb_lsn,
        kept_as: kept,
        kept_timeline_id: before,
    })
}

/// The endpoints of a branch that another timeline is to take the place of. None of them may run.
pub fn endpoints_at_rest(
    env: &LocalEnv,
    ttid: TenantTimelineId,
    branch: &str,
) -> anyhow::Result<Vec<Endpoint>> {
    let endpoints = Endpoint::all_of(env, ttid)?;
    if let Some(running) = endpoints.iter().find(|endpoint| endpoint.is_in_use(env)) {
        bail!(
            "endpoint {:?} runs on branch {branch:?}: `varve endpoint stop {}` first, it finds the restored branch \
             when it starts again",
            running.name,
            running.name
        );
    }
    Ok(endpoints)
}

/// Has the branch's name and endpoints mean the new timeline; what it was until now is called `kept`.
pub fn put_in_place(
    env: &LocalEnv,
    branches: &mut Branches,
    endpoints: Vec<Endpoint>,
    branch: &str,
    new: &TimelineInfo,
    kept: &str,
) -> anyhow::Result<()> {
    // The name first: an endpoint that is left behind by a crash in between is on what it was on.
    branches.replace_branch(new.tenant_id, branch, new.timeline_id, kept)?;
    for mut endpoint in endpoints {
        endpoint.timeline_id = new.timeline_id;
        endpoint.save(env)?;
    }
    Ok(())
}

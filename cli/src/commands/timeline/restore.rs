//! `timeline restore`: a branch as it was, under its own name; what it was until now keeps its data under another.

use compute_api::ComputeMode;
use pageserver_api::models::{TimelineCreateRequest, TimelineInfo};
use serde::Serialize;
use types::{Lsn, TenantId, TenantTimelineId, TimelineId};

use super::at_rest::{FINDS_RESTORED, endpoints_at_rest};
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
    /// Endpoints of `kept_as`, since they stand at an LSN that is in no other branch.
    pub endpoints_kept: Vec<String>,
    /// Computes may have hosts of their own, where nobody here sees one that is suspended.
    #[serde(skip)]
    pub has_hosts: bool,
}

impl Restored {
    pub fn announce(&self, output: Output) -> anyhow::Result<()> {
        output.result(self, || self.in_words())
    }

    pub fn in_words(&self) -> String {
        let Restored { branch, start_lsn, kept_as, endpoints_kept, .. } = self;
        let mut text = format!(
            "branch {branch:?} is as it was at {start_lsn}; what it was until now is branch {kept_as:?}"
        );
        for endpoint in endpoints_kept {
            text.push_str(&format!(
                "\nendpoint {endpoint:?} stands at a later LSN, and so it is on branch {kept_as:?} now"
            ));
        }
        if self.has_hosts {
            text.push_str(&format!(
                "\nIts computes are to be stopped before a restore and started after it, also those that are suspended: \
                 one that was not stopped goes on with branch {kept_as:?}"
            ));
        }
        text
    }
}

/// The caller holds the cluster's lock.
pub async fn restore(env: &LocalEnv, branches: &mut Branches, restore: Restore) -> anyhow::Result<Restored> {
    let Restore { tenant, branch, to_time, to_lsn, keep_as } = restore;
    let before = branches.timeline(tenant, &branch)?;
    let kept = keep_as.unwrap_or_else(|| branches.free_name(tenant, &branch));
    branches.check_new_name(tenant, &kept)?;
    let ttid = TenantTimelineId::new(tenant, before);
    let endpoints = endpoints_at_rest(env, ttid, &branch, FINDS_RESTORED).await?;
    let timeline = TimelineId::generate();
    storage_is_ready(env, TenantTimelineId::new(tenant, timeline)).await?;
    let start = start_of_branch(env, ttid, to_lsn, to_time).await?;
    let request = TimelineCreateRequest::branch(timeline, before, start);
    let info = create(env, tenant, request).await?;
    let endpoints_kept = put_in_place(env, branches, endpoints, &branch, &info, &kept)?;
    Ok(Restored {
        branch,
        timeline_id: info.timeline_id,
        start_lsn: info.initdb_lsn,
        kept_as: kept,
        kept_timeline_id: before,
        endpoints_kept,
        has_hosts: env.config.hosts.is_some(),
    })
}

/// Has the branch's name and endpoints mean the new timeline; what it was until now is called `kept`. Returns the endpoints
/// that stay with that.
pub fn put_in_place(
    env: &LocalEnv,
    branches: &mut Branches,
    endpoints: Vec<Endpoint>,
    branch: &str,
    new: &TimelineInfo,
    kept: &str,
) -> anyhow::Result<Vec<String>> {
    // The name first: an endpoint that is left behind by a crash in between is on what it was on.
    branches.replace_branch(new.tenant_id, branch, new.timeline_id, kept)?;
    let mut stay = Vec::new();
    for mut endpoint in endpoints {
        if stands_after(endpoint.mode, new.initdb_lsn) {
            stay.push(endpoint.name);
            continue;
        }
        endpoint.timeline_id = new.timeline_id;
        endpoint.save(env)?;
    }
    Ok(stay)
}

/// It reads for ever what a timeline that begins at `start` does not have, or has otherwise.
fn stands_after(mode: ComputeMode, start: Lsn) -> bool {
    match mode {
        ComputeMode::Static { lsn } => lsn > start,
        ComputeMode::Primary | ComputeMode::Replica => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_stands_at_an_lsn_that_the_new_timeline_does_not_share_stays() {
        let stays = |mode| stands_after(mode, Lsn(100));
        assert!(stays(ComputeMode::Static { lsn: Lsn(101) }));
        // Up to its beginning the two are the same.
        assert!(!stays(ComputeMode::Static { lsn: Lsn(100) }));
        assert!(!stays(ComputeMode::Primary) && !stays(ComputeMode::Replica));
    }
}

//! `timeline archive` and `unarchive`.

use anyhow::bail;
use pageserver_api::models::{ArchivalState, TimelineInfo};
use serde_json::json;
use types::TenantTimelineId;

use super::at_rest::endpoints_at_rest;
use super::available_lsn;
use crate::local_env::{Branches, LocalEnv};
use crate::output::Output;
use crate::storage::pageserver_client;

pub async fn archive(
    env: &LocalEnv,
    branches: &Branches,
    branch: &str,
    ttid: TenantTimelineId,
    output: Output,
) -> anyhow::Result<()> {
    let TenantTimelineId { tenant_id, timeline_id } = ttid;
    endpoints_at_rest(env, ttid, branch, "").await?;
    let all = pageserver_client(env).timelines(tenant_id).await?;
    let in_use = |info: &&TimelineInfo| info.ancestor_timeline_id == Some(timeline_id) && !info.is_archived;
    let children: Vec<String> =
        all.iter().filter(in_use).map(|info| branches.quoted(tenant_id, info.timeline_id)).collect();
    if !children.is_empty() {
        bail!(
            "branch {branch:?} has branches that need what it has, archive them first: {}",
            children.join(", ")
        );
    }
    // What was committed may be on its way to the pageserver. One that is archived already gets nothing more.
    if !all.iter().any(|info| info.timeline_id == timeline_id && info.is_archived) {
        available_lsn(env, ttid, None).await?;
    }
    pageserver_client(env).set_archival(tenant_id, timeline_id, ArchivalState::Archived).await?;
    let value = json!({ "branch_name": branch, "timeline_id": timeline_id, "is_archived": true });
    output.result(&value, || format!("branch {branch:?} is archived"))
}

pub async fn unarchive(
    env: &LocalEnv,
    branches: &Branches,
    branch: &str,
    ttid: TenantTimelineId,
    output: Output,
) -> anyhow::Result<()> {
    let TenantTimelineId { tenant_id, timeline_id } = ttid;
    let pageserver = pageserver_client(env);
    let all = pageserver.timelines(tenant_id).await?;
    let info = |id| all.iter().find(|info| info.timeline_id == id);
    let ancestor = info(timeline_id).and_then(|info| info.ancestor_timeline_id);
    if let Some(ancestor) = ancestor.filter(|id| info(*id).is_some_and(|info| info.is_archived)) {
        let ancestor = branches.quoted(tenant_id, ancestor);
        bail!("branch {branch:?} left branch {ancestor}, which is archived too: unarchive that first");
    }
    pageserver.set_archival(tenant_id, timeline_id, ArchivalState::Unarchived).await?;
    let value = json!({ "branch_name": branch, "timeline_id": timeline_id, "is_archived": false });
    output.result(&value, || format!("branch {branch:?} is back"))
}

//! `timeline detach-ancestor`.

use serde_json::json;
use types::TenantTimelineId;

use crate::local_env::{Branches, LocalEnv};
use crate::output::Output;
use crate::storage::pageserver_client;

pub async fn detach_ancestor(
    env: &LocalEnv,
    branches: &Branches,
    branch: &str,
    ttid: TenantTimelineId,
    output: Output,
) -> anyhow::Result<()> {
    let TenantTimelineId { tenant_id, timeline_id } = ttid;
    output.progress(format!("copying what branch {branch:?} has from its ancestors"));
    let left = pageserver_client(env).detach_ancestor(tenant_id, timeline_id).await?.ancestor_timeline_id;
    let value = json!({ "branch_name": branch, "timeline_id": timeline_id, "ancestor_timeline_id": left });
    output.result(&value, || match left {
        Some(ancestor) => {
            format!("branch {branch:?} needs branch {} no more", branches.quoted(tenant_id, ancestor))
        }
        None => format!("branch {branch:?} has no ancestor"),
    })
}

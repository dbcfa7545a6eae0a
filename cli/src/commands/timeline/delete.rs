//! `timeline delete`: from the pageserver first, which knows whether other branches need it, then from all safekeepers.
//! The name goes last, so that the same command goes on after a failure.

use anyhow::bail;
use http_client::{StatusCode, absent_is_none};
use safekeeper_api::http::{Client, TimelineDeleteQuery};
use types::TenantTimelineId;

use super::at_rest::no_compute_writes;
use crate::endpoints::Endpoint;
use crate::local_env::{Branches, LocalEnv};
use crate::storage::{on_all_safekeepers, pageserver_client};

/// Returns how it was called. The caller holds the cluster's lock.
pub async fn delete(
    env: &LocalEnv,
    branches: &mut Branches,
    ttid: TenantTimelineId,
) -> anyhow::Result<String> {
    let TenantTimelineId { tenant_id, timeline_id } = ttid;
    let this = branches.quoted(tenant_id, timeline_id);
    if let Some(endpoint) = Endpoint::all_of(env, ttid)?.first() {
        bail!(
            "endpoint {:?} is on branch {this}: `varve endpoint delete {}` first",
            endpoint.name,
            endpoint.name
        );
    }
    no_compute_writes(env, ttid, &this).await?;
    let pageserver = pageserver_client(env);
    let all = pageserver.timelines(tenant_id).await?;
    let left_it = all.iter().filter(|info| info.ancestor_timeline_id == Some(timeline_id));
    let children: Vec<String> = left_it.map(|info| branches.quoted(tenant_id, info.timeline_id)).collect();
    if !children.is_empty() {
        bail!(
            "branch {this} has branches that need what it has; delete them first, or detach them (`varve timeline detach-ancestor`): {}",
            children.join(", ")
        );
    }
    let on_pageserver = absent_is_none(pageserver.delete_timeline(tenant_id, timeline_id).await)?.is_some();
    let on_safekeepers = on_all_safekeepers(env, move |safekeeper: Client| async move {
        safekeeper.delete_timeline(ttid, TimelineDeleteQuery::default()).await
    })
    .await?;
    let was_there = on_pageserver || on_safekeepers.iter().any(|deleted| deleted.dir_existed);
    let was_sent = branches.has_begun_import(ttid);
    if !was_there && !was_sent {
        bail!("there is no timeline {timeline_id} in tenant {tenant_id}: `varve timeline list` shows all");
    }
    if !on_pageserver && was_sent {
        let at_work = pageserver.check_import(tenant_id, timeline_id).await.err();
        if at_work.is_some_and(|error| error.status() == Some(StatusCode::SERVICE_UNAVAILABLE)) {
            bail!(
                "the pageserver is still at work on an import, of timeline {timeline_id} it may be: try again when it has ended"
            );
        }
    }
    branches.remove_timeline(ttid)?;
    Ok(this)
}

//! Whether anything runs on a branch that is to be restored, recovered, archived or deleted. Nothing is stopped here.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::bail;
use http_client::HttpError;
use safekeeper_api::http::TimelineStatus;
use types::{NodeId, TenantTimelineId};

use super::POLL;
use crate::endpoints::Endpoint;
use crate::local_env::LocalEnv;
use crate::storage::safekeeper_statuses;

/// How long safekeepers may take to notice that a compute has ended.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(5);

/// Of an endpoint whose branch another timeline is to take the place of.
pub const FINDS_RESTORED: &str = ", it finds the restored branch when it starts again";

/// The endpoints of a branch. None of them may run, and no compute elsewhere; `then` is what is said of one that has been stopped.
pub async fn endpoints_at_rest(
    env: &LocalEnv,
    ttid: TenantTimelineId,
    branch: &str,
    then: &str,
) -> anyhow::Result<Vec<Endpoint>> {
    let endpoints = Endpoint::all_of(env, ttid)?;
    if let Some(Endpoint { name, .. }) = endpoints.iter().find(|endpoint| endpoint.is_in_use(env)) {
        bail!("endpoint {name:?} runs on branch {branch:?}: `varve endpoint stop {name}` first{then}");
    }
    no_compute_writes(env, ttid, &format!("{branch:?}")).await?;
    Ok(endpoints)
}

/// Computes on hosts of their own have no endpoint here: safekeepers know of those that write. One that does not answer
/// is in nobody's way while another does; one that is suspended is connected to none of them. `branch` is how it is called.
pub async fn no_compute_writes(env: &LocalEnv, ttid: TenantTimelineId, branch: &str) -> anyhow::Result<()> {
    let started = Instant::now();
    loop {
        let statuses = safekeeper_statuses(env, ttid).await;
        if statuses.values().all(|answer| matches!(answer, Err(HttpError::Unreachable { .. }))) {
            bail!(
                "no safekeeper answers, and so nobody knows whether a compute is running on branch {branch}"
            );
        }
        let Some((id, peer)) = leader(&statuses) else { return Ok(()) };
        if started.elapsed() > LEAVE_TIMEOUT {
            bail!(
                "a compute is running on branch {branch}: safekeeper {id} takes WAL from it, at {peer}. Stop it where it \
                 runs, and try again"
            );
        }
        tokio::time::sleep(POLL).await;
    }
}

/// A safekeeper to which a compute writes, and the compute's address.
fn leader(statuses: &BTreeMap<NodeId, Result<TimelineStatus, HttpError>>) -> Option<(NodeId, &str)> {
    statuses.iter().find_map(|(id, answer)| {
        let leads = answer.as_ref().ok()?.walreceivers.iter().find(|proposer| proposer.leads)?;
        Some((*id, leads.peer_addr.as_str()))
    })
}

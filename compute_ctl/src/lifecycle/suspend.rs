//! Scale to zero: a compute that nobody uses has no server, until the next client comes.
//!
//! Used is what passes bytes on, and what has work under way without: a statement that runs long, an open transaction, an
//! autovacuum worker, a subscriber. Sessions that are idle do not count: pools of connections would keep a compute
//! running for ever. They end with the server, with SQLSTATE 57P01.

use std::num::NonZeroU32;
use std::time::Duration;

use compute_api::ComputeState;

use super::replica::hold;
use super::{Compute, Ground, Legacy, Life, LifeEnd};
use crate::catalog::Superuser;
use crate::error::ComputeError;
use crate::paths::ComputePaths;
use crate::server_numbers;
use crate::walproposer::Exit;

/// Between two looks at a server that works without passing bytes on.
const LOOK_AGAIN: Duration = Duration::from_secs(10);
const LOOK_PATIENCE: Duration = Duration::from_secs(5);

/// What is at work, in words; NULL if nothing is. A session that has not begun its first transaction has no state yet.
/// Who only asks for metrics does not count.
fn what_is_at_work() -> String {
    format!(
        "\
SELECT string_agg(DISTINCT backend_type, ', ') FROM pg_stat_activity
WHERE pid <> pg_backend_pid() AND application_name <> '{}' AND CASE
    WHEN backend_type = 'client backend' THEN state IS DISTINCT FROM 'idle'
    WHEN backend_type = 'walsender' THEN application_name <> 'walproposer'
    WHEN backend_type = 'autovacuum worker' THEN true
    WHEN backend_type = 'logical replication launcher' THEN false
    WHEN backend_type LIKE 'logical replication%' THEN true
    ELSE state <> 'idle'
END",
        server_numbers::NAME
    )
}

/// Returns when nobody has used the compute for as long as the spec says; then its proxy is closed. Never, if the spec
/// says nothing.
pub(super) async fn until_unused(ground: &Ground, timeout_seconds: Option<NonZeroU32>, port: u16) {
    let (Some(proxy), Some(seconds)) = (&ground.proxy, timeout_seconds) else {
        return std::future::pending().await;
    };
    let timeout = Duration::from_secs(seconds.get().into());
    let mut told = String::new();
    loop {
        let quiet_for = proxy.quiet_for();
        if quiet_for < timeout {
            tokio::time::sleep(timeout - quiet_for).await;
            continue;
        }
        match tokio::time::timeout(LOOK_PATIENCE, at_work(&ground.paths, port)).await {
            Ok(Ok(None)) if proxy.close_if_quiet_for(timeout) => return,
            Ok(Ok(None)) => continue,
            Ok(Ok(Some(working))) if working != told => {
                tracing::info!("not suspended yet, at work: {working}");
                told = working;
            }
            Ok(Ok(Some(_))) => {}
            Ok(Err(error)) => {
                tracing::warn!("not suspended yet, since it is not known what is at work: {error}")
            }
            Err(_) => tracing::warn!("not suspended yet: the server does not say what is at work"),
        }
        tokio::time::sleep(LOOK_AGAIN.min(timeout)).await;
    }
}

async fn at_work(paths: &ComputePaths, port: u16) -> Result<Option<String>, ComputeError> {
    let mut session = Superuser::connect(paths, port).await?;
    let rows = session.run("ask what is at work", &what_is_at_work()).await?;
    Ok(rows.into_iter().next().and_then(|row| row.into_iter().next()).flatten())
}

impl Compute {
    /// As a stop; but one that finds no quorum is no end.
    pub(super) async fn suspend(&self, ground: &Ground, life: Life) -> Result<LifeEnd, ComputeError> {
        tracing::info!(ttid = %self.spec.ttid(), "nobody uses this compute: it is suspended");
        Ok(match self.stop(ground, life).await? {
            LifeEnd::Stopped => LifeEnd::Suspended,
            LifeEnd::NoQuorum => {
                LifeEnd::Crashed { reason: "it could not be suspended without a quorum".to_owned() }
            }
            end @ (LifeEnd::Suspended | LifeEnd::Fenced { .. } | LifeEnd::Crashed { .. }) => end,
        })
    }

    /// Until a client comes, or a configuration, which takes a server to judge it: None. Or until the end.
    pub(super) async fn sleep(&mut self, ground: &Ground, legacy: &mut Legacy) -> Option<LifeEnd> {
        let proxy = ground.proxy.as_ref()?;
        self.status.change(|status| {
            status.state = ComputeState::Suspended;
            status.postgres_pid = None;
            (status.elected, status.walproposer) = (None, None);
        });
        let terminate = self.terminate.clone();
        tokio::select! {
            () = terminate.cancelled() => return Some(LifeEnd::Stopped),
            exit = hold(&self.spec, &self.credentials, &ground.paths) => {
                let reason = match exit {
                    Exit::Failed { reason } => reason,
                    Exit::Fenced { .. } | Exit::PostgresStopped { .. } => "its lease ended".to_owned(),
                };
                return Some(LifeEnd::Crashed { reason });
            }
            () = proxy.client_waits() => tracing::info!(ttid = %self.spec.ttid(), "woken by a client"),
            Some(asked) = self.configure.recv() => {
                tracing::info!(ttid = %self.spec.ttid(), "woken by a new configuration");
                legacy.asked = Some(asked);
            }
        }
        None
    }
}

//! Deletion: a timeline goes from this machine, and its WAL from object storage.
//!
//! ```text
//!  it is forgotten ─▶ its owner ends ─▶ its directory is renamed, so that no start finds it, and removed
//!    ─▶ its objects are deleted
//! ```
//! After a crash or an error it is there as before, or gone except for objects; who asks again goes on. Nothing is kept to
//! remember it by: timelines are made only when somebody asks for them (RFC 0004), so none comes back by itself. Each
//! member deletes the objects, whoever has put them, so that the last of them leaves none.

use std::sync::Arc;

use durable_fs::{DurableFsError, run_blocking};
use remote_storage::{ListMode, ObjectKey, RemoteError};
use types::{TenantId, TenantTimelineId};

use super::Timeline;
use super::core::Input;
use super::manager::{Entry, Manager, to_its_end};
use crate::datadir;
use crate::wal_store::{tenant_prefix, timeline_prefix};

/// What is deleted of a timeline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// What this safekeeper has, and all in object storage.
    Everything,
    /// What this safekeeper has: others go on with the timeline.
    OnlyLocal,
}

#[derive(Debug, thiserror::Error)]
pub enum DeleteError {
    #[error("timeline {ttid} is not deleted: {source}")]
    Disk { ttid: TenantTimelineId, source: DurableFsError },
    #[error("its WAL in object storage is not all deleted, ask again: {0}")]
    Remote(#[from] RemoteError),
}

impl Manager {
    /// Deletes a timeline, whoever uses it. Whether it was here.
    pub async fn delete(self: &Arc<Self>, ttid: TenantTimelineId, scope: Scope) -> Result<bool, DeleteError> {
        let manager = Arc::clone(self);
        to_its_end(async move {
            let existed = manager.delete_local(ttid).await?;
            if scope == Scope::Everything {
                manager.delete_objects(&timeline_prefix(ttid)).await?;
            }
            Ok(existed)
        })
        .await
    }

    /// Deletes all timelines of a tenant. How many were here.
    pub async fn delete_tenant(self: &Arc<Self>, tenant: TenantId) -> Result<usize, DeleteError> {
        let manager = Arc::clone(self);
        to_its_end(async move {
            let mut deleted = 0;
            for timeline in manager.timelines_of(tenant) {
                let ttid = TenantTimelineId::new(tenant, timeline);
                deleted += usize::from(manager.delete_local(ttid).await?);
            }
            manager.delete_objects(&tenant_prefix(tenant)).await?;
            Ok(deleted)
        })
        .await
    }

    async fn delete_local(&self, ttid: TenantTimelineId) -> Result<bool, DeleteError> {
        let _alone = self.lock(ttid).await;
        let known = self.change(|timelines| timelines.remove(&ttid));
        self.changes().note(ttid);
        match &known {
            Some(Entry::Resident(timeline)) => timeline.end().await,
            Some(Entry::Broken(_)) => self.settings.metrics.broken_timelines.dec(),
            Some(Entry::Evicted(_)) | None => {}
        }
        self.settings.metrics.forget_timeline(ttid);
        let (fs, directory) =
            (self.settings.fs.clone(), datadir::timeline_directory(&self.settings.datadir, ttid));
        // Also if nobody knew it: an attempt may have ended here.
        let existed = run_blocking(move || fs.remove_tree(&directory)).await.map_err(|source| {
            let failure = source.is_sync_failure().then(|| source.to_string());
            self.stop_if_sync_failed(ttid, failure);
            DeleteError::Disk { ttid, source }
        })?;
        if existed {
            tracing::info!(timeline = %ttid, "deleted");
        }
        Ok(existed)
    }

    async fn delete_objects(&self, prefix: &ObjectKey) -> Result<(), DeleteError> {
        let Some(remote) = &self.settings.remote else { return Ok(()) };
        for object in remote.list(Some(prefix), ListMode::Recursive).await?.objects {
            remote.delete(&object.key).await?;
        }
        Ok(())
    }
}

impl Timeline {
    /// Ends the owner, and waits until nothing writes its files or its objects any more.
    async fn end(&self) {
        // It may have ended already.
        drop(self.inputs.send(Input::End).await);
        self.inputs.closed().await;
        drop(self.offloading.lock().await);
    }
}

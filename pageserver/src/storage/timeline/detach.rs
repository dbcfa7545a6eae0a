//! A branch that needs its ancestors no more: all that it has from them is written into image layers of its own, and
//! then its index names no ancestor.
//!
//! Images are made as of the oldest LSN that may be read, a run of keys at a time, as any compaction makes them, so a
//! crash loses one run at most and the next attempt goes on behind what is there. What was readable stays so: where
//! there is an image as of that LSN or an older one, no read goes deeper.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use types::{KeyRange, Lsn};

use super::compact::descend;
use super::view::View;
use super::{Horizon, Timeline};
use crate::storage::StorageError;
use crate::storage::compaction::{ALL, Job, first_run, is_unmakeable, read_lsns};

impl Timeline {
    pub(super) fn is_whole(&self) -> bool {
        self.whole.load(Ordering::Acquire)
    }

    /// Copies what it has from its ancestors. Others get their turn after each run of keys.
    pub(in crate::storage) async fn copy_from_ancestors(self: &Arc<Self>) -> Result<(), StorageError> {
        loop {
            let _turn = self.turn().await?;
            let _compacting = self.compacting.lock().await;
            match self.next_copy().await? {
                Some(job) => self.run_job(job).await?,
                None => return Ok(()),
            }
        }
    }

    /// The oldest LSN of its own history that may be read.
    fn oldest_read(&self) -> Lsn {
        let Horizon { cutoff, pins } = &*self.horizon.load_full();
        let start = self.start_lsn();
        let oldest = read_lsns((*cutoff).max(start), pins).into_iter().find(|lsn| *lsn >= start);
        oldest.unwrap_or(start)
    }

    /// Of the keys whose values still lie in an ancestor.
    async fn next_copy(&self) -> Result<Option<Job>, StorageError> {
        let at = self.oldest_read();
        let levels = self.levels_for_images(at).await?;
        let descents = descend(&levels, &ALL);
        let own = |keys: &KeyRange| self.view.load().layers.image(&keys.start, at + 1).is_some();
        let Some(keys) = first_run(
            &descents,
            |descent| !descent.steps.is_empty() && !own(&descent.keys),
            self.limits().job_bytes,
        ) else {
            return Ok(None);
        };
        let is_unmakeable = is_unmakeable(&keys, &self.unmakeable.lock().expect("no holder panics"));
        if is_unmakeable && self.live_for_images(&keys, at).await?.meet(&keys) {
            return Err(StorageError::NotWhole { timeline: self.id, key: keys.start, lsn: at });
        }
        Ok(Some(Job::Images { keys, at }))
    }

    /// Leaves its ancestor, for good when this returns true; false if there is something to copy again, since what was
    /// readable changed. Nobody changes the tenant's timelines meanwhile.
    pub(in crate::storage) async fn leave_ancestor(self: &Arc<Self>) -> Result<bool, StorageError> {
        // Nothing is collected while it is looked.
        let _compacting = self.compacting.lock().await;
        if self.next_copy().await?.is_some() {
            return Ok(false);
        }
        // Both are true until it is confirmed: an index with the ancestor, and one without.
        self.whole.store(true, Ordering::Release);
        self.change_view(|view| View { changes: view.changes + 1, ..view.clone() });
        self.upload_durable().await?;
        self.ownership.confirm(&self.environment, self.id).await?;
        self.ancestor.store(None);
        Ok(true)
    }
}

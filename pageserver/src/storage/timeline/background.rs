//! The tasks of a timeline: one writes frozen layers to disk, one compacts, one uploads. Each tries again, more and
//! more slowly, until it succeeds or the timeline is closed.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::Timeline;
use crate::storage::StorageError;
use crate::storage::layers::DAMAGE_LASTS;

const FIRST_RETRY: Duration = Duration::from_millis(100);
const SLOWEST_RETRY: Duration = Duration::from_secs(10);

impl Timeline {
    pub(in crate::storage) fn start_background(self: &Arc<Self>) {
        self.tasks.spawn(Arc::clone(self).flush_loop());
        self.tasks.spawn(Arc::clone(self).compact_loop());
        self.tasks.spawn(Arc::clone(self).upload_loop());
    }

    /// From now on it is compacted no more, or again.
    pub(in crate::storage) fn set_at_rest(&self, at_rest: bool) {
        self.at_rest.store(at_rest, Ordering::Relaxed);
        self.view_changed.send_replace(());
    }

    /// Refuses further batches, ends the tasks, and puts everything into remote storage.
    pub(in crate::storage) async fn close(self: &Arc<Self>) -> Result<(), StorageError> {
        self.stop().await;
        // What another pageserver writes now is what counts.
        if self.ownership.check().is_err() { Ok(()) } else { self.flush_and_put().await }
    }

    /// As [`Timeline::close`], but what is in memory is forgotten, as in a crash.
    pub(in crate::storage) async fn stop(&self) {
        self.closed.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }

    /// As [`Timeline::stop`], of one that is deleted: nothing writes files or objects any more when this returns.
    pub(in crate::storage) async fn end(&self) {
        self.stop().await;
        // Whoever was asked to do such work from outside holds one of these.
        drop(self.compacting.lock().await);
        drop(self.flushing.lock().await);
        drop(self.uploading.lock().await);
    }

    async fn flush_loop(self: Arc<Self>) {
        // Often enough that no layer gets much older than the time-out.
        let tick = (self.environment.config.checkpoint_timeout / 4).max(Duration::from_millis(10));
        loop {
            tokio::select! {
                () = self.closed.cancelled() => return,
                () = self.frozen.notified() => {}
                () = tokio::time::sleep(tick) => self.freeze_if_old().await,
            }
            let mut delay = FIRST_RETRY;
            while let Err(error) = self.flush_frozen().await {
                self.environment.metrics.flush_errors.inc();
                tracing::error!(timeline = %self.id, %error, ?delay, "cannot write a layer, will try again");
                if error.is_disk_full() {
                    self.environment.room.ask(self.environment.config.checkpoint_distance).await;
                }
                if self.closed_within(&mut delay).await {
                    return;
                }
            }
        }
    }

    async fn compact_loop(self: Arc<Self>) {
        let mut changed = self.view_changed.subscribe();
        // What was left when it was closed.
        changed.mark_changed();
        let mut delay = FIRST_RETRY;
        loop {
            tokio::select! {
                () = self.closed.cancelled() => return,
                () = self.ownership.lost.cancelled() => return,
                _ = changed.changed() => {}
            }
            if self.at_rest.load(Ordering::Relaxed) {
                continue;
            }
            while let Err(error) = self.compact().await {
                if self.closed.is_cancelled() {
                    return;
                }
                self.environment.metrics.compaction_errors.inc();
                self.compaction_fails.store(true, Ordering::Relaxed);
                // Whoever waits for a merge need not wait any more.
                self.view_changed.send_replace(());
                if error.is_corruption() {
                    // It would read and write much before it comes there again, and find the same.
                    delay = DAMAGE_LASTS;
                }
                tracing::error!(timeline = %self.id, %error, ?delay, "cannot compact, will try again");
                if self.closed_within(&mut delay).await {
                    return;
                }
            }
            self.compaction_fails.store(false, Ordering::Relaxed);
            delay = FIRST_RETRY;
        }
    }

    async fn upload_loop(self: Arc<Self>) {
        let mut changed = self.view_changed.subscribe();
        if self.said().is_none() {
            changed.mark_changed();
        }
        loop {
            tokio::select! {
                () = self.closed.cancelled() => return,
                () = self.ownership.lost.cancelled() => return,
                _ = changed.changed() => {}
            }
            let mut delay = FIRST_RETRY;
            while let Err(error) = self.upload_and_confirm().await {
                if self.ownership.check().is_err() {
                    tracing::error!(timeline = %self.id, %error, "nothing more is uploaded");
                    return;
                }
                self.environment.metrics.upload_errors.inc();
                tracing::error!(timeline = %self.id, %error, ?delay, "cannot upload, will try again");
                if self.closed_within(&mut delay).await {
                    return;
                }
            }
        }
    }

    async fn upload_and_confirm(&self) -> Result<(), StorageError> {
        self.ownership.check()?;
        self.upload_durable().await?;
        self.confirm_uploaded().await
    }

    /// Sleeps, then doubles the delay for the next time. True if the timeline was closed meanwhile.
    async fn closed_within(&self, delay: &mut Duration) -> bool {
        let closed = tokio::time::timeout(*delay, self.closed.cancelled()).await.is_ok();
        *delay = (*delay * 2).min(SLOWEST_RETRY);
        closed
    }
}

//! Which timelines have moved since somebody looked, so that nobody has to look at all of them.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use tokio::sync::Notify;
use types::TenantTimelineId;

#[derive(Default)]
pub struct Changes {
    /// Not more than there are timelines.
    moved: Mutex<BTreeSet<TenantTimelineId>>,
    some: Notify,
}

impl Changes {
    pub fn note(&self, ttid: TenantTimelineId) {
        self.moved.lock().unwrap_or_else(PoisonError::into_inner).insert(ttid);
        self.some.notify_one();
    }

    /// Waits until there are some, and takes them. For one caller at a time.
    pub async fn next(&self) -> BTreeSet<TenantTimelineId> {
        loop {
            let moved = self.take();
            if !moved.is_empty() {
                return moved;
            }
            self.some.notified().await;
        }
    }

    pub fn take(&self) -> BTreeSet<TenantTimelineId> {
        std::mem::take(&mut *self.moved.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

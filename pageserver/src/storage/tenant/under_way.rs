//! Which timelines are being made or deleted: one request at a time has to do with one of them.

use std::collections::BTreeSet;

use tokio::sync::watch;
use types::TimelineId;

#[derive(Default)]
pub(super) struct UnderWay(watch::Sender<BTreeSet<TimelineId>>);

/// Nobody else has to do with the timeline until this is dropped.
pub(super) struct Alone<'a> {
    under_way: &'a UnderWay,
    timeline: TimelineId,
}

impl UnderWay {
    /// Waits for whoever came before.
    pub(super) async fn begin(&self, timeline: TimelineId) -> Alone<'_> {
        // Subscribed before the look: an end in between is not missed.
        let mut changed = self.0.subscribe();
        while !self.0.send_if_modified(|under_way| under_way.insert(timeline)) {
            changed.changed().await.expect("this has the sender");
        }
        Alone { under_way: self, timeline }
    }
}

impl Drop for Alone<'_> {
    fn drop(&mut self) {
        self.under_way.0.send_modify(|under_way| {
            under_way.remove(&self.timeline);
        });
    }
}

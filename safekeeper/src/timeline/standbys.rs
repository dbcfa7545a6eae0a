//! What the hot standbys that read here need of their primary: the oldest of all, for walproposers to hear.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use safekeeper_api::standby_feedback::StandbyFeedback;
use tokio::sync::watch;

/// All of a timeline.
#[derive(Clone, Default)]
pub struct Standbys {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    /// By numbers that are never used twice; the last is in front.
    needs: Mutex<(u64, BTreeMap<u64, StandbyFeedback>)>,
    oldest: watch::Sender<StandbyFeedback>,
}

impl Standbys {
    /// Somebody who may turn out to be a standby.
    pub fn join(&self) -> Standby {
        let mut needs = self.shared.needs.lock().unwrap_or_else(PoisonError::into_inner);
        needs.0 += 1;
        Standby { number: needs.0, shared: self.shared.clone() }
    }

    /// The first look finds what is needed now.
    pub fn watch(&self) -> watch::Receiver<StandbyFeedback> {
        let mut receiver = self.shared.oldest.subscribe();
        receiver.mark_changed();
        receiver
    }
}

/// One of them. What it needs is forgotten when it is dropped.
pub struct Standby {
    number: u64,
    shared: Arc<Shared>,
}

impl Standby {
    pub fn needs(&self, feedback: StandbyFeedback) {
        self.shared.change(|needs| _ = needs.insert(self.number, feedback));
    }
}

impl Drop for Standby {
    fn drop(&mut self) {
        self.shared.change(|needs| _ = needs.remove(&self.number));
    }
}

impl Shared {
    /// What is told is worked out under the lock, so that the last to change tells last.
    fn change(&self, change: impl FnOnce(&mut BTreeMap<u64, StandbyFeedback>)) {
        let mut needs = self.needs.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut needs.1);
        let oldest = needs.1.values().copied().reduce(StandbyFeedback::and).unwrap_or_default();
        self.oldest.send_if_modified(|told| std::mem::replace(told, oldest) != oldest);
    }
}

#[cfg(test)]
mod tests {
    use safekeeper_api::standby_feedback::FullTransactionId;

    use super::*;

    fn needs(xid: u64) -> StandbyFeedback {
        StandbyFeedback { xmin: Some(FullTransactionId(xid)), catalog_xmin: None }
    }

    #[test]
    fn the_oldest_counts_until_its_standby_leaves() {
        let standbys = Standbys::default();
        let (one, other) = (standbys.join(), standbys.join());
        one.needs(needs(700));
        other.needs(needs(900));
        let mut heard = standbys.watch();
        assert!(heard.has_changed().unwrap(), "what is needed already is heard");
        assert_eq!(*heard.borrow_and_update(), needs(700));
        other.needs(needs(950));
        assert!(!heard.has_changed().unwrap(), "nothing is new");
        drop(one);
        assert_eq!(*heard.borrow_and_update(), needs(950));
        other.needs(StandbyFeedback::default());
        assert_eq!(*heard.borrow_and_update(), StandbyFeedback::default());
    }
}

//! Room on the local disk: who needs some asks, and whoever evicts layers answers.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::{Notify, watch};

/// How long a file that did not fit waits for somebody to make room.
const PATIENCE: Duration = Duration::from_secs(10);

#[derive(Debug, Default)]
pub(super) struct Room {
    wanted: AtomicU64,
    asked: Notify,
    made: watch::Sender<u64>,
    /// Somebody listens.
    has_evictor: AtomicBool,
}

impl Room {
    /// A file of so many bytes did not fit. Returns when it was tried to make room, or after a while.
    pub(super) async fn ask(&self, bytes: u64) {
        if !self.has_evictor.load(Ordering::Relaxed) {
            return;
        }
        let mut made = self.made.subscribe();
        self.wanted.fetch_add(bytes, Ordering::Relaxed);
        self.asked.notify_one();
        // It may just be stopping.
        let _ = tokio::time::timeout(PATIENCE, made.changed()).await;
    }

    /// Waits until somebody asks. Bytes, of all who did.
    pub(super) async fn wanted(&self) -> u64 {
        self.has_evictor.store(true, Ordering::Relaxed);
        self.asked.notified().await;
        self.wanted.swap(0, Ordering::Relaxed)
    }

    pub(super) fn made(&self) {
        self.made.send_modify(|times| *times += 1);
    }
}

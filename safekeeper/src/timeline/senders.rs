//! Who reads a timeline's WAL just now. For status and metrics only: nothing waits for them.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use types::Lsn;

use crate::metrics::Counted;

/// What is known of one reader.
#[derive(Clone, Debug)]
pub struct SenderState {
    pub application_name: String,
    pub peer: SocketAddr,
    pub sent_lsn: Lsn,
    /// What it said it has flushed.
    pub flush_lsn: Lsn,
}

#[derive(Default)]
pub struct Senders {
    next: u64,
    states: BTreeMap<u64, SenderState>,
}

pub type SharedSenders = Arc<Mutex<Senders>>;

fn lock(senders: &SharedSenders) -> MutexGuard<'_, Senders> {
    // Every change is one assignment, so what a panicking thread left is whole.
    senders.lock().unwrap_or_else(PoisonError::into_inner)
}

pub fn snapshot(senders: &SharedSenders) -> Vec<SenderState> {
    lock(senders).states.values().cloned().collect()
}

/// One reader's entry, removed when dropped.
pub struct WalSender {
    senders: SharedSenders,
    id: u64,
    _counted: Counted,
}

impl WalSender {
    pub fn register(senders: SharedSenders, state: SenderState, counted: Counted) -> Self {
        let id = {
            let mut all = lock(&senders);
            all.next += 1;
            let id = all.next;
            all.states.insert(id, state);
            id
        };
        Self { senders, id, _counted: counted }
    }

    fn change(&self, change: impl FnOnce(&mut SenderState)) {
        if let Some(state) = lock(&self.senders).states.get_mut(&self.id) {
            change(state);
        }
    }

    pub fn note_sent(&self, lsn: Lsn) {
        self.change(|state| state.sent_lsn = lsn);
    }

    pub fn note_flush(&self, lsn: Lsn) {
        self.change(|state| state.flush_lsn = lsn);
    }

    pub fn sent_lsn(&self) -> Lsn {
        lock(&self.senders).states.get(&self.id).map_or(Lsn::INVALID, |state| state.sent_lsn)
    }
}

impl Drop for WalSender {
    fn drop(&mut self) {
        lock(&self.senders).states.remove(&self.id);
    }
}

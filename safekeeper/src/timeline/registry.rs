//! Who is connected to a timeline just now. For status and metrics only: nothing waits for them.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use types::Lsn;

use crate::metrics::Counted;

/// What is known of one reader of WAL.
#[derive(Clone, Debug)]
pub struct SenderState {
    pub application_name: String,
    pub peer: SocketAddr,
    pub sent_lsn: Lsn,
    /// What it said it has safe: a standby its flush LSN, a pageserver its remote consistent LSN.
    pub confirmed_lsn: Lsn,
}

/// The connected ones, by numbers that are never used twice.
pub struct Registry<State> {
    states: Arc<Mutex<(u64, BTreeMap<u64, State>)>>,
}

impl<State> Default for Registry<State> {
    fn default() -> Self {
        Self { states: Arc::new(Mutex::new((0, BTreeMap::new()))) }
    }
}

impl<State> Registry<State> {
    fn lock(&self) -> MutexGuard<'_, (u64, BTreeMap<u64, State>)> {
        // Every change is one assignment, so what a panicking thread left is whole.
        self.states.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn register(&self, state: State, counted: Counted) -> Registration<State> {
        let id = {
            let (last, states) = &mut *self.lock();
            *last += 1;
            states.insert(*last, state);
            *last
        };
        Registration { registry: Self { states: self.states.clone() }, id, _counted: counted }
    }

    pub fn is_empty(&self) -> bool {
        self.lock().1.is_empty()
    }

    pub fn snapshot(&self) -> Vec<(u64, State)>
    where
        State: Clone,
    {
        self.lock().1.iter().map(|(id, state)| (*id, state.clone())).collect()
    }
}

/// One entry, removed when dropped.
pub struct Registration<State> {
    registry: Registry<State>,
    id: u64,
    _counted: Counted,
}

impl<State> Registration<State> {
    pub fn id(&self) -> u64 {
        self.id
    }
}

impl<State> Drop for Registration<State> {
    fn drop(&mut self) {
        self.registry.lock().1.remove(&self.id);
    }
}

/// One reader's entry.
pub type WalSender = Registration<SenderState>;

impl WalSender {
    fn change(&self, change: impl FnOnce(&mut SenderState)) {
        if let Some(state) = self.registry.lock().1.get_mut(&self.id) {
            change(state);
        }
    }

    pub fn note_sent(&self, lsn: Lsn) {
        self.change(|state| state.sent_lsn = lsn);
    }

    pub fn note_confirmed(&self, lsn: Lsn) {
        self.change(|state| state.confirmed_lsn = lsn);
    }

    pub fn sent_lsn(&self) -> Lsn {
        self.registry.lock().1.get(&self.id).map_or(Lsn::INVALID, |state| state.sent_lsn)
    }
}

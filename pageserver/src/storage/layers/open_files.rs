//! How many layer files are open at once: each costs a file descriptor, its key filter and parts of its index.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, Weak};

use super::DiskLayer;

/// Closes the file that has been open longest when there are too many. Reads that use it keep it open until they end.
pub(in crate::storage) struct OpenFiles {
    limit: usize,
    /// In the order in which they were opened.
    layers: Mutex<VecDeque<Weak<DiskLayer>>>,
}

impl OpenFiles {
    pub(in crate::storage) fn new(limit: usize) -> Self {
        Self { limit, layers: Mutex::default() }
    }

    pub(super) fn note(&self, opened: &Arc<DiskLayer>) {
        let closing = {
            let mut layers = self.layers.lock().expect("no holder panics");
            layers.push_back(Arc::downgrade(opened));
            if layers.len() > self.limit { layers.pop_front() } else { None }
        };
        if let Some(layer) = closing.and_then(|layer| layer.upgrade()) {
            layer.close();
        }
    }
}

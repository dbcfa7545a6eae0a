//! Gathers one key's versions, newest first, until there is a base.

use bytes::Bytes;
use layer_format::Value;
use types::Lsn;

use crate::storage::Reconstruct;

#[derive(Default)]
pub(in crate::storage) struct Collector {
    image: Option<(Lsn, Bytes)>,
    /// Newest first.
    deltas: Vec<(Lsn, Bytes)>,
    complete: bool,
}

impl Collector {
    /// Takes the next older version. True if an even older one is needed.
    pub(in crate::storage) fn take(&mut self, lsn: Lsn, value: &Value) -> bool {
        self.complete = value.is_base();
        match value {
            Value::Image(image) => self.image = Some((lsn, image.clone())),
            Value::Delta { change, .. } => self.deltas.push((lsn, change.clone())),
        }
        !self.complete
    }

    /// Nothing older exists.
    pub(in crate::storage) fn end_of_history(&mut self) {
        self.complete = true;
    }

    pub(in crate::storage) fn is_complete(&self) -> bool {
        self.complete
    }

    pub(in crate::storage) fn finish(mut self) -> Reconstruct {
        self.deltas.reverse();
        Reconstruct { image: self.image, deltas: self.deltas }
    }
}

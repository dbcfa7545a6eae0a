//! Gathers one key's versions, newest first, until there is a base.

use bytes::Bytes;
use layer_format::Value;
use types::Lsn;

use crate::storage::Reconstruct;

/// Numbers of versions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::storage) struct Found {
    pub(in crate::storage) images: usize,
    pub(in crate::storage) changes: usize,
}

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

    /// How many versions it has.
    pub(in crate::storage) fn found(&self) -> Found {
        Found { images: usize::from(self.image.is_some()), changes: self.deltas.len() }
    }

    pub(in crate::storage) fn finish(mut self) -> Reconstruct {
        self.deltas.reverse();
        Reconstruct { image: self.image, deltas: self.deltas }
    }
}

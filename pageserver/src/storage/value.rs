//! What is stored: versions of keys, and what a read brings back to rebuild one of them.

use bytes::Bytes;
use types::{Key, Lsn};

pub use layer_format::Value;

/// The changes of a run of WAL records, handed over by the one task that ingests a timeline.
///
/// Every entry's LSN is the end of its record, so it lies above the timeline's last record LSN and not above
/// `end_lsn`. Entries of one key come in LSN order; entries of one key at one LSN (a record that changes a page
/// twice) are kept, and read back, in the order in which they stand here.
#[derive(Clone, Debug, Default)]
pub struct WriteBatch {
    pub entries: Vec<(Key, Lsn, Value)>,
    /// End of the last record of the run: the timeline's last record LSN after this batch.
    pub end_lsn: Lsn,
    /// Start of that record: the next record's `xl_prev`.
    pub prev_record_lsn: Lsn,
}

/// What is needed to make one key's value at an LSN: a base, and the changes on top of it, oldest first.
///
/// Without an image the first change initialises the page by itself, or else the key had no base at all. Both
/// empty: the key has no version at or below that LSN.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reconstruct {
    pub image: Option<(Lsn, Bytes)>,
    pub deltas: Vec<(Lsn, Bytes)>,
}

impl Reconstruct {
    /// Takes the next newer version.
    pub(super) fn add(&mut self, lsn: Lsn, value: Value) {
        match value {
            Value::Image(image) => *self = Self { image: Some((lsn, image)), deltas: Vec::new() },
            Value::Delta { will_init: true, change } => {
                *self = Self { image: None, deltas: vec![(lsn, change)] };
            }
            Value::Delta { will_init: false, change } => self.deltas.push((lsn, change)),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.image.is_none() && self.deltas.is_empty()
    }
}

//! Drops versions that nobody can read any more, on their way into a layer file that takes the place of others.
//!
//! Below the cutoff only a few LSNs are ever read: the cutoff itself and the pins. Of a key's versions between two of
//! those, the ones before the last base are met by no read, and none of them is if the key is not live at the later one.

use layer_format::Value;
use types::{Key, Lsn};

use super::writer::EntrySink;
use crate::storage::StorageError;
use crate::storage::compaction::LiveKeys;

pub(in crate::storage) struct Pruner<S> {
    sink: S,
    /// The LSNs up to the cutoff that are read, in order; above the last, all are.
    reads: Vec<LiveKeys>,
    /// Versions of one key that lie between two LSNs that are read, the oldest of them a base where there is one.
    held: Vec<(Lsn, Value)>,
    place: Option<(Key, usize)>,
    dropped: u64,
}

impl<S: EntrySink> Pruner<S> {
    pub(in crate::storage) fn new(sink: S, reads: Vec<LiveKeys>) -> Self {
        Self { sink, reads, held: Vec::new(), place: None, dropped: 0 }
    }

    fn release(&mut self) -> Result<(), StorageError> {
        if let Some((key, seen_at)) = self.place.take() {
            if self.reads.get(seen_at).is_some_and(|live| !live.contain(key)) {
                self.dropped += self.held.len() as u64;
                self.held.clear();
            }
            for (lsn, value) in self.held.drain(..) {
                self.sink.put(key, lsn, &value)?;
            }
        }
        Ok(())
    }

    /// The sink, and how many versions it was spared.
    pub(in crate::storage) fn finish(mut self) -> Result<(S, u64), StorageError> {
        self.release()?;
        Ok((self.sink, self.dropped))
    }
}

impl<S: EntrySink> EntrySink for Pruner<S> {
    fn put(&mut self, key: Key, lsn: Lsn, value: &Value) -> Result<(), StorageError> {
        // The first LSN that is read and sees this version; none if it lies above the cutoff.
        let seen_at = self.reads.partition_point(|live| live.at < lsn);
        if self.place != Some((key, seen_at)) {
            self.release()?;
            self.place = Some((key, seen_at));
        }
        if seen_at == self.reads.len() {
            return self.sink.put(key, lsn, value);
        }
        if value.is_base() {
            self.dropped += self.held.len() as u64;
            self.held.clear();
        }
        self.held.push((lsn, value.clone()));
        Ok(())
    }
}

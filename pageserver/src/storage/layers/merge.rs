//! Entries of several layer files as one stream, in order of key and LSN.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;
use std::fs::File;
use std::ops::Range;

use layer_format::{Entries, Entry, LayerError, LayerReader};
use types::{Key, KeyRange, Lsn};

/// Of a layer that takes part: which LSNs of it count.
struct Input<'a> {
    entries: Entries<'a, File>,
    lsns: Range<Lsn>,
}

impl Input<'_> {
    fn next(&mut self) -> Option<Result<Entry, LayerError>> {
        let lsns = self.lsns.clone();
        self.entries.find(|entry| entry.as_ref().map_or(true, |entry| lsns.contains(&entry.lsn)))
    }
}

struct Head {
    entry: Entry,
    input: usize,
}

impl Head {
    /// Where inputs have the same key and LSN, the one that was given first is older.
    fn order(&self) -> (Key, Lsn, usize) {
        (self.entry.key, self.entry.lsn, self.input)
    }
}

impl PartialEq for Head {
    fn eq(&self, other: &Self) -> bool {
        self.order() == other.order()
    }
}

impl Eq for Head {}

impl PartialOrd for Head {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Head {
    fn cmp(&self, other: &Self) -> Ordering {
        self.order().cmp(&other.order())
    }
}

/// Holds one block of each input in memory. After an error there is nothing more.
pub(in crate::storage) struct Merge<'a> {
    inputs: Vec<Input<'a>>,
    heads: BinaryHeap<Reverse<Head>>,
    failed: Option<LayerError>,
}

impl<'a> Merge<'a> {
    /// Of the layers, from old to new, the entries of `keys` with LSNs in each one's range.
    pub(in crate::storage) fn new(
        keys: &KeyRange,
        layers: impl IntoIterator<Item = (&'a LayerReader<File>, Range<Lsn>)>,
    ) -> Self {
        let input = |(reader, lsns): (&'a LayerReader<File>, _)| {
            let entries = reader.entries_in(keys.clone());
            Input { entries, lsns }
        };
        let inputs: Vec<Input<'a>> = layers.into_iter().map(input).collect();
        let mut merge = Self { heads: BinaryHeap::with_capacity(inputs.len()), inputs, failed: None };
        (0..merge.inputs.len()).for_each(|input| merge.advance(input));
        merge
    }

    fn advance(&mut self, input: usize) {
        match self.inputs[input].next() {
            Some(Ok(entry)) => self.heads.push(Reverse(Head { entry, input })),
            Some(Err(error)) => self.failed = Some(error),
            None => {}
        }
    }
}

impl Iterator for Merge<'_> {
    type Item = Result<Entry, LayerError>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Some(error) = self.failed.take() {
            self.heads.clear();
            return Some(Err(error));
        }
        let Reverse(Head { entry, input }) = self.heads.pop()?;
        self.advance(input);
        Some(Ok(entry))
    }
}

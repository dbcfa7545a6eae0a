//! What is live at the LSNs that may be read, by the sizes that relations had there.

use std::ops::Range;

use types::{Key, KeyRange, Lsn};

use super::{Horizon, Timeline};
use crate::storage::StorageError;
use crate::storage::compaction::{ALL, LiveKeys, read_lsns};

impl Timeline {
    /// Of the blocks within `keys`. Waits for no WAL: ancestors that wait for a turn could need the one that this has.
    async fn live_keys(&self, keys: &KeyRange, at: Lsn) -> Result<LiveKeys, StorageError> {
        let sizes = Key::rel_sizes_of_blocks(keys);
        let Some(redo) = self.environment.redo.as_ref().filter(|_| !sizes.is_empty()) else {
            return Ok(LiveKeys::all(at));
        };
        for (ancestor, needed) in self.ancestors_for(at) {
            ancestor.timeline.check_arrived(ancestor.timeline.last_record_lsn(), needed)?;
        }
        let sizes = self.scan(sizes, at).await?;
        let relations =
            sizes.iter().filter_map(|(key, size)| Some((key.rel_tag()?, redo.written_blocks(size))));
        Ok(LiveKeys::of_relations(at, relations))
    }

    /// For image layers as of an LSN, which need not be one that may be read: what is live at the first one from there on
    /// that may be. What is not is met by no read that comes to these layers; and sizes of other LSNs need not be true.
    pub(super) async fn live_for_images(&self, keys: &KeyRange, at: Lsn) -> Result<LiveKeys, StorageError> {
        loop {
            let horizon = self.horizon.load_full();
            let read_at = self.read_lsns(&horizon).into_iter().find(|read| *read >= at).unwrap_or(at);
            match self.live_keys(keys, read_at).await {
                // The cutoff has moved on meanwhile.
                Err(StorageError::Collected { .. }) if horizon != self.horizon.load_full() => {}
                live => return live.map(|live| live.for_images(at)),
            }
        }
    }

    /// For a merge of layers with these LSNs, for which everybody else waits: what is live at the LSNs up to the cutoff that
    /// read their versions. What cannot be learnt now counts as live.
    pub(super) async fn reads_of(&self, lsns: &Range<Lsn>) -> Vec<LiveKeys> {
        let horizon = self.horizon.load_full();
        let mut reads = Vec::new();
        for at in self.read_lsns(&horizon).into_iter().filter(|at| *at >= lsns.start) {
            let live = self.live_keys(&ALL, at).await.unwrap_or_else(|error| {
                tracing::info!(timeline = %self.id, lsn = %at, %error, "a merge leaves what was dropped as it is");
                LiveKeys::all(at)
            });
            reads.push(live);
            // Later ones see these versions only below what this one sees of them.
            if at + 1 >= lsns.end {
                break;
            }
        }
        reads
    }

    /// What is live at each LSN of a horizon, the last of which is the cutoff. None if all of the timeline's own is kept.
    pub(super) async fn reads(&self, horizon: &Horizon) -> Result<Vec<LiveKeys>, StorageError> {
        let mut reads = Vec::new();
        for at in self.read_lsns(horizon) {
            // Others get theirs after each.
            let _turn = self.turn().await?;
            reads.push(self.live_keys(&ALL, at).await?);
        }
        Ok(reads)
    }

    fn read_lsns(&self, Horizon { cutoff, pins }: &Horizon) -> Vec<Lsn> {
        let start = self.start_lsn();
        if *cutoff <= start {
            return Vec::new();
        }
        read_lsns(*cutoff, pins).into_iter().filter(|at| *at >= start).collect()
    }
}

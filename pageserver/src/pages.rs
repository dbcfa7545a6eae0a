//! Pages as of an LSN: what storage brings back, put together by redo.

use std::ops::Range;

use bytes::Bytes;
use page_redo::{Change, RedoError};
use prometheus::{IntCounter, IntCounterVec, Opts, Registry};
use telemetry::child_span;
use tracing::{Instrument, Span};
use types::{BLCKSZ, Key, KeyKind, Lsn, PgVersion, RelTag};

use crate::ingest::RelSize;
use crate::storage::{Reconstruct, Redo, StorageError, Timeline, TimelineMetadata};

#[derive(Debug, thiserror::Error)]
pub enum PageError {
    #[error(transparent)]
    Storage(#[from] StorageError),
    #[error(transparent)]
    Redo(#[from] RedoError),
    #[error("the stored image of {key:?} at {lsn} has {length} bytes")]
    ImageLength { key: Key, lsn: Lsn, length: usize },
}

/// Records that one read applies on the thread it runs on; beyond, it goes to a thread for blocking work.
const MOST_RECORDS_INLINE: usize = 200;

/// A page that is made of so many changes is kept for the next read.
const LONG_HISTORY: usize = 64;

/// Makes pages, and counts of what.
#[derive(Clone)]
pub struct PageReader {
    records: IntCounterVec,
    failures: IntCounter,
}

impl PageReader {
    pub fn new(registry: &Registry) -> prometheus::Result<Self> {
        let records =
            Opts::new("pageserver_redo_records_total", "Changes applied to pages, by resource manager");
        let records = IntCounterVec::new(records, &["rmgr"])?;
        let failures = IntCounter::new(
            "pageserver_redo_failures_total",
            "Pages not made, since what there is of them makes no sense or a change does not apply",
        )?;
        registry.register(Box::new(records.clone()))?;
        registry.register(Box::new(failures.clone()))?;
        Ok(Self { records, failures })
    }

    /// One page of a relation or an SLRU. One that was never written is zeros.
    pub async fn page(&self, timeline: &Timeline, key: Key, lsn: Lsn) -> Result<Bytes, PageError> {
        let found = timeline.get_reconstruct(key, lsn).await?;
        let mut pages = self.build(timeline, key, vec![found]).await?;
        Ok(pages.pop().unwrap_or_else(zero_page))
    }

    /// `count` pages that follow each other.
    pub async fn run(
        &self,
        timeline: &Timeline,
        first: Key,
        count: u32,
        lsn: Lsn,
    ) -> Result<Vec<Bytes>, PageError> {
        let found = timeline.get_reconstruct_run(first, count, lsn).await?;
        self.build(timeline, first, found).await
    }

    /// Pages of a relation of that size. Holes, and what lies behind the end, are zeros.
    pub async fn relation(
        &self,
        timeline: &Timeline,
        rel: RelTag,
        size: &RelSize,
        blocks: Range<u32>,
        lsn: Lsn,
    ) -> Result<Vec<Bytes>, PageError> {
        let mut pages = vec![zero_page(); blocks.len()];
        for part in size.written(blocks.clone()) {
            let found = self.run(timeline, Key::rel_block(rel, part.start), part.len() as u32, lsn).await?;
            for (block, page) in part.zip(found) {
                pages[(block - blocks.start) as usize] = page;
            }
        }
        Ok(pages)
    }

    async fn build(
        &self,
        timeline: &Timeline,
        first: Key,
        found: Vec<Reconstruct>,
    ) -> Result<Vec<Bytes>, PageError> {
        let long: Vec<(usize, Lsn)> = found
            .iter()
            .enumerate()
            .filter(|(_, page)| page.deltas.len() >= LONG_HISTORY)
            .filter_map(|(number, page)| Some((number, page.deltas.last()?.0)))
            .collect();
        let pages = self.build_all(timeline, first, found).await?;
        for (number, lsn) in long {
            if let Some(key) = std::iter::successors(Some(first), Key::next).nth(number) {
                timeline.keep_image(key, lsn, &pages[number]);
            }
        }
        Ok(pages)
    }

    async fn build_all(
        &self,
        timeline: &Timeline,
        first: Key,
        found: Vec<Reconstruct>,
    ) -> Result<Vec<Bytes>, PageError> {
        let metadata = timeline.metadata().clone();
        let records: usize = found.iter().map(|page| page.deltas.len()).sum();
        let reader = self.clone();
        let work = move || {
            let keys = std::iter::successors(Some(first), Key::next);
            keys.zip(&found).map(|(key, found)| reader.redo(&metadata, key, found)).collect()
        };
        let span = if records > 0 { child_span!("redo", varve.changes = records) } else { Span::none() };
        if records <= MOST_RECORDS_INLINE {
            return span.in_scope(work);
        }
        match tokio::task::spawn_blocking(work).instrument(span).await {
            Ok(pages) => pages,
            Err(_) => Err(StorageError::ShuttingDown.into()),
        }
    }

    fn redo(&self, metadata: &TimelineMetadata, key: Key, found: &Reconstruct) -> Result<Bytes, PageError> {
        self.rebuild(metadata, key, found).inspect_err(|_| self.failures.inc())
    }

    fn rebuild(
        &self,
        metadata: &TimelineMetadata,
        key: Key,
        found: &Reconstruct,
    ) -> Result<Bytes, PageError> {
        let mut page = match &found.image {
            Some((_, image)) if found.deltas.is_empty() && image.len() == BLCKSZ => {
                return Ok(self.with_checksum(metadata, key, image.clone()));
            }
            // An empty image marks a block that begins anew as zeros.
            Some((_, image)) if image.is_empty() => Box::new([0; BLCKSZ]),
            Some((lsn, image)) => {
                Box::new(<[u8; BLCKSZ]>::try_from(&image[..]).map_err(|_| PageError::ImageLength {
                    key,
                    lsn: *lsn,
                    length: image.len(),
                })?)
            }
            None => Box::new([0; BLCKSZ]),
        };
        for (lsn, bytes) in &found.deltas {
            self.apply(&mut page, bytes, *lsn, metadata.pg_version)?;
        }
        Ok(self.with_checksum(metadata, key, Bytes::copy_from_slice(&page[..])))
    }

    fn apply(
        &self,
        page: &mut [u8; BLCKSZ],
        change: &Bytes,
        lsn: Lsn,
        version: PgVersion,
    ) -> Result<(), RedoError> {
        let change = Change::decode_shared(change.clone())?;
        let rmgr = change.rmgr_name();
        page_redo::apply(page, &change, lsn, version)?;
        self.records.with_label_values(&[rmgr]).inc();
        Ok(())
    }

    fn with_checksum(&self, metadata: &TimelineMetadata, key: Key, page: Bytes) -> Bytes {
        if !metadata.data_checksums || key.kind() != Some(KeyKind::RelBlock) {
            return page;
        }
        let mut copy = Box::new([0; BLCKSZ]);
        copy.copy_from_slice(&page);
        pg_format::page::set_checksum(&mut copy, key.block());
        Bytes::copy_from_slice(&copy[..])
    }
}

impl Redo for PageReader {
    fn value_of(&self, timeline: &TimelineMetadata, key: Key, found: &Reconstruct) -> Option<Bytes> {
        self.redo(timeline, key, found).ok()
    }

    fn written_blocks(&self, size: &[u8]) -> Vec<Range<u32>> {
        match RelSize::decode(size) {
            Some(size) => size.written(0..size.blocks),
            // Nothing is removed for the sake of what makes no sense.
            None => std::iter::once(0..u32::MAX).collect(),
        }
    }
}

pub fn zero_page() -> Bytes {
    Bytes::from_static(&[0; BLCKSZ])
}

//! Relations come, grow, shrink and go.
//!
//! A relation grows when a record touches a block behind its end. The blocks in between have no version since
//! then and must read as zeros, whatever older versions they have, from before the relation was cut or dropped:
//! they are given an empty image, or become a hole. The touched block too begins anew: with the record's change if
//! that makes the whole page, else with an empty image.

use std::ops::Range;

use bytes::Bytes;
use page_redo::{Change, truncated_maps};
use types::{Fork, Key, Lsn, RelTag};
use wal_decoder::DecodedRecord;
use wal_decoder::rmgr::smgr::{self, SmgrRecord, SmgrTruncate};

use super::{Ingest, IngestError, RelSize};
use crate::storage::{StorageError, Value};

impl Ingest {
    pub(super) fn set_size(&mut self, rel: RelTag, size: RelSize, lsn: Lsn) {
        self.put(Key::rel_size(rel), lsn, Value::Image(size.encode()));
        self.metadata.set_relation(rel, Some(size));
    }

    /// The relation has this block from now on. `change` is put next.
    pub(super) async fn grow(
        &mut self,
        rel: RelTag,
        block: u32,
        change: &Change,
        lsn: Lsn,
    ) -> Result<(), StorageError> {
        let mut size = self.metadata.relation(rel).await?.unwrap_or_default();
        if size.is_written(block) {
            return Ok(());
        }
        for gap in size.write(block) {
            self.begin_anew(rel, gap, lsn);
        }
        if !change.will_init() {
            self.put(Key::rel_block(rel, block), lsn, Value::Image(Bytes::new()));
        }
        self.set_size(rel, size, lsn);
        Ok(())
    }

    fn begin_anew(&mut self, rel: RelTag, blocks: Range<u32>, lsn: Lsn) {
        self.metrics.gap_blocks.inc_by(blocks.len() as u64);
        for block in blocks {
            self.put(Key::rel_block(rel, block), lsn, Value::Image(Bytes::new()));
        }
    }

    pub(super) async fn exists(&mut self, rel: RelTag) -> Result<bool, StorageError> {
        Ok(self.metadata.relation(rel).await?.is_some())
    }

    pub(super) async fn drop_relation(&mut self, rel: RelTag, lsn: Lsn) -> Result<(), StorageError> {
        for fork in Fork::ALL {
            self.drop_fork(rel.with_fork(fork), lsn).await?;
        }
        Ok(())
    }

    pub(super) async fn drop_fork(&mut self, rel: RelTag, lsn: Lsn) -> Result<(), StorageError> {
        if self.exists(rel).await? {
            self.metadata.set_relation(rel, None);
            self.put(Key::rel_size(rel), lsn, Value::Image(Bytes::new()));
        }
        Ok(())
    }

    /// XLOG_SMGR_*
    pub(super) async fn storage(&mut self, record: &DecodedRecord) -> Result<(), IngestError> {
        match smgr::decode(record, self.version)? {
            SmgrRecord::Create(rel) => {
                if !self.exists(rel).await? {
                    self.set_size(rel, RelSize::default(), record.end_lsn);
                }
            }
            SmgrRecord::Truncate(truncate) => self.truncate(truncate, record.end_lsn).await?,
        }
        Ok(())
    }

    async fn truncate(&mut self, truncate: SmgrTruncate, lsn: Lsn) -> Result<(), StorageError> {
        let SmgrTruncate { rel, nblocks, main, vm, fsm } = truncate;
        if main {
            self.shrink(rel, nblocks, lsn).await?;
        }
        for map in truncated_maps(rel, nblocks) {
            let wanted = match map.rel.fork {
                Fork::Vm => vm,
                Fork::Fsm => fsm,
                Fork::Main | Fork::Init => false,
            };
            if !wanted || !self.shrink(map.rel, map.blocks, lsn).await? {
                continue;
            }
            if let Some((block, change)) = map.tail {
                self.put_change(Key::rel_block(map.rel, block), lsn, &Change::Native(change));
            }
        }
        Ok(())
    }

    /// Whether the fork reached to the new length, so that its last block is cut too.
    async fn shrink(&mut self, rel: RelTag, blocks: u32, lsn: Lsn) -> Result<bool, StorageError> {
        let Some(mut size) = self.metadata.relation(rel).await? else { return Ok(false) };
        if size.blocks > blocks {
            if let Some(gap) = size.cut(blocks) {
                self.begin_anew(rel, gap, lsn);
            }
            self.set_size(rel, size, lsn);
            return Ok(true);
        }
        Ok(size.blocks == blocks && blocks > 0)
    }
}

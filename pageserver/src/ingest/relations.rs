//! Relations come, grow, shrink and go.
//!
//! A relation grows when a record touches a block behind its end. The blocks in between have no version since
//! then and must read as zeros; where older versions of them may exist, from before the relation was cut or
//! dropped, they are given an empty image.

use bytes::Bytes;
use page_redo::{Change, truncated_maps};
use types::{Fork, Key, Lsn, RelTag};
use wal_decoder::DecodedRecord;
use wal_decoder::rmgr::smgr::{self, SmgrRecord, SmgrTruncate};

use super::metadata::RelState;
use super::{Ingest, IngestError};
use crate::storage::{StorageError, Value};

impl Ingest {
    pub(super) fn set_size(&mut self, rel: RelTag, blocks: u32, lsn: Lsn) {
        self.metadata.set_relation(rel, RelState::Blocks(blocks));
        self.put(Key::rel_size(rel), lsn, Value::Image(Bytes::copy_from_slice(&blocks.to_le_bytes())));
    }

    /// The relation has this block from now on.
    pub(super) async fn grow(&mut self, rel: RelTag, block: u32, lsn: Lsn) -> Result<(), StorageError> {
        let stale_from = match self.metadata.relation(rel).await? {
            RelState::Blocks(blocks) if block < blocks => return Ok(()),
            RelState::Blocks(blocks) => blocks,
            RelState::Dropped => 0,
            RelState::NeverSeen => block,
        };
        for gap in stale_from..block {
            self.put(Key::rel_block(rel, gap), lsn, Value::Image(Bytes::new()));
            self.metrics.gap_blocks.inc();
        }
        self.set_size(rel, block.saturating_add(1), lsn);
        Ok(())
    }

    pub(super) async fn exists(&mut self, rel: RelTag) -> Result<bool, StorageError> {
        Ok(matches!(self.metadata.relation(rel).await?, RelState::Blocks(_)))
    }

    pub(super) async fn drop_relation(&mut self, rel: RelTag, lsn: Lsn) -> Result<(), StorageError> {
        for fork in Fork::ALL {
            self.drop_fork(rel.with_fork(fork), lsn).await?;
        }
        Ok(())
    }

    pub(super) async fn drop_fork(&mut self, rel: RelTag, lsn: Lsn) -> Result<(), StorageError> {
        if self.exists(rel).await? {
            self.metadata.set_relation(rel, RelState::Dropped);
            self.put(Key::rel_size(rel), lsn, Value::Image(Bytes::new()));
        }
        Ok(())
    }

    /// XLOG_SMGR_*
    pub(super) async fn storage(&mut self, record: &DecodedRecord) -> Result<(), IngestError> {
        match smgr::decode(record, self.version)? {
            SmgrRecord::Create(rel) => {
                if !self.exists(rel).await? {
                    self.set_size(rel, 0, record.end_lsn);
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
        match self.metadata.relation(rel).await? {
            RelState::Blocks(old) if old > blocks => {
                self.set_size(rel, blocks, lsn);
                Ok(true)
            }
            RelState::Blocks(old) => Ok(old == blocks && blocks > 0),
            RelState::NeverSeen | RelState::Dropped => Ok(false),
        }
    }
}

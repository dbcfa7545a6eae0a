//! Pages that a record changes: those it registers, and those it only implies.

use page_redo::{BlockChange, Change, slru_changes, vm_clears};
use pg_format::rmgr;
use types::{BLCKSZ, Fork, Key, Lsn};
use wal_decoder::rmgr::xlog::{XLOG_FPI, XLOG_FPI_FOR_HINT};
use wal_decoder::{BlockImage, DecodedBlock, DecodedRecord};

use super::{Ingest, IngestError};
use crate::storage::{StorageError, Value};

impl Ingest {
    pub(super) async fn blocks(&mut self, record: &DecodedRecord) -> Result<(), StorageError> {
        for (index, block) in record.blocks.iter().enumerate() {
            if self.is_orphan(record, block).await? {
                continue;
            }
            let change = Change::Postgres(BlockChange::from_record(record, index));
            self.grow(block.rel, block.blkno, &change, record.end_lsn).await?;
            self.put_change(Key::rel_block(block.rel, block.blkno), record.end_lsn, &change);
        }
        Ok(())
    }

    /// The image of a page of a free space or visibility map whose relation is gone. The compute logs images of
    /// free space maps by itself and may be late; kept, the next relation of that number would find them.
    async fn is_orphan(
        &mut self,
        record: &DecodedRecord,
        block: &DecodedBlock,
    ) -> Result<bool, StorageError> {
        let image_only =
            record.header.rmid == rmgr::XLOG && matches!(record.opcode(), XLOG_FPI | XLOG_FPI_FOR_HINT);
        match block.rel.fork {
            Fork::Main | Fork::Init => Ok(false),
            Fork::Fsm | Fork::Vm if !image_only => Ok(false),
            Fork::Fsm | Fork::Vm => Ok(!self.exists(block.rel.with_fork(Fork::Main)).await?),
        }
    }

    /// A page image that redo would only put in place is stored as the page itself.
    pub(super) fn put_change(&mut self, key: Key, lsn: Lsn, change: &Change) {
        let value = match whole_page(change, lsn) {
            Some(page) => Value::Image(page),
            None => Value::Delta { will_init: change.will_init(), change: change.encode() },
        };
        self.put(key, lsn, value);
    }

    /// Heap records clear bits of pages of the visibility map that they do not register. A page that is
    /// not there has no bit to clear.
    pub(super) async fn visibility_map(&mut self, record: &DecodedRecord) -> Result<(), IngestError> {
        for (rel, block, change) in vm_clears(record)? {
            if self.metadata.relation(rel).await?.is_some_and(|size| size.is_written(block)) {
                self.put_change(Key::rel_block(rel, block), record.end_lsn, &Change::Native(change));
            }
        }
        Ok(())
    }

    pub(super) async fn slru_pages(&mut self, record: &DecodedRecord) -> Result<(), IngestError> {
        for (slru, segment, block, change) in slru_changes(record, self.version)? {
            if self.metadata.slru_segment(slru, segment).await? <= block {
                let blocks = block + 1;
                self.metadata.set_slru_segment(slru, segment, blocks);
                let size = blocks.to_le_bytes().to_vec().into();
                self.put(Key::slru_seg_size(slru, segment), record.end_lsn, Value::Image(size));
            }
            self.put_change(Key::slru_block(slru, segment, block), record.end_lsn, &Change::Native(change));
        }
        Ok(())
    }
}

/// The page of an uncompressed image that nothing but its LSN is added to; anything else stays a change.
fn whole_page(change: &Change, lsn: Lsn) -> Option<bytes::Bytes> {
    let Change::Postgres(BlockChange { rmid: rmgr::XLOG, image: Some(image), .. }) = change else {
        return None;
    };
    if !image.apply || image.is_compressed() || !has_all_bytes(image) {
        return None;
    }
    let mut page = image.restore().ok()?;
    if !pg_format::page::is_new(&page) {
        page[..4].copy_from_slice(&((lsn.0 >> 32) as u32).to_le_bytes());
        page[4..8].copy_from_slice(&(lsn.0 as u32).to_le_bytes());
    }
    Some(bytes::Bytes::copy_from_slice(&page[..]))
}

/// A hole makes the change much smaller than the page.
fn has_all_bytes(image: &BlockImage) -> bool {
    usize::from(image.hole_length) < BLCKSZ / 8
}

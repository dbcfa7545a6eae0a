//! Databases, tablespaces and relation maps.

use std::ops::Range;

use bytes::Bytes;
use types::{Key, KeyKind, Lsn, Oid, RelTag};
use wal_decoder::DecodedRecord;
use wal_decoder::rmgr::dbase::{self, DbaseRecord};
use wal_decoder::rmgr::relmap;
use wal_decoder::rmgr::tblspc::{self, TblspcRecord};

use super::{Ingest, IngestError, RelSize};
use crate::storage::{StorageError, Value};

/// Pages of a template that are read at once.
const COPY_RUN: u32 = 128;

impl Ingest {
    pub(super) async fn database(&mut self, record: &DecodedRecord) -> Result<(), IngestError> {
        match dbase::decode(record, self.version)? {
            DbaseRecord::CreateWalLog { db, spc } => {
                self.put(Key::database(spc, db), record.end_lsn, Value::Image(Bytes::from_static(&[1])));
                Ok(())
            }
            DbaseRecord::CreateFileCopy { db, spc, source_db, source_spc } => {
                self.copy_database((source_spc, source_db), (spc, db), record.end_lsn).await
            }
            DbaseRecord::Drop { db, spcs } => Ok(self.drop_database(db, &spcs, record.end_lsn).await?),
        }
    }

    async fn drop_database(&mut self, db: Oid, spcs: &[Oid], lsn: Lsn) -> Result<(), StorageError> {
        for spc in spcs {
            for (rel, _) in self.relations_of_database(*spc, db).await? {
                self.drop_fork(rel, lsn).await?;
            }
            for key in [Key::database(*spc, db), Key::rel_map(*spc, db)] {
                self.put(key, lsn, Value::Image(Bytes::new()));
            }
        }
        Ok(())
    }

    /// With the sizes that they have by now, those of the pending batch included.
    async fn relations_of_database(
        &mut self,
        spc: Oid,
        db: Oid,
    ) -> Result<Vec<(RelTag, RelSize)>, StorageError> {
        let range = Key::rel_sizes_of_database(spc, db);
        let stored = self.timeline.scan(range.clone(), self.timeline.last_record_lsn()).await?;
        let pending = self.entries.iter().map(|(key, _, _)| *key).filter(|key| range.contains(key));
        let mut rels: Vec<RelTag> =
            stored.iter().map(|(key, _)| *key).chain(pending).filter_map(|key| key.rel_tag()).collect();
        rels.sort_unstable();
        rels.dedup();
        let mut sizes = Vec::with_capacity(rels.len());
        for rel in rels {
            sizes.extend(self.metadata.relation(rel).await?.map(|size| (rel, size)));
        }
        Ok(sizes)
    }

    /// `strategy = file_copy`: the files are copied as they are, which a checkpoint before it has made the
    /// state of the template at this record. All of the copy is in one batch.
    async fn copy_database(&mut self, from: (Oid, Oid), to: (Oid, Oid), lsn: Lsn) -> Result<(), IngestError> {
        // Pages of the template may wait in the pending batch.
        let relations = self.relations_of_database(from.0, from.1).await?;
        self.flush_before(lsn).await?;
        let before = self.timeline.last_record_lsn();
        self.put(Key::database(to.0, to.1), lsn, Value::Image(Bytes::from_static(&[1])));
        if let Some(map) = self.metadata.read(Key::rel_map(from.0, from.1)).await? {
            self.put(Key::rel_map(to.0, to.1), lsn, Value::Image(map));
        }
        for (source, size) in relations {
            let target = RelTag { spc: to.0, db: to.1, ..source };
            for Range { start, end } in size.written(0..size.blocks) {
                let mut first = start;
                while first < end {
                    let count = COPY_RUN.min(end - first);
                    let pages =
                        self.pages.run(&self.timeline, Key::rel_block(source, first), count, before).await?;
                    for (block, page) in (first..).zip(pages) {
                        self.put(Key::rel_block(target, block), lsn, Value::Image(page));
                    }
                    first += count;
                }
            }
            self.set_size(target, size, lsn);
        }
        Ok(())
    }

    /// Puts the records before the one that is being translated, the effects of which are not begun.
    async fn flush_before(&mut self, lsn: Lsn) -> Result<(), IngestError> {
        debug_assert!(self.entries.iter().all(|(_, entry, _)| *entry < lsn));
        self.flush().await
    }

    pub(super) fn tablespace(&mut self, record: &DecodedRecord) -> Result<(), IngestError> {
        let (spc, value) = match tblspc::decode(record, self.version)? {
            // One inside the data directory has no location; it is named by where it lies there.
            TblspcRecord::Create { spc, location } if location.is_empty() => {
                (spc, format!("pg_tblspc/{spc}"))
            }
            TblspcRecord::Create { spc, location } => (spc, location),
            TblspcRecord::Drop { spc } => (spc, String::new()),
        };
        self.put(Key::tablespace(spc), record.end_lsn, Value::Image(value.into_bytes().into()));
        Ok(())
    }

    pub(super) fn relation_map(&mut self, record: &DecodedRecord) -> Result<(), IngestError> {
        let update = relmap::decode(record, self.version)?;
        self.put(Key::rel_map(update.spc, update.db), record.end_lsn, Value::Image(update.map));
        Ok(())
    }
}

/// A relation fork and its size, from an entry of a scan of sizes.
pub fn relation_size(key: &Key, image: &[u8]) -> Option<(RelTag, RelSize)> {
    if key.kind() != Some(KeyKind::RelSize) {
        return None;
    }
    Some((key.rel_tag()?, RelSize::decode(image)?))
}

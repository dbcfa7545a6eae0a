//! Ends of transactions, prepared transactions, the commit log and multixacts.

use bytes::Bytes;
use page_redo::slru_truncation;
use types::{Key, PgVersion, SlruKind};
use wal_decoder::DecodedRecord;
use wal_decoder::rmgr::clog::{self, ClogRecord};
use wal_decoder::rmgr::multixact::{self, MultiXactRecord};
use wal_decoder::rmgr::standby::{self, StandbyRecord};
use wal_decoder::rmgr::xact::{self, XactEnd, XactRecord};

use super::{Ingest, IngestError, checkpoint};
use crate::storage::{StorageError, Value};

impl Ingest {
    pub(super) async fn transaction(&mut self, record: &DecodedRecord) -> Result<(), IngestError> {
        match xact::decode(record, self.version)? {
            XactRecord::Commit(end) => self.commit(&end, record).await,
            XactRecord::Abort(end) => self.transaction_end(&end, record).await,
            XactRecord::CommitPrepared(end) => {
                self.put(self.two_phase_key(end.xid), record.end_lsn, Value::Image(Bytes::new()));
                self.commit(&end, record).await
            }
            XactRecord::AbortPrepared(end) => {
                self.put(self.two_phase_key(end.xid), record.end_lsn, Value::Image(Bytes::new()));
                self.transaction_end(&end, record).await
            }
            XactRecord::Prepare(prepare) => {
                checkpoint::advance_next_xid(&mut self.checkpoint, prepare.xid);
                for xid in prepare.subxids {
                    checkpoint::advance_next_xid(&mut self.checkpoint, xid);
                }
                let file = pg_format::two_phase::encode_file(&prepare.state).into();
                self.put(self.two_phase_key(prepare.xid), record.end_lsn, Value::Image(file));
                self.advance_origin(record.origin, prepare.origin_lsn, record.end_lsn).await
            }
            XactRecord::Assignment | XactRecord::Invalidations => Ok(()),
        }
    }

    fn two_phase_key(&self, xid: u32) -> Key {
        let epoch = match self.version {
            PgVersion::V15 => 0,
            PgVersion::V17 => checkpoint::epoch_of(&self.checkpoint, xid),
        };
        Key::two_phase(u64::from(epoch) << 32 | u64::from(xid))
    }

    async fn commit(&mut self, end: &XactEnd, record: &DecodedRecord) -> Result<(), IngestError> {
        // Also if it is not later than the one before: it is the last of that time.
        self.newest_commit = self.newest_commit.max(end.time);
        let time = Bytes::copy_from_slice(&self.newest_commit.to_le_bytes());
        self.put(Key::commit_time(), record.end_lsn, Value::Image(time));
        self.transaction_end(end, record).await
    }

    async fn transaction_end(&mut self, end: &XactEnd, record: &DecodedRecord) -> Result<(), IngestError> {
        checkpoint::advance_next_xid(&mut self.checkpoint, end.xid);
        for xid in &end.subxids {
            checkpoint::advance_next_xid(&mut self.checkpoint, *xid);
        }
        if let Some((remote_lsn, _)) = end.origin {
            self.advance_origin(record.origin, remote_lsn, record.end_lsn).await?;
        }
        for rel in &end.dropped_relations {
            self.drop_relation(*rel, record.end_lsn).await?;
        }
        self.slru_pages(record).await
    }

    pub(super) async fn clog(&mut self, record: &DecodedRecord) -> Result<(), IngestError> {
        match clog::decode(record, self.version)? {
            ClogRecord::ZeroPage { .. } => self.slru_pages(record).await,
            ClogRecord::Truncate { page, oldest_xid, oldest_xid_db } => {
                checkpoint::advance_oldest_xid(&mut self.checkpoint, oldest_xid, oldest_xid_db);
                let gone = |segment| slru_truncation::clog_segment_goes(segment, page);
                Ok(self.remove_segments(SlruKind::Clog, record, gone).await?)
            }
        }
    }

    pub(super) async fn multixact(&mut self, record: &DecodedRecord) -> Result<(), IngestError> {
        match multixact::decode(record, self.version)? {
            MultiXactRecord::ZeroOffsetsPage { .. } | MultiXactRecord::ZeroMembersPage { .. } => {
                self.slru_pages(record).await
            }
            MultiXactRecord::Create(create) => {
                for member in &create.members {
                    checkpoint::advance_next_xid(&mut self.checkpoint, member.xid);
                }
                let next_offset = create.offset.wrapping_add(create.members.len() as u32);
                checkpoint::advance_next_multi(
                    &mut self.checkpoint,
                    create.multixact.wrapping_add(1),
                    next_offset,
                );
                self.slru_pages(record).await
            }
            MultiXactRecord::Truncate(truncate) => {
                let (multi, db) = (truncate.end_multixact, truncate.oldest_multi_db);
                checkpoint::advance_oldest_multi(&mut self.checkpoint, multi, db);
                let offsets = |segment| slru_truncation::offsets_segment_goes(segment, multi);
                self.remove_segments(SlruKind::MultiXactOffsets, record, offsets).await?;
                let members = |segment| {
                    slru_truncation::members_segment_goes(segment, truncate.start_member, truncate.end_member)
                };
                Ok(self.remove_segments(SlruKind::MultiXactMembers, record, members).await?)
            }
        }
    }

    async fn remove_segments(
        &mut self,
        slru: SlruKind,
        record: &DecodedRecord,
        goes: impl Fn(u32) -> bool,
    ) -> Result<(), StorageError> {
        for segment in self.segments(slru).await? {
            if goes(segment) && self.metadata.slru_segment(slru, segment).await? > 0 {
                self.metadata.set_slru_segment(slru, segment, 0);
                self.put(Key::slru_seg_size(slru, segment), record.end_lsn, Value::Image(Bytes::new()));
            }
        }
        Ok(())
    }

    /// All segments that there are, those of the pending batch included.
    async fn segments(&self, slru: SlruKind) -> Result<Vec<u32>, StorageError> {
        let stored = self.timeline.scan(Key::slru_seg_sizes(slru), self.timeline.last_record_lsn()).await?;
        let pending = self.entries.iter().map(|(key, _, _)| key);
        let keys = stored.iter().map(|(key, _)| key).chain(pending);
        let mut segments: Vec<u32> = keys
            .filter(|key| key.kind() == Some(types::KeyKind::SlruSegSize))
            .filter_map(|key| key.slru_segment())
            .filter_map(|(kind, segment)| (kind == slru).then_some(segment))
            .collect();
        segments.sort_unstable();
        segments.dedup();
        Ok(segments)
    }

    pub(super) fn standby(&mut self, record: &DecodedRecord) -> Result<(), IngestError> {
        match standby::decode(record, self.version)? {
            StandbyRecord::RunningXacts(running) => {
                checkpoint::advance_next_xid(&mut self.checkpoint, running.next_xid.wrapping_sub(1));
                self.checkpoint.oldest_active_xid = running.oldest_running_xid;
            }
            StandbyRecord::Lock | StandbyRecord::Invalidations => {}
        }
        Ok(())
    }
}

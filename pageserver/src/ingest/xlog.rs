//! Records of WAL itself: checkpoints, counters, settings.

use pg_format::CheckPoint;
use pg_format::control_file::{ControlFile, Parameters};
use types::{Key, Lsn};
use wal_decoder::DecodedRecord;
use wal_decoder::rmgr::xlog::{self, ParameterChange, XlogRecord};

use super::checkpoint::{self, WrittenCheckpoint};
use super::{Ingest, IngestError};
use crate::storage::Value;

impl Ingest {
    pub(super) async fn xlog(&mut self, record: &DecodedRecord) -> Result<(), IngestError> {
        match xlog::decode(record, self.version)? {
            XlogRecord::CheckpointShutdown(written) => {
                self.checkpoint = written;
                self.written_checkpoint(record, written);
            }
            XlogRecord::CheckpointOnline(written) => {
                checkpoint::online(&mut self.checkpoint, &written);
                self.written_checkpoint(record, written);
            }
            XlogRecord::NextOid(oid) => self.checkpoint.next_oid = oid,
            XlogRecord::FullPageWritesChange(on) => self.checkpoint.full_page_writes = on,
            XlogRecord::ParameterChange(change) => self.parameters(&change, record.end_lsn).await?,
            // A promotion does not happen here: the timeline number stays what pg_control said.
            XlogRecord::EndOfRecovery(_)
            | XlogRecord::Switch
            | XlogRecord::OverwriteContrecord(_)
            | XlogRecord::FullPageImage
            | XlogRecord::Nothing => {}
        }
        Ok(())
    }

    fn written_checkpoint(&mut self, record: &DecodedRecord, checkpoint: CheckPoint) {
        let written = WrittenCheckpoint { record_lsn: record.start_lsn, checkpoint };
        self.put(Key::last_checkpoint(), record.end_lsn, Value::Image(written.encode(self.version)));
    }

    async fn parameters(&mut self, change: &ParameterChange, lsn: Lsn) -> Result<(), IngestError> {
        // The one before may wait in this very batch.
        let pending = self.entries.iter().rev().find(|(key, _, _)| *key == Key::control_file());
        let bytes = match pending {
            Some((_, _, Value::Image(bytes))) => bytes.clone(),
            Some((_, _, Value::Delta { .. })) | None => {
                let stored = self.metadata.read(Key::control_file()).await?;
                stored.ok_or(IngestError::Missing { what: "the control file", lsn })?
            }
        };
        let mut control = ControlFile::decode(&bytes)?;
        control.parameters = Parameters {
            wal_level: change.wal_level,
            wal_log_hints: change.wal_log_hints,
            max_connections: change.max_connections,
            max_worker_processes: change.max_worker_processes,
            max_wal_senders: change.max_wal_senders,
            max_prepared_xacts: change.max_prepared_xacts,
            max_locks_per_xact: change.max_locks_per_xact,
            track_commit_timestamp: change.track_commit_timestamp,
        };
        self.put(Key::control_file(), lsn, Value::Image(control.encode().into()));
        Ok(())
    }
}

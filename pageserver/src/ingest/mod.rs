//! WAL into storage: what each record changes, as versions of keys.
//!
//! ```text
//!  WAL record ─decode─▶ blocks    ─▶ (key of the block, end of record, image or change)
//!                       main data ─▶ sizes of relations and SLRUs, databases, maps, prepared
//!                                    transactions, the checkpoint that a clean stop here would write
//! ```
//! One [`Ingest`] per timeline, owned by its WAL receiver. It gathers records into a batch; nothing is
//! visible to readers before the batch is put. What it must know to translate a record (is the relation there,
//! how long is it) it reads through [`MetadataCache`].
//!
//! Whether a change can be applied is the reader's business: a record that nobody knows how to apply is
//! stored all the same, and only reading its blocks fails. Such records are counted here.
//!
//! ```text
//! blocks.rs       registered blocks, visibility map clears, SLRU pages
//! relations.rs    create, truncate, drop; growing
//! rel_size.rs     length and holes of a relation (pure)
//! databases.rs    databases, tablespaces, relation maps
//! beside.rs       files that computes keep, progress of subscriptions
//! transactions.rs ends of transactions, prepared transactions
//! checkpoint.rs   counters: the checkpoint and the control file (pure)
//! slru.rs         which segments a truncation removes (pure)
//! metadata.rs     the cache
//! ```

mod beside;
mod blocks;
mod checkpoint;
mod databases;
mod metadata;
mod metrics;
mod rel_size;
mod relations;
mod transactions;
mod xlog;

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use page_redo::RedoError;
use pg_format::{CheckPoint, FormatError, rmgr};
use telemetry::timeline_span;
use tracing::field::Empty;
use tracing::{Instrument, Span};
use types::{Key, Lsn, PgVersion};
use wal_decoder::{DecodeError, DecodedRecord, WalRecord};

use crate::pages::{PageError, PageReader};
use crate::storage::{StorageError, Timeline, Value, WriteBatch};
pub use beside::lsn_of;
pub use checkpoint::WrittenCheckpoint;
pub use databases::relation_size;
use metadata::MetadataCache;
pub use metadata::size_of;
pub use metrics::IngestMetrics;
pub use rel_size::RelSize;

#[derive(Debug, thiserror::Error)]
pub enum IngestError {
    #[error(transparent)]
    Storage(#[from] StorageError),
    #[error(transparent)]
    Decode(#[from] DecodeError),
    #[error(transparent)]
    Redo(#[from] RedoError),
    #[error(transparent)]
    Format(#[from] FormatError),
    /// The copy of a template database.
    #[error("reading a template database: {0}")]
    Page(#[from] PageError),
    #[error("{what} is missing at {lsn}")]
    Missing { what: &'static str, lsn: Lsn },
    #[error(
        "the record at {lsn} is of resource manager {rmid}, which an extension brought along: its pages cannot be rebuilt \
         here"
    )]
    CustomResourceManager { rmid: u8, lsn: Lsn },
    #[error("the record of {rmgr} (opcode {opcode:#04X}) at {lsn}: {source}")]
    Record { rmgr: &'static str, opcode: u8, lsn: Lsn, source: Box<IngestError> },
}

impl IngestError {
    /// The record is at fault, or our understanding of it: it will be the next time, too.
    fn is_of_record(&self) -> bool {
        match self {
            IngestError::Decode(_)
            | IngestError::Redo(_)
            | IngestError::Format(_)
            | IngestError::CustomResourceManager { .. } => true,
            IngestError::Record { source, .. } => source.is_of_record(),
            IngestError::Storage(_) | IngestError::Page(_) | IngestError::Missing { .. } => false,
        }
    }
}

/// A batch is put when it has this many bytes or records, or when no more WAL is at hand.
const BATCH_BYTES: usize = 1 << 20;
const BATCH_RECORDS: usize = 1000;

pub struct Ingest {
    timeline: Arc<Timeline>,
    version: PgVersion,
    pages: PageReader,
    metrics: IngestMetrics,
    metadata: MetadataCache,
    checkpoint: CheckPoint,
    /// The latest time of a commit, in microseconds since 2000-01-01.
    newest_commit: i64,
    /// How far subscriptions are, of those that were heard of.
    origins: HashMap<u16, Lsn>,
    entries: Vec<(Key, Lsn, Value)>,
    bytes: usize,
    records: usize,
    /// Of the batch, from its first record on.
    span: Span,
    /// End and start of the last record taken in.
    last: Lsn,
    prev: Lsn,
}

impl Ingest {
    /// Goes on where the timeline ends.
    pub async fn new(
        timeline: Arc<Timeline>,
        pages: PageReader,
        metrics: IngestMetrics,
    ) -> Result<Ingest, IngestError> {
        let (last, prev) = timeline.last_and_prev_record_lsn();
        let version = timeline.metadata().pg_version;
        let metadata = MetadataCache::new(Arc::clone(&timeline));
        let missing = || IngestError::Missing { what: "the checkpoint", lsn: last };
        let bytes = metadata.read(Key::checkpoint()).await?.ok_or_else(missing)?;
        let bytes = <[u8; CheckPoint::SIZE]>::try_from(&bytes[..]).map_err(|_| missing())?;
        let checkpoint = CheckPoint::decode(&bytes, version);
        let newest_commit = match metadata.read(Key::commit_time()).await? {
            Some(bytes) => {
                let missing = || IngestError::Missing { what: "the time of the last commit", lsn: last };
                i64::from_le_bytes(bytes[..].try_into().map_err(|_| missing())?)
            }
            None => i64::MIN,
        };
        Ok(Ingest {
            timeline,
            version,
            pages,
            metrics,
            metadata,
            checkpoint,
            newest_commit,
            origins: HashMap::new(),
            entries: Vec::new(),
            bytes: 0,
            records: 0,
            span: Span::none(),
            last,
            prev,
        })
    }

    /// End of the last record taken in, put or not.
    pub fn last_record_end(&self) -> Lsn {
        self.last
    }

    /// Start of that record; zero if unknown.
    pub fn last_record_start(&self) -> Lsn {
        self.prev
    }

    /// Takes in the next record. After an error this value is of no use: make a new one. A record that is not
    /// understood is never passed over, since every page read behind it could be wrong; what is before it is put.
    pub async fn ingest(&mut self, record: &WalRecord) -> Result<(), IngestError> {
        let before = self.entries.len();
        if self.records == 0 {
            self.span = self.span_of_batch(record.start_lsn);
        }
        if let Err(error) = self.take_in(record).await {
            self.entries.truncate(before);
            if error.is_of_record() {
                self.flush().await?;
            }
            return Err(error);
        }
        (self.last, self.prev) = (record.end_lsn, record.start_lsn);
        self.records += 1;
        self.metrics.records.inc();
        self.metrics.bytes.inc_by(record.bytes.len() as u64);
        if self.bytes >= BATCH_BYTES || self.records >= BATCH_RECORDS {
            self.flush().await?;
        }
        Ok(())
    }

    async fn take_in(&mut self, record: &WalRecord) -> Result<(), IngestError> {
        let header = record.header();
        if header.rmid >= rmgr::FIRST_CUSTOM {
            return Err(IngestError::CustomResourceManager { rmid: header.rmid, lsn: record.start_lsn });
        }
        let outcome = match wal_decoder::decode(record, self.version) {
            Ok(decoded) => self.translate(&decoded).await,
            Err(error) => Err(error.into()),
        };
        outcome.map_err(|source| IngestError::Record {
            rmgr: page_redo::rmgr_name(header.rmid),
            opcode: header.info & 0xf0,
            lsn: record.start_lsn,
            source: Box::new(source),
        })
    }

    fn span_of_batch(&self, start: Lsn) -> Span {
        timeline_span!(
            None,
            self.timeline.id(),
            "ingest",
            varve.lsn = %start,
            varve.end_lsn = Empty,
            varve.records = Empty,
            varve.changes = Empty,
        )
    }

    /// Makes what was taken in visible to readers.
    pub async fn flush(&mut self) -> Result<(), IngestError> {
        if self.records == 0 {
            return Ok(());
        }
        let batch = WriteBatch {
            entries: std::mem::take(&mut self.entries),
            end_lsn: self.last,
            prev_record_lsn: self.prev,
        };
        self.metrics.entries.inc_by(batch.entries.len() as u64);
        let span = std::mem::replace(&mut self.span, Span::none());
        if !span.is_none() {
            span.record("varve.end_lsn", tracing::field::display(batch.end_lsn));
            span.record("varve.records", self.records).record("varve.changes", batch.entries.len());
        }
        self.timeline.put_batch(batch).instrument(span).await?;
        (self.bytes, self.records) = (0, 0);
        self.metadata.trim();
        Ok(())
    }

    /// What the record says beyond its blocks comes first where it makes room for them, and last where it
    /// takes it away; a record does one of the two.
    async fn translate(&mut self, record: &DecodedRecord) -> Result<(), IngestError> {
        let checkpoint = self.checkpoint;
        let header = record.header;
        checkpoint::advance_next_xid(&mut self.checkpoint, header.xid);
        if let Some(xid) = record.toplevel_xid {
            checkpoint::advance_next_xid(&mut self.checkpoint, xid);
        }
        self.special(record).await?;
        self.blocks(record).await?;
        if self.checkpoint != checkpoint {
            let bytes = Bytes::copy_from_slice(&self.checkpoint.encode(self.version));
            self.put(Key::checkpoint(), record.end_lsn, Value::Image(bytes));
        }
        Ok(())
    }

    async fn special(&mut self, record: &DecodedRecord) -> Result<(), IngestError> {
        match record.header.rmid {
            rmgr::XLOG => self.xlog(record).await,
            rmgr::XACT => self.transaction(record).await,
            rmgr::SMGR => self.storage(record).await,
            rmgr::CLOG => self.clog(record).await,
            rmgr::MULTIXACT => self.multixact(record).await,
            rmgr::DBASE => self.database(record).await,
            rmgr::TBLSPC => self.tablespace(record),
            rmgr::RELMAP => self.relation_map(record),
            rmgr::STANDBY => self.standby(record),
            rmgr::LOGICALMSG => self.logical_message(record),
            rmgr::REPLORIGIN => self.replication_origin(record).await,
            rmgr::HEAP => self.visibility_map(record).await,
            rmgr::HEAP2 => {
                self.catalog_rewrite(record).await?;
                self.visibility_map(record).await
            }
            // All that the others do is in their blocks, or of no concern to pages.
            _ => Ok(()),
        }
    }

    fn put(&mut self, key: Key, lsn: Lsn, value: Value) {
        self.bytes += Key::SIZE
            + match &value {
                Value::Image(bytes) | Value::Delta { change: bytes, .. } => bytes.len(),
            };
        self.entries.push((key, lsn, value));
    }
}

//! One stream of WAL from one safekeeper.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use pg_frontend::{Address, ConnectParams, CopyReader, CopyWriter, PgClient, PgError};
use remote_storage::{BadKeyError, ObjectKey, RemoteError};
use safekeeper_api::replication::{PageserverFeedback, ReceiverMessage, SenderMessage};
use tokio::time::timeout;
use types::Lsn;
use wal_decoder::{DecodeError, WalStreamDecoder};

use super::{ReceiverContext, WalReceiverMetrics};
use crate::ingest::{Ingest, IngestError};
use crate::storage::Timeline;

#[derive(Debug, thiserror::Error)]
pub(super) enum StreamError {
    #[error(transparent)]
    Connection(#[from] PgError),
    #[error(transparent)]
    Message(#[from] safekeeper_api::DecodeError),
    #[error(transparent)]
    Decode(#[from] DecodeError),
    #[error(transparent)]
    Ingest(#[from] IngestError),
    #[error("the safekeeper sent WAL from {got}, not from {expected}")]
    Gap { got: Lsn, expected: Lsn },
    /// On purpose: it has no more, and nobody writes.
    #[error("the safekeeper ended the stream")]
    Ended,
    #[error("nothing but silence for {0:?}")]
    Silent(Duration),
    #[error(transparent)]
    Remote(#[from] RemoteError),
    #[error(transparent)]
    Key(#[from] BadKeyError),
    #[error("object {key} is damaged: a segment of WAL has {expected} bytes, this one {bytes}")]
    Segment { key: ObjectKey, bytes: u64, expected: u64 },
}

impl StreamError {
    /// It will happen again with the next safekeeper.
    pub(super) fn is_of_wal(&self) -> bool {
        match self {
            StreamError::Decode(_) | StreamError::Ingest(_) => true,
            StreamError::Connection(_)
            | StreamError::Message(_)
            | StreamError::Gap { .. }
            | StreamError::Ended
            | StreamError::Silent(_)
            | StreamError::Remote(_)
            | StreamError::Key(_)
            | StreamError::Segment { .. } => false,
        }
    }
}

/// WAL of a timeline from where it ends, wherever it comes from.
pub(super) struct WalIngest {
    decoder: WalStreamDecoder,
    ingest: Ingest,
    metrics: WalReceiverMetrics,
}

impl WalIngest {
    pub(super) async fn new(
        context: &ReceiverContext,
        timeline: &Arc<Timeline>,
    ) -> Result<WalIngest, StreamError> {
        let ingest = Ingest::new(Arc::clone(timeline), context.pages.clone(), context.ingest.clone()).await?;
        let metadata = timeline.metadata();
        let mut decoder =
            WalStreamDecoder::new(ingest.last_record_end(), metadata.pg_version, metadata.wal_seg_size)
                .with_system_identifier(metadata.system_identifier);
        if ingest.last_record_start().is_valid() {
            decoder = decoder.with_previous_record(ingest.last_record_start());
        }
        Ok(WalIngest { decoder, ingest, metrics: context.metrics.clone() })
    }

    /// Where the next WAL is to begin.
    pub(super) fn fed_up_to(&self) -> Lsn {
        self.decoder.fed_up_to()
    }

    /// All whole records of it are in the timeline when this returns.
    pub(super) async fn take_in(&mut self, wal: &[u8]) -> Result<(), StreamError> {
        self.metrics.bytes.inc_by(wal.len() as u64);
        self.decoder.feed(wal);
        while let Some(record) = self.decoder.next_record()? {
            self.ingest.ingest(&record).await?;
        }
        Ok(self.ingest.flush().await?)
    }
}

pub(super) struct WalStream {
    timeline: Arc<Timeline>,
    reader: CopyReader,
    writer: CopyWriter,
    ingest: WalIngest,
    sent: Option<PageserverFeedback>,
    pub(super) last_message: Instant,
    pub(super) last_wal: Instant,
}

/// For a safekeeper to let us in and begin: a timeline that was at rest may have to come out of object storage.
const OPENING: Duration = Duration::from_secs(30);

impl WalStream {
    pub(super) async fn open(
        context: &ReceiverContext,
        timeline: &Arc<Timeline>,
        address: &str,
    ) -> Result<WalStream, StreamError> {
        let ingest = WalIngest::new(context, timeline).await?;
        let id = timeline.id();
        let params = ConnectParams::new(Address::parse(address)?, "pageserver")
            .credentials(&context.credentials)
            .application_name(&format!("pageserver-{}", context.node))
            .option("tenant_id", &id.tenant_id.to_string())
            .option("timeline_id", &id.timeline_id.to_string())
            .physical_replication()
            .connect_timeout(Duration::from_secs(5));
        let start = ingest.fed_up_to();
        let opening = async {
            let client = PgClient::connect(&params).await?;
            client.copy_both(&format!("START_REPLICATION PHYSICAL {start}")).await
        };
        let copy = timeout(OPENING, opening).await.map_err(|_| StreamError::Silent(OPENING))??;
        let (reader, writer) = copy.split();
        let now = Instant::now();
        Ok(WalStream {
            timeline: Arc::clone(timeline),
            reader,
            writer,
            ingest,
            sent: None,
            last_message: now,
            last_wal: now,
        })
    }

    /// The next message. Safe to cancel; what it says is worked off by [`WalStream::take_in`].
    pub(super) async fn next(&mut self) -> Result<Bytes, StreamError> {
        self.reader.next().await?.ok_or(StreamError::Ended)
    }

    pub(super) async fn take_in(&mut self, message: Bytes) -> Result<(), StreamError> {
        self.last_message = Instant::now();
        match SenderMessage::decode(message)? {
            SenderMessage::XLogData(data) => {
                let expected = self.ingest.fed_up_to();
                if data.start_lsn != expected {
                    return Err(StreamError::Gap { got: data.start_lsn, expected });
                }
                self.last_wal = self.last_message;
                self.ingest.take_in(&data.wal).await?;
                self.feedback(false).await
            }
            SenderMessage::Keepalive(keepalive) => self.feedback(keepalive.reply_requested).await,
        }
    }

    /// Says how far we are, if that is news, or was asked for.
    pub(super) async fn feedback(&mut self, demanded: bool) -> Result<(), StreamError> {
        let feedback = PageserverFeedback {
            last_received_lsn: self.timeline.last_record_lsn(),
            disk_consistent_lsn: self.timeline.disk_consistent_lsn(),
            remote_consistent_lsn: self.timeline.remote_consistent_lsn(),
        };
        if demanded || self.sent != Some(feedback) {
            self.writer.send(&ReceiverMessage::PageserverFeedback(feedback).encode()).await?;
            self.sent = Some(feedback);
        }
        Ok(())
    }
}

//! One stream of WAL from one safekeeper.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use pg_frontend::{Address, ConnectParams, CopyReader, CopyWriter, PgClient, PgError};
use safekeeper_api::replication::{PageserverFeedback, ReceiverMessage, SenderMessage};
use types::Lsn;
use wal_decoder::{DecodeError, WalStreamDecoder};

use super::ReceiverContext;
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
            | StreamError::Silent(_) => false,
        }
    }
}

pub(super) struct WalStream {
    timeline: Arc<Timeline>,
    context: ReceiverContext,
    reader: CopyReader,
    writer: CopyWriter,
    decoder: WalStreamDecoder,
    ingest: Ingest,
    sent: Option<PageserverFeedback>,
    pub(super) last_message: Instant,
    pub(super) last_wal: Instant,
}

impl WalStream {
    pub(super) async fn open(
        context: &ReceiverContext,
        timeline: &Arc<Timeline>,
        address: &str,
    ) -> Result<WalStream, StreamError> {
        let ingest = Ingest::new(Arc::clone(timeline), context.pages.clone(), context.ingest.clone()).await?;
        let id = timeline.id();
        let params = ConnectParams::new(Address::parse(address)?, "pageserver")
            .credentials(&context.credentials)
            .application_name(&format!("pageserver-{}", context.node))
            .option("tenant_id", &id.tenant_id.to_string())
            .option("timeline_id", &id.timeline_id.to_string())
            .physical_replication()
            .connect_timeout(Duration::from_secs(5));
        let start = ingest.last_record_end();
        let client = PgClient::connect(&params).await?;
        let copy = client.copy_both(&format!("START_REPLICATION PHYSICAL {start}")).await?;
        let (reader, writer) = copy.split();
        let metadata = timeline.metadata();
        let mut decoder = WalStreamDecoder::new(start, metadata.pg_version, metadata.wal_seg_size)
            .with_system_identifier(metadata.system_identifier);
        if ingest.last_record_start().is_valid() {
            decoder = decoder.with_previous_record(ingest.last_record_start());
        }
        let now = Instant::now();
        Ok(WalStream {
            timeline: Arc::clone(timeline),
            context: context.clone(),
            reader,
            writer,
            decoder,
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
                let expected = self.decoder.fed_up_to();
                if data.start_lsn != expected {
                    return Err(StreamError::Gap { got: data.start_lsn, expected });
                }
                self.last_wal = self.last_message;
                self.context.metrics.bytes.inc_by(data.wal.len() as u64);
                self.decoder.feed(&data.wal);
                while let Some(record) = self.decoder.next_record()? {
                    self.ingest.ingest(&record).await?;
                }
                self.ingest.flush().await?;
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

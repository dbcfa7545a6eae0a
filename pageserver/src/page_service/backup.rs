//! `basebackup` and `fullbackup`.

use std::sync::Arc;

use bytes::Bytes;
use pageserver_api::{BackupRequest, RequestedKind};
use pg_backend::{CopyWriter, QueryError, Session};
use pg_format::wal::can_begin_record;
use types::Lsn;

use super::{PageService, error, spans};
use crate::basebackup::{BackupError, BackupKind, BackupOptions, ChunkSink, standby, write_backup};
use crate::storage::Timeline;

struct CopySink<'a>(CopyWriter<'a>);

impl ChunkSink for CopySink<'_> {
    async fn send(&mut self, chunk: Bytes) -> Result<(), BackupError> {
        self.0.send(chunk).await.map_err(|error| BackupError::Sink(Box::new(error)))
    }
}

pub(super) async fn serve(
    service: &PageService,
    timeline: &Arc<Timeline>,
    request: BackupRequest,
    session: &mut Session,
) -> Result<(), QueryError> {
    let _timer = service.metrics.backup_seconds.start_timer();
    let options = options(service, timeline, request).await?;
    let id = timeline.id();
    spans::note_lsn(options.lsn);
    // It may take its time.
    let _held = timeline.hold_lsn(options.lsn).map_err(|failure| error::query_error(&failure.into()))?;
    tracing::info!(timeline = %id, lsn = %options.lsn, prev = %options.prev_lsn, kind = ?options.kind, "base backup");
    let sink = CopySink(session.copy_out().await?);
    write_backup(timeline, &service.pages, options, sink).await.map_err(|failure| {
        tracing::warn!(timeline = %id, lsn = %options.lsn, "base backup failed: {failure}");
        spans::note_failure();
        error::backup_error(&failure)
    })
}

async fn options(
    service: &PageService,
    timeline: &Timeline,
    request: BackupRequest,
) -> Result<BackupOptions, QueryError> {
    if let Some(lsn) = request.lsn {
        timeline
            .wait_lsn(lsn, service.wait_lsn_timeout)
            .await
            .map_err(|failure| error::query_error(&failure.into()))?;
    }
    let (last, prev) = timeline.last_and_prev_record_lsn();
    if request.kind == RequestedKind::Standby {
        let standby = standby(timeline, request.lsn.unwrap_or(last)).await;
        let (kind, lsn) = standby.map_err(|failure| error::backup_error(&failure))?;
        return Ok(BackupOptions { kind, lsn, prev_lsn: Lsn::INVALID, zstd: request.zstd });
    }
    let lsn = request.lsn.unwrap_or(last).align();
    if !can_begin_record(lsn, timeline.metadata().wal_seg_size) {
        return Err(error::backup_error(&BackupError::NoStart(lsn)));
    }
    Ok(BackupOptions {
        kind: if request.kind == RequestedKind::Full { BackupKind::Full } else { BackupKind::Sparse },
        lsn,
        // Only the end of the timeline knows what comes before it.
        prev_lsn: if lsn == last { prev } else { Lsn::INVALID },
        zstd: request.zstd,
    })
}

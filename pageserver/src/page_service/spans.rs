//! What the traces of requests say of them.

use pageserver_api::BackupRequest;
use pageserver_api::pagestream::{Request, RequestBody};
use telemetry::timeline_span;
use telemetry::traces::span::is_on;
use tracing::Span;
use tracing::field::Empty;
use types::{Lsn, TenantTimelineId};

/// What is called, as OpenTelemetry's conventions for remote calls have it.
const SYSTEM: &str = "varve.pagestream";

/// Of a request of a page stream; nothing if nobody records it.
pub(super) fn of_request(timeline: TenantTimelineId, request: &Request) -> Span {
    let span = timeline_span!(
        request.trace,
        timeline,
        "page request",
        otel.name = request.body.name(),
        otel.kind = "server",
        rpc.system = SYSTEM,
        rpc.method = request.body.name(),
        varve.lsn = Empty,
        varve.relation = Empty,
        varve.block = Empty,
        varve.blocks = Empty,
        otel.status_code = Empty,
    );
    if span.is_none() {
        return span;
    }
    match request.body {
        RequestBody::Exists { rel } | RequestBody::Nblocks { rel } => {
            span.record("varve.relation", tracing::field::display(rel));
        }
        RequestBody::GetPage { rel, block } => {
            span.record("varve.relation", tracing::field::display(rel)).record("varve.block", block);
        }
        RequestBody::GetPageRun { rel, block, count } => {
            span.record("varve.relation", tracing::field::display(rel)).record("varve.block", block);
            span.record("varve.blocks", count);
        }
        RequestBody::DbSize { .. } | RequestBody::SlruSegment { .. } => {}
    }
    span
}

pub(super) fn of_backup(timeline: TenantTimelineId, request: &BackupRequest) -> Span {
    let command = request.kind.command();
    timeline_span!(
        request.trace,
        timeline,
        "base backup",
        otel.name = command,
        otel.kind = "server",
        rpc.system = SYSTEM,
        rpc.method = command,
        varve.lsn = Empty,
        otel.status_code = Empty,
    )
}

// Both are of the span that is current: a request's or a backup's, or, if that is not recorded, a connection's, which has no
// such fields.

/// It is read as of this LSN.
pub(super) fn note_lsn(lsn: Lsn) {
    if is_on() {
        Span::current().record("varve.lsn", tracing::field::display(lsn));
    }
}

/// It got an error for an answer; which one, the log says, and with it the trace.
pub(super) fn note_failure() {
    if is_on() {
        Span::current().record("otel.status_code", "ERROR");
    }
}

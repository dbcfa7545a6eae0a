//! [`Queue`]: spans that have ended, until the thread that sends them takes them. Bounded: what does not fit is dropped and
//! counted, and nobody ever waits.

use std::sync::Arc;
use std::time::Duration;

use opentelemetry::Context;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{Span, SpanData, SpanProcessor};
use prometheus::{IntCounter, IntCounterVec, Opts, Registry};
use tokio::sync::mpsc::{Receiver, Sender, channel};

/// Spans in it: as many as OpenTelemetry's own have. About a megabyte.
pub(super) const LENGTH: usize = 2048;

/// What became of spans.
#[derive(Clone, Debug)]
pub(super) struct Counters {
    pub(super) exported: IntCounter,
    /// Of a full queue.
    pub(super) overflowed: IntCounter,
    /// In batches that the collector did not take.
    pub(super) unsent: IntCounter,
    dropped: IntCounterVec,
}

impl Default for Counters {
    fn default() -> Self {
        let exported = IntCounter::new("trace_exported_spans_total", "Spans that the collector has taken");
        let dropped = IntCounterVec::new(
            Opts::new(
                "trace_dropped_spans_total",
                "Spans that were lost, since nothing waits for the collector",
            ),
            &["reason"],
        );
        let dropped = dropped.expect("its name is right");
        Self {
            exported: exported.expect("its name is right"),
            overflowed: dropped.with_label_values(&["queue_full"]),
            unsent: dropped.with_label_values(&["not_sent"]),
            dropped,
        }
    }
}

impl Counters {
    pub(super) fn register(&self, registry: &Registry) -> prometheus::Result<()> {
        registry.register(Box::new(self.exported.clone()))?;
        registry.register(Box::new(self.dropped.clone()))
    }

    pub(super) fn dropped(&self) -> u64 {
        self.overflowed.get() + self.unsent.get()
    }
}

#[derive(Debug)]
pub(super) struct Queue {
    ended: Sender<SpanData>,
    counters: Counters,
}

impl Queue {
    pub(super) fn new(counters: Counters) -> (Queue, Receiver<SpanData>) {
        let (ended, spans) = channel(LENGTH);
        (Queue { ended, counters }, spans)
    }

    pub(super) fn push(&self, span: SpanData) {
        if self.ended.try_send(span).is_err() {
            self.counters.overflowed.inc();
        }
    }

    /// They did not fit elsewhere.
    pub(super) fn lost(&self, spans: u64) {
        self.counters.overflowed.inc_by(spans);
    }
}

/// The queue as OpenTelemetry's tracer sees it.
#[derive(Debug)]
pub(super) struct Processor(pub(super) Arc<Queue>);

impl SpanProcessor for Processor {
    fn on_start(&self, _span: &mut Span, _context: &Context) {}

    fn on_end(&self, span: SpanData) {
        self.0.push(span);
    }

    /// The thread that sends has an end of its own, which a daemon asks for.
    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, _timeout: Duration) -> OTelSdkResult {
        Ok(())
    }
}

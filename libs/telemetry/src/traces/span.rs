//! Which spans are made. Where a trace begins it is decided whether it is recorded: one that came with a request if that says
//! so, one that begins here by lot. [`trace_span`](crate::trace_span) is for what may begin one, and draws lots again where what is
//! around it is not recorded; [`child_span`](crate::child_span) is for what is a part of something alone.

use std::borrow::Cow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::SystemTime;

pub use opentelemetry::KeyValue;
use opentelemetry::trace::{
    SpanContext, SpanId, SpanKind, Status, TraceContextExt, TraceFlags, TraceId, TraceState,
};
use opentelemetry::{Context, InstrumentationScope};
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanLinks};
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt;
use types::TraceParent;

use super::queue::Queue;

/// Apart from the rest, since it is all that is looked at where nothing is traced.
static IS_ON: AtomicBool = AtomicBool::new(false);
static TRACING: OnceLock<Tracing> = OnceLock::new();

struct Tracing {
    queue: Arc<Queue>,
    ratio: f64,
}

pub(super) fn switch_on(queue: Arc<Queue>, ratio: f64) {
    if TRACING.set(Tracing { queue, ratio }).is_ok() {
        IS_ON.store(true, Ordering::Release);
    }
}

/// Whether spans go anywhere.
#[inline]
pub fn is_on() -> bool {
    IS_ON.load(Ordering::Relaxed)
}

/// What is being done now as a parent of what others do for it. None if it is not recorded.
#[inline]
pub fn current() -> Option<TraceParent> {
    if is_on() { recorded() } else { None }
}

fn recorded() -> Option<TraceParent> {
    let context = Span::current().context();
    let span = context.span();
    let span = span.span_context();
    let parent = TraceParent::new(span.trace_id().to_bytes(), span.span_id().to_bytes(), span.is_sampled());
    parent.filter(|parent| parent.is_sampled)
}

/// Where a span of a recorded trace hangs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hangs {
    /// On the span that is current, or on none.
    Here,
    /// On another part's.
    There(TraceParent),
}

/// Whether something is to be traced that came from `parent`. Where it is part of something bigger it is if that is.
#[inline]
pub fn begins(parent: Option<TraceParent>) -> Option<Hangs> {
    if is_on() { decide(parent) } else { None }
}

fn decide(parent: Option<TraceParent>) -> Option<Hangs> {
    match parent {
        Some(parent) => parent.is_sampled.then_some(Hangs::There(parent)),
        None if recorded().is_some() => Some(Hangs::Here),
        None => wins(TRACING.get()?.ratio, rand::random()).then_some(Hangs::Here),
    }
}

/// `lot` is from 0 to 1, without 1.
fn wins(ratio: f64, lot: f64) -> bool {
    lot < ratio
}

impl Hangs {
    /// Of a span that has just been made.
    pub fn hang(self, span: &Span) {
        match self {
            Hangs::Here => {}
            Hangs::There(parent) => {
                // An error says that the span goes nowhere, or hangs somewhere already.
                let _ = span.set_parent(Context::new().with_remote_span_context(remote(parent)));
            }
        }
    }
}

fn remote(parent: TraceParent) -> SpanContext {
    let flags = if parent.is_sampled { TraceFlags::SAMPLED } else { TraceFlags::NOT_SAMPLED };
    let (trace_id, span_id) = (TraceId::from_bytes(parent.trace_id), SpanId::from_bytes(parent.span_id));
    SpanContext::new(trace_id, span_id, flags, true, TraceState::NONE)
}

/// A span with which a trace may begin: it hangs where an `Option<TraceParent>` says, on what is current, or is the first. Nothing
/// if it is not recorded.
#[macro_export]
macro_rules! trace_span {
    ($parent:expr, $name:literal $(, $($fields:tt)*)?) => {
        match $crate::traces::span::begins($parent) {
            Some(hangs) => {
                let span = $crate::tracing::info_span!(target: "varve_trace", $name $(, $($fields)*)?);
                hangs.hang(&span);
                span
            }
            None => $crate::tracing::Span::none(),
        }
    };
}

/// The same of something that is done for a timeline: `$timeline` is its `TenantTimelineId`.
#[macro_export]
macro_rules! timeline_span {
    ($parent:expr, $timeline:expr, $name:literal $(, $($fields:tt)*)?) => {
        $crate::trace_span!(
            $parent,
            $name,
            varve.tenant_id = %$timeline.tenant_id,
            varve.timeline_id = %$timeline.timeline_id
            $(, $($fields)*)?
        )
    };
}

/// A span of something that is done for the one that is current. Nothing if there is none.
#[macro_export]
macro_rules! child_span {
    ($name:literal $(, $($fields:tt)*)?) => {
        if $crate::traces::span::current().is_some() {
            $crate::tracing::info_span!(target: "varve_trace", $name $(, $($fields)*)?)
        } else {
            $crate::tracing::Span::none()
        }
    };
}

/// A span of a process that cannot send spans itself.
#[derive(Clone, Debug)]
pub struct EndedSpan {
    /// Its trace, and its own id.
    pub itself: TraceParent,
    pub parent: [u8; 8],
    pub name: Cow<'static, str>,
    pub start_time: SystemTime,
    pub end_time: SystemTime,
    pub attributes: Vec<KeyValue>,
}

/// Sends it with our own.
pub fn report(span: EndedSpan) {
    if let Some(tracing) = TRACING.get() {
        tracing.queue.push(span.data());
    }
}

/// So many were lost on their way here.
pub fn lost(spans: u64) {
    if let Some(tracing) = TRACING.get() {
        tracing.queue.lost(spans);
    }
}

impl EndedSpan {
    pub(super) fn data(self) -> SpanData {
        let itself = remote(self.itself);
        SpanData {
            // It is ours in all but the process that measured it.
            span_context: SpanContext::new(
                itself.trace_id(),
                itself.span_id(),
                itself.trace_flags(),
                false,
                TraceState::NONE,
            ),
            parent_span_id: SpanId::from_bytes(self.parent),
            parent_span_is_remote: true,
            span_kind: SpanKind::Client,
            name: self.name,
            start_time: self.start_time,
            end_time: self.end_time,
            attributes: self.attributes,
            dropped_attributes_count: 0,
            events: SpanEvents::default(),
            links: SpanLinks::default(),
            status: Status::Unset,
            instrumentation_scope: InstrumentationScope::builder("varve").build(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lots_are_drawn_as_the_ratio_says() {
        assert!(!wins(0.0, 0.0) && wins(1.0, 0.999_999));
        let won = (0..1000).filter(|lot| wins(0.25, f64::from(*lot) / 1000.0)).count();
        assert_eq!(won, 250);
    }
}

//! Traces: spans of what was done for whom, sent to an OpenTelemetry collector by a thread of its own.
//!
//! ```text
//! arguments.rs  the flags
//! span.rs       which spans are made: those of traces that somebody records, and no others
//! queue.rs      ended spans, bounded; what does not fit is dropped and counted
//! export.rs     the thread: batches to the collector, over HTTP
//! ```
//! Spans are `tracing`'s, with [`TARGET`] for their target, so that logs have nothing of them. Without an endpoint none
//! is ever made, and what asks for one looks at a flag and goes on. Nothing waits for the collector.

mod arguments;
mod export;
mod queue;
pub mod span;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{Sampler, SdkTracer, SdkTracerProvider, SpanData};
use prometheus::Registry;
use tokio::sync::mpsc::Receiver;

pub use arguments::{DEFAULT_RATIO, TraceArguments, parse_endpoint, parse_ratio};
use export::Exporter;
pub use export::TraceError;
use queue::{Counters, Queue};
pub use span::{EndedSpan, report};

/// Of all spans and of nothing else.
pub const TARGET: &str = "varve_trace";

/// How long the end of a daemon waits for the last spans.
const FAREWELL: Duration = Duration::from_secs(2);

/// Who it is that sends spans.
#[derive(Clone, Debug)]
pub struct Identity {
    /// `pageserver`, `compute`
    pub service: &'static str,
    /// Its number or name among those of its kind.
    pub instance: String,
    pub version: &'static str,
}

impl Identity {
    fn resource(&self) -> Resource {
        // With what OTEL_RESOURCE_ATTRIBUTES says.
        Resource::builder()
            .with_service_name(self.service)
            .with_attributes([
                KeyValue::new("service.namespace", "varve"),
                KeyValue::new("service.instance.id", self.instance.clone()),
                KeyValue::new("service.version", self.version),
            ])
            .build()
    }
}

/// How a collector is reached.
#[derive(Clone, Debug)]
pub struct Connection {
    pub http: reqwest::Client,
    /// Whether it was told whose certificates to believe: without, there is no TLS.
    pub believes_somebody: bool,
}

/// The traces of a daemon, from its first line to its last. What is traced before [`Traces::start`] waits in the queue.
pub struct Traces {
    arguments: TraceArguments,
    counters: Counters,
    ended: Mutex<Option<Receiver<SpanData>>>,
    exporter: Mutex<Option<Exporter>>,
}

impl Traces {
    /// With what the layer of logs' subscriber needs, where there is an endpoint.
    pub(crate) fn new(arguments: &TraceArguments) -> (Traces, Option<SdkTracer>) {
        let counters = Counters::default();
        let mut traces = Traces {
            arguments: arguments.clone(),
            counters: counters.clone(),
            ended: Mutex::default(),
            exporter: Mutex::default(),
        };
        if arguments.endpoint().is_none() {
            return (traces, None);
        }
        let (queue, ended) = Queue::new(counters);
        traces.ended = Mutex::new(Some(ended));
        let queue = Arc::new(queue);
        // Whether a trace is recorded was decided before its first span was made.
        let provider = SdkTracerProvider::builder()
            .with_span_processor(queue::Processor(Arc::clone(&queue)))
            .with_sampler(Sampler::AlwaysOn)
            .build();
        span::switch_on(queue, arguments.ratio());
        (traces, Some(provider.tracer("varve")))
    }

    /// Nothing is traced.
    pub fn off() -> Traces {
        Traces::new(&TraceArguments::default()).0
    }

    /// Registers the counters, and begins to send what there is, if it is to go anywhere.
    pub fn start(
        &self,
        identity: &Identity,
        connection: Connection,
        registry: &Registry,
    ) -> Result<(), TraceError> {
        self.counters.register(registry)?;
        let Some(endpoint) = self.arguments.endpoint() else { return Ok(()) };
        let Connection { http, believes_somebody } = connection;
        if endpoint.scheme() == "https" && !believes_somebody {
            return Err(TraceError::NobodyBelieved(endpoint.clone()));
        }
        let Some(ended) = self.ended.lock().expect("no holder panics").take() else { return Ok(()) };
        let exporter = Exporter::start(endpoint, identity.resource(), http, ended, self.counters.clone())?;
        *self.exporter.lock().expect("no holder panics") = Some(exporter);
        tracing::info!(%endpoint, ratio = self.arguments.ratio(), "traces are sent");
        Ok(())
    }
}

/// Sends what is in the queue, if that goes quickly. Blocks.
impl Drop for Traces {
    fn drop(&mut self) {
        if let Some(exporter) = self.exporter.lock().expect("no holder panics").take() {
            exporter.end(FAREWELL);
        }
    }
}

#[cfg(test)]
mod tests;

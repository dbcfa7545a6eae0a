//! A wrapper that counts: object stores are paid by the request. In traces, each is a span.

use std::fmt;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use prometheus::{HistogramOpts, HistogramVec, IntCounter, IntCounterVec, Opts, Registry};
use telemetry::child_span;
use tracing::field::Empty;
use tracing::{Instrument, Span};

use crate::{ListMode, Listing, ObjectKey, Operation, RemoteError, RemoteStorage};

/// Passes all on to another store, and counts what is asked of it and what comes of it.
pub struct Counted {
    inner: Arc<dyn RemoteStorage>,
    requests: IntCounterVec,
    seconds: HistogramVec,
    bytes_sent: IntCounter,
    bytes_received: IntCounter,
}

impl fmt::Debug for Counted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Counted").field(&self.inner).finish()
    }
}

impl Counted {
    /// Registers `remote_storage_requests_total`, `remote_storage_request_seconds` and `remote_storage_bytes_total`.
    pub fn new(inner: Arc<dyn RemoteStorage>, registry: &Registry) -> prometheus::Result<Self> {
        let requests = IntCounterVec::new(
            Opts::new("remote_storage_requests_total", "Operations on object storage that ended"),
            &["operation", "outcome"],
        )?;
        let seconds = HistogramVec::new(
            HistogramOpts::new("remote_storage_request_seconds", "Time of one operation on object storage")
                .buckets(vec![0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0]),
            &["operation"],
        )?;
        let bytes = IntCounterVec::new(
            Opts::new("remote_storage_bytes_total", "Bytes of objects sent to and received from storage"),
            &["direction"],
        )?;
        registry.register(Box::new(requests.clone()))?;
        registry.register(Box::new(seconds.clone()))?;
        registry.register(Box::new(bytes.clone()))?;
        let (bytes_sent, bytes_received) =
            (bytes.with_label_values(&["sent"]), bytes.with_label_values(&["received"]));
        Ok(Self { inner, requests, seconds, bytes_sent, bytes_received })
    }

    /// `size` is that of the object, as far as the answer tells.
    async fn count<T>(
        &self,
        operation: Operation,
        key: Option<&ObjectKey>,
        work: impl Future<Output = Result<T, RemoteError>>,
        size: impl FnOnce(&T) -> Option<u64>,
    ) -> Result<T, RemoteError> {
        let timer = self.seconds.with_label_values(&[operation.name()]).start_timer();
        let span = span(operation, key);
        let done = work.instrument(span.clone()).await;
        timer.observe_duration();
        if !span.is_none() {
            note(&span, &done, size);
        }
        let outcome = match &done {
            Ok(_) => "ok",
            Err(error) if error.is_not_found() => "not_found",
            Err(_) => "error",
        };
        self.requests.with_label_values(&[operation.name(), outcome]).inc();
        done
    }
}

/// Nothing where nobody records what it is done for.
fn span(operation: Operation, key: Option<&ObjectKey>) -> Span {
    let span = child_span!(
        "object storage",
        otel.name = format!("object_storage {}", operation.name()),
        otel.kind = "client",
        rpc.system = "object_storage",
        rpc.method = operation.name(),
        varve.object.key = Empty,
        varve.object.size = Empty,
        otel.status_code = Empty,
        "error.type" = Empty,
    );
    if let Some(key) = key.filter(|_| !span.is_none()) {
        span.record("varve.object.key", tracing::field::display(key));
    }
    span
}

fn note<T>(span: &Span, done: &Result<T, RemoteError>, size: impl FnOnce(&T) -> Option<u64>) {
    match done {
        Ok(answer) => {
            if let Some(size) = size(answer) {
                span.record("varve.object.size", size);
            }
        }
        // Whoever looks whether something is there is told so.
        Err(error) if error.is_not_found() => {
            span.record("error.type", "not_found");
        }
        Err(error) => {
            span.record("error.type", tracing::field::display(error)).record("otel.status_code", "ERROR");
        }
    }
}

fn length(body: &Bytes) -> Option<u64> {
    Some(body.len() as u64)
}

#[async_trait]
impl RemoteStorage for Counted {
    async fn put(&self, key: &ObjectKey, body: Bytes) -> Result<(), RemoteError> {
        let size = body.len() as u64;
        self.count(Operation::Put, Some(key), self.inner.put(key, body), |_| Some(size)).await?;
        self.bytes_sent.inc_by(size);
        Ok(())
    }

    async fn put_file(&self, key: &ObjectKey, path: &Path) -> Result<(), RemoteError> {
        let size = |_: &()| std::fs::metadata(path).ok().map(|metadata| metadata.len());
        self.count(Operation::Put, Some(key), self.inner.put_file(key, path), size).await?;
        // Best effort: it has been sent, and may be gone by now.
        self.bytes_sent.inc_by(tokio::fs::metadata(path).await.map_or(0, |metadata| metadata.len()));
        Ok(())
    }

    async fn get(&self, key: &ObjectKey) -> Result<Bytes, RemoteError> {
        let body = self.count(Operation::Get, Some(key), self.inner.get(key), length).await?;
        self.bytes_received.inc_by(body.len() as u64);
        Ok(body)
    }

    async fn get_range(&self, key: &ObjectKey, range: Range<u64>) -> Result<Bytes, RemoteError> {
        let body = self.count(Operation::Get, Some(key), self.inner.get_range(key, range), length).await?;
        self.bytes_received.inc_by(body.len() as u64);
        Ok(body)
    }

    async fn get_to_file(&self, key: &ObjectKey, path: &Path) -> Result<u64, RemoteError> {
        let getting = self.inner.get_to_file(key, path);
        let size = self.count(Operation::Get, Some(key), getting, |size| Some(*size)).await?;
        self.bytes_received.inc_by(size);
        Ok(size)
    }

    async fn head(&self, key: &ObjectKey) -> Result<Option<u64>, RemoteError> {
        self.count(Operation::Head, Some(key), self.inner.head(key), |size| *size).await
    }

    async fn list(&self, prefix: Option<&ObjectKey>, mode: ListMode) -> Result<Listing, RemoteError> {
        self.count(Operation::List, prefix, self.inner.list(prefix, mode), |_| None).await
    }

    async fn delete(&self, key: &ObjectKey) -> Result<(), RemoteError> {
        self.count(Operation::Delete, Some(key), self.inner.delete(key), |_| None).await
    }
}

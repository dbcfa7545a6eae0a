//! [`Exporter`]: the thread that sends spans to the collector. It has a runtime of its own, so that a daemon's requests and its
//! traces never wait for each other.

use std::pin::pin;
use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::{
    ExporterBuildError, Protocol, RetryPolicy, SpanExporter, WithExportConfig, WithHttpConfig,
};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{SpanData, SpanExporter as _};
use reqwest::Url;
use tokio::sync::mpsc::Receiver;
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::queue::Counters;

/// Spans of one request to the collector.
const BATCH: usize = 512;
/// A span waits for others no longer than that.
const INTERVAL: Duration = Duration::from_secs(1);
/// For the collector to take a batch. One that takes longer gets less.
const PATIENCE: Duration = Duration::from_secs(5);
/// Between two lines of the log that tell of lost spans.
const BETWEEN_WARNINGS: Duration = Duration::from_secs(60);
/// Of a collector's answer, so much is read.
const MOST_ANSWER: usize = 64 << 10;

#[derive(Debug, thiserror::Error)]
pub enum TraceError {
    #[error("spans cannot be sent to {endpoint}: {source}")]
    Exporter { endpoint: Url, source: ExporterBuildError },
    #[error(
        "--otlp-endpoint is {0}, but this part was told of nobody whose certificate it may believe: give it --tls-ca-file (a \
         pageserver tls_ca_file), or send traces over http to a collector beside it"
    )]
    NobodyBelieved(Url),
    #[error("the thread that sends spans cannot be started: {0}")]
    Thread(#[from] std::io::Error),
    #[error(transparent)]
    Metrics(#[from] prometheus::Error),
}

pub(super) struct Exporter {
    stop: oneshot::Sender<()>,
    /// Closed when the thread has ended.
    stopped: std::sync::mpsc::Receiver<()>,
}

impl Exporter {
    pub(super) fn start(
        endpoint: &Url,
        resource: Resource,
        http: reqwest::Client,
        ended: Receiver<SpanData>,
        counters: Counters,
    ) -> Result<Exporter, TraceError> {
        let problem = Arc::new(Mutex::new(None));
        let client = Client { http, problem: Arc::clone(&problem) };
        let mut exporter = SpanExporter::builder()
            .with_http()
            .with_endpoint(format!("{}/v1/traces", endpoint.as_str().trim_end_matches('/')))
            .with_protocol(Protocol::HttpBinary)
            .with_http_client(client)
            // Whoever is away loses a batch, which is counted; the next one finds out whether it is back.
            .with_retry_policy(RetryPolicy::disabled())
            .build()
            .map_err(|source| TraceError::Exporter { endpoint: endpoint.clone(), source })?;
        exporter.set_resource(&resource);
        let (stop, stopping) = oneshot::channel();
        let (running, stopped) = sync_channel(0);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let sending = Sending { exporter, problem, counters, told: None, told_lost: 0 };
        std::thread::Builder::new().name("traces".to_owned()).spawn(move || {
            let _running: SyncSender<()> = running;
            runtime.block_on(sending.run(ended, stopping));
        })?;
        Ok(Exporter { stop, stopped })
    }

    /// Waits for the thread to send what there is.
    pub(super) fn end(self, patience: Duration) {
        // It may have ended.
        let _ = self.stop.send(());
        if self.stopped.recv_timeout(patience) == Err(RecvTimeoutError::Timeout) {
            tracing::warn!("the last spans are lost: the collector did not take them within {patience:?}");
        }
    }
}

struct Sending {
    exporter: SpanExporter,
    /// Why the last request did not get through, which the exporter does not pass on.
    problem: Arc<Mutex<Option<String>>>,
    counters: Counters,
    /// When the log was last told of lost spans, and of how many in all.
    told: Option<Instant>,
    told_lost: u64,
}

impl Sending {
    async fn run(mut self, mut ended: Receiver<SpanData>, stopping: oneshot::Receiver<()>) {
        let mut stopping = pin!(stopping);
        let mut batch = Vec::with_capacity(BATCH);
        loop {
            let is_last = tokio::select! {
                () = gather(&mut ended, &mut batch) => false,
                _ = &mut stopping => true,
            };
            if is_last {
                while let Ok(span) = ended.try_recv() {
                    batch.push(span);
                }
            }
            self.send(std::mem::take(&mut batch)).await;
            self.tell();
            if is_last {
                return;
            }
        }
    }

    async fn send(&self, batch: Vec<SpanData>) {
        let spans = batch.len() as u64;
        if spans == 0 {
            return;
        }
        match self.exporter.export(batch).await {
            Ok(()) => self.counters.exported.inc_by(spans),
            Err(error) => {
                self.counters.unsent.inc_by(spans);
                let mut problem = self.problem.lock().expect("no holder panics");
                problem.get_or_insert_with(|| error.to_string());
            }
        }
    }

    /// One line now and then: a collector that is away must not fill a disk with logs.
    fn tell(&mut self) {
        let lost = self.counters.dropped();
        if lost == self.told_lost || self.told.is_some_and(|told| told.elapsed() < BETWEEN_WARNINGS) {
            return;
        }
        let problem = self.problem.lock().expect("no holder panics").take();
        let why = problem.unwrap_or_else(|| "there were more than the collector took".to_owned());
        tracing::warn!(spans = lost - self.told_lost, "spans are lost: {why}");
        (self.told, self.told_lost) = (Some(Instant::now()), lost);
    }
}

/// Ends with a full batch, or some time after its first span. May be dropped: what it has got is in the batch.
async fn gather(ended: &mut Receiver<SpanData>, batch: &mut Vec<SpanData>) {
    if batch.is_empty() && ended.recv_many(batch, BATCH).await == 0 {
        // Nobody makes spans any more; the end comes from elsewhere.
        return std::future::pending().await;
    }
    // Late is as good as full.
    let _ = timeout(INTERVAL, async {
        while batch.len() < BATCH {
            if ended.recv_many(batch, BATCH - batch.len()).await == 0 {
                return;
            }
        }
    })
    .await;
}

/// reqwest as the exporter wants it.
#[derive(Debug)]
struct Client {
    http: reqwest::Client,
    problem: Arc<Mutex<Option<String>>>,
}

impl Client {
    async fn send(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let mut request = reqwest::Request::try_from(request)?;
        *request.timeout_mut() = Some(PATIENCE);
        let mut answer = self.http.execute(request).await?;
        let mut body = Vec::new();
        while let Some(piece) = answer.chunk().await? {
            body.extend_from_slice(&piece);
            if body.len() > MOST_ANSWER {
                return Err("the collector's answer is too long".into());
            }
        }
        let mut response = Response::new(Bytes::from(body));
        *response.status_mut() = answer.status();
        Ok(response)
    }
}

#[async_trait]
impl HttpClient for Client {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let outcome = self.send(request).await;
        if let Err(error) = &outcome {
            *self.problem.lock().expect("no holder panics") = Some(causes(error.as_ref()));
        }
        outcome
    }
}

/// An error with all that led to it.
fn causes(error: &(dyn std::error::Error + 'static)) -> String {
    let all = std::iter::successors(Some(error), |error| error.source());
    all.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

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
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{SpanData, SpanExporter as _};
use prost::Message;
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
        let answer = Arc::default();
        let client = Client { http, answer: Arc::clone(&answer) };
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
        let sending = Sending { exporter, answer, counters, problem: None, told: None, told_lost: 0 };
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
    answer: Arc<Mutex<Answer>>,
    counters: Counters,
    /// Why spans were lost last, if the log has not been told.
    problem: Option<String>,
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
                // Nothing may come any more, and what was lost is to be told.
                () = tokio::time::sleep(BETWEEN_WARNINGS), if self.lost_untold() > 0 => false,
                _ = &mut stopping => true,
            };
            if is_last {
                while let Ok(span) = ended.try_recv() {
                    batch.push(span);
                }
            }
            self.send(std::mem::take(&mut batch)).await;
            self.tell(is_last);
            if is_last {
                return;
            }
        }
    }

    async fn send(&mut self, batch: Vec<SpanData>) {
        let spans = batch.len() as u64;
        if spans == 0 {
            return;
        }
        let outcome = self.exporter.export(batch).await;
        let answer = std::mem::take(&mut *self.answer.lock().expect("no holder panics"));
        let lost = if outcome.is_ok() { answer.rejected.min(spans) } else { spans };
        self.counters.exported.inc_by(spans - lost);
        self.counters.unsent.inc_by(lost);
        if lost > 0 {
            self.problem = answer.problem.or_else(|| outcome.err().map(|error| error.to_string()));
        }
    }

    fn lost_untold(&self) -> u64 {
        self.counters.dropped() - self.told_lost
    }

    /// One line now and then, and one at the end: a collector that is away must not fill a disk with logs.
    fn tell(&mut self, is_last: bool) {
        let lost = self.lost_untold();
        if lost == 0 || !is_last && self.told.is_some_and(|told| told.elapsed() < BETWEEN_WARNINGS) {
            return;
        }
        let why = self.problem.take().unwrap_or_else(|| "there were more than the collector took".to_owned());
        tracing::warn!(spans = lost, "spans are lost: {why}");
        (self.told, self.told_lost) = (Some(Instant::now()), self.told_lost + lost);
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

/// What the exporter does not pass on of the last request.
#[derive(Debug, Default)]
struct Answer {
    /// Why it did not get through, or why not all of it was taken.
    problem: Option<String>,
    /// Of a batch that was taken.
    rejected: u64,
}

/// What a collector says that has taken a batch, or a part of it.
fn taken(body: &[u8]) -> Result<Answer, HttpError> {
    let response = ExportTraceServiceResponse::decode(body)
        .map_err(|error| format!("what answers is no collector of OTLP over HTTP: {error}"))?;
    let Some(partial) = response.partial_success else { return Ok(Answer::default()) };
    let rejected = partial.rejected_spans.try_into().unwrap_or_default();
    let problem = (rejected > 0).then(|| format!("the collector refused some: {}", partial.error_message));
    Ok(Answer { problem, rejected })
}

/// reqwest as the exporter wants it.
#[derive(Debug)]
struct Client {
    http: reqwest::Client,
    answer: Arc<Mutex<Answer>>,
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
        if answer.status().is_success() {
            *self.answer.lock().expect("no holder panics") = taken(&body)?;
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
            self.answer.lock().expect("no holder panics").problem = Some(causes(error.as_ref()));
        }
        outcome
    }
}

/// An error with all that led to it.
fn causes(error: &(dyn std::error::Error + 'static)) -> String {
    let all = std::iter::successors(Some(error), |error| error.source());
    all.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

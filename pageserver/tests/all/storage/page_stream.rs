//! Page streams over storage whose objects come when the test lets them.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use auth::{Claims, Credentials, SigningKey};
use bytes::Bytes;
use durable_fs::DurableFs;
use pageserver::page_service::{PageService, PageServiceMetrics, SlowReads};
use pageserver::pages::PageReader;
use pageserver::storage::{EvictableLayer, TenantManager};
use pageserver_api::pagestream::{Header, MAX_RUN_BLOCKS, Request, RequestBody, Response, ResponseBody};
use pageserver_api::{At, PageServiceAddress};
use pg_frontend::{Address, ConnectParams, CopyReader, CopyWriter, PgClient};
use remote_storage::{ListMode, Listing, ObjectKey, RemoteError, RemoteStorage};
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use types::Lsn;

use super::support::*;

/// No object comes while the gate is shut.
#[derive(Debug)]
struct Gated {
    inner: Arc<dyn RemoteStorage>,
    open: watch::Sender<bool>,
    waiting: watch::Sender<u64>,
}

#[async_trait]
impl RemoteStorage for Gated {
    async fn put(&self, key: &ObjectKey, body: Bytes) -> Result<(), RemoteError> {
        self.inner.put(key, body).await
    }

    async fn put_file(&self, key: &ObjectKey, path: &Path) -> Result<(), RemoteError> {
        self.inner.put_file(key, path).await
    }

    async fn get(&self, key: &ObjectKey) -> Result<Bytes, RemoteError> {
        self.inner.get(key).await
    }

    async fn get_range(&self, key: &ObjectKey, range: Range<u64>) -> Result<Bytes, RemoteError> {
        self.inner.get_range(key, range).await
    }

    async fn get_to_file(&self, key: &ObjectKey, path: &Path) -> Result<u64, RemoteError> {
        self.waiting.send_modify(|waiting| *waiting += 1);
        self.open.subscribe().wait_for(|open| *open).await.unwrap();
        self.inner.get_to_file(key, path).await
    }

    async fn head(&self, key: &ObjectKey) -> Result<Option<u64>, RemoteError> {
        self.inner.head(key).await
    }

    async fn list(&self, prefix: Option<&ObjectKey>, mode: ListMode) -> Result<Listing, RemoteError> {
        self.inner.list(prefix, mode).await
    }

    async fn delete(&self, key: &ObjectKey) -> Result<(), RemoteError> {
        self.inner.delete(key).await
    }
}

/// Of which everything is on the local disk.
const NEAR: u32 = 1;
/// Whose layer is not.
const FAR: u32 = 2;
const NEAR_LSN: Lsn = Lsn(1100);
const FAR_LSN: Lsn = Lsn(1200);
/// For WAL that does not come.
const WAIT_LSN: Duration = Duration::from_millis(500);

struct Serving {
    _disk: Disk,
    manager: Arc<TenantManager>,
    gate: Arc<Gated>,
    address: PageServiceAddress,
    shutdown: CancellationToken,
}

impl Serving {
    /// Relation `FAR` is in a layer that is to be fetched, through a gate that is shut.
    async fn start() -> Serving {
        let disk = Disk::new();
        let (open, waiting) = (watch::Sender::new(true), watch::Sender::new(0));
        let gate = Arc::new(Gated { inner: disk.store().await, open, waiting });
        let manager = disk.open_with(gate.clone(), DurableFs::default()).await;
        let timeline = root(&manager).await;
        for (rel, lsn) in [(NEAR, NEAR_LSN.0), (FAR, FAR_LSN.0)] {
            timeline.put_batch(batch(lsn, vec![(rel_size(rel), lsn, blocks(1))])).await.unwrap();
            timeline.put_batch(batch(lsn + 8, vec![(page(rel, 0), lsn + 8, image("a page"))])).await.unwrap();
            timeline.flush_and_upload().await.unwrap();
        }
        assert!(manager.evictable_layers().iter().filter_map(EvictableLayer::evict).count() >= 3);
        timeline.get_reconstruct(rel_size(NEAR), NEAR_LSN).await.unwrap();
        gate.open.send_replace(false);
        gate.waiting.send_replace(0);

        let (key, shutdown) = (SigningKey::generate(), CancellationToken::new());
        let registry = prometheus::Registry::new();
        let service = PageService {
            manager: manager.clone(),
            pages: PageReader::new(&registry).unwrap(),
            metrics: PageServiceMetrics::new(&registry).unwrap(),
            wait_lsn_timeout: WAIT_LSN,
            lease_length: Duration::from_secs(60),
            requests_in_flight: 64,
            slow_reads: SlowReads::new(PATIENCE),
        };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let limits = pg_backend::Limits::default();
        let stop = shutdown.clone();
        tokio::spawn(pg_backend::serve(listener, None, key.verifier(), Arc::new(service), stop, limits));
        let credentials: Credentials = key.credentials(&Claims::tenant(TENANT)).unwrap();
        let address =
            PageServiceAddress { address: Address::parse(&address).unwrap(), credentials, timeline: ttid(1) };
        Serving { _disk: disk, manager, gate, address, shutdown }
    }

    async fn stream(&self) -> Stream {
        let PageServiceAddress { address, credentials, timeline } = self.address.clone();
        let params = ConnectParams::new(address, "varve").credentials(&credentials);
        let client = PgClient::connect(&params).await.unwrap();
        let query = format!("pagestream_v3 {} {}", timeline.tenant_id, timeline.timeline_id);
        let (reader, writer) = client.copy_both(&query).await.unwrap().split();
        Stream { reader, writer }
    }

    async fn far_is_asked_for(&self) {
        let mut waiting = self.gate.waiting.subscribe();
        timeout(PATIENCE, waiting.wait_for(|waiting| *waiting > 0)).await.expect("a fetch").unwrap();
    }

    async fn stop(self) {
        self.shutdown.cancel();
        self.manager.shutdown().await.unwrap();
    }
}

struct Stream {
    reader: CopyReader,
    writer: CopyWriter,
}

impl Stream {
    async fn ask(&mut self, body: RequestBody, lsn: Lsn) {
        let header = Header { request_id: 1, request_lsn: lsn, not_modified_since: lsn };
        self.writer.send(&Request { header, body, trace: None }.encode()).await.unwrap();
    }

    async fn answer(&mut self) -> ResponseBody {
        let message = timeout(PATIENCE, self.reader.next()).await.expect("an answer").unwrap().unwrap();
        Response::decode(message).unwrap().body
    }
}

fn exists(rel: u32) -> RequestBody {
    RequestBody::Exists { rel: relation(rel) }
}

/// Also where it is not that a change does not apply, but that it is none.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_that_cannot_be_made_is_counted() {
    let disk = Disk::new();
    let manager = disk.open().await;
    let timeline = root(&manager).await;
    timeline.put_batch(batch(1100, vec![(page(NEAR, 0), 1100, change("no change"))])).await.unwrap();
    let registry = prometheus::Registry::new();
    let pages = PageReader::new(&registry).unwrap();
    assert!(pages.page(&timeline, page(NEAR, 0), NEAR_LSN).await.is_err());
    let failures =
        registry.gather().into_iter().find(|family| family.name() == "pageserver_redo_failures_total");
    assert_eq!(failures.unwrap().get_metric()[0].get_counter().get_value(), 1.0);
    manager.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_does_not_wait_for_the_next() {
    let serving = Serving::start().await;
    let mut stream = serving.stream().await;
    // Its answer comes late, so that all of them are under way together.
    stream.ask(exists(NEAR), FAR_LSN + 800).await;
    stream.ask(exists(NEAR), NEAR_LSN).await;
    stream.ask(exists(FAR), FAR_LSN).await;
    assert!(matches!(stream.answer().await, ResponseBody::Error { .. }), "no WAL comes");
    assert!(matches!(stream.answer().await, ResponseBody::Exists { exists: true, .. }));
    serving.far_is_asked_for().await;
    serving.gate.open.send_replace(true);
    assert!(matches!(stream.answer().await, ResponseBody::Exists { exists: true, .. }));
    serving.stop().await;
}

/// It asks for more than the sockets hold, takes none of it, and has also asked for what is not there yet.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_takes_no_answers_holds_up_nobody_else() {
    const RUNS: usize = 40;
    let serving = Serving::start().await;
    let mut stream = serving.stream().await;
    // Its answer comes late, so that all others are ready behind it, or on their way.
    stream.ask(exists(NEAR), FAR_LSN + 800).await;
    for _ in 0..RUNS {
        let run = RequestBody::GetPageRun { rel: relation(NEAR), block: 8, count: MAX_RUN_BLOCKS };
        stream.ask(run, NEAR_LSN).await;
    }
    stream.ask(exists(FAR), FAR_LSN).await;
    assert!(matches!(stream.answer().await, ResponseBody::Error { .. }), "no WAL comes");
    serving.far_is_asked_for().await;
    // For what follows to fill the sockets.
    tokio::time::sleep(WAIT_LSN).await;
    serving.gate.open.send_replace(true);

    let mut other = serving.address.page_stream().await.unwrap();
    let at = At::Exactly(FAR_LSN);
    assert!(timeout(PATIENCE, other.exists(relation(FAR), at)).await.expect("an answer").unwrap());
    for _ in 0..RUNS {
        assert!(matches!(stream.answer().await, ResponseBody::PageRun { .. }));
    }
    assert!(matches!(stream.answer().await, ResponseBody::Exists { exists: true, .. }));
    serving.stop().await;
}

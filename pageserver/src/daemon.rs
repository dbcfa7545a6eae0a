//! The pageserver as a whole: what starts in which order, and what stops.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use auth::{Certificate, Credentials, Scope, Trust, Verifier};
use broker_api::BrokerClient;
use durable_fs::{CrashPoint, DurableFs};
use http_server::Guard;
use prometheus::Registry;
use remote_storage::{Counted, Crashing, RemoteStorage};
use telemetry::{Identity, Traces};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use types::Generation;

use crate::config::Config;
use crate::eviction::Evictor;
use crate::gc::{GarbageCollector, GcMetrics};
use crate::http::{self, ApiState};
use crate::ingest::IngestMetrics;
use crate::owners::SafekeeperOwners;
use crate::page_service::{PageService, PageServiceMetrics, SlowReads};
use crate::pages::PageReader;
use crate::storage::{FixedGeneration, Owners, StorageMetrics, Surroundings, TenantManager};
use crate::walreceiver::{self, ReceiverContext, WalReceiverMetrics, WalReceivers};

/// Runs until `shutdown` is cancelled. When it returns, all that was ingested is in remote storage.
///
/// `safekeepers` are the addresses (`host:port`) of HTTP APIs, of those who grant generations. Without any, this pageserver
/// must be the only one that its tenants have. `crash_at` is where the process is to end, in a test.
pub async fn run(
    config: Config,
    workdir: &Path,
    safekeepers: Vec<String>,
    crash_at: Option<CrashPoint>,
    traces: &Traces,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let verifier =
        Verifier::load(&workdir.join(&config.auth_public_key_path)).context("auth_public_key_path")?;
    let credentials = Credentials::load(&workdir.join(&config.auth_token_file)).context("auth_token_file")?;
    let at = |path: &Option<PathBuf>| path.as_ref().map(|path| workdir.join(path));
    let trust = at(&config.tls_ca_file).map(|path| Trust::load(&path)).transpose().context("tls_ca_file")?;
    let credentials = credentials.believing(trust);
    let certificate =
        Certificate::of(at(&config.tls_cert_file), at(&config.tls_key_file)).context("tls_cert_file")?;
    let version = env!("CARGO_PKG_VERSION");
    let registry = telemetry::metrics::registry(version)?;
    telemetry::metrics::watch_disk(&registry, workdir)?;
    let identity = Identity { service: "pageserver", instance: config.id.to_string(), version };
    traces.start(&identity, http_client::to_collector(credentials.trust()), &registry)?;
    let pages = PageReader::new(&registry)?;
    let ingest = IngestMetrics::new(&registry)?;
    let owners: Arc<dyn Owners> = match safekeepers.is_empty() {
        true => Arc::new(FixedGeneration(Generation(config.storage.generation))),
        false => Arc::new(SafekeeperOwners::new(safekeepers, credentials.clone())),
    };
    let opening = open_storage(&config, workdir, &registry, &pages, owners, crash_at);
    let manager = tokio::select! {
        manager = opening => manager?,
        () = shutdown.cancelled() => return Ok(()),
    };

    let context = ReceiverContext {
        node: config.id,
        broker: BrokerClient::connect_lazy(&config.broker_endpoint, credentials.clone())?,
        credentials,
        remote: Arc::clone(manager.remote()),
        pages: pages.clone(),
        ingest: ingest.clone(),
        metrics: WalReceiverMetrics::new(&registry)?,
        silence_timeout: Duration::from_secs(config.wal_receiver.silence_timeout_seconds),
        lagging_timeout: Duration::from_secs(config.wal_receiver.lagging_timeout_seconds),
    };
    let receivers = WalReceivers::new(context, shutdown.clone());
    walreceiver::watch(&registry, &receivers)?;
    let mut arrivals = manager.arrivals();
    start_receivers(&manager, &receivers);
    // Of tenants that are granted late. It ends with the manager.
    tokio::spawn({
        let (manager, receivers) = (Arc::downgrade(&manager), Arc::clone(&receivers));
        async move {
            while arrivals.changed().await.is_ok()
                && let Some(manager) = manager.upgrade()
            {
                start_receivers(&manager, &receivers);
            }
        }
    });

    let pg_listener = listen(&config.listen_pg_addr).await?;
    let http_listener = listen(&config.listen_http_addr).await?;
    let lease_length = config.tenant_config.lsn_lease_length.0;
    let service = Arc::new(PageService {
        manager: Arc::clone(&manager),
        pages,
        metrics: PageServiceMetrics::new(&registry)?,
        wait_lsn_timeout: Duration::from_secs(config.page_service.wait_lsn_timeout_seconds),
        lease_length,
        requests_in_flight: config.page_service.requests_in_flight.max(1),
        slow_reads: SlowReads::new(Duration::from_millis(config.page_service.slow_read_milliseconds)),
    });
    let limits = pg_backend::Limits {
        max_connections: config.page_service.max_connections,
        // Requests are small.
        max_message_bytes: 1 << 20,
        ..pg_backend::Limits::default()
    };
    // A period of nothing would be a loop without rest.
    let period = config.tenant_config.gc_period.0.max(Duration::from_secs(1));
    let metrics = GcMetrics::new(&registry)?;
    let gc = GarbageCollector::new(Arc::clone(&manager), config.retention(), period, lease_length, metrics);
    let gc = Arc::new(gc);
    let collecting = {
        let (gc, shutdown) = (Arc::clone(&gc), shutdown.clone());
        tokio::spawn(async move { gc.run(shutdown).await })
    };
    // Not waited for at the end: what is evicted or not makes no difference then.
    tokio::spawn({
        let (limits, period) = config.eviction();
        let evictor = Evictor::new(Arc::clone(&manager), workdir.to_owned(), limits, period);
        let shutdown = shutdown.clone();
        async move { evictor.run(shutdown).await }
    });
    let scratch = workdir.join("imports");
    // What a crash left.
    match tokio::fs::remove_dir_all(&scratch).await {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            tracing::warn!(path = %scratch.display(), %error, "cannot be removed");
        }
        Ok(()) | Err(_) => {}
    }
    let api = http::routes(ApiState {
        node: config.id,
        manager: Arc::clone(&manager),
        receivers: Arc::clone(&receivers),
        ingest,
        gc,
        scratch,
        importing: Arc::new(Semaphore::new(1)),
    });
    tracing::info!(id = %config.id, pg = %config.listen_pg_addr, http = %config.listen_http_addr, "pageserver is up");
    let page_service = pg_backend::serve(
        pg_listener,
        certificate.clone(),
        verifier.clone(),
        service,
        shutdown.clone(),
        limits,
    );
    let router = http_server::described(api, Guard { verifier, part: Scope::Pageserver }, registry);
    let api = http_server::serve(http_listener, certificate, router, shutdown);
    tokio::join!(page_service, api);
    tracing::info!("shutting down: flushing and uploading");
    receivers.stopped().await;
    let flushed = manager.shutdown().await.context("flushing at shutdown");
    // It ends with the timelines; a panic has ended the process.
    let _ = collecting.await;
    flushed
}

/// Of all timelines that have none yet.
fn start_receivers(manager: &TenantManager, receivers: &WalReceivers) {
    let timelines =
        manager.list_tenants().into_iter().filter_map(|tenant| manager.list_timelines(tenant).ok());
    for timeline in timelines.flatten().filter(|timeline| !manager.is_archived(timeline.id())) {
        receivers.start(timeline);
    }
}

async fn open_storage(
    config: &Config,
    workdir: &Path,
    registry: &Registry,
    pages: &PageReader,
    owners: Arc<dyn Owners>,
    crash_at: Option<CrashPoint>,
) -> anyhow::Result<Arc<TenantManager>> {
    let fs = match &crash_at {
        Some(point) => DurableFs::with_faults(Arc::new(point.clone())),
        None => DurableFs::default(),
    };
    // A store is another machine: it does not crash when this one does.
    let store = config.remote_storage.open(workdir, DurableFs::default()).await?;
    let mut remote: Arc<dyn RemoteStorage> = Arc::new(Counted::new(store, registry)?);
    if let Some(point) = crash_at {
        remote = Arc::new(Crashing::new(remote, point));
    }
    let surroundings = Surroundings {
        remote,
        metrics: StorageMetrics::register(registry)?,
        fs,
        owners,
        redo: Some(Arc::new(pages.clone())),
    };
    TenantManager::open_with(config.storage(workdir), surroundings).await.context("opening storage")
}

async fn listen(address: &str) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| format!("cannot listen on {address}"))
}

//! The safekeeper: keeps WAL durably as one of a quorum, and gives it to whoever may have it.
//!
//! It never talks to its peers about consensus, never makes a timeline because a proposer asks for it, and
//! never acknowledges a byte that is not on disk. See ARCHITECTURE.md for the map.

mod broker;
mod config;
mod datadir;
mod http;
mod metrics;
mod offload;
#[cfg(test)]
mod tests;
mod timeline;
mod wal_service;
mod wal_store;

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use auth::{Certificate, Credentials, Scope, Trust, Verifier};
use broker_api::BrokerClient;
use clap::Parser;
use durable_fs::DurableFs;
use http_server::Guard;
use nix::sys::stat::{Mode, umask};
use pg_backend::Limits;
use remote_storage::{Counted, RemoteStorage};
use telemetry::{Identity, Traces};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::config::Arguments;
use crate::datadir::DataDirectory;
use crate::metrics::Metrics;
use crate::timeline::{CatchUp, Manager, Settings};
use crate::wal_service::WalService;

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let traces = telemetry::init(arguments.log_format, &arguments.traces);
    telemetry::raise_open_files(u64::MAX);
    telemetry::exit(run(arguments, &traces).await)
}

async fn run(arguments: Arguments, traces: &Traces) -> anyhow::Result<()> {
    // WAL holds what users wrote: nobody else on this machine is to read it.
    umask(Mode::S_IRWXG | Mode::S_IRWXO);
    let verifier = Verifier::load(&arguments.auth_public_key_path)?;
    let trust = arguments.tls_ca_file.as_deref().map(Trust::load).transpose()?;
    let credentials = Credentials::load(&arguments.auth_token_file)?.believing(trust);
    let certificate = Certificate::of(arguments.tls_cert_file.clone(), arguments.tls_key_file.clone())?;
    let fs = DurableFs::default();
    let datadir = DataDirectory::open(&fs, &arguments.datadir, arguments.id)?;
    let version = env!("CARGO_PKG_VERSION");
    let registry = telemetry::metrics::registry(version)?;
    telemetry::metrics::watch_disk(&registry, datadir.path())?;
    let identity = Identity { service: "safekeeper", instance: arguments.id.to_string(), version };
    traces.start(&identity, http_client::to_collector(credentials.trust()), &registry)?;
    let metrics = Arc::new(Metrics::new(&registry)?);
    let shutdown = CancellationToken::new();

    let remote = match &arguments.remote_storage {
        Some(config) => {
            let store = config.open(Path::new(""), fs.clone()).await.context("cannot use object storage")?;
            Some(Arc::new(Counted::new(store, &registry)?) as Arc<dyn RemoteStorage>)
        }
        None => None,
    };
    let settings = Settings {
        node_id: arguments.id,
        datadir: datadir.path().to_owned(),
        credentials: credentials.clone(),
        fs: fs.clone(),
        remote,
        evict_after: Duration::from_secs(arguments.evict_after),
        metrics: metrics.clone(),
        shutdown: shutdown.clone(),
    };
    let (manager, mut fatal) = Manager::open(settings)
        .await
        .with_context(|| format!("cannot read {}", arguments.datadir.display()))?;

    let listen = async |address| {
        TcpListener::bind(address).await.with_context(|| format!("cannot listen on {address}"))
    };
    let pg_listener = listen(arguments.listen_pg).await?;
    let http_listener = listen(arguments.listen_http).await?;
    let broker = BrokerClient::connect_lazy(&arguments.broker_endpoint, credentials.clone())?;
    tracing::info!(
        "safekeeper {} listens on {} and {}",
        arguments.id,
        arguments.listen_pg,
        arguments.listen_http
    );

    let wal_service = Arc::new(WalService::new(manager.clone()));
    let guard = Guard { verifier: verifier.clone(), part: Scope::Safekeeper };
    let routes = http_server::described(http::routes(arguments.id, manager.clone()), guard, registry);
    let limits = Limits { max_message_bytes: wal_service::MAX_MESSAGE_BYTES, ..Limits::default() };
    let servers = async {
        tokio::join!(
            pg_backend::serve(
                pg_listener,
                certificate.clone(),
                verifier,
                wal_service,
                shutdown.clone(),
                limits
            ),
            http_server::serve(http_listener, certificate, routes, shutdown.clone()),
            broker::publish(
                broker.clone(),
                manager.clone(),
                arguments.advertised(),
                metrics.clone(),
                shutdown.clone()
            ),
            broker::hear(
                broker,
                manager.clone(),
                arguments.id,
                CatchUp::new(manager.clone(), credentials, shutdown.clone()),
                metrics.clone(),
                shutdown.clone()
            ),
            offload::run(manager.clone(), arguments.id, metrics, shutdown.clone()),
            timeline::evict(manager.clone()),
        )
    };
    telemetry::stop_on_signals(&shutdown)?;
    tokio::select! {
        _ = Box::pin(servers) => {}
        Some(error) = fatal.recv() => bail!("the process ends rather than go on with a disk it cannot trust: {error}"),
    }
    manager.wait().await;
    if let Ok(error) = fatal.try_recv() {
        bail!("positions could not be written down at the end: {error}");
    }
    tracing::info!("safekeeper {} stopped", arguments.id);
    Ok(())
}

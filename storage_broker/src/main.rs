//! The storage broker: safekeepers tell it how much WAL they have, pageservers and other safekeepers
//! listen. It keeps nothing on disk, and losing it loses nothing: a commit never waits for it.

mod metrics;
mod registry;
mod service;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::Parser;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use auth::{Certificate, Verifier};
use telemetry::{Identity, LogFormat, TraceArguments, Traces};

#[derive(Parser)]
#[command(version, about = "Carries WAL positions between safekeepers and pageservers.")]
struct Arguments {
    /// Address for gRPC, and for /metrics and /status over HTTP/1.
    #[arg(short, long, default_value = "127.0.0.1:50051")]
    listen_addr: SocketAddr,
    /// Public keys whose tokens are believed: a file in PEM, or a directory of files that end in .pem.
    #[arg(long)]
    auth_public_key_path: PathBuf,
    /// Certificate to show, in PEM, with those that lead to its root. Nothing but TLS is spoken then. A replaced file is
    /// taken on while it runs.
    #[arg(long, requires = "tls_key_file")]
    tls_cert_file: Option<PathBuf>,
    /// The certificate's key, in PEM.
    #[arg(long, requires = "tls_cert_file")]
    tls_key_file: Option<PathBuf>,
    #[arg(long, value_enum, default_value_t)]
    log_format: LogFormat,
    #[command(flatten)]
    traces: TraceArguments,
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let traces = telemetry::init(arguments.log_format, &arguments.traces);
    telemetry::raise_open_files(u64::MAX);
    telemetry::exit(run(arguments, &traces).await)
}

async fn run(arguments: Arguments, traces: &Traces) -> anyhow::Result<()> {
    let verifier = Verifier::load(&arguments.auth_public_key_path)?;
    let certificate = Certificate::of(arguments.tls_cert_file, arguments.tls_key_file)?;
    let listener = TcpListener::bind(arguments.listen_addr)
        .await
        .with_context(|| format!("cannot listen on {}", arguments.listen_addr))?;
    tracing::info!("storage broker listens on {}", listener.local_addr()?);

    let version = env!("CARGO_PKG_VERSION");
    let registry = telemetry::metrics::registry(version)?;
    let identity =
        Identity { service: "storage_broker", instance: arguments.listen_addr.to_string(), version };
    // It connects to nobody else, and so was told of nobody to believe.
    traces.start(&identity, http_client::to_collector(None), &registry)?;
    let shutdown = CancellationToken::new();
    telemetry::stop_on_signals(&shutdown)?;
    let router = service::router(verifier, registry, shutdown.clone())?;
    http_server::serve(listener, certificate, router, shutdown).await;
    tracing::info!("storage broker stopped");
    Ok(())
}

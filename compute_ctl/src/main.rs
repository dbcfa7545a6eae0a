//! `compute_ctl`: runs one stateless PostgreSQL. Wires the parts together, and nothing else.

mod basebackup;
mod catalog;
mod data_dir;
mod error;
mod http;
mod lifecycle;
mod metrics;
mod paths;
mod postgres;
mod predecessor;
mod proxy;
mod server_files;
mod server_numbers;
mod server_user;
mod spans;
mod status;
mod walproposer;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use auth::{Certificate, CertificateFiles, Credentials, Scope, Trust, Verifier};
use clap::Parser;
use compute_api::ComputeSpec;
use http_server::Guard;
use telemetry::{Identity, LogFormat, TraceArguments, Traces};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::http::{Api, routes};
use crate::lifecycle::{Compute, ExitStatus, Ground};
use crate::metrics::Metrics;
use crate::status::StatusBoard;

/// Runs one stateless PostgreSQL: wins the election, unpacks the base backup, carries WAL to the safekeepers.
///
/// Exit status: 0 stopped with all WAL on a quorum, 1 failed, 3 stopped without a quorum, 4 fenced by a
/// newer compute.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// Data directory of PostgreSQL, a cache: wiped at a start that cannot go on with it. Its parent belongs to this compute too.
    #[arg(long)]
    pgdata: PathBuf,
    /// What this compute is to be, as JSON.
    #[arg(long)]
    spec: PathBuf,
    /// Directory of PostgreSQL's programs.
    #[arg(long)]
    pgbin: PathBuf,
    /// Where the HTTP API listens, as host:port.
    #[arg(long)]
    listen_http: String,
    /// Public keys whose tokens the HTTP API believes: a file in PEM, or a directory of files that end in .pem.
    #[arg(long)]
    auth_public_key_path: PathBuf,
    /// The token that this compute presents to safekeepers and the pageserver: scope tenant. The server's user can
    /// read a copy of it.
    #[arg(long)]
    auth_token_file: PathBuf,
    /// Certificate that PostgreSQL shows to clients, in PEM, with those that lead to its root. Without TLS nobody gets in
    /// over TCP then. A replaced file is taken on while it runs.
    #[arg(long, requires = "tls_key_file")]
    tls_cert_file: Option<PathBuf>,
    /// The certificate's key, in PEM.
    #[arg(long, requires = "tls_cert_file")]
    tls_key_file: Option<PathBuf>,
    /// Certificate that the HTTP API shows, in PEM, with those that lead to its root. Nothing but TLS is spoken there then. A
    /// replaced file is taken on while it runs.
    #[arg(long, requires = "http_tls_key_file")]
    http_tls_cert_file: Option<PathBuf>,
    /// The certificate's key, in PEM.
    #[arg(long, requires = "http_tls_cert_file")]
    http_tls_key_file: Option<PathBuf>,
    /// Whose certificates are believed, in PEM: connections to safekeepers and to the pageserver are TLS then, PostgreSQL's
    /// own among them. The server's user can read a copy of it.
    #[arg(long)]
    tls_ca_file: Option<PathBuf>,
    /// How long a shutdown may wait for a quorum of safekeepers.
    #[arg(long, default_value = "60s", value_parser = parse_duration)]
    timeout: Duration,
    /// Begin with an empty cache, although the last stop left a full one.
    #[arg(long)]
    cold: bool,
    #[arg(long, value_enum, default_value_t)]
    log_format: LogFormat,
    #[command(flatten)]
    traces: TraceArguments,
}

/// `90`, `90s`, `500ms` or `2m`.
fn parse_duration(text: &str) -> Result<Duration, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let number: u64 = digits.parse().map_err(|_| format!("{text:?} is not a duration such as 60s"))?;
    match &text[digits.len()..] {
        "" | "s" => Ok(Duration::from_secs(number)),
        "ms" => Ok(Duration::from_millis(number)),
        "m" => Ok(Duration::from_secs(number * 60)),
        unit => Err(format!("unit {unit:?} is not one of ms, s, m")),
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let traces = telemetry::init(arguments.log_format, &arguments.traces);
    match run(arguments, &traces).await {
        Ok(status) => ExitCode::from(status as u8),
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::from(ExitStatus::Failed as u8)
        }
    }
}

async fn run(arguments: Arguments, traces: &Traces) -> anyhow::Result<ExitStatus> {
    let verifier = Verifier::load(&arguments.auth_public_key_path)?;
    let trust = arguments.tls_ca_file.as_deref().map(Trust::load).transpose()?;
    let credentials = Credentials::load(&arguments.auth_token_file)?.believing(trust);
    let http_certificate = Certificate::of(arguments.http_tls_cert_file, arguments.http_tls_key_file)?;
    let json = std::fs::read(&arguments.spec)
        .with_context(|| format!("cannot read {}", arguments.spec.display()))?;
    let spec = ComputeSpec::parse(&json).with_context(|| arguments.spec.display().to_string())?;
    let certificate = CertificateFiles::of(arguments.tls_cert_file, arguments.tls_key_file);
    // Before listening: the predecessor may have the same address.
    let ground =
        Ground::take(&spec, &arguments.pgdata, &arguments.pgbin, credentials.clone(), certificate).await?;
    if arguments.cold {
        ground.forget_cache()?;
    }
    let listener = TcpListener::bind(&arguments.listen_http)
        .await
        .with_context(|| format!("cannot listen on {}", arguments.listen_http))?;

    let version = env!("CARGO_PKG_VERSION");
    let registry = telemetry::metrics::registry(version)?;
    telemetry::metrics::watch_disk(&registry, ground.paths().home())?;
    let identity = Identity { service: "compute", instance: spec.endpoint_id.clone(), version };
    traces.start(&identity, http_client::to_collector(credentials.trust()), &registry)?;
    let status = StatusBoard::new(&spec, Metrics::new(&registry, &spec)?);
    server_numbers::watch(&registry, ground.paths().clone(), status.server())?;
    let terminate = CancellationToken::new();
    let (configure, wishes) = mpsc::channel(1);
    let api = Api { status: status.subscribe(), configure, terminate: terminate.clone() };
    let served = CancellationToken::new();
    let guard = Guard { verifier, part: Scope::Admin };
    let router = http_server::described(routes(api), guard, registry);
    let server = tokio::spawn(http_server::serve(listener, http_certificate, router, served.clone()));
    telemetry::stop_on_signals(&terminate)?;

    let compute =
        Compute { spec, credentials, stop_timeout: arguments.timeout, status, configure: wishes, terminate };
    let exit = compute.run(ground).await;
    served.cancel();
    // Requests under way get their answer, but nobody keeps the process alive with an idle connection.
    let _ = tokio::time::timeout(Duration::from_secs(1), server).await;
    Ok(exit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_units() {
        assert_eq!(parse_duration("60s"), Ok(Duration::from_secs(60)));
        assert_eq!(parse_duration("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(parse_duration("2m"), Ok(Duration::from_secs(120)));
        assert!(parse_duration("s").is_err() && parse_duration("1h").is_err() && parse_duration("").is_err());
    }
}

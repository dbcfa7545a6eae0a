//! Wires the parts of this program together, and nothing else.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::Parser;
use durable_fs::CrashPoint;
use pageserver::config::Config;
use telemetry::{LogFormat, TraceArguments, Traces};
use tokio_util::sync::CancellationToken;

/// Keeps every version of every page, and answers with any of them.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// Directory with pageserver.toml; layer files are cached below it.
    #[arg(long)]
    workdir: PathBuf,
    /// host:port of the HTTP API of each safekeeper, for those who grant this pageserver its tenants.
    #[arg(long, value_delimiter = ',')]
    safekeepers: Vec<String>,
    /// Try on object storage what will be asked of it, with a few small objects, and end: with 1 and a reason if something
    /// is wrong.
    #[arg(long)]
    check_storage: bool,
    /// Allow this pageserver to be made to fail, for a test.
    #[arg(long)]
    allow_faults: bool,
    /// End as if killed at NAME[:TEXT[:N]]: before the Nth NAME of a file or object whose name has TEXT in it.
    #[arg(long, value_name = "POINT", requires = "allow_faults")]
    crash_at: Option<CrashPoint>,
    #[arg(long, value_enum, default_value_t)]
    log_format: LogFormat,
    #[command(flatten)]
    traces: TraceArguments,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let traces = telemetry::init(arguments.log_format, &arguments.traces);
    telemetry::raise_open_files(u64::MAX);
    telemetry::exit(run(arguments, &traces))
}

fn run(arguments: Arguments, traces: &Traces) -> anyhow::Result<()> {
    let config = Config::load(&arguments.workdir.join("pageserver.toml"))?;
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().context("starting tokio")?;
    if arguments.check_storage {
        return runtime.block_on(pageserver::storage_trial::run(&config, &arguments.workdir));
    }
    runtime.block_on(async {
        let shutdown = CancellationToken::new();
        telemetry::stop_on_signals(&shutdown)?;
        let Arguments { workdir, safekeepers, crash_at, .. } = arguments;
        pageserver::daemon::run(config, &workdir, safekeepers, crash_at, traces, shutdown).await
    })
}

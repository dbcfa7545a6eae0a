//! Logs to standard error, for people or for machines; what a panic does to a daemon, and how it ends; the numbers
//! that every daemon shows.

pub mod metrics;

use std::fmt::Display;
use std::panic::PanicHookInfo;
use std::process::ExitCode;

use tracing_subscriber::EnvFilter;

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// One line for people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// Starts logging; `RUST_LOG` chooses what is logged (default: info). Called once, first thing in `main`.
///
/// From here on a panic in any thread or task is logged and ends the process: a panic means that an
/// invariant is broken, and half a daemon that goes on without the task that broke is worse than a restart.
pub fn init(format: LogFormat) {
    let filter = EnvFilter::builder()
        .with_default_directive(tracing::level_filters::LevelFilter::INFO.into())
        .from_env_lossy();
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match format {
        LogFormat::Text => builder.with_ansi(false).with_target(false).init(),
        LogFormat::Json => builder.json().init(),
    }
    std::panic::set_hook(Box::new(abort_on_panic));
}

/// How a daemon ends: its error is the last line of its log, with its causes and, whatever the environment asks
/// for, without a backtrace, since whoever reads the end of the log looks for what to do.
pub fn exit(outcome: Result<(), impl Display>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn abort_on_panic(info: &PanicHookInfo<'_>) {
    let backtrace = std::backtrace::Backtrace::force_capture();
    tracing::error!("broken invariant, the process ends: {info}\n{backtrace}");
    std::process::abort();
}

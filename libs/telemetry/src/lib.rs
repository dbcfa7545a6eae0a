//! Logs to standard error, for people or for machines; what a panic does to a daemon, who stops it, and how it ends; what
//! the system lets it have; the numbers that every daemon shows; traces, for who wants them.

mod limits;
pub mod metrics;
mod signals;
pub mod traces;

use std::fmt::Display;
use std::panic::PanicHookInfo;
use std::process::ExitCode;

use opentelemetry_sdk::trace::SdkTracer;
/// For our macros, where they are used.
#[doc(hidden)]
pub use tracing;
use tracing::Level;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer};

pub use limits::raise_open_files;
pub use signals::stop_on_signals;
pub use traces::{Identity, TraceArguments, TraceError, Traces};

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// One line for people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// Starts logging; `RUST_LOG` chooses what is logged (default: info). Called once, first thing in `main`. With an endpoint for
/// traces they begin here too; they are sent from [`Traces::start`] on.
///
/// From here on a panic in any thread or task is logged and ends the process: a panic means that an
/// invariant is broken, and half a daemon that goes on without the task that broke is worse than a restart.
pub fn init(format: LogFormat, arguments: &TraceArguments) -> Traces {
    let filter = EnvFilter::builder()
        .with_default_directive(LevelFilter::INFO.into())
        .from_env_lossy()
        // Not even if the environment asks for everything: spans are for the collector.
        .add_directive(format!("{}=off", traces::TARGET).parse().expect("a directive"));
    let (traces, tracer) = Traces::new(arguments);
    match tracer {
        None => tracing_subscriber::registry().with(filter).with(lines(format)).init(),
        // What is no line may be a span.
        Some(tracer) => {
            let lines = lines(format).with_filter(filter);
            tracing_subscriber::registry().with(lines).with(spans(tracer)).init();
        }
    }
    std::panic::set_hook(Box::new(abort_on_panic));
    traces
}

fn lines<S>(format: LogFormat) -> Box<dyn Layer<S> + Send + Sync>
where
    S: tracing::Subscriber + for<'span> LookupSpan<'span>,
{
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    match format {
        LogFormat::Text => lines.with_ansi(false).with_target(false).boxed(),
        LogFormat::Json => lines.json().boxed(),
    }
}

/// Spans with nothing but what was said of them, and the warnings that came meanwhile.
fn spans<S>(tracer: SdkTracer) -> impl Layer<S>
where
    S: tracing::Subscriber + for<'span> LookupSpan<'span>,
{
    let is_told = filter_fn(|metadata: &tracing::Metadata<'_>| {
        metadata.target() == traces::TARGET || (metadata.is_event() && *metadata.level() <= Level::WARN)
    });
    tracing_opentelemetry::layer()
        .with_tracer(tracer)
        .with_context_activation(false)
        .with_location(false)
        .with_threads(false)
        .with_target(false)
        .with_level(false)
        .with_tracked_inactivity(false)
        .with_filter(is_told.with_max_level_hint(LevelFilter::INFO))
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

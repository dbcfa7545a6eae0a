//! Numbers of PostgreSQL and of its sparse cache for `/metrics`.
//!
//! The server is asked when somebody asks for metrics. While there is none, or it does not answer in time, they are what it
//! said last: a scrape must neither wake a compute nor hang with it.

use std::time::Duration;

use prometheus::core::Collector;
use prometheus::{Counter, Gauge, Registry};
use telemetry::metrics::measured;
use tokio::runtime::Handle;
use tokio::sync::watch;

use crate::catalog::Superuser;
use crate::error::ComputeError;
use crate::paths::ComputePaths;

/// `application_name` of the session that asks. It is no reason to stay awake.
pub const NAME: &str = "compute_ctl metrics";

const PATIENCE: Duration = Duration::from_secs(2);

/// Names and values as `varve.counters` has them.
const QUESTION: &str = "\
SELECT current_setting('varve.counters')
    || ' buffer_hits=' || sum(blks_hit) || ' reads=' || sum(blks_read)
    || ' commits=' || sum(xact_commit) || ' rollbacks=' || sum(xact_rollback)
    || ' connections=' || (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid())
FROM pg_stat_database";

/// A metric, and how it is made of what the server says.
struct Number {
    /// In the server's answer.
    source: &'static str,
    /// In the metric's unit, of one in the answer's.
    unit: f64,
    metric: Metric,
}

enum Metric {
    Gauge(Gauge),
    Counter(Counter),
}

const MICROSECOND: f64 = 1e-6;

fn numbers() -> prometheus::Result<Vec<Number>> {
    let gauge = |source, name: &str, help: &str| {
        prometheus::Result::Ok(Number { source, unit: 1.0, metric: Metric::Gauge(Gauge::new(name, help)?) })
    };
    let counter = |source, unit, name: &str, help: &str| {
        prometheus::Result::Ok(Number { source, unit, metric: Metric::Counter(Counter::new(name, help)?) })
    };
    Ok(vec![
        gauge("connections", "compute_postgres_connections", "Clients that are connected to PostgreSQL")?,
        counter("commits", 1.0, "compute_postgres_commits_total", "Transactions that were committed")?,
        counter("rollbacks", 1.0, "compute_postgres_rollbacks_total", "Transactions that were rolled back")?,
        counter(
            "buffer_hits",
            1.0,
            "compute_postgres_buffer_hits_total",
            "Blocks that were in PostgreSQL's buffers when it wanted them",
        )?,
        counter(
            "reads",
            1.0,
            "compute_postgres_block_reads_total",
            "Blocks that were not, and which the sparse cache was asked for",
        )?,
        counter(
            "misses",
            1.0,
            "compute_cache_misses_total",
            "Blocks that the sparse cache did not have either",
        )?,
        gauge("cached_bytes", "compute_cache_size_bytes", "What the sparse cache holds")?,
        gauge("cache_size_bytes", "compute_cache_limit_bytes", "What it may hold: varve.cache_size")?,
        counter(
            "evicted_blocks",
            1.0,
            "compute_cache_evicted_blocks_total",
            "Blocks that went from the sparse cache to make room",
        )?,
        counter(
            "refetched_blocks",
            1.0,
            "compute_cache_refetched_blocks_total",
            "Blocks that were fetched again after that",
        )?,
        counter(
            "disk_full_waits",
            1.0,
            "compute_cache_disk_full_waits_total",
            "Times that a statement waited for room on the local disk",
        )?,
        counter(
            "requests",
            1.0,
            "compute_pageserver_requests_total",
            "Requests to the pageserver that somebody waited for",
        )?,
        counter(
            "fetched_blocks",
            1.0,
            "compute_pageserver_blocks_total",
            "Blocks that came from the pageserver",
        )?,
        counter(
            "wait_microseconds",
            MICROSECOND,
            "compute_pageserver_wait_seconds_total",
            "Time that sessions waited for the pageserver, all of them together",
        )?,
        counter(
            "errors",
            1.0,
            "compute_pageserver_errors_total",
            "Answers of the pageserver that were errors",
        )?,
        counter(
            "throttled_microseconds",
            MICROSECOND,
            "compute_throttled_seconds_total",
            "Time that writers paused since the pageserver was behind, all of them together",
        )?,
    ])
}

impl Number {
    fn collector(&self) -> Box<dyn Collector> {
        match &self.metric {
            Metric::Gauge(gauge) => Box::new(gauge.clone()),
            Metric::Counter(counter) => Box::new(counter.clone()),
        }
    }

    fn set(&self, value: f64) {
        match &self.metric {
            Metric::Gauge(gauge) => gauge.set(value * self.unit),
            // Those of the server begin at zero when it starts.
            Metric::Counter(counter) => {
                counter.reset();
                counter.inc_by(value * self.unit);
            }
        }
    }
}

/// `server` has the port of a server that answers.
pub fn watch(
    registry: &Registry,
    paths: ComputePaths,
    server: watch::Receiver<Option<u16>>,
) -> prometheus::Result<()> {
    let numbers = numbers()?;
    let metrics = numbers.iter().map(Number::collector).collect();
    measured(registry, metrics, move || {
        // Metrics are gathered on a thread that may wait, of the runtime.
        let (Some(port), Ok(runtime)) = (*server.borrow(), Handle::try_current()) else { return };
        match runtime.block_on(async { tokio::time::timeout(PATIENCE, ask(&paths, port)).await }) {
            Ok(Ok(answer)) => {
                for (name, value) in values(&answer) {
                    numbers
                        .iter()
                        .filter(|number| number.source == name)
                        .for_each(|number| number.set(value));
                }
            }
            Ok(Err(error)) => tracing::debug!("PostgreSQL says no numbers: {error}"),
            Err(_) => tracing::debug!("PostgreSQL says no numbers within {PATIENCE:?}"),
        }
    })
}

async fn ask(paths: &ComputePaths, port: u16) -> Result<String, ComputeError> {
    let mut session = Superuser::connect_as(NAME, paths, port).await?;
    let rows = session.run("ask for numbers", QUESTION).await?;
    Ok(rows.into_iter().next().and_then(|row| row.into_iter().next()).flatten().unwrap_or_default())
}

/// Of `NAME=VALUE NAME=VALUE`.
fn values(answer: &str) -> impl Iterator<Item = (&str, f64)> {
    answer.split(' ').filter_map(|word| {
        let (name, value) = word.split_once('=')?;
        Some((name, value.parse().ok()?))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_in_their_units_and_follow_a_server_that_begins_anew() {
        let numbers = numbers().unwrap();
        let waited = numbers.iter().find(|number| number.source == "wait_microseconds").unwrap();
        let value = || match &waited.metric {
            Metric::Counter(counter) => counter.get(),
            Metric::Gauge(_) => panic!("it only grows"),
        };
        for (said, seconds) in [("2500000", 2.5), ("3500000", 3.5), ("0", 0.0)] {
            let answer = format!("misses=1 wait_microseconds={said} strange more=words=here");
            values(&answer)
                .filter(|(name, _)| *name == waited.source)
                .for_each(|(_, value)| waited.set(value));
            assert!((value() - seconds).abs() < 1e-9, "{said}: {}", value());
        }
    }

    #[test]
    fn every_number_of_the_extension_is_one_that_it_says() {
        let said = include_str!("../../pgext/counters_text.c");
        let asked = ["connections", "commits", "rollbacks", "buffer_hits", "reads"];
        for number in numbers().unwrap() {
            let name = number.source;
            let known = asked.contains(&name) && QUESTION.contains(&format!("{name}="));
            assert!(known || said.contains(&format!("\"{name}\"")), "{name}");
        }
    }
}

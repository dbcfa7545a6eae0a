//! A whole cluster of real processes for one test, on ports of its own, and what tests ask of it.
//!
//! A test that passes leaves nothing behind; one that fails keeps its directory, with all logs and data,
//! and says where it is.

mod cache_log;
mod cluster;
mod compare;
mod ledger;
mod ports;
mod programs;
mod settings;
mod stock_server;
mod writers;

pub use cache_log::CacheActivity;
pub use cluster::{Cluster, Remote, connect, lsn, number};
pub use compare::{Comparison, Sides, Theirs, compare};
pub use ledger::{Ledger, Verdict};
pub use programs::{pg_program, pg_version, program, prometheus_program, run, run_as_postgres};
pub use stock_server::StockServer;
pub use writers::{Writers, ledger_rows};

use std::time::{Duration, Instant};

/// Runs an async test body on a runtime of its own.
pub fn block_on<T>(body: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime")
        .block_on(body)
}

/// Waits until `condition` holds; panics with `what` when it does not come true in time.
pub async fn eventually(what: &str, timeout: Duration, mut condition: impl AsyncFnMut() -> bool) {
    let started = Instant::now();
    while !condition().await {
        assert!(started.elapsed() < timeout, "not within {} s: {what}", timeout.as_secs());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

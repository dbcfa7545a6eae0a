//! A bulk load against a slowed pageserver: writers slow down and never stand still, the lag stays bounded.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use harness::{Cluster, block_on, number};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::observer;

/// A few times what a fast machine writes between two looks at the lag.
const LIMIT: i64 = 48 << 20;
/// At one and a half times the limit a writer has hardly any speed left; what it writes in one slice of work, and
/// what the server is told late, comes on top.
const BOUND: i64 = 2 * LIMIT;
const SECONDS: usize = 25;
/// The pageserver runs for this part of the time.
const DUTY: f64 = 0.15;
const PERIOD: Duration = Duration::from_millis(100);

/// A process that is stopped most of the time.
struct Slowed {
    stop: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Slowed {
    fn start(pid: i32) -> Slowed {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                let _ = kill(Pid::from_raw(pid), Signal::SIGSTOP);
                std::thread::sleep(PERIOD.mul_f64(1.0 - DUTY));
                let _ = kill(Pid::from_raw(pid), Signal::SIGCONT);
                std::thread::sleep(PERIOD.mul_f64(DUTY));
            }
        });
        Slowed { stop, thread: Some(thread) }
    }
}

impl Drop for Slowed {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

#[test]
fn a_bulk_load_waits_for_a_slow_pageserver() {
    let cluster = Cluster::up_with("lag", &["varve.max_lag=48MB"]).need_not_evict("it only writes");
    block_on(async {
        let client = observer(&cluster).await;
        let rows =
            |last: u32| format!("INSERT INTO bulk SELECT generate_series(1, {last}), repeat('x', 500)");
        // So that the statement finds what it needs of the catalogs in the cache.
        client.batch_execute(&format!("CREATE TABLE bulk (n int, t text); {}", rows(10))).await.unwrap();
        let pageserver = cluster.pid("pageserver").expect("a pageserver");
        let slowed = Slowed::start(pageserver);
        let writer = cluster.connect("main").await;
        let canceller = writer.cancel_token();
        let rows = rows(100_000_000);
        let load = tokio::spawn(async move { writer.batch_execute(&rows).await });

        let start = number(&client, "SELECT (pg_current_wal_insert_lsn() - '0/0')::bigint").await;
        let mut series = Vec::new();
        for _ in 0..SECONDS {
            tokio::time::sleep(Duration::from_secs(1)).await;
            let written =
                number(&client, "SELECT (pg_current_wal_insert_lsn() - '0/0')::bigint").await - start;
            series.push((number(&client, "SELECT lag_bytes FROM varve.lag").await, written));
        }
        eprintln!("lag: second, lag MB, WAL MB in all");
        for (second, (lag, written)) in series.iter().enumerate() {
            eprintln!("lag: {:>6} {:>7} {:>13}", second + 1, lag >> 20, written >> 20);
        }
        assert!(!load.is_finished(), "the load ended: {:?}", load.await);
        let paused = number(&client, "SELECT throttled FROM varve.lag").await;
        assert!(paused > 10, "the writer paused {paused} times");
        let most = series.iter().map(|(lag, _)| *lag).max().unwrap_or_default();
        assert!(most > LIMIT / 2, "the pageserver was not slow: it lagged by {most} bytes at most");
        assert!(most <= BOUND, "the pageserver lagged by {most} bytes");
        // Steady: something was written in any five seconds after the first ones.
        for five in series.windows(6).skip(2) {
            assert!(five[5].1 > five[0].1, "the writer stood still: {series:?}");
        }

        // A pause can be cancelled.
        canceller.cancel_query(tokio_postgres::NoTls).await.unwrap();
        let ended = tokio::time::timeout(Duration::from_secs(20), load).await.expect("it ends").unwrap();
        assert_eq!(ended.unwrap_err().code().map(|code| code.code()), Some("57014"));
        drop(slowed);
    });
}

/// The pageserver gone for good does not stop writers dead: they go on, slowly.
#[test]
fn commits_go_on_without_a_pageserver() {
    let cluster = Cluster::up_with("no-pageserver", &["varve.max_lag=1MB"]).need_not_evict("it only writes");
    block_on(async {
        let client = observer(&cluster).await;
        // From here on all that the statement reads is cached, and the pages that it adds are not fetched.
        client.batch_execute("CREATE TABLE t (n int, t text); INSERT INTO t SELECT -1, repeat('x', 1000) FROM generate_series(1, 500)").await.unwrap();
        cluster.kill("pageserver");
        for n in 0..12 {
            let insert = format!("INSERT INTO t SELECT {n}, repeat('x', 1000) FROM generate_series(1, 500)");
            let committed =
                tokio::time::timeout(Duration::from_secs(30), client.batch_execute(&insert)).await;
            committed.unwrap_or_else(|_| panic!("commit {n} hangs")).unwrap();
        }
        let lag = number(&client, "SELECT lag_bytes FROM varve.lag").await;
        let paused = number(&client, "SELECT throttled FROM varve.lag").await;
        assert!(lag > 2 << 20 && paused > 3, "lag {lag}, {paused} pauses");
        cluster.varve(&["pageserver", "start"]);
        harness::eventually("the lag goes down", Duration::from_secs(60), async || {
            number(&client, "SELECT lag_bytes FROM varve.lag").await < 1 << 20
        })
        .await;
        assert_eq!(number(&client, "SELECT count(*) FROM t").await, 6500);
    });
}

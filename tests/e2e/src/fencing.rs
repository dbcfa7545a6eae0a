//! Two computes on one timeline: the newer one wins, the older one stops at once.

use std::time::Duration;

use harness::{Cluster, Writers, block_on, eventually, ledger_rows, lsn, number};
use nix::sys::signal::Signal;
use tokio::task::JoinHandle;

#[test]
fn a_second_compute_fences_the_first() {
    let cluster = Cluster::up("fencing");
    block_on(async {
        let writers = Writers::start(&cluster.connstr("main"), 4).await;
        writers.wait_for_progress(100).await;
        cluster.varve(&["endpoint", "create", "second", "--branch-name", "main", "--allow-multiple"]);
        let refused = cluster.try_varve(&["endpoint", "start", "second"]);
        assert!(!refused.status.success(), "a second endpoint needs --allow-multiple");

        let postmaster = cluster.postmaster_pid("main");
        cluster.varve(&["endpoint", "start", "second", "--allow-multiple"]);
        eventually("the first compute ends", Duration::from_secs(30), async || {
            cluster.pid("endpoint-main").is_none()
        })
        .await;
        assert!(!std::path::Path::new(&format!("/proc/{postmaster}")).exists(), "its PostgreSQL runs on");
        assert!(
            cluster.log("endpoint-main").contains("fenced"),
            "the log does not say why:\n{}",
            cluster.log("endpoint-main")
        );

        let ledger = writers.stop().await;
        let second = cluster.connect("second").await;
        let verdict = ledger.check(ledger_rows(&second).await);
        assert!(verdict.is_clean() && verdict.acknowledged >= 100, "{verdict:?}");
        // The new one writes.
        second.batch_execute("INSERT INTO ledger VALUES (-1, 'after')").await.expect("a write on the second");
    });
}

/// A commit that reaches one safekeeper only; it waits.
async fn tail_on_the_third(cluster: &Cluster) -> JoinHandle<Result<(), tokio_postgres::Error>> {
    let main = cluster.connect("main").await;
    main.batch_execute("CREATE TABLE t (n int); INSERT INTO t VALUES (1)").await.unwrap();
    cluster.kill("safekeeper-1");
    cluster.kill("safekeeper-2");
    let committed = lsn(&cluster.safekeeper_timeline(3, "main")["commit_lsn"]);
    let tail = tokio::spawn(async move { main.batch_execute("INSERT INTO t VALUES (2)").await });
    eventually("the tail is on one safekeeper", Duration::from_secs(30), async || {
        lsn(&cluster.safekeeper_timeline(3, "main")["flush_lsn"]) > committed
    })
    .await;
    assert!(!tail.is_finished(), "acknowledged without a quorum");
    tail
}

/// The compute sleeps while another is elected by the two safekeepers that have not heard of the tail.
async fn is_replaced(cluster: &Cluster) {
    cluster.signal("endpoint-main", Signal::SIGSTOP);
    cluster.kill("safekeeper-3");
    cluster.varve(&["safekeeper", "start", "--id", "1"]);
    cluster.varve(&["safekeeper", "start", "--id", "2"]);
    cluster.varve(&["endpoint", "create", "second", "--branch-name", "main", "--allow-multiple"]);
    cluster.varve(&["endpoint", "start", "second", "--allow-multiple"]);
    cluster.signal("endpoint-main", Signal::SIGCONT);
    eventually("the first compute ends", Duration::from_secs(30), async || {
        cluster.pid("endpoint-main").is_none()
    })
    .await;
}

#[test]
fn the_fenced_computes_unacknowledged_tail_is_gone() {
    let cluster = Cluster::up("fenced-tail");
    block_on(async {
        let tail = tail_on_the_third(&cluster).await;
        is_replaced(&cluster).await;
        assert!(tail.await.unwrap().is_err(), "the fenced compute acknowledged its tail");

        let second = cluster.connect("second").await;
        let rows = second.query("SELECT n FROM t", &[]).await.unwrap();
        assert_eq!(rows.iter().map(|row| row.get(0)).collect::<Vec<i32>>(), [1]);
        // The third safekeeper gives its tail up when it comes back.
        cluster.varve(&["safekeeper", "start", "--id", "3"]);
        second.batch_execute("INSERT INTO t VALUES (3)").await.unwrap();
        let committed = lsn(&cluster.safekeeper_timeline(1, "main")["commit_lsn"]);
        eventually("the third safekeeper follows", Duration::from_secs(30), async || {
            let status = cluster.safekeeper_timeline(3, "main");
            lsn(&status["commit_lsn"]) >= committed
                && status["term"] == cluster.safekeeper_timeline(1, "main")["term"]
        })
        .await;
    });
}

/// What it waits for will not come: it says that it was replaced, so that nobody starts it again, and does so soon.
#[test]
fn who_is_replaced_while_it_stops_ends_as_fenced() {
    let cluster = Cluster::up("fenced-stopping");
    block_on(async {
        let tail = tail_on_the_third(&cluster).await;
        cluster.signal("endpoint-main", Signal::SIGTERM);
        eventually("it stops", Duration::from_secs(30), async || {
            cluster.compute_status("main")["state"] == "stopping"
        })
        .await;
        is_replaced(&cluster).await;
        assert!(tail.await.unwrap().is_err(), "the fenced compute acknowledged its tail");
        let log = cluster.log("endpoint-main");
        assert!(log.contains("fenced") && !log.contains("no quorum for the last WAL"), "{log}");
        let second = cluster.connect("second").await;
        assert_eq!(number(&second, "SELECT sum(n) FROM t").await, 1);
    });
}

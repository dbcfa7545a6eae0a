//! `kill -9` of each part under load. Every acknowledged commit is there afterwards, none twice.

use std::time::Duration;

use harness::{Cluster, Writers, block_on, eventually, ledger_rows};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// Runs writers, lets `fault` happen in their midst, and holds their ledger against the database.
fn survives(name: &str, fault: impl AsyncFnOnce(&Cluster, &Writers)) {
    let cluster = Cluster::up(name);
    block_on(async {
        let connstr = cluster.connstr("main");
        let writers = Writers::start(&connstr, 4).await;
        writers.wait_for_progress(50).await;
        fault(&cluster, &writers).await;
        writers.wait_for_progress(50).await;
        let ledger = writers.stop().await;
        check(&cluster, &ledger).await;
        // And again from an empty data directory, that is, from storage alone.
        cluster.varve(&["endpoint", "stop", "main"]);
        cluster.varve(&["endpoint", "start", "main"]);
        check(&cluster, &ledger).await;
    });
}

async fn check(cluster: &Cluster, ledger: &harness::Ledger) {
    let rows = ledger_rows(&cluster.connect("main").await).await;
    let verdict = ledger.check(rows);
    assert!(verdict.is_clean(), "{verdict:?}");
    assert!(verdict.acknowledged >= 100, "{verdict:?}");
}

#[test]
fn a_safekeeper_is_killed() {
    survives("kill-safekeeper", async |cluster, writers| {
        cluster.kill("safekeeper-2");
        writers.wait_for_progress(50).await;
        cluster.varve(&["safekeeper", "start", "--id", "2"]);
        // It gets what it missed.
        let commit = harness::lsn(&cluster.safekeeper_timeline(1, "main")["commit_lsn"]);
        eventually("the killed safekeeper catches up", Duration::from_secs(60), async || {
            harness::lsn(&cluster.safekeeper_timeline(2, "main")["flush_lsn"]) >= commit
        })
        .await;
    });
}

#[test]
fn the_pageserver_is_killed() {
    survives("kill-pageserver", async |cluster, writers| {
        cluster.kill("pageserver");
        // Commits do not wait for the pageserver.
        writers.wait_for_progress(20).await;
        cluster.varve(&["start"]);
        let commit = harness::lsn(&cluster.safekeeper_timeline(1, "main")["commit_lsn"]);
        eventually("the pageserver catches up", Duration::from_secs(60), async || {
            harness::lsn(&cluster.pageserver_timeline("main")["last_record_lsn"]) >= commit
        })
        .await;
    });
}

#[test]
fn the_broker_is_killed() {
    survives("kill-broker", async |cluster, writers| {
        cluster.kill("broker");
        writers.wait_for_progress(50).await;
        cluster.varve(&["broker", "start"]);
    });
}

#[test]
fn postgres_is_killed() {
    survives("kill-postgres", async |cluster, _| {
        let pid = cluster.postmaster_pid("main");
        kill(Pid::from_raw(pid), Signal::SIGKILL).expect("the postmaster runs");
        // compute_ctl starts over by itself, from a fresh base backup.
        eventually("another postmaster", Duration::from_secs(60), async || {
            let file = cluster.pgdata("main").join("postmaster.pid");
            let text = std::fs::read_to_string(file).unwrap_or_default();
            text.lines().next().is_some_and(|line| line.trim().parse() != Ok(pid))
        })
        .await;
    });
}

/// The second walsender dies long after the first, and no WAL was written in between.
#[test]
fn walsenders_of_an_idle_server_are_ended() {
    let cluster = Cluster::up("end-walsenders");
    block_on(async {
        let client = cluster.connect("main").await;
        client.batch_execute("CREATE TABLE t (n int)").await.unwrap();
        let postmaster = cluster.postmaster_pid("main");
        for wait in [0, 7] {
            tokio::time::sleep(Duration::from_secs(wait)).await;
            let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_replication";
            assert_eq!(client.query(end, &[]).await.unwrap().len(), 1);
        }
        client.batch_execute("INSERT INTO t VALUES (1)").await.unwrap();
        assert_eq!(cluster.postmaster_pid("main"), postmaster, "it was not PostgreSQL that ended");
    });
}

#[test]
fn compute_ctl_is_killed() {
    survives("kill-compute-ctl", async |cluster, _| {
        let postmaster = cluster.postmaster_pid("main");
        cluster.kill("endpoint-main");
        eventually("PostgreSQL dies with compute_ctl", Duration::from_secs(30), async || {
            !std::path::Path::new(&format!("/proc/{postmaster}")).exists()
        })
        .await;
        cluster.varve(&["start"]);
    });
}

#[test]
fn everything_is_killed_at_once() {
    survives("kill-everything", async |cluster, _| {
        let all = ["endpoint-main", "safekeeper-1", "safekeeper-2", "safekeeper-3", "pageserver", "broker"];
        let pids: Vec<i32> =
            all.iter().map(|name| cluster.pid(name).unwrap_or_else(|| panic!("{name} runs"))).collect();
        for pid in &pids {
            kill(Pid::from_raw(*pid), Signal::SIGKILL).expect("it runs");
        }
        eventually("all are gone", Duration::from_secs(10), async || {
            all.iter().all(|name| cluster.pid(name).is_none())
        })
        .await;
        cluster.varve(&["start"]);
    });
}

#[test]
fn without_a_quorum_commits_wait_and_then_go_on() {
    survives("no-quorum", async |cluster, writers| {
        cluster.kill("safekeeper-1");
        cluster.kill("safekeeper-3");
        tokio::time::sleep(Duration::from_millis(500)).await;
        let before = writers.acknowledged();
        tokio::time::sleep(Duration::from_secs(3)).await;
        assert_eq!(writers.acknowledged(), before, "a commit was acknowledged without a quorum");
        cluster.varve(&["safekeeper", "start", "--id", "3"]);
        writers.wait_for_progress(20).await;
        cluster.varve(&["safekeeper", "start", "--id", "1"]);
    });
}

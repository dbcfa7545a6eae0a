//! Two computes on one timeline: the newer one wins, the older one stops at once.

use std::time::Duration;

use harness::{Cluster, Writers, block_on, eventually, ledger_rows};

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

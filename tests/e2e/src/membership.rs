//! Safekeepers come and go while computes write; and one that was away catches up without a compute.

use std::time::Duration;

use harness::{Cluster, Writers, block_on, eventually, ledger_rows, lsn};
use serde_json::Value;
use types::Lsn;

/// Ids of the members, of `members` or `new_members`.
fn ids(members: &Value) -> Vec<u64> {
    members.as_array().into_iter().flatten().map(|member| member["id"].as_u64().expect("an id")).collect()
}

fn flush_lsn(cluster: &Cluster, safekeeper: u16) -> Lsn {
    lsn(&cluster.safekeeper_timeline(safekeeper, "main")["flush_lsn"])
}

#[test]
fn safekeepers_are_replaced_under_load() {
    let cluster = Cluster::up("replace-safekeepers");
    block_on(async {
        let writers = Writers::start(&cluster.connstr("main"), 4).await;
        writers.wait_for_progress(50).await;
        cluster.varve(&["safekeeper", "add", "4"]);
        writers.wait_for_progress(50).await;
        let four = &cluster.safekeeper_timeline(4, "main")["configuration"];
        assert_eq!(ids(&four["members"]), [1, 2, 3, 4]);
        assert!(four["new_members"].is_null(), "{four}");

        // One that is dead can be removed like any other.
        cluster.kill("safekeeper-2");
        cluster.varve(&["safekeeper", "remove", "2"]);
        writers.wait_for_progress(50).await;
        let last = &cluster.safekeeper_timeline(1, "main")["configuration"];
        assert_eq!(ids(&last["members"]), [1, 3, 4]);
        assert_eq!(last["generation"], 5, "each change goes through a joint configuration");
        // The same command again finds nothing to do.
        cluster.varve(&["safekeeper", "add", "4"]);
        assert_eq!(cluster.safekeeper_timeline(1, "main")["configuration"]["generation"], 5);

        // Of the first three one is left; the quorum needs the new one.
        cluster.kill("safekeeper-3");
        writers.wait_for_progress(50).await;
        let ledger = writers.stop().await;
        cluster.varve(&["endpoint", "stop", "main"]);
        cluster.varve(&["down"]);
        // A compute that starts knows the new ones, and all of the cluster does.
        cluster.varve(&["up"]);
        cluster.varve(&["timeline", "branch", "--branch-name", "later"]);
        let verdict = ledger.check(ledger_rows(&cluster.connect("main").await).await);
        assert!(verdict.is_clean() && verdict.acknowledged >= 200, "{verdict:?}");
        assert_eq!(ids(&cluster.safekeeper_timeline(4, "later")["configuration"]["members"]), [1, 3, 4]);
        let log = cluster.log("endpoint-main");
        assert!(
            log.contains("goes on in configuration 5: safekeepers 1, 3, 4"),
            "the compute never changed over"
        );
        assert!(!log.contains("fenced"), "the compute was fenced by the change");
    });
}

/// What is known of a branch, by those that run and by the files of one that does not.
#[test]
fn what_a_branch_rests_on_is_told_in_words() {
    let cluster = Cluster::up("detail");
    let text = cluster.varve(&["timeline", "detail"]);
    for part in ["Configuration 1: safekeepers 1, 2, 3", "term 1", "Pageserver: ingested up to 0/"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    cluster.kill("safekeeper-3");
    let text = cluster.varve(&["timeline", "detail"]);
    assert!(text.contains("no answer"), "{text}");
    let all = cluster.varve_json(&["timeline", "detail"]);
    assert_eq!(all["safekeepers"]["1"]["configuration"]["generation"], 1, "{all}");
    assert!(all["safekeepers"]["3"]["error"].is_string(), "{all}");

    let (tenant, timeline) = cluster.ids("main");
    let text = cluster.varve(&["safekeeper", "dump-control", "3"]);
    for part in
        [&format!("timeline {tenant}/{timeline}"), "1: safekeepers 1, 2, 3", "follows term 1", "undecided"]
    {
        assert!(text.contains(part), "{part}: {text}");
    }
    let none = cluster.try_varve(&["safekeeper", "dump-control", "3", "--timeline-id", &tenant]);
    assert!(!none.status.success() && String::from_utf8_lossy(&none.stderr).contains("has no timeline"));
}

#[test]
fn too_few_safekeepers_are_refused() {
    let cluster = Cluster::up("too-few-safekeepers");
    for (arguments, says) in [
        (["safekeeper", "remove", "3"], "add another first"),
        (["safekeeper", "remove", "7"], "there are 1, 2, 3"),
        (["safekeeper", "add", "20"], "from 1 to 19"),
    ] {
        let refused = cluster.try_varve(&arguments);
        let said = String::from_utf8_lossy(&refused.stderr);
        assert!(!refused.status.success() && said.contains(says), "{said}");
    }
}

#[test]
fn a_safekeeper_catches_up_without_a_compute() {
    let cluster = Cluster::up("catch-up").need_not_evict("it writes much and reads little");
    block_on(async {
        let main = cluster.connect("main").await;
        cluster.varve(&["safekeeper", "stop", "--id", "3"]);
        let fill = "CREATE TABLE t AS SELECT n, repeat('x', 500) FROM generate_series(1, 20000) n";
        main.batch_execute(fill).await.unwrap();
        drop(main);
        cluster.varve(&["endpoint", "stop", "main"]);
        let end = flush_lsn(&cluster, 1);
        assert_eq!(end, flush_lsn(&cluster, 2));
        cluster.varve(&["safekeeper", "start", "--id", "3"]);
        assert!(flush_lsn(&cluster, 3) < end, "it was not away");
        eventually("the third has it all", Duration::from_secs(60), async || flush_lsn(&cluster, 3) == end)
            .await;
        assert!(cluster.log("safekeeper-3").contains("caught up from safekeeper"));

        // It is worth something: with it and one more a compute finds everything.
        cluster.kill("safekeeper-1");
        cluster.varve(&["endpoint", "start", "main"]);
        let main = cluster.connect("main").await;
        let rows: i64 = main.query_one("SELECT count(*) FROM t", &[]).await.unwrap().get(0);
        assert_eq!(rows, 20_000);
    });
}

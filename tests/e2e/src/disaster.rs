//! All disks are gone, and the cluster's own directory with them: what is in object storage goes on.

use std::path::Path;
use std::time::Duration;

use harness::{Cluster, block_on, eventually, lsn, number};
use s3_server::S3Server;
use tokio_postgres::Client;
use types::Lsn;

use crate::object_storage::ours;
use crate::offload::fill;

const PATIENCE: Duration = Duration::from_secs(60);

/// Rows, and what is in them, of a table that `fill` made.
const SUM: &str = "SELECT count(*) + sum(length(filler))::bigint FROM";
const FULL: i64 = 20_000 + 18_000_000;

/// All that was committed on the branch until now is in object storage.
async fn uploaded(cluster: &Cluster, branch: &str, client: &Client) {
    let row = client.query_one("SELECT pg_current_wal_flush_lsn()::text", &[]).await.unwrap();
    let written = row.get::<_, String>(0).parse().unwrap();
    eventually("the pageserver puts all in object storage", PATIENCE, async || {
        lsn(&cluster.pageserver_timeline(branch)["remote_consistent_lsn"]) >= written
    })
    .await;
}

fn names(recovered: &serde_json::Value) -> Vec<&str> {
    recovered.as_array().unwrap().iter().map(|it| it["branch_name"].as_str().unwrap()).collect()
}

/// `checkpoint_timeout_seconds` has the pageserver upload what little there is.
const SOON: &str = "checkpoint_distance = 4194304\ncheckpoint_timeout_seconds = 2";

#[test]
fn object_storage_alone_is_enough() {
    let server = S3Server::start("bucket");
    block_on(async {
        let before = Cluster::up_on("disaster-before", ours(&server), SOON)
            .need_not_evict("it writes much and reads little");
        let main = before.connect("main").await;
        main.batch_execute("CREATE ROLE shop LOGIN PASSWORD 'kept'").await.unwrap();
        fill(&main, 1).await;
        before.varve(&["timeline", "branch", "--branch-name", "dev"]);
        before.varve(&["endpoint", "create", "dev", "--branch-name", "dev"]);
        before.varve(&["endpoint", "start", "dev"]);
        let dev = before.connect("dev").await;
        fill(&dev, 2).await;
        fill(&main, 3).await;
        uploaded(&before, "main", &main).await;
        uploaded(&before, "dev", &dev).await;
        assert!(before.varve(&["recover"]).contains("no branch is lost"));
        drop((main, dev, before));

        let after = Cluster::init_on("disaster-after", ours(&server))
            .need_not_evict("it writes much and reads little");
        after.varve(&["start"]);
        after.kill("safekeeper-2");
        let outcome = after.try_varve(&["--json", "recover"]);
        let report: serde_json::Value = serde_json::from_slice(&outcome.stdout).unwrap();
        let reason = report["failed"][0]["reason"].as_str().expect("a reason");
        assert!(!outcome.status.success() && reason.contains("all safekeepers"), "{report}");
        after.varve(&["start"]);
        let recovered = after.varve_json(&["recover"]);
        let recovered = &recovered["recovered"];
        assert_eq!(names(recovered), ["main", "recovered-1"], "{recovered}");
        assert!(recovered[0]["last_commit"].is_string(), "{recovered}");
        let nothing = serde_json::json!({ "recovered": [], "named": [], "archived": 0, "failed": [] });
        assert_eq!(after.varve_json(&["recover"]), nothing, "it is done");
        // The names alone are lost.
        std::fs::remove_file(after.directory().join("branches.json")).unwrap();
        let named = &after.varve_json(&["recover"])["named"];
        assert_eq!(
            (&named[0]["branch_name"], named.as_array().map(Vec::len)),
            (&"main".into(), Some(2)),
            "{named}"
        );

        after.varve(&["endpoint", "create", "main"]);
        after.varve(&["endpoint", "create", "dev", "--branch-name", "recovered-1"]);
        for endpoint in ["main", "dev"] {
            after.varve(&["endpoint", "start", endpoint]);
        }
        let (main, dev) = (after.connect("main").await, after.connect("dev").await);
        assert_eq!(number(&main, &format!("{SUM} t1")).await, FULL);
        assert_eq!(number(&dev, &format!("{SUM} t1")).await, FULL);
        assert_eq!(number(&dev, &format!("{SUM} t2")).await, FULL);
        assert_eq!(number(&main, &format!("{SUM} t3")).await, FULL);
        let role = "SELECT count(*) FROM pg_authid WHERE rolname = 'shop' AND rolpassword LIKE 'SCRAM%'";
        assert_eq!(number(&main, role).await, 1);
        let missing = dev.query_one("SELECT count(*) FROM t3", &[]).await.unwrap_err();
        assert!(missing.code().is_some_and(|code| code.code() == "42P01"), "{missing}");

        // They are branches like any other: safekeepers keep what is written now, and one of them may die.
        fill(&main, 4).await;
        drop((main, dev));
        after.kill("safekeeper-1");
        after.kill("pageserver");
        after.kill("endpoint-main");
        after.varve(&["start"]);
        let main = after.connect("main").await;
        assert_eq!(number(&main, &format!("{SUM} t4")).await, FULL);
        after.varve(&["timeline", "branch", "--branch-name", "next"]);

        // Once more: what goes on from what was lost is lost itself, and nothing else is. A stop uploads all.
        drop(main);
        after.varve(&["down"]);
        drop(after);
        let last = Cluster::init_on("disaster-last", ours(&server)).need_not_evict("it reads little");
        last.varve(&["start"]);
        let recovered = last.varve_json(&["recover"]);
        let recovered = &recovered["recovered"];
        assert_eq!(names(recovered), ["main", "recovered-1", "recovered-2"], "{recovered}");
        last.varve(&["endpoint", "create", "main"]);
        last.varve(&["endpoint", "start", "main"]);
        let main = last.connect("main").await;
        assert_eq!(number(&main, &format!("{SUM} t4")).await, FULL);
    });
}

/// Somebody tries a recovery on the bucket of a cluster that runs, and goes away again.
#[test]
fn a_second_cluster_on_the_bucket_loses_nothing_of_the_first() {
    let server = S3Server::start("bucket");
    block_on(async {
        let first = Cluster::up_on("disaster-drill", ours(&server), SOON)
            .need_not_evict("it writes much and reads little");
        let main = first.connect("main").await;
        fill(&main, 1).await;
        uploaded(&first, "main", &main).await;
        let second =
            Cluster::init_on("disaster-drill-second", ours(&server)).need_not_evict("nothing is read");
        second.varve(&["start"]);
        eventually("it has the tenant", PATIENCE, async || {
            !second.varve_json(&["recover"])["recovered"].as_array().unwrap().is_empty()
        })
        .await;

        let before = lsn(&first.pageserver_timeline("main")["remote_consistent_lsn"]);
        fill(&main, 2).await;
        eventually("the first one's pageserver gives it up", PATIENCE, async || {
            first.log("pageserver").contains("belongs to another pageserver now")
        })
        .await;
        for id in 1..=3 {
            let told = lsn(&first.safekeeper_timeline(id, "main")["remote_consistent_lsn"]);
            assert!(told <= before, "safekeeper {id} may drop WAL up to {told}, of which {before} is kept");
        }
        // What is committed meanwhile is on the first one's safekeepers.
        main.batch_execute("CREATE TABLE late AS SELECT 1 AS n").await.unwrap();
        drop((main, second));

        first.kill("pageserver");
        first.varve(&["start"]);
        first.varve(&["endpoint", "stop", "main"]);
        first.varve(&["endpoint", "start", "main"]);
        let main = first.connect("main").await;
        assert_eq!(number(&main, &format!("{SUM} t1")).await, FULL);
        assert_eq!(number(&main, &format!("{SUM} t2")).await, FULL);
        assert_eq!(number(&main, "SELECT count(*) FROM late").await, 1);
        fill(&main, 3).await;
        uploaded(&first, "main", &main).await;
    });
}

/// The list of names is as it was before the recovery.
fn forget_names(cluster: &Cluster, recovered: &serde_json::Value) {
    let path = cluster.directory().join("branches.json");
    let mut list: serde_json::Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    let recovered = &recovered["recovered"][0];
    let names = list["tenants"][recovered["tenant_id"].as_str().unwrap()].as_object_mut().unwrap();
    let lost = names.remove(recovered["kept_as"].as_str().unwrap()).expect("the name of what was lost");
    names["main"] = lost;
    std::fs::write(&path, list.to_string()).unwrap();
}

/// The pageserver's layers never came to object storage, the safekeepers' WAL did.
#[test]
fn wal_that_no_pageserver_has_uploaded_is_enough() {
    let server = S3Server::start("bucket");
    block_on(async {
        let before = Cluster::up_on("disaster-of-wal-before", ours(&server), "")
            .need_not_evict("it writes much and reads little");
        let main = before.connect("main").await;
        fill(&main, 1).await;
        let row = main.query_one("SELECT pg_current_wal_flush_lsn()::text", &[]).await.unwrap();
        let committed: Lsn = row.get::<_, String>(0).parse().unwrap();
        fill(&main, 2).await;
        for id in 1..=3 {
            eventually("a safekeeper knows that the segments are in object storage", PATIENCE, async || {
                lsn(&before.safekeeper_timeline(id, "main")["backup_lsn"]) >= committed
            })
            .await;
        }
        let uploaded = lsn(&before.pageserver_timeline("main")["remote_consistent_lsn"]);
        assert!(uploaded < committed, "the pageserver has uploaded the table: {uploaded}");
        // It would upload everything when it is stopped.
        before.kill("pageserver");
        drop((main, before));

        let after = Cluster::init_on("disaster-of-wal-after", ours(&server))
            .need_not_evict("it writes much and reads little");
        after.varve(&["start"]);
        let recovered = after.varve_json(&["recover"]);
        assert!(lsn(&recovered["recovered"][0]["start_lsn"]) >= committed, "{recovered}");
        // What it had done when it failed on the way is done once: the name was not given yet, or one safekeeper alone had
        // made the timeline.
        forget_names(&after, &recovered);
        assert_eq!(after.varve_json(&["recover"]), recovered);
        forget_names(&after, &recovered);
        let text = |name: &str| recovered["recovered"][0][name].as_str().unwrap().to_owned();
        let timeline = Path::new(&text("tenant_id")).join(text("timeline_id"));
        for id in [1, 3] {
            after.kill(&format!("safekeeper-{id}"));
            let directory = after.directory().join(format!("safekeepers/{id}")).join(&timeline);
            std::fs::remove_dir_all(directory).unwrap();
        }
        after.varve(&["start"]);
        assert_eq!(after.varve_json(&["recover"]), recovered);
        for id in 1..=3 {
            after.safekeeper_timeline(id, "main");
        }
        after.varve(&["endpoint", "create", "main"]);
        after.varve(&["endpoint", "start", "main"]);
        let main = after.connect("main").await;
        assert_eq!(number(&main, &format!("{SUM} t1")).await, FULL);
        fill(&main, 3).await;
        assert_eq!(number(&main, &format!("{SUM} t3")).await, FULL);
    });
}

/// A branch was made a moment before the disks were lost, and the WAL that it begins with is gone.
#[test]
fn a_branch_that_cannot_come_back_keeps_no_other_from_it() {
    let server = S3Server::start("bucket");
    block_on(async {
        let before = Cluster::up_on("disaster-of-a-branch-before", ours(&server), "")
            .need_not_evict("it reads little");
        let main = before.connect("main").await;
        main.batch_execute("CREATE TABLE t AS SELECT n FROM generate_series(1, 1000) n").await.unwrap();
        let young = before.varve_json(&["timeline", "branch", "--branch-name", "young"]);
        let young = young["timeline_id"].as_str().unwrap().to_owned();
        // It would upload everything when it is stopped, as it is done with a segment when that is full.
        before.kill("pageserver");
        drop((main, before));

        let after =
            Cluster::init_on("disaster-of-a-branch-after", ours(&server)).need_not_evict("it reads little");
        after.varve(&["start"]);
        let outcome = after.try_varve(&["--json", "recover"]);
        let complaint = String::from_utf8_lossy(&outcome.stderr);
        assert!(!outcome.status.success() && complaint.contains("1 did not come back"), "{outcome:?}");
        let report: serde_json::Value = serde_json::from_slice(&outcome.stdout).unwrap();
        assert_eq!(names(&report["recovered"]), ["main"], "{report}");
        assert_eq!(report["failed"][0]["timeline_id"], young.as_str(), "{report}");
        after.varve(&["endpoint", "create", "main"]);
        after.varve(&["endpoint", "start", "main"]);
        let main = after.connect("main").await;
        main.batch_execute("CREATE TABLE t AS SELECT 1 AS n").await.unwrap();

        // Whoever knows that it is lost deletes it.
        after.varve(&["timeline", "delete", "--timeline-id", &young]);
        assert!(after.varve(&["recover"]).contains("no branch is lost"));
    });
}

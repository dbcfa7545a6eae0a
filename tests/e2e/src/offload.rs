//! WAL goes to object storage and from the safekeepers; idle timelines go from them altogether; nothing is missed.

use std::path::PathBuf;
use std::time::Duration;

use harness::{Cluster, block_on, eventually, lsn};
use tokio_postgres::Client;
use types::Lsn;

/// A table of 20,000 rows, each with 900 bytes of `filler`: more than a segment of WAL.
pub async fn fill(client: &Client, n: i32) {
    let fill = format!(
        "CREATE TABLE t{n} AS SELECT n, repeat(chr(65 + n % 26), 900) AS filler FROM generate_series(1, 20000) n"
    );
    client.batch_execute(&fill).await.unwrap();
}

/// Names of the files that a safekeeper has of the branch.
fn files(cluster: &Cluster, id: u16, branch: &str) -> Vec<String> {
    let (tenant, timeline) = cluster.ids(branch);
    let directory: PathBuf = cluster.directory().join(format!("safekeepers/{id}/{tenant}/{timeline}"));
    let names = std::fs::read_dir(directory).expect("the timeline's directory");
    let mut names: Vec<String> =
        names.map(|entry| entry.expect("an entry").file_name().into_string().expect("a name")).collect();
    names.sort();
    names
}

#[test]
fn wal_that_nobody_needs_is_in_object_storage_only() {
    let cluster =
        Cluster::up_configured("offload", "safekeeper_evict_after = 2", "checkpoint_distance = 4194304")
            .need_not_evict("it writes much and reads little");
    block_on(async {
        let main = cluster.connect("main").await;
        fill(&main, 1).await;
        let early: Lsn = main
            .query_one("SELECT pg_current_wal_flush_lsn()::text", &[])
            .await
            .unwrap()
            .get::<_, String>(0)
            .parse()
            .unwrap();
        fill(&main, 2).await;
        fill(&main, 3).await;
        for id in 1..=3 {
            eventually("segments are in object storage only", Duration::from_secs(60), async || {
                lsn(&cluster.safekeeper_timeline(id, "main")["local_start_lsn"]) > early
            })
            .await;
            // More may go while this looks.
            let agree = async || {
                let files = files(&cluster, id, "main");
                let number = u64::from_str_radix(&files[0][16..], 16).expect("a segment");
                let start = lsn(&cluster.safekeeper_timeline(id, "main")["local_start_lsn"]);
                files.len() >= 2 && number == start.0 >> 24
            };
            eventually("the first segment here is the one it says", Duration::from_secs(20), agree).await;
        }
        // A branch begins with the bytes of a segment that is on no safekeeper any more.
        cluster.varve(&[
            "timeline",
            "branch",
            "--branch-name",
            "early",
            "--ancestor-start-lsn",
            &early.to_string(),
        ]);
        cluster.varve(&["endpoint", "create", "early", "--branch-name", "early"]);
        cluster.varve(&["endpoint", "start", "early"]);
        let tables = "SELECT count(*) FROM pg_class WHERE relname ~ '^t[123]$'";
        let early = cluster.connect("early").await;
        assert_eq!(early.query_one(tables, &[]).await.unwrap().get::<_, i64>(0), 1);
        drop(early);

        // A safekeeper that comes in gets from the others only what object storage does not have.
        cluster.varve(&["safekeeper", "add", "4"]);
        let newcomer = cluster.safekeeper_timeline(4, "main");
        let start = lsn(&newcomer["timeline_start_lsn"]);
        assert!(lsn(&newcomer["local_start_lsn"]) > start + (16 << 20), "{newcomer}");
        assert!(lsn(&newcomer["commit_lsn"]) > lsn(&newcomer["local_start_lsn"]), "{newcomer}");
        fill(&main, 4).await;

        // Without a compute, all of it goes.
        drop(main);
        cluster.varve(&["endpoint", "stop", "early"]);
        cluster.varve(&["endpoint", "stop", "main"]);
        for branch in ["main", "early"] {
            for id in 1..=4 {
                eventually("the timeline is evicted", Duration::from_secs(60), async || {
                    files(&cluster, id, branch) == ["control"]
                })
                .await;
                assert_eq!(cluster.safekeeper_timeline(id, branch)["evicted"], true);
            }
        }
        let text = cluster.varve(&["timeline", "detail"]);
        assert!(text.contains("none; evicted") && text.contains("nothing: object storage has it"), "{text}");
        let text = cluster.varve(&["safekeeper", "dump-control", "1"]);
        assert!(text.contains("it is at rest"), "{text}");
        // Looking did not wake it; a restart does not either.
        cluster.varve(&["safekeeper", "stop"]);
        cluster.varve(&["safekeeper", "start"]);
        assert_eq!(files(&cluster, 2, "main"), ["control"]);
        assert!(
            cluster.pageserver_timeline("main")["walreceiver_status"].as_str().unwrap().starts_with("idle")
        );

        // The next compute wakes it, finds everything, and its WAL reaches the pageserver.
        cluster.varve(&["endpoint", "start", "main"]);
        let main = cluster.connect("main").await;
        assert_eq!(main.query_one(tables, &[]).await.unwrap().get::<_, i64>(0), 3);
        main.batch_execute("CREATE TABLE t5 AS SELECT 1; CHECKPOINT").await.unwrap();
        let end = lsn(&cluster.safekeeper_timeline(1, "main")["commit_lsn"]);
        eventually("the pageserver has what is new", Duration::from_secs(30), async || {
            lsn(&cluster.pageserver_timeline("main")["last_record_lsn"]) >= end
        })
        .await;
        for id in 1..=4 {
            assert!(cluster.metric(&format!("safekeeper-{id}"), "safekeeper_wakes_total") >= 1.0);
        }
    });
}

//! History: a branch as of a moment, a branch taken back, and what goes when nobody may read it any more.

use std::time::Duration;

use harness::{Cluster, block_on, eventually, lsn, number};
use tokio_postgres::Client;

const PATIENCE: Duration = Duration::from_secs(60);

/// Of a pageserver that has something to collect soon.
const SMALL_LAYERS: &str = "checkpoint_distance = 1048576\n\
                            storage.compaction_target_size = 1048576\nstorage.image_layer_size = 4194304\n\
                            tenant_config.gc_period = \"1s\"\ntenant_config.lsn_lease_length = \"0s\"";

/// Looks at `main` and at an endpoint on the branch `old`, started anew; and once more when nothing is on the pageserver's disk.
async fn look_twice(cluster: &Cluster, look: impl AsyncFn(&str, Client)) {
    cluster.varve(&["endpoint", "create", "old", "--branch-name", "old"]);
    for round in 0..2 {
        cluster.varve(&["endpoint", "stop", "main"]);
        if round == 1 {
            cluster.varve(&["endpoint", "stop", "old"]);
            cluster.varve(&["pageserver", "stop"]);
            std::fs::remove_dir_all(cluster.directory().join("pageserver/tenants")).expect("the cache");
            cluster.varve(&["pageserver", "start"]);
        }
        for name in ["main", "old"] {
            cluster.varve(&["endpoint", "start", name]);
            look(name, cluster.connect(name).await).await;
        }
    }
}

async fn moment(client: &Client) -> String {
    let now = "SELECT to_char(clock_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')";
    client.query_one(now, &[]).await.unwrap().get(0)
}

async fn position(client: &Client) -> String {
    client.query_one("SELECT pg_current_wal_flush_lsn()::text", &[]).await.unwrap().get(0)
}

#[test]
fn a_branch_is_taken_back_to_the_moment_before_the_accident() {
    let cluster = Cluster::up("restore").need_not_evict("it reads little");
    block_on(async {
        let main = cluster.connect("main").await;
        main.batch_execute("CREATE TABLE kept (id int); INSERT INTO kept SELECT generate_series(1, 1000)")
            .await
            .unwrap();
        let early = position(&main).await;
        main.batch_execute("CREATE TABLE between ()").await.unwrap();
        let before = moment(&main).await;
        // Commits on both sides of the moment, microseconds apart.
        main.batch_execute("INSERT INTO kept VALUES (1001)").await.unwrap();
        main.batch_execute("DROP TABLE kept").await.unwrap();
        let after = moment(&main).await;
        let late = position(&main).await;
        for (name, lsn) in [("early", &early), ("late", &late)] {
            cluster.varve(&["endpoint", "create", name, "--branch-name", "main", "--lsn", lsn]);
        }

        let branch =
            |name, time| ["timeline", "branch", "--branch-name", name, "--ancestor-start-time", time];
        cluster.varve(&branch("then", &before));
        cluster.varve(&branch("later", &after));
        for (name, count) in [("then", Some(1000)), ("later", None)] {
            cluster.varve(&["endpoint", "create", name, "--branch-name", name]);
            cluster.varve(&["endpoint", "start", name]);
            let there = cluster.connect(name).await;
            let exists = "SELECT count(*) FROM pg_class WHERE relname = 'kept'";
            assert_eq!(number(&there, exists).await, i64::from(count.is_some()), "{name}");
            if let Some(count) = count {
                assert_eq!(number(&there, "SELECT count(*) FROM kept").await, count);
            }
        }
        cluster.refuses(&branch("x", "2006-01-01 00:00"), "begins after 2006");
        cluster.refuses(&branch("x", "2106-01-01 00:00"), "is yet to come");
        cluster.refuses(&branch("x", "noon"), "2 hours ago");

        let restore = ["timeline", "restore", "--to-time", before.as_str()];
        cluster.refuses(&restore, "varve endpoint stop main");
        drop(main);
        cluster.varve(&["endpoint", "stop", "main"]);
        let restored = cluster.varve_json(&restore);
        assert_eq!(restored["endpoints_kept"], serde_json::json!(["late"]), "{restored}");
        cluster.varve(&["endpoint", "start", "main"]);
        let main = cluster.connect("main").await;
        assert_eq!(number(&main, "SELECT count(*) FROM kept").await, 1000);
        main.batch_execute("INSERT INTO kept VALUES (2000)").await.unwrap();
        // What main was before the restoration.
        cluster.varve(&["endpoint", "create", "wrong", "--branch-name", "main-before-1"]);
        cluster.varve(&["endpoint", "start", "wrong"]);
        let wrong = cluster.connect("wrong").await;
        assert!(wrong.query_one("SELECT count(*) FROM kept", &[]).await.is_err());

        // Who stands at an LSN sees what was there, also where another history has that LSN now.
        let list = cluster.varve_json(&["endpoint", "list"]);
        for (name, branch, exists) in [("early", "main", 1), ("late", "main-before-1", 0)] {
            let of_name = list.as_array().unwrap().iter().find(|endpoint| endpoint["endpoint"] == name);
            assert_eq!(of_name.expect("an endpoint")["branch_name"], branch, "{list}");
            cluster.varve(&["endpoint", "start", name]);
            let there = cluster.connect(name).await;
            let kept = "SELECT count(*) FROM pg_class WHERE relname = 'kept'";
            assert_eq!(number(&there, kept).await, exists, "{name}");
        }
    });
}

#[test]
fn what_is_older_than_the_interval_goes_and_branches_keep_theirs() {
    let cluster = Cluster::up_configured("collect", "", SMALL_LAYERS).need_not_evict("it reads little");
    block_on(async {
        let main = cluster.connect("main").await;
        main.batch_execute(
            "CREATE TABLE t (id int PRIMARY KEY, n int, filler text); \
             INSERT INTO t SELECT i, 0, repeat('x', 200) FROM generate_series(1, 5000) i",
        )
        .await
        .unwrap();
        let round = "UPDATE t SET n = n + 1";
        for _ in 0..8 {
            main.batch_execute(round).await.unwrap();
        }
        let middle = position(&main).await;
        cluster.varve(&["timeline", "branch", "--branch-name", "old", "--ancestor-start-lsn", &middle]);
        let middle = lsn(&cluster.pageserver_timeline("old")["initdb_lsn"]);
        for _ in 0..12 {
            main.batch_execute(round).await.unwrap();
        }
        // A week of history is kept: nothing goes.
        tokio::time::sleep(Duration::from_secs(3)).await;
        let cutoff = || lsn(&cluster.pageserver_timeline("main")["gc_cutoff_lsn"]);
        assert!(cutoff() < middle, "{}", cutoff());

        let configured =
            cluster.varve_json(&["tenant", "config", "--set", "pitr_interval=0", "--set", "gc_horizon=0"]);
        assert_eq!(configured["tenant_specific_overrides"]["pitr_interval"], "0s");
        // What is behind the last checkpoint is kept in any case; so is what images made behind it stand on.
        let checkpoint = async || main.batch_execute("CHECKPOINT").await.unwrap();
        eventually("garbage is collected", PATIENCE, async || {
            checkpoint().await;
            cutoff() > middle
        })
        .await;
        let removed = || cluster.metric("pageserver", "pageserver_storage_collected_layers_total");
        eventually("layers are removed", PATIENCE, async || {
            checkpoint().await;
            removed() > 0.0
        })
        .await;
        let deleted = || cluster.metric("pageserver", "pageserver_storage_deleted_objects_total");
        eventually("objects are deleted", PATIENCE, async || deleted() > 0.0).await;
        assert!(cluster.metric("pageserver", "pageserver_storage_compaction_seconds_count") > 0.0);

        let lost = (middle + 8).to_string();
        let branch = ["timeline", "branch", "--branch-name", "x", "--ancestor-start-lsn", lost.as_str()];
        cluster.refuses(&branch, "garbage was collected");

        // All that may be read is there, also when nothing is on the pageserver's disk.
        look_twice(&cluster, async |name, there| {
            let sum = if name == "main" { 100_000 } else { 40_000 };
            assert_eq!(number(&there, "SELECT sum(n) FROM t").await, sum, "{name}");
            let through_index = "SET enable_seqscan = off; SELECT count(*) FROM t WHERE id > 0";
            there.batch_execute(through_index).await.unwrap();
        })
        .await;
        assert!(cutoff() > middle, "the cutoff is in the index");
    });
}

/// What is dropped, or cut, is replaced by nothing, and goes all the same.
#[test]
fn a_view_that_is_made_anew_takes_its_room_once() {
    const REFRESHES: i64 = 10;
    let cluster = Cluster::up_configured("refresh", "", SMALL_LAYERS).need_not_evict("it reads little");
    block_on(async {
        let main = cluster.connect("main").await;
        let bytes = || {
            let status = cluster.pageserver_timeline("main");
            status["current_physical_size"].as_i64().expect("a size")
        };
        let at_initdb = bytes();
        main.batch_execute(
            "CREATE TABLE kept (id int PRIMARY KEY, n int); INSERT INTO kept SELECT i, 0 FROM generate_series(1, 2000) i; \
             CREATE MATERIALIZED VIEW nightly AS \
                 SELECT i AS id, md5(i::text || clock_timestamp()) AS text FROM generate_series(1, 120000) i; \
             CREATE UNIQUE INDEX ON nightly (id)",
        )
        .await
        .unwrap();
        let sum = "SELECT sum(hashtext(text)::bigint)::bigint FROM nightly";
        let at_first = number(&main, sum).await;
        cluster.varve(&["timeline", "branch", "--branch-name", "old"]);
        let view_bytes = number(&main, "SELECT pg_total_relation_size('nightly')").await;
        for _ in 0..REFRESHES {
            main.batch_execute("REFRESH MATERIALIZED VIEW nightly").await.unwrap();
            main.batch_execute("UPDATE kept SET n = n + 1 WHERE id <= 100").await.unwrap();
            // One that shares its layers with what goes, and stays.
            main.batch_execute(
                "CREATE TABLE IF NOT EXISTS beside AS SELECT 1 AS n; INSERT INTO beside VALUES (1)",
            )
            .await
            .unwrap();
        }
        let of_today = number(&main, sum).await;
        let all = bytes();
        cluster.varve(&["tenant", "config", "--set", "pitr_interval=0", "--set", "gc_horizon=0"]);
        let mut least = all;
        // The views of the branch and of today, and the catalogs as they were and as they are; and some more, beside which the
        // newest layers, which wait to be merged, are small.
        let enough = 2 * at_initdb + 4 * view_bytes;
        eventually("old pages are collected", PATIENCE, async || {
            // What is behind the last one is kept in any case.
            main.batch_execute("CHECKPOINT").await.unwrap();
            least = least.min(bytes());
            least < enough
        })
        .await;
        eprintln!("a view of {view_bytes} bytes: {all} bytes with all its past, {least} without");

        look_twice(&cluster, async |name, there| {
            let (wanted, changes) = if name == "main" { (of_today, REFRESHES * 100) } else { (at_first, 0) };
            assert_eq!(number(&there, sum).await, wanted, "{name}");
            assert_eq!(number(&there, "SELECT sum(n) FROM kept").await, changes, "{name}");
            there.batch_execute("CREATE EXTENSION IF NOT EXISTS amcheck").await.unwrap();
            let check = "SELECT bt_index_check('nightly_id_idx', true), bt_index_check('kept_pkey', true)";
            there.batch_execute(check).await.unwrap();
        })
        .await;
    });
}

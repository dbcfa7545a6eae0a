//! What a clean stop leaves: the next start on the same machine goes on with it, if it is still true.

use std::fs;
use std::time::Duration;

use harness::{Cluster, block_on, eventually, number};
use nix::sys::signal::Signal;

use crate::pgbench;

const PATIENCE: Duration = Duration::from_secs(60);

/// Whether the last start went on with the data directory of the stop before it.
pub fn went_on(cluster: &Cluster) -> bool {
    let status = cluster.compute_status("main");
    let steps = status["start_steps"].as_array().expect("steps");
    !steps.iter().any(|step| step["step"] == "basebackup_wait")
}

fn restart(cluster: &Cluster) {
    cluster.varve(&["endpoint", "stop", "main"]);
    cluster.varve(&["endpoint", "start", "main"]);
}

#[test]
fn a_start_goes_on_with_what_the_stop_left() {
    let cluster = Cluster::up_with("kept", &["shared_buffers=16MB", "varve.cache_size=1024MB"])
        .keeping_caches()
        .need_not_evict("next to nothing is written");
    block_on(async {
        let main = cluster.connect("main").await;
        main.batch_execute(
            "CREATE TABLE t AS SELECT n, repeat('x', 500) AS filler FROM generate_series(1, 5000) n;
             CREATE INDEX ON t (n);
             CREATE UNLOGGED TABLE u AS SELECT 7 AS n;
             CREATE SEQUENCE s; SELECT nextval('s')",
        )
        .await
        .unwrap();
        main.batch_execute("DELETE FROM t WHERE n > 4000; SELECT pg_stat_force_next_flush()").await.unwrap();
        // All that will be asked was asked before, so that it is cached.
        let queries = [
            ("SELECT sum(n)::bigint FROM t", 4000 * 4001 / 2),
            ("SELECT count(*) FROM t WHERE n = 17", 1),
            // As after a stop of stock PostgreSQL.
            ("SELECT n::bigint FROM u", 7),
            ("SELECT n_tup_del FROM pg_stat_user_tables WHERE relname = 't'", 1000),
        ];
        for (query, answer) in queries {
            assert_eq!(number(&main, query).await, answer, "{query}");
        }
        drop(main);
        cluster.varve(&["endpoint", "stop", "main"]);
        // Nothing but the local files can answer now.
        cluster.varve(&["pageserver", "stop"]);
        cluster.varve(&["endpoint", "start", "main"]);
        assert!(went_on(&cluster));
        let main = cluster.connect("main").await;
        main.batch_execute("SET statement_timeout = '20s'; SET varve.read_lease = 0").await.unwrap();
        for (query, answer) in queries {
            assert_eq!(number(&main, query).await, answer, "{query}");
        }
        assert_eq!(number(&main, "SELECT nextval('s')").await, 2, "no value is skipped");
        main.batch_execute("INSERT INTO t SELECT n, 'again' FROM generate_series(4001, 5000) n")
            .await
            .unwrap();
        cluster.varve(&["pageserver", "start"]);
        drop(main);

        // What is written since is in storage as ever.
        cluster.varve(&["endpoint", "stop", "main"]);
        cluster.varve(&["endpoint", "start", "main", "--cold"]);
        assert!(!went_on(&cluster));
        let main = cluster.connect("main").await;
        assert_eq!(number(&main, "SELECT sum(n)::bigint FROM t").await, 5000 * 5001 / 2);
        assert_eq!(number(&main, "SELECT count(*) FROM u").await, 0);
    });
}

#[test]
fn what_is_not_true_any_more_is_not_gone_on_with() {
    let cluster = Cluster::up("kept-stale").keeping_caches().need_not_evict("next to nothing is written");
    block_on(async {
        let main = cluster.connect("main").await;
        main.batch_execute("CREATE TABLE t (n bigint); INSERT INTO t VALUES (1)").await.unwrap();
        drop(main);
        restart(&cluster);
        assert!(went_on(&cluster));

        // Another compute has written meanwhile.
        cluster.varve(&["endpoint", "stop", "main"]);
        cluster.varve(&["endpoint", "create", "second", "--branch-name", "main", "--allow-multiple"]);
        cluster.varve(&["endpoint", "start", "second"]);
        let second = cluster.connect("second").await;
        second.batch_execute("UPDATE t SET n = 2").await.unwrap();
        drop(second);
        cluster.varve(&["endpoint", "stop", "second"]);
        cluster.varve(&["endpoint", "start", "main"]);
        assert!(!went_on(&cluster));
        let main = cluster.connect("main").await;
        assert_eq!(number(&main, "SELECT n FROM t").await, 2);
        drop(main);

        // A compute that did not stop in order leaves nothing.
        cluster.signal("endpoint-main", Signal::SIGKILL);
        eventually("it ends", PATIENCE, async || cluster.pid("endpoint-main").is_none()).await;
        cluster.varve(&["endpoint", "start", "main"]);
        assert!(!went_on(&cluster));

        // A list of blocks that is damaged is refused, and the next start does without.
        for damage in [damage_a_byte, cut_it_short] {
            let main = cluster.connect("main").await;
            main.batch_execute("UPDATE t SET n = n + 1").await.unwrap();
            drop(main);
            cluster.varve(&["endpoint", "stop", "main"]);
            damage(&cluster.pgdata("main").join("varve.kept"));
            cluster.varve(&["endpoint", "start", "main"]);
            assert!(!went_on(&cluster));
        }
        let log = fs::read_to_string(cluster.postgres_log("main")).unwrap();
        for words in ["its checksum is wrong", "its length is not what it says"] {
            assert!(log.contains(words), "{words} is not in {log}");
        }
        let main = cluster.connect("main").await;
        assert_eq!(number(&main, "SELECT n FROM t").await, 4);
        drop(main);

        // Nor is it gone on with when it says less than a chunk of before.
        let reconfigure = ["endpoint", "reconfigure", "main", "--set", "varve.chunk_blocks=16"];
        cluster.varve(&reconfigure);
        restart(&cluster);
        assert!(!went_on(&cluster));
        restart(&cluster);
        assert!(went_on(&cluster));
    });
}

/// The table of chunks may be full of those that are cached.
#[test]
fn a_full_table_is_gone_on_with() {
    let cluster = Cluster::up_with("kept-full", &["autovacuum=off"])
        .keeping_caches()
        .need_not_evict("next to nothing is written");
    block_on(async {
        let main = cluster.connect("main").await;
        let table =
            "CREATE TABLE t AS SELECT n, repeat('x', 1000) AS filler FROM generate_series(1, 30000) n";
        for statement in [table, "VACUUM FREEZE t", "CHECKPOINT"] {
            main.batch_execute(statement).await.unwrap();
        }
        drop(main);
        cluster.varve(&["endpoint", "stop", "main"]);
        let mut reconfigure = vec!["endpoint", "reconfigure", "main"];
        // Entries are what is scarce, however small the cache is in this run.
        for setting in ["varve.cache_entries=256", "varve.chunk_blocks=16", "varve.cache_size=1GB"] {
            reconfigure.extend(["--set", setting]);
        }
        cluster.varve(&reconfigure);
        cluster.varve(&["endpoint", "start", "main", "--cold"]);
        let main = cluster.connect("main").await;
        let sum = number(&main, "SELECT sum(n)::bigint FROM t").await;
        drop(main);
        cluster.varve(&["endpoint", "stop", "main"]);
        let kept = fs::read(cluster.pgdata("main").join("varve.kept")).unwrap();
        let chunks = u32::from_ne_bytes(kept[16..20].try_into().unwrap());
        assert!(chunks > 128, "{chunks} of 256 entries are of chunks that are cached");
        cluster.varve(&["endpoint", "start", "main"]);
        assert!(went_on(&cluster), "with {chunks} chunks");
        let log = fs::read_to_string(cluster.postgres_log("main")).unwrap();
        assert!(!log.contains("is not usable"), "{log}");
        let main = cluster.connect("main").await;
        assert_eq!(number(&main, "SELECT sum(n)::bigint FROM t").await, sum);
    });
}

fn damage_a_byte(file: &std::path::Path) {
    let mut bytes = fs::read(file).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(file, bytes).unwrap();
}

fn cut_it_short(file: &std::path::Path) {
    let bytes = fs::read(file).unwrap();
    fs::write(file, &bytes[..bytes.len() - 7]).unwrap();
}

/// Pages come and go all the time, and each of ten lives goes on with what the one before it has left.
#[test]
fn life_after_life_sums_are_right() {
    let settings = [
        "shared_buffers=1MB",
        "varve.cache_size=2MB",
        "varve.chunk_blocks=16",
        "varve.grace_interval=10",
        "varve.debug=on",
        "varve.test_shadow=on",
    ];
    let cluster = Cluster::up_with("kept-lives", &settings).keeping_caches();
    let connstr = cluster.connstr("main");
    pgbench::load(&connstr, 2, 4, 1);
    for life in 1..=10 {
        pgbench::mix(&connstr, 4, 1);
        let before = block_on(pgbench::checked_sum(&connstr));
        restart(&cluster);
        assert!(went_on(&cluster), "life {life}");
        assert_eq!(block_on(pgbench::checked_sum(&connstr)), before, "life {life}");
    }
    pgbench::amcheck(&connstr);
    let log = fs::read_to_string(cluster.postgres_log("main")).unwrap();
    let kept = log.lines().filter(|line| line.contains("varve: goes on with")).count();
    assert_eq!(kept, 10, "{log}");
}

//! Read replicas: hot standbys that follow a branch, and those that stand still in its past.

use std::time::{Duration, Instant};

use harness::{Cluster, block_on, eventually, lsn, number};
use nix::sys::signal::Signal;
use tokio_postgres::Client;
use tokio_postgres::error::SqlState;
use types::Lsn;

use crate::pgbench;

const PATIENCE: Duration = Duration::from_secs(60);

/// A replica with next to no cache, so that its pages come and go.
fn small_replica(cluster: &Cluster, name: &str) {
    let small =
        ["--set", "shared_buffers=1MB", "--set", "varve.cache_size=2MB", "--set", "varve.chunk_blocks=16"];
    let create = ["endpoint", "create", name, "--branch-name", "main", "--hot-standby"];
    cluster.varve(&[&create[..], &small].concat());
    cluster.varve(&["endpoint", "start", name]);
}

/// Has the replica seen what the primary has committed by now?
async fn caught_up(primary: &Client, replica: &Client) {
    let row = primary.query_one("UPDATE marks SET n = n + 1 RETURNING n", &[]).await.unwrap();
    let mark: i64 = row.get(0);
    eventually("the replica replays what was committed", PATIENCE, async || {
        replica.query_one("SELECT n FROM marks", &[]).await.unwrap().get::<_, i64>(0) >= mark
    })
    .await;
}

/// For some seconds: how long after its commit a change is seen on the replica.
async fn lags(primary: Client, replica: Client, seconds: u64) -> Vec<Duration> {
    let until = Instant::now() + Duration::from_secs(seconds);
    let mut lags = Vec::new();
    while Instant::now() < until {
        let row = primary.query_one("UPDATE marks SET n = n + 1 RETURNING n", &[]).await.unwrap();
        let committed = Instant::now();
        while number(&replica, "SELECT n FROM marks").await < row.get(0) {
            tokio::time::sleep(Duration::from_micros(500)).await;
        }
        lags.push(committed.elapsed());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    lags
}

async fn with_marks(cluster: &Cluster) -> Client {
    let primary = cluster.connect("main").await;
    let marks = "CREATE TABLE marks (n bigint); INSERT INTO marks VALUES (0); CREATE EXTENSION varve";
    primary.batch_execute(marks).await.unwrap();
    primary
}

/// One after the other, each by itself.
async fn run_each(client: &Client, statements: &[&str]) {
    for statement in statements {
        client.batch_execute(statement).await.unwrap_or_else(|error| panic!("{statement}: {error}"));
    }
}

async fn code(client: &Client, query: &str) -> Option<SqlState> {
    client.batch_execute(query).await.err().and_then(|error| error.code().cloned())
}

#[test]
fn a_replica_under_load_shows_what_was_true_at_one_moment() {
    let cluster = Cluster::up("replica").need_not_evict("the replica is looked at by itself");
    block_on(async {
        let primary = with_marks(&cluster).await;
        primary.batch_execute("CREATE EXTENSION amcheck").await.unwrap();
        let main = cluster.connstr("main");
        pgbench::load(&main, 3, 1, 1);
        small_replica(&cluster, "ro");
        let ro = cluster.connstr("ro");
        let replica = cluster.connect("ro").await;
        assert_eq!(code(&replica, "CREATE TABLE t (n int)").await, Some(SqlState::READ_ONLY_SQL_TRANSACTION));

        let load = {
            let main = main.clone();
            std::thread::spawn(move || pgbench::mix(&main, 4, 12))
        };
        // On one where no query holds replay up.
        small_replica(&cluster, "quiet");
        let lags = tokio::spawn(lags(cluster.connect("main").await, cluster.connect("quiet").await, 8));
        let mut looks = 0;
        let (mut last, mut moved) = (0, 0);
        while !load.is_finished() {
            let (_, transactions) = pgbench::checked_sum(&ro).await;
            assert!(transactions >= last, "it goes back");
            moved += i32::from(transactions > last);
            last = transactions;
            looks += 1;
        }
        load.join().unwrap();
        let mut lags = lags.await.unwrap();
        lags.sort();
        let at = |percent: usize| lags[(lags.len() - 1) * percent / 100].as_secs_f64() * 1e3;
        eprintln!(
            "from a commit until the replica shows it, {} times under load: p50 {:.1} ms, p99 {:.1} ms, at most {:.1} ms",
            lags.len(),
            at(50),
            at(99),
            at(100)
        );
        assert!(lags.len() > 10);
        assert!(looks > 3 && moved > 2, "{looks} looks, in {moved} of them it had moved");

        run_each(&primary, &["VACUUM pgbench_accounts", "VACUUM pgbench_tellers"]).await;
        caught_up(&primary, &replica).await;
        assert_eq!(pgbench::checked_sum(&ro).await, pgbench::checked_sum(&main).await);
        assert_eq!(pgbench::dump(&ro), pgbench::dump(&main));
        pgbench::amcheck_on_a_replica(&ro);

        let of = async |what: &str| number(&replica, &format!("SELECT {what}")).await;
        let (replayed, passed) = (
            of("records_replayed FROM varve.replica").await,
            of("records_passed_over FROM varve.replica").await,
        );
        let (evicted, refetched) =
            (of("evicted_blocks FROM varve.cache").await, of("refetched_blocks FROM varve.cache").await);
        eprintln!(
            "{looks} looks; {replayed} records replayed, {passed} passed over; {evicted} blocks evicted, {refetched} fetched again"
        );
        assert!(replayed > 0 && passed > 0 && evicted > 0 && refetched > 0);
        assert_eq!(of("zero_pages_suspect FROM varve.cache").await, 0);

        // WAL comes in pieces that a standby understands.
        let log = std::fs::read_to_string(cluster.postgres_log("ro")).unwrap();
        assert!(!log.contains("checksum in record") && !log.contains("invalid magic"), "{log}");

        // A new one begins with the last checkpoint, and finds the same.
        cluster.varve(&["endpoint", "stop", "ro"]);
        cluster.varve(&["endpoint", "start", "ro"]);
        let replica = cluster.connect("ro").await;
        caught_up(&primary, &replica).await;
        assert_eq!(pgbench::checked_sum(&ro).await, pgbench::checked_sum(&main).await);
    });
}

const BLOCKS: i32 = 120;

/// A table with one row on each page (short enough to be changed by one record), none of which the replica has, and two sessions on it that know how to read it.
async fn with_a_cold_table(cluster: &Cluster) -> (Client, Client, Client) {
    let primary = with_marks(cluster).await;
    let table = format!(
        "CREATE TABLE t (n int, amount int, filler text) WITH (fillfactor = 30); ALTER TABLE t ALTER filler SET STORAGE PLAIN;
         INSERT INTO t SELECT n, 0, repeat('x', 1800) FROM generate_series(0, {BLOCKS} - 1) n;
         CREATE TABLE other (LIKE t INCLUDING STORAGE) WITH (fillfactor = 30); INSERT INTO other SELECT * FROM t"
    );
    primary.batch_execute(&table).await.unwrap();
    let blocks = "SELECT pg_relation_size('t') / 8192";
    assert_eq!(number(&primary, blocks).await, i64::from(BLOCKS));
    // Nothing is left to be pruned, which would wait for who reads. It begins with the last checkpoint that the
    // pageserver knows.
    run_each(&primary, &["UPDATE other SET amount = 0 WHERE n = 1", "VACUUM", "CHECKPOINT"]).await;
    let flushed = "SELECT pg_current_wal_flush_lsn()::text";
    let end: Lsn = primary.query_one(flushed, &[]).await.unwrap().get::<_, String>(0).parse().unwrap();
    eventually("the pageserver has the checkpoint", PATIENCE, async || {
        lsn(&cluster.pageserver_timeline("main")["last_record_lsn"]) >= end
    })
    .await;
    cluster.varve(&["endpoint", "create", "ro", "--hot-standby", "--set", "varve.debug=on"]);
    cluster.varve(&["endpoint", "start", "ro"]);
    let sessions = (cluster.connect("ro").await, cluster.connect("ro").await);
    for session in [&sessions.0, &sessions.1] {
        number(session, "SELECT sum(amount) FROM other").await;
        number(session, "SELECT count(*) FROM other WHERE ctid = '(3,1)'").await;
    }
    (primary, sessions.0, sessions.1)
}

/// Compared as of one moment.
async fn agree(primary: &Client, replica: &Client) {
    caught_up(primary, replica).await;
    for query in ["SELECT sum(amount * (n + 1)) FROM t", "SELECT count(*) FROM t"] {
        assert_eq!(number(replica, query).await, number(primary, query).await, "{query}");
    }
}

/// Pages come along with one that is read, and some of them change before they are stored.
#[test]
fn a_page_that_came_along_and_changed_meanwhile_is_not_stored() {
    let cluster =
        Cluster::up_with("replica-fills", &["autovacuum=off"]).need_not_evict("next to nothing is written");
    block_on(async {
        let (primary, slow, replica) = with_a_cold_table(&cluster).await;
        slow.batch_execute("SET varve.test_delay = 150000; SET varve.readahead_blocks = 8").await.unwrap();
        let (done, mut ended) = tokio::sync::oneshot::channel();
        let reading = async {
            number(&slow, "SELECT sum(amount) FROM t").await;
            done.send(()).unwrap();
        };
        let writing = async {
            let mut n = 0;
            // Here and there; each once, and without a look at the others: pruning would wait for the one who reads.
            while n < BLOCKS && ended.try_recv().is_err() {
                n += 1;
                let block = n * 37 % BLOCKS;
                let change = format!("UPDATE t SET amount = amount + 1 WHERE ctid = '({block},1)'");
                primary.batch_execute(&change).await.unwrap();
                tokio::time::sleep(Duration::from_millis(15)).await;
            }
            n
        };
        let ((), changes) = tokio::join!(reading, writing);
        let refused = number(&replica, "SELECT guard_refusals FROM varve.cache").await;
        let passed = number(&replica, "SELECT records_passed_over FROM varve.replica").await;
        eprintln!("{changes} changes, {passed} records passed over, {refused} fills refused");
        agree(&primary, &replica).await;
        assert!(refused > 0 && passed > 0, "they did not meet");
    });
}

/// A record is passed over, but does not count as replayed yet.
#[test]
fn who_reads_a_page_whose_change_is_being_passed_over_gets_it_changed() {
    let cluster =
        Cluster::up_with("replica-reads", &["autovacuum=off"]).need_not_evict("next to nothing is written");
    block_on(async {
        let (primary, replica, other) = with_a_cold_table(&cluster).await;
        replica.batch_execute("SET varve.test_delay = 0; SET varve.readahead_blocks = 1").await.unwrap();
        cluster.varve(&["endpoint", "reconfigure", "ro", "--set", "varve.test_delay=400000"]);
        let before = number(&other, "SELECT records_passed_over FROM varve.replica").await;
        for block in 2..8 {
            primary.batch_execute(&format!("UPDATE t SET amount = 5 WHERE n = {block}")).await.unwrap();
            // It is within redo of that by now.
            tokio::time::sleep(Duration::from_millis(120)).await;
            number(&replica, &format!("SELECT count(*) FROM t WHERE ctid = '({block},1)'")).await;
            caught_up(&primary, &replica).await;
        }
        let passed = number(&other, "SELECT records_passed_over FROM varve.replica").await - before;
        assert!(passed >= 6, "{passed} records passed over");
        cluster.varve(&["endpoint", "reconfigure", "ro", "--unset", "varve.test_delay"]);
        agree(&primary, &replica).await;
    });
}

/// Redo is done with one page of a record and waits for another one: the first must not go meanwhile, to be fetched as it was
/// before. An entry of a hash index comes with a change of the index's first page.
#[test]
fn a_page_stays_while_redo_is_at_work_on_its_record() {
    const DELAY: Duration = Duration::from_secs(2);
    let cluster = Cluster::up_with("replica-half-way", &["autovacuum=off"])
        .need_not_evict("the replica is looked at by itself");
    block_on(async {
        let primary = with_marks(&cluster).await;
        let statements = [
            "CREATE EXTENSION pg_prewarm",
            "CREATE TABLE t AS SELECT n FROM generate_series(1, 1000) n",
            "CREATE INDEX ON t USING hash (n)",
            "CREATE TABLE other AS SELECT repeat('x', 1000) FROM generate_series(1, 3000)",
            "VACUUM",
            "CHECKPOINT",
        ];
        run_each(&primary, &statements).await;
        let mut create = vec!["endpoint", "create", "ro", "--branch-name", "main", "--hot-standby"];
        for setting in ["shared_buffers=1MB", "varve.cache_size=0", "varve.chunk_blocks=16", "varve.debug=on"]
        {
            create.extend(["--set", setting]);
        }
        cluster.varve(&create);
        cluster.varve(&["endpoint", "start", "ro"]);
        let (replica, other) = (cluster.connect("ro").await, cluster.connect("ro").await);
        caught_up(&primary, &replica).await;
        for session in [&replica, &other] {
            session.batch_execute("SET varve.test_delay = 0; SET enable_seqscan = off").await.unwrap();
        }
        let find = async |n: i32| number(&replica, &format!("SELECT count(*) FROM t WHERE n = {n}")).await;
        // It remembers the index's first page from here on.
        assert_eq!(find(1).await, 1);
        let push_out = async || {
            for _ in 0..2 {
                other.batch_execute("SELECT pg_prewarm('other')").await.unwrap();
            }
            tokio::time::sleep(Duration::from_millis(300)).await;
        };
        let replayed = async || -> Lsn {
            let query = "SELECT pg_last_wal_replay_lsn()::text";
            other.query_one(query, &[]).await.unwrap().get::<_, String>(0).parse().unwrap()
        };
        cluster.varve(&[
            "endpoint",
            "reconfigure",
            "ro",
            "--set",
            &format!("varve.test_delay={}", DELAY.as_micros()),
        ]);
        let mut half_way = 0;
        // On a slow machine a look may come too late.
        for n in 5001..5013 {
            push_out().await;
            let before = replayed().await;
            primary.batch_execute(&format!("INSERT INTO t VALUES ({n})")).await.unwrap();
            let end = "SELECT pg_current_wal_flush_lsn()::text";
            let end: Lsn = primary.query_one(end, &[]).await.unwrap().get::<_, String>(0).parse().unwrap();
            eventually("the row is in the table", PATIENCE, async || replayed().await > before).await;
            // The entry's page comes first, then that for which redo waits in the middle of the record.
            tokio::time::sleep(DELAY.mul_f64(1.3)).await;
            push_out().await;
            find(n).await;
            half_way += i32::from(replayed().await < end);
            eventually("the commit is replayed", PATIENCE, async || replayed().await >= end).await;
            assert_eq!(find(n).await, 1, "the index has lost {n}");
            if half_way == 3 {
                break;
            }
        }
        assert!(half_way > 0, "nobody looked while redo waited");
    });
}

#[test]
fn a_replica_that_begins_among_transactions_sees_none_of_them() {
    let cluster = Cluster::up_with("replica-begins", &["max_prepared_transactions=5"])
        .need_not_evict("next to nothing is written");
    block_on(async {
        let primary = with_marks(&cluster).await;
        primary.batch_execute("CREATE TABLE t (n int PRIMARY KEY)").await.unwrap();
        let (open, doomed) = (cluster.connect("main").await, cluster.connect("main").await);
        let rows = |from: i32| format!("INSERT INTO t SELECT generate_series({from}, {from} + 999)");
        // Nearly as many subtransactions as a list of what runs has room for; with more a standby waits for their end.
        let many = "DO $$ BEGIN FOR i IN 1..60 LOOP BEGIN INSERT INTO t VALUES (-i); EXCEPTION WHEN division_by_zero THEN END; END LOOP; END $$";
        open.batch_execute(&format!("BEGIN; {}; {many}", rows(1))).await.unwrap();
        doomed.batch_execute(&format!("BEGIN; {}", rows(2001))).await.unwrap();
        primary.batch_execute(&format!("BEGIN; {}; PREPARE TRANSACTION 'later'", rows(4001))).await.unwrap();
        primary.batch_execute("CHECKPOINT").await.unwrap();
        small_replica(&cluster, "ro");
        let replica = cluster.connect("ro").await;
        assert_eq!(number(&replica, "SELECT count(*) FROM t").await, 0);
        doomed.batch_execute("ROLLBACK").await.unwrap();
        open.batch_execute("COMMIT").await.unwrap();
        caught_up(&primary, &replica).await;
        assert_eq!(number(&replica, "SELECT count(*) FROM t").await, 1060);
        primary.batch_execute("COMMIT PREPARED 'later'").await.unwrap();
        caught_up(&primary, &replica).await;
        assert_eq!(number(&replica, "SELECT count(*) FROM t").await, 2060);
    });
}

#[test]
fn definitions_reach_a_replica() {
    let cluster = Cluster::up("replica-definitions").need_not_evict("the replica is looked at by itself");
    block_on(async {
        let primary = with_marks(&cluster).await;
        primary
            .batch_execute(
                "CREATE TABLE kept AS SELECT n, repeat('x', 200) AS filler FROM generate_series(1, 20000) n;
                 CREATE TABLE cut AS SELECT * FROM kept; CREATE TABLE dropped AS SELECT * FROM kept;
                 CREATE UNLOGGED TABLE unlogged AS SELECT 1 AS n; CREATE SEQUENCE s",
            )
            .await
            .unwrap();
        small_replica(&cluster, "ro");
        let replica = cluster.connect("ro").await;
        // All of it is cached to some extent when it changes.
        for table in ["kept", "cut", "dropped"] {
            assert_eq!(number(&replica, &format!("SELECT count(*) FROM {table}")).await, 20_000);
        }
        assert_eq!(code(&replica, "SELECT * FROM unlogged").await, Some(SqlState::FEATURE_NOT_SUPPORTED));
        let statements = [
            "DELETE FROM kept WHERE n % 3 = 0",
            "VACUUM kept",
            "TRUNCATE cut",
            "INSERT INTO cut SELECT n, 'y' FROM generate_series(1, 5000) n",
            "DELETE FROM cut WHERE n > 100",
            "VACUUM cut",
            "DROP TABLE dropped",
            "CREATE INDEX ON kept (n)",
            "CREATE INDEX ON kept USING gin (to_tsvector('simple', filler))",
            "VACUUM FULL cut",
            "SELECT nextval('s') FROM generate_series(1, 100)",
            "CREATE DATABASE other",
            "CREATE DATABASE moved",
            "CREATE DATABASE gone",
            "DROP DATABASE gone",
            "CREATE TABLE reborn (n int)",
        ];
        run_each(&primary, &statements).await;
        let space = cluster.directory().join("space");
        std::fs::create_dir(&space).unwrap();
        if nix::unistd::geteuid().is_root() {
            harness::run(std::process::Command::new("chown").arg("postgres").arg(&space));
        }
        primary
            .batch_execute(&format!("CREATE TABLESPACE space LOCATION '{}'", space.display()))
            .await
            .unwrap();
        primary.batch_execute("ALTER DATABASE moved SET TABLESPACE space").await.unwrap();
        primary.batch_execute("ALTER TABLE kept SET TABLESPACE space").await.unwrap();
        caught_up(&primary, &replica).await;
        for query in [
            "SELECT count(*) FROM kept",
            "SELECT sum(n)::bigint FROM kept WHERE n > 19000",
            "SELECT count(*) FROM kept WHERE to_tsvector('simple', filler) @@ 'nothing'",
            "SELECT count(*) FROM cut",
            "SELECT count(*) FROM pg_class",
            "SELECT pg_table_size('kept') / pg_table_size('cut')",
        ] {
            assert_eq!(number(&replica, query).await, number(&primary, query).await, "{query}");
        }
        assert_eq!(code(&replica, "SELECT * FROM dropped").await, Some(SqlState::UNDEFINED_TABLE));
        for database in ["other", "moved"] {
            let there = cluster.connstr("ro").replace("/postgres", &format!("/{database}"));
            let there = harness::connect(&there).await.unwrap_or_else(|error| panic!("{database}: {error}"));
            assert!(number(&there, "SELECT count(*) FROM pg_proc").await > 2000, "{database}");
        }
        // Each has a directory of its own, on one machine too.
        let beside = std::fs::read_dir(&space).unwrap().count();
        assert_eq!(beside, 1);
        pgbench::amcheck(&cluster.connstr("main"));
        caught_up(&primary, &replica).await;
        pgbench::amcheck_on_a_replica(&cluster.connstr("ro"));
    });
}

#[test]
fn a_query_in_the_way_of_vacuum_is_cancelled_not_wrong() {
    let cluster = Cluster::up("replica-conflicts").need_not_evict("next to nothing is written");
    block_on(async {
        let primary = with_marks(&cluster).await;
        let statements = [
            "CREATE TABLE t AS SELECT n FROM generate_series(1, 50000) n",
            "CREATE INDEX ON t (n)",
            "VACUUM t",
        ];
        run_each(&primary, &statements).await;
        small_replica(&cluster, "ro");
        cluster.varve(&["endpoint", "reconfigure", "ro", "--set", "max_standby_streaming_delay=1s"]);
        let (looking, other) = (cluster.connect("ro").await, cluster.connect("ro").await);
        looking.batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ").await.unwrap();
        assert_eq!(number(&looking, "SELECT count(*) FROM t WHERE n < 100").await, 99);
        primary.batch_execute("DELETE FROM t WHERE n % 2 = 0").await.unwrap();
        primary.batch_execute("VACUUM t").await.unwrap();
        caught_up(&primary, &other).await;
        // Pages that it has not looked at yet, where nothing was cached and the record was passed over.
        let found = looking.query_one("SELECT count(*) FROM t", &[]).await;
        match found {
            Ok(row) => assert_eq!(row.get::<_, i64>(0), 50_000, "it sees what was removed behind its back"),
            Err(error) => {
                let cancelled = [SqlState::T_R_SERIALIZATION_FAILURE, SqlState::QUERY_CANCELED];
                let closed = error.is_closed() || error.code() == Some(&SqlState::ADMIN_SHUTDOWN);
                assert!(closed || error.code().is_some_and(|code| cancelled.contains(code)), "{error}");
            }
        }
        let conflicts = "SELECT confl_snapshot FROM pg_stat_database_conflicts WHERE datname = 'postgres'";
        eventually("the conflict is counted", PATIENCE, async || number(&other, conflicts).await > 0).await;
        assert_eq!(number(&other, "SELECT count(*) FROM t").await, 25_000);
    });
}

/// With feedback, the query of `a_query_in_the_way_of_vacuum_is_cancelled_not_wrong` comes to its end, whatever safekeeper the
/// replica has to say it to.
#[test]
fn vacuum_leaves_what_a_replica_with_feedback_reads() {
    let cluster = Cluster::up("replica-feedback").need_not_evict("next to nothing is written");
    block_on(async {
        let primary = with_marks(&cluster).await;
        let statements = ["CREATE TABLE t AS SELECT n FROM generate_series(1, 50000) n", "VACUUM t"];
        run_each(&primary, &statements).await;
        let kept = async |query: &str| {
            let query = format!("SELECT {query} FROM pg_replication_slots WHERE slot_name = 'walproposer'");
            primary.query_one(&query, &[]).await.unwrap().get::<_, Option<i64>>(0)
        };
        small_replica(&cluster, "ro");
        assert_eq!(kept("xmin::text::bigint").await, None, "feedback is not asked for");
        cluster.varve(&[
            "endpoint",
            "reconfigure",
            "ro",
            "--set",
            "hot_standby_feedback=on",
            "--set",
            "wal_receiver_status_interval=1s",
            "--set",
            "max_standby_streaming_delay=1s",
        ]);
        let (looking, other) = (cluster.connect("ro").await, cluster.connect("ro").await);
        looking.batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ").await.unwrap();
        let oldest = number(&looking, "SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint").await;
        eventually("the primary hears of it", PATIENCE, async || {
            kept("xmin::text::bigint").await.is_some_and(|xmin| xmin <= oldest)
        })
        .await;
        for safekeeper in ["1", "2", "3"] {
            cluster.kill(&format!("safekeeper-{safekeeper}"));
            caught_up(&primary, &other).await;
            cluster.varve(&["start"]);
        }
        primary.batch_execute("DELETE FROM t WHERE n % 2 = 0").await.unwrap();
        primary.batch_execute("VACUUM t").await.unwrap();
        caught_up(&primary, &other).await;
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert_eq!(number(&looking, "SELECT count(*) FROM t").await, 50_000);
        let conflicts = "SELECT confl_snapshot FROM pg_stat_database_conflicts WHERE datname = 'postgres'";
        assert_eq!(number(&other, conflicts).await, 0);
        looking.batch_execute("COMMIT").await.unwrap();
        let begun_later = format!("CASE WHEN xmin::text::bigint > {oldest} THEN 1 ELSE 0 END::bigint");
        eventually("the primary hears that it is over", PATIENCE, async || {
            kept(&begun_later).await == Some(1)
        })
        .await;
        primary.batch_execute("VACUUM t").await.unwrap();
        caught_up(&primary, &other).await;
        assert_eq!(number(&other, "SELECT count(*) FROM t").await, 25_000);
        drop((looking, other));
        cluster.varve(&["endpoint", "stop", "ro"]);
        eventually("a replica that has gone keeps nothing", PATIENCE, async || {
            kept("xmin::text::bigint").await.is_none()
        })
        .await;
    });
}

#[test]
fn a_replica_goes_on_whoever_is_replaced() {
    let cluster = Cluster::up("replica-goes-on").need_not_evict("next to nothing is written");
    block_on(async {
        let primary = with_marks(&cluster).await;
        primary.batch_execute("CREATE TABLE t (n int)").await.unwrap();
        small_replica(&cluster, "ro");
        cluster.varve(&["endpoint", "create", "second-ro", "--branch-name", "main", "--hot-standby"]);
        cluster.varve(&["endpoint", "start", "second-ro"]);
        let (ro, second) = (cluster.connect("ro").await, cluster.connect("second-ro").await);
        let sees = async |primary: &Client, what: &str| {
            primary.batch_execute("INSERT INTO t SELECT generate_series(1, 100)").await.unwrap();
            for replica in [&ro, &second] {
                caught_up(primary, replica).await;
                let query = "SELECT count(*) FROM t";
                assert_eq!(number(replica, query).await, number(primary, query).await, "{what}");
            }
        };
        sees(&primary, "at first").await;
        drop(primary);
        cluster.varve(&["endpoint", "stop", "main"]);
        assert_eq!(number(&ro, "SELECT count(*) FROM t").await, 100, "without a primary");
        cluster.varve(&["endpoint", "start", "main"]);
        sees(&cluster.connect("main").await, "a new primary").await;
        for safekeeper in ["1", "2", "3"] {
            cluster.kill(&format!("safekeeper-{safekeeper}"));
            sees(&cluster.connect("main").await, "a safekeeper less").await;
            cluster.varve(&["start"]);
        }
        // One that is there, and says nothing.
        cluster.signal("safekeeper-1", Signal::SIGSTOP);
        sees(&cluster.connect("main").await, "a safekeeper that hangs").await;
        cluster.signal("safekeeper-1", Signal::SIGCONT);
        assert!(
            ["ro", "second-ro"]
                .iter()
                .any(|name| cluster.log(&format!("endpoint-{name}")).contains("another safekeeper")),
            "nobody followed the one that hung"
        );
        cluster.varve(&["pageserver", "stop"]);
        cluster.varve(&["pageserver", "start"]);
        sees(&cluster.connect("main").await, "a pageserver that was started again").await;
        let status = cluster.varve_json(&["endpoint", "list"]);
        assert_eq!(status[1]["mode"], "replica", "{status}");
        cluster.kill("endpoint-main");
        eventually("it is ended", PATIENCE, async || cluster.pid("endpoint-main").is_none()).await;
        cluster.varve(&["endpoint", "start", "main"]);
        sees(&cluster.connect("main").await, "a primary after a crash").await;
    });
}

#[test]
fn the_past_can_be_queried() {
    let cluster = Cluster::up("static").need_not_evict("next to nothing is written");
    block_on(async {
        let primary = with_marks(&cluster).await;
        primary
            .batch_execute("CREATE TABLE t AS SELECT n, repeat('a', 100) AS filler FROM generate_series(1, 10000) n; CREATE INDEX ON t (n)")
            .await
            .unwrap();
        let open = cluster.connect("main").await;
        open.batch_execute("BEGIN; INSERT INTO t SELECT n, 'open' FROM generate_series(1, 500) n")
            .await
            .unwrap();
        let lsn: String =
            primary.query_one("SELECT pg_current_wal_flush_lsn()::text", &[]).await.unwrap().get(0);
        let time: String = primary
            .query_one(
                "SELECT to_char(clock_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')",
                &[],
            )
            .await
            .unwrap()
            .get(0);
        open.batch_execute("COMMIT").await.unwrap();
        run_each(&primary, &["DELETE FROM t WHERE n > 10", "VACUUM t", "CREATE TABLE later (n int)"]).await;
        for (name, at) in [("at-lsn", ["--lsn", &lsn]), ("at-time", ["--time", &time])] {
            cluster.varve(&[&["endpoint", "create", name, "--branch-name", "main"][..], &at].concat());
            cluster.varve(&["endpoint", "start", name]);
            let past = cluster.connect(name).await;
            assert_eq!(number(&past, "SELECT count(*) FROM t").await, 10_000, "{name}");
            assert_eq!(number(&past, "SELECT sum(n)::bigint FROM t WHERE n < 101").await, 5050, "{name}");
            assert_eq!(code(&past, "SELECT * FROM later").await, Some(SqlState::UNDEFINED_TABLE), "{name}");
            assert_eq!(
                code(&past, "DELETE FROM t").await,
                Some(SqlState::READ_ONLY_SQL_TRANSACTION),
                "{name}"
            );
        }
        assert_eq!(number(&primary, "SELECT count(*) FROM t").await, 20);
        cluster.refuses(&["endpoint", "create", "x", "--lsn", "0/8"], "0/8");
        cluster.varve(&["timeline", "branch", "--branch-name", "unread"]);
        let unread = ["endpoint", "create", "x", "--branch-name", "unread", "--hot-standby"];
        cluster.refuses(&unread, "has no endpoint that writes");
        // It goes on by itself when the one that it shares the password with is no more.
        drop(primary);
        drop(open);
        cluster.varve(&["endpoint", "stop", "main", "--destroy"]);
        cluster.varve(&["endpoint", "stop", "at-lsn"]);
        cluster.varve(&["endpoint", "start", "at-lsn"]);
        assert_eq!(number(&cluster.connect("at-lsn").await, "SELECT count(*) FROM t").await, 10_000);
        cluster.refuses(&["endpoint", "promote", "at-lsn"], "is no read replica");
    });
}

#[test]
fn a_promoted_replica_writes_and_the_old_primary_is_fenced() {
    let cluster = Cluster::up("promotion").need_not_evict("next to nothing is written");
    block_on(async {
        let primary = with_marks(&cluster).await;
        small_replica(&cluster, "ro");
        let replica = cluster.connect("ro").await;
        caught_up(&primary, &replica).await;

        // Not by PostgreSQL's own means: nobody would keep what it writes. It ends, and is a replica again.
        let _ = replica.batch_execute("SELECT pg_promote(false)").await;
        let ended = "this replica was promoted";
        let log = || std::fs::read_to_string(cluster.postgres_log("ro")).unwrap();
        eventually("a replica that was promoted ends", PATIENCE, async || log().contains(ended)).await;
        eventually("it is closed", PATIENCE, async || replica.is_closed()).await;
        eventually("it starts anew", PATIENCE, async || cluster.try_connect("ro").await.is_ok()).await;
        let replica = cluster.connect("ro").await;
        assert_eq!(code(&replica, "CREATE TABLE x ()").await, Some(SqlState::READ_ONLY_SQL_TRANSACTION));
        drop(replica);

        cluster.varve(&["endpoint", "promote", "ro"]);
        let promoted = cluster.connect("ro").await;
        promoted.batch_execute("UPDATE marks SET n = n + 100").await.unwrap();
        assert_eq!(number(&promoted, "SELECT n FROM marks").await, 101);
        eventually("the old primary is fenced", PATIENCE, async || cluster.pid("endpoint-main").is_none())
            .await;
        assert!(primary.batch_execute("UPDATE marks SET n = 0").await.is_err());
        assert_eq!(number(&promoted, "SELECT n FROM marks").await, 101);
        cluster.refuses(&["endpoint", "promote", "ro"], "is no read replica");

        // What `up` starts is who writes now, also when nothing runs.
        let said = cluster.varve_json(&["up"]);
        assert_eq!(said["connstr"], cluster.connstr("ro"));
        assert_eq!(number(&promoted, "SELECT n FROM marks").await, 101);
        drop(promoted);
        cluster.varve(&["down"]);
        cluster.varve(&["up"]);
        assert_eq!(cluster.pid("endpoint-main"), None);
        assert_eq!(number(&cluster.connect("ro").await, "SELECT n FROM marks").await, 101);
    });
}

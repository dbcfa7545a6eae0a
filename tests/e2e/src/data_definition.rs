//! What changes files rather than rows: on a stateless compute it must come out as on stock PostgreSQL.

use harness::{Cluster, block_on, connect};
use tokio_postgres::Client;

async fn one<T: for<'a> tokio_postgres::types::FromSql<'a>>(client: &Client, query: &str) -> T {
    client.query_one(query, &[]).await.unwrap_or_else(|error| panic!("{query}: {error:?}")).get(0)
}

fn restart(cluster: &Cluster) {
    cluster.varve(&["endpoint", "stop", "main"]);
    cluster.varve(&["endpoint", "start", "main"]);
}

#[test]
fn unlogged_and_temporary_tables() {
    let cluster = Cluster::up("unlogged");
    block_on(async {
        let client = cluster.connect("main").await;
        client
            .batch_execute(
                "CREATE UNLOGGED TABLE u (n int PRIMARY KEY, s serial); INSERT INTO u SELECT generate_series(1, 5000);
                 CREATE TEMP TABLE t AS SELECT generate_series(1, 5000) n; CREATE INDEX ON t (n);
                 -- From PostgreSQL 16 on bloom itself logs nothing of what an unlogged index begins with.
                 CREATE EXTENSION bloom; CREATE UNLOGGED TABLE v (n int, m int); CREATE INDEX ON v USING bloom (n, m);
                 BEGIN; CREATE UNLOGGED TABLE w (n int); SAVEPOINT s; CREATE INDEX ON w USING bloom (n); ROLLBACK TO s; COMMIT",
            )
            .await
            .unwrap();
        assert_eq!(one::<i64>(&client, "SELECT count(*) FROM u").await, 5000);
        assert_eq!(one::<i64>(&client, "SELECT count(*) FROM t WHERE n > 10").await, 4990);
        drop(client);
        restart(&cluster);
        // As after a crash of stock PostgreSQL: empty, and usable.
        let client = cluster.connect("main").await;
        assert_eq!(one::<i64>(&client, "SELECT count(*) FROM u").await, 0);
        client.batch_execute("INSERT INTO u SELECT generate_series(1, 100)").await.unwrap();
        assert_eq!(one::<i64>(&client, "SELECT count(*) FROM u WHERE n = 50").await, 1);
        let through_bloom =
            "INSERT INTO v SELECT n, -n FROM generate_series(1, 1000) n; SET enable_seqscan = off";
        client.batch_execute(through_bloom).await.unwrap();
        assert_eq!(one::<i64>(&client, "SELECT count(*) FROM v WHERE m = -50").await, 1);
        client.batch_execute("ALTER TABLE u SET LOGGED").await.unwrap();
        drop(client);
        restart(&cluster);
        let client = cluster.connect("main").await;
        assert_eq!(one::<i64>(&client, "SELECT count(*) FROM u").await, 100);
    });
}

#[test]
fn truncate_rewrite_and_drop() {
    let cluster = Cluster::up("rewrite");
    block_on(async {
        let client = cluster.connect("main").await;
        client
            .batch_execute(
                "CREATE TABLE a (n int PRIMARY KEY, t text); INSERT INTO a SELECT n, repeat('x', 500) FROM generate_series(1, 4000) n;
                 CREATE TABLE b (LIKE a INCLUDING ALL); INSERT INTO b SELECT * FROM a;
                 CREATE TABLE c (LIKE a INCLUDING ALL); INSERT INTO c SELECT * FROM a;
                 CREATE TABLE big (t text); INSERT INTO big SELECT string_agg(md5(n::text), '') FROM generate_series(1, 20000) n",
            )
            .await
            .unwrap();
        client
            .batch_execute("TRUNCATE a; INSERT INTO a SELECT n, 'after' FROM generate_series(1, 10) n")
            .await
            .unwrap();
        client.batch_execute("DELETE FROM b WHERE n > 100").await.unwrap();
        client.batch_execute("VACUUM FULL b").await.unwrap();
        client.batch_execute("DELETE FROM c WHERE n > 100").await.unwrap();
        client.batch_execute("VACUUM c").await.unwrap();
        client.batch_execute("CLUSTER b USING b_pkey").await.unwrap();
        client.batch_execute("CREATE TABLE gone (n int); DROP TABLE gone").await.unwrap();
        let sizes = "SELECT string_agg(relname || ' ' || pg_relation_size(oid), ', ' ORDER BY relname)
                     FROM pg_class WHERE relname IN ('a', 'b', 'c', 'a_pkey', 'b_pkey', 'c_pkey')";
        let before: String = one(&client, sizes).await;
        drop(client);
        restart(&cluster);
        let client = cluster.connect("main").await;
        assert_eq!(one::<String>(&client, sizes).await, before);
        assert_eq!(one::<i64>(&client, "SELECT count(*) FROM a").await, 10);
        for table in ["b", "c"] {
            assert_eq!(one::<i64>(&client, &format!("SELECT count(*) FROM {table}")).await, 100);
            let by_index = format!("SELECT sum(n) FROM {table} WHERE n BETWEEN 1 AND 4000");
            assert_eq!(one::<i64>(&client, &by_index).await, 5050);
        }
        assert_eq!(one::<i32>(&client, "SELECT length(t) FROM big").await, 640_000);
        crate::pgbench::amcheck(&cluster.connstr("main"));
    });
}

#[test]
fn databases_and_tablespaces() {
    let cluster = Cluster::up("databases");
    block_on(async {
        let client = cluster.connect("main").await;
        let space = tempfile::Builder::new().prefix("varve-space-").tempdir_in("/tmp").unwrap();
        let path = space.path().display().to_string();
        if nix::unistd::geteuid().is_root() {
            harness::run(std::process::Command::new("chown").arg("postgres").arg(space.path()));
        }
        for statement in [
            "CREATE DATABASE logged STRATEGY wal_log",
            "CREATE DATABASE copied STRATEGY file_copy",
            "CREATE DATABASE usual STRATEGY = DEFAULT",
            "CREATE DATABASE moved",
            "CREATE DATABASE gone",
            &format!("CREATE TABLESPACE space LOCATION '{path}'"),
        ] {
            client.batch_execute(statement).await.unwrap_or_else(|error| panic!("{statement}: {error:?}"));
        }
        let in_database =
            |database: &str| cluster.varve(&["connstr", "main", "--database", database]).trim().to_owned();
        for database in ["logged", "copied", "moved", "gone"] {
            let inside = connect(&in_database(database)).await.unwrap();
            inside
                .batch_execute("CREATE TABLE t AS SELECT generate_series(1, 3000) n; CREATE INDEX ON t (n)")
                .await
                .unwrap();
        }
        // A template with content, copied both ways.
        for (copy, strategy) in [("copy_logged", "wal_log"), ("copy_copied", "file_copy")] {
            let statement = format!("CREATE DATABASE {copy} TEMPLATE logged STRATEGY {strategy}");
            client.batch_execute(&statement).await.unwrap();
        }
        client.batch_execute("SET varve.max_moved_database = 1").await.unwrap();
        let refused = client.batch_execute("ALTER DATABASE moved SET TABLESPACE space").await.unwrap_err();
        let refused = refused.as_db_error().expect("an answer").message().to_owned();
        assert!(refused.contains("database \"moved\" is too large to be moved"), "{refused}");
        // Nothing of the move is left in the session.
        client.batch_execute("ALTER DATABASE moved OWNER TO CURRENT_USER").await.unwrap();
        client.batch_execute("RESET varve.max_moved_database").await.unwrap();
        client.batch_execute("ALTER DATABASE moved SET TABLESPACE space").await.unwrap();
        client.batch_execute("DROP DATABASE gone").await.unwrap();
        client
            .batch_execute("CREATE TABLE in_space (n int) TABLESPACE space; INSERT INTO in_space VALUES (1)")
            .await
            .unwrap();
        let sizes = "SELECT string_agg(datname || ' ' || (pg_database_size(oid) > 1000000), ', ' ORDER BY datname) FROM pg_database";
        let listed: String = one(&client, sizes).await;
        drop(client);
        restart(&cluster);
        let client = cluster.connect("main").await;
        assert_eq!(one::<String>(&client, sizes).await, listed);
        assert!(!listed.contains("gone") && !listed.contains("false"), "{listed}");
        assert_eq!(one::<i32>(&client, "SELECT n FROM in_space").await, 1);
        for database in ["logged", "copied", "moved", "copy_logged", "copy_copied"] {
            let inside = connect(&in_database(database)).await.unwrap();
            assert_eq!(
                one::<i64>(&inside, "SELECT sum(n) FROM t WHERE n > 0").await,
                4_501_500,
                "{database}"
            );
            crate::pgbench::amcheck(&in_database(database));
        }
    });
}

#[test]
fn prepared_transactions_multixacts_and_sequences() {
    let cluster = Cluster::init("twophase");
    cluster.varve(&["up"]);
    cluster.varve(&["endpoint", "stop", "main"]);
    cluster.varve(&["endpoint", "reconfigure", "main", "--set", "max_prepared_transactions=10"]);
    cluster.varve(&["endpoint", "start", "main"]);
    block_on(async {
        let client = cluster.connect("main").await;
        client
            .batch_execute(
                "CREATE SEQUENCE s; SELECT nextval('s') FROM generate_series(1, 10);
                 CREATE TABLE t (n int PRIMARY KEY, v int); INSERT INTO t SELECT n, 0 FROM generate_series(1, 100) n;
                 CREATE TABLE r (n int REFERENCES t)",
            )
            .await
            .unwrap();
        client
            .batch_execute("BEGIN; UPDATE t SET v = 1 WHERE n = 1; PREPARE TRANSACTION 'one'")
            .await
            .unwrap();
        client
            .batch_execute("BEGIN; UPDATE t SET v = 1 WHERE n = 2; PREPARE TRANSACTION 'two'")
            .await
            .unwrap();
        // Two sessions hold a key lock on the same row: a multixact.
        let other = cluster.connect("main").await;
        client.batch_execute("BEGIN; INSERT INTO r VALUES (50)").await.unwrap();
        other.batch_execute("BEGIN; INSERT INTO r VALUES (50); COMMIT").await.unwrap();
        client.batch_execute("COMMIT").await.unwrap();
        drop((client, other));
        restart(&cluster);
        let client = cluster.connect("main").await;
        assert_eq!(one::<i64>(&client, "SELECT count(*) FROM pg_prepared_xacts").await, 2);
        client.batch_execute("COMMIT PREPARED 'one'").await.unwrap();
        client.batch_execute("ROLLBACK PREPARED 'two'").await.unwrap();
        assert_eq!(one::<i64>(&client, "SELECT sum(v) FROM t").await, 1);
        client.batch_execute("UPDATE t SET v = 5 WHERE n = 50; DELETE FROM r").await.unwrap();
        // A restart may skip up to 32 values, as a crash of stock PostgreSQL may, and never repeats one.
        let next: i64 = one(&client, "SELECT nextval('s')").await;
        assert!((11..=43).contains(&next), "{next}");
        drop(client);
        restart(&cluster);
        let client = cluster.connect("main").await;
        assert_eq!(one::<i64>(&client, "SELECT count(*) FROM pg_prepared_xacts").await, 0);
        assert_eq!(one::<i64>(&client, "SELECT sum(v) FROM t").await, 6);
    });
}

#[test]
fn a_relation_of_more_than_a_gibibyte() {
    let cluster = Cluster::up("large").need_not_evict("written once, read at three places");
    block_on(async {
        let client = cluster.connect("main").await;
        // Two segments, nearly all of it zero pages that nobody writes: a hash index with many buckets is
        // extended by its last block alone.
        client
            .batch_execute("CREATE TABLE t (n int); INSERT INTO t SELECT generate_series(1, 10)")
            .await
            .unwrap();
        client.batch_execute("CREATE TABLE wide (n int, filler char(7000))").await.unwrap();
        client.batch_execute("ALTER TABLE wide ALTER filler SET STORAGE plain").await.unwrap();
        client
            .batch_execute("INSERT INTO wide SELECT n, 'x' FROM generate_series(1, 135000) n")
            .await
            .unwrap();
        let size: i64 = one(&client, "SELECT pg_relation_size('wide')").await;
        assert_eq!(size, 135_000 * 8192);
        drop(client);
        restart(&cluster);
        let client = cluster.connect("main").await;
        assert_eq!(one::<i64>(&client, "SELECT pg_relation_size('wide')").await, size);
        assert_eq!(one::<i32>(&client, "SELECT n FROM wide WHERE ctid = '(134999,1)'").await, 135_000);
        assert_eq!(one::<i32>(&client, "SELECT n FROM wide WHERE ctid = '(131072,1)'").await, 131_073);
        assert_eq!(one::<i64>(&client, "SELECT sum(n) FROM t").await, 55);
    });
}

#[test]
fn physical_backups_of_the_compute_are_refused() {
    let cluster = Cluster::up("backup-refused");
    block_on(async {
        let client = cluster.connect("main").await;
        let error = client.batch_execute("SELECT pg_backup_start('x')").await.unwrap_err();
        let said = error
            .as_db_error()
            .map(|e| format!("{} {}", e.message(), e.hint().unwrap_or_default()))
            .unwrap_or_default();
        assert!(said.contains("varve timeline export"), "{said}");
    });
}

/// Stock takes each of these, and has the single-user mode for who regrets it.
#[test]
fn what_a_start_connects_with_stays() {
    let cluster = Cluster::up("way-in").need_not_evict("its database is empty");
    block_on(async {
        let client = cluster.connect("main").await;
        client.batch_execute("CREATE DATABASE other").await.unwrap();
        let other = cluster.connstr("main").replace("/postgres", "/other");
        assert_ne!(other, cluster.connstr("main"));
        let other = connect(&other).await.unwrap();
        for statement in [
            "DROP DATABASE postgres",
            "DROP DATABASE postgres WITH (FORCE)",
            "ALTER DATABASE postgres RENAME TO mine",
            "ALTER DATABASE postgres ALLOW_CONNECTIONS false",
            "ALTER ROLE postgres NOLOGIN",
            "ALTER ROLE postgres NOSUPERUSER",
            "ALTER ROLE postgres RENAME TO mine",
            "DO $$ BEGIN EXECUTE 'ALTER ROLE postgres NOLOGIN'; END $$",
        ] {
            let refused = other.batch_execute(statement).await.unwrap_err();
            let said = refused.as_db_error().map_or("", |error| error.message());
            assert!(said.contains("have to stay as they are"), "{statement}: {refused:?}");
        }
        // What takes nothing away.
        let harmless = "ALTER ROLE postgres PASSWORD 'x'; ALTER DATABASE postgres CONNECTION LIMIT 90;
                        REVOKE CONNECT ON DATABASE postgres FROM PUBLIC; ALTER DATABASE other RENAME TO another";
        client
            .batch_execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'other'")
            .await
            .unwrap();
        client.batch_execute(harmless).await.unwrap();
    });
    restart(&cluster);
    block_on(async { cluster.connect("main").await.batch_execute("DROP DATABASE another").await.unwrap() });
}

#[test]
fn a_query_that_waits_for_a_page_can_be_cancelled() {
    let cluster = Cluster::up("cancel");
    block_on(async {
        let client = cluster.connect("main").await;
        client.batch_execute("CREATE TABLE t AS SELECT generate_series(1, 100000) n").await.unwrap();
        drop(client);
        restart(&cluster);
        let client = cluster.connect("main").await;
        client.batch_execute("SET statement_timeout = '700ms'").await.unwrap();
        let cancel = client.cancel_token();
        cluster.kill("pageserver");
        let started = std::time::Instant::now();
        let error = client.batch_execute("SELECT sum(n) FROM t").await.unwrap_err();
        assert!(started.elapsed() < std::time::Duration::from_secs(2), "{:?}", started.elapsed());
        assert_eq!(error.code().map(|code| code.code()), Some("57014"), "{error:?}");

        // As Ctrl-C in psql does it: a request of its own, which needs no catalog.
        client.batch_execute("SET statement_timeout = 0").await.unwrap();
        let waiting = tokio::spawn(async move { client.batch_execute("SELECT sum(n) FROM t").await });
        tokio::time::sleep(std::time::Duration::from_secs(1)).await;
        assert!(!waiting.is_finished(), "the query did not need the pageserver");
        let started = std::time::Instant::now();
        cancel.cancel_query(tokio_postgres::NoTls).await.unwrap();
        let ended = tokio::time::timeout(std::time::Duration::from_secs(10), waiting).await;
        let error = ended.expect("the query ends").unwrap().unwrap_err();
        assert!(started.elapsed() < std::time::Duration::from_secs(1), "{:?}", started.elapsed());
        assert_eq!(error.code().map(|code| code.code()), Some("57014"), "{error:?}");
    });
}

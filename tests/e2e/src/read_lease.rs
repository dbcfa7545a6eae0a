//! What a compute may still read that does not know whether it is the primary: what is not older than the lease.

use std::process::Command;
use std::time::{Duration, Instant};

use harness::{Cluster, block_on, eventually, pg_program};
use nix::sys::signal::Signal;
use tokio_postgres::Client;
use tokio_postgres::error::SqlState;

const LEASE: Duration = Duration::from_secs(3);

fn cluster(name: &str) -> Cluster {
    Cluster::up_with(name, &["varve.read_lease=3s"]).need_not_evict("next to nothing is written")
}

async fn newest(client: &Client) -> Result<i32, tokio_postgres::Error> {
    Ok(client.query_one("SELECT max(n) FROM t", &[]).await?.get(0))
}

/// A session on `main`, with a table that holds 1.
async fn session_with_a_row(cluster: &Cluster) -> Client {
    let client = cluster.connect("main").await;
    client.batch_execute("CREATE TABLE t (n int); INSERT INTO t VALUES (1)").await.unwrap();
    assert_eq!(newest(&client).await.unwrap(), 1);
    client
}

/// Reads that do not begin within a moment.
async fn waits(client: &Client, query: &str) -> bool {
    match client.batch_execute(query).await {
        Err(error) => {
            assert_eq!(error.code(), Some(&SqlState::QUERY_CANCELED), "{query}: {error}");
            true
        }
        Ok(()) => false,
    }
}

/// A large object, by functions that are called without a query.
fn read_by_number(cluster: &Cluster) -> Result<(), String> {
    let mut psql = Command::new(pg_program("psql"));
    psql.args([&cluster.connstr("main"), "--no-psqlrc", "--command", "\\lo_export 4711 /dev/null"]);
    let output = psql.env("PGOPTIONS", "-c statement_timeout=500ms").output().expect("psql runs");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    if output.status.success() { Ok(()) } else { Err(said) }
}

#[test]
fn without_a_quorum_reads_go_on_for_as_long_as_the_lease_and_then_wait() {
    let cluster = cluster("read-lease");
    block_on(async {
        let client = session_with_a_row(&cluster).await;
        client.batch_execute("SELECT lo_from_bytea(4711, 'large')").await.unwrap();
        client.batch_execute("SET statement_timeout = '500ms'").await.unwrap();
        read_by_number(&cluster).unwrap();
        cluster.kill("safekeeper-1");
        cluster.kill("safekeeper-2");
        let lost = Instant::now();
        let mut read = 0;
        while newest(&client).await.is_ok() {
            read += 1;
            assert!(lost.elapsed() < LEASE * 3, "reads go on for ever");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        // Ticks are a second apart, and the last one may have been answered just before.
        let lasted = lost.elapsed();
        assert!(lasted > LEASE - Duration::from_millis(1600) && read > 10, "only {read} in {lasted:?}");
        for query in ["SELECT 1", "COPY t TO STDOUT", "EXPLAIN ANALYZE SELECT 1", "TABLE t"] {
            assert!(waits(&client, query).await, "{query} does not wait");
        }
        let waited = read_by_number(&cluster).unwrap_err();
        assert!(waited.contains("statement timeout"), "{waited}");
        for query in ["EXPLAIN SELECT 1", "SHOW work_mem", "BEGIN; COMMIT"] {
            assert!(!waits(&client, query).await, "{query} waits");
        }
        // Whoever knows what that means may read on.
        client.batch_execute("SET varve.read_lease = 0").await.unwrap();
        assert_eq!(newest(&client).await.unwrap(), 1);
        client.batch_execute("RESET varve.read_lease; RESET statement_timeout").await.unwrap();
        let waiting = tokio::spawn(async move { newest(&client).await.map(|n| (n, Instant::now())) });
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert!(!waiting.is_finished());
        cluster.varve(&["start"]);
        let (found, _) =
            tokio::time::timeout(Duration::from_secs(20), waiting).await.unwrap().unwrap().unwrap();
        assert_eq!(found, 1, "the read that waited");
    });
}

#[test]
fn a_primary_that_was_replaced_and_does_not_know_reads_nothing_older_than_the_lease() {
    let cluster = cluster("stale-primary");
    block_on(async {
        let old = session_with_a_row(&cluster).await;
        old.batch_execute("SET statement_timeout = '200ms'").await.unwrap();
        // Nobody can tell it.
        cluster.signal("endpoint-main", Signal::SIGSTOP);
        cluster.varve(&["endpoint", "create", "second", "--branch-name", "main", "--allow-multiple"]);
        cluster.varve(&["endpoint", "start", "second", "--allow-multiple"]);
        let new = cluster.connect("second").await;
        new.batch_execute("INSERT INTO t VALUES (2)").await.unwrap();
        let replaced = Instant::now();
        let mut stale = 0;
        while replaced.elapsed() < LEASE * 2 {
            let begun = replaced.elapsed();
            match newest(&old).await {
                Ok(found) => {
                    stale += usize::from(found == 1);
                    assert!(begun < LEASE, "{found} was read {begun:?} after 2 was committed elsewhere");
                }
                Err(error) => assert_eq!(error.code(), Some(&SqlState::QUERY_CANCELED), "{error}"),
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        eprintln!("read lease: {stale} stale reads while it lasted");
        assert_eq!(newest(&new).await.unwrap(), 2);
        cluster.signal("endpoint-main", Signal::SIGCONT);
        eventually("the old one ends", Duration::from_secs(30), async || {
            cluster.pid("endpoint-main").is_none()
        })
        .await;
    });
}

/// What it has not on its disk it would get as its successor has left it.
#[test]
fn a_query_of_a_primary_that_was_replaced_gets_no_page_of_its_successor() {
    const ROWS: i64 = 20_000;
    let settings = ["varve.read_lease=3s", "shared_buffers=1MB", "max_parallel_workers_per_gather=0"];
    let cluster = Cluster::up_with("stale-cursor", &settings).need_not_evict("it begins with an empty cache");
    block_on(async {
        let client = cluster.connect("main").await;
        let fill = format!(
            "CREATE TABLE t (v int, filler text) WITH (autovacuum_enabled = off); \
             INSERT INTO t SELECT 0, repeat('x', 900) FROM generate_series(1, {ROWS})"
        );
        client.batch_execute(&fill).await.unwrap();
        drop(client);
        cluster.varve(&["endpoint", "stop", "main"]);
        cluster.varve(&["endpoint", "start", "main"]);
        let mut old = cluster.connect("main").await;
        old.batch_execute("SET statement_timeout = '5s'").await.unwrap();
        let query = old.transaction().await.unwrap();
        query.batch_execute("DECLARE c CURSOR FOR SELECT v FROM t").await.unwrap();
        let first: i32 = query.query_one("FETCH 1 FROM c", &[]).await.unwrap().get(0);
        assert_eq!(first, 0);

        cluster.signal("endpoint-main", Signal::SIGSTOP);
        cluster.varve(&["endpoint", "create", "second", "--branch-name", "main", "--allow-multiple"]);
        cluster.varve(&["endpoint", "start", "second", "--allow-multiple"]);
        let new = cluster.connect("second").await;
        // Rows that the old one's snapshot sees are nowhere any more.
        new.batch_execute("UPDATE t SET v = 1").await.unwrap();
        new.batch_execute("VACUUM t").await.unwrap();
        match query.query("FETCH ALL FROM c", &[]).await {
            Ok(rows) => {
                let old = rows.iter().filter(|row| row.get::<_, i32>(0) == 0).count();
                panic!("{} rows, {old} of them old", rows.len())
            }
            Err(error) => assert_eq!(error.code(), Some(&SqlState::QUERY_CANCELED), "{error}"),
        }
        cluster.signal("endpoint-main", Signal::SIGCONT);
    });
}

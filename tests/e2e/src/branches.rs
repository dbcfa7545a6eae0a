//! Branches: made in no time, independent of one another, at the head or in the past.

use std::time::Duration;

use harness::{Cluster, block_on, eventually, lsn};
use nix::sys::signal::Signal;
use tokio_postgres::Client;

async fn numbers(client: &Client, table: &str) -> Vec<i32> {
    let rows = client.query(&format!("SELECT n FROM {table} ORDER BY n"), &[]).await.expect("rows");
    rows.iter().map(|row| row.get(0)).collect()
}

async fn current_lsn(client: &Client) -> String {
    client.query_one("SELECT pg_current_wal_flush_lsn()::text", &[]).await.expect("an LSN").get(0)
}

fn start_endpoint(cluster: &Cluster, name: &str) {
    cluster.varve(&["endpoint", "create", name, "--branch-name", name]);
    cluster.varve(&["endpoint", "start", name]);
}

#[test]
fn branches_do_not_see_each_other() {
    let cluster = Cluster::up("branches");
    block_on(async {
        let main = cluster.connect("main").await;
        main.batch_execute("CREATE TABLE t (n int); INSERT INTO t VALUES (1); CREATE TABLE dropped (n int); INSERT INTO dropped VALUES (7)")
            .await
            .unwrap();
        let early = current_lsn(&main).await;
        main.batch_execute("INSERT INTO t VALUES (2); DROP TABLE dropped").await.unwrap();

        // At the head; at an LSN of the past; and of a branch.
        cluster.varve(&["timeline", "branch", "--branch-name", "head"]);
        cluster.varve(&["timeline", "branch", "--branch-name", "past", "--ancestor-start-lsn", &early]);
        start_endpoint(&cluster, "head");
        start_endpoint(&cluster, "past");
        let (head, past) = (cluster.connect("head").await, cluster.connect("past").await);
        assert_eq!(numbers(&head, "t").await, [1, 2]);
        assert_eq!(numbers(&past, "t").await, [1]);
        assert_eq!(
            numbers(&past, "dropped").await,
            [7],
            "a table dropped later still reads on the older branch"
        );
        assert!(head.query("SELECT * FROM dropped", &[]).await.is_err());

        main.batch_execute("INSERT INTO t VALUES (10)").await.unwrap();
        head.batch_execute("INSERT INTO t VALUES (20)").await.unwrap();
        past.batch_execute("INSERT INTO t VALUES (30)").await.unwrap();
        cluster.varve(&["timeline", "branch", "--branch-name", "deep", "--ancestor-branch-name", "past"]);
        start_endpoint(&cluster, "deep");
        let deep = cluster.connect("deep").await;
        deep.batch_execute("UPDATE t SET n = n + 100 WHERE n = 1; INSERT INTO dropped VALUES (8)")
            .await
            .unwrap();

        assert_eq!(numbers(&main, "t").await, [1, 2, 10]);
        assert_eq!(numbers(&head, "t").await, [1, 2, 20]);
        assert_eq!(numbers(&past, "t").await, [1, 30]);
        assert_eq!(numbers(&deep, "t").await, [30, 101]);
        assert_eq!(numbers(&deep, "dropped").await, [7, 8]);
        drop((main, head, past, deep));

        // All of it from storage alone.
        cluster.varve(&["down"]);
        cluster.varve(&["up"]);
        for (name, expected) in [
            ("main", vec![1, 2, 10]),
            ("head", vec![1, 2, 20]),
            ("past", vec![1, 30]),
            ("deep", vec![30, 101]),
        ] {
            assert_eq!(numbers(&cluster.connect(name).await, "t").await, expected, "{name}");
        }
        let tree = cluster.varve(&["timeline", "list"]);
        assert!(tree.contains("┗━") && tree.contains("deep"), "{tree}");
    });
}

#[test]
fn a_branch_before_the_timeline_began_is_refused() {
    let cluster = Cluster::up("branch-errors");
    let start = lsn(&cluster.pageserver_timeline("main")["initdb_lsn"]);
    let early = types::Lsn(start.0 - 8192).to_string();
    for bad in [early.as_str(), "FFFFFFFF/0"] {
        let refused =
            cluster.try_varve(&["timeline", "branch", "--branch-name", "x", "--ancestor-start-lsn", bad]);
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(!refused.status.success(), "{bad}");
        assert!(said.trim().lines().count() == 1 && said.contains("cannot be branched at"), "{said}");
    }

    // Nor is there anything to export, and nothing is left behind.
    let target = cluster.directory().join("early");
    let directory = target.display().to_string();
    let refused = cluster.try_varve(&["timeline", "export", "--at-lsn", &early, "--output", &directory]);
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && said.contains("has no history at"), "{said}");
    assert!(!target.exists(), "an empty directory was left");
}

/// What was committed a moment ago is not ingested yet; the command waits for it.
#[test]
fn a_branch_at_an_lsn_waits_for_the_pageserver() {
    let cluster = Cluster::up("branch-waits");
    if cluster.is_cache_bounded() {
        // A cache that drops what it has cannot do without a pageserver.
        return;
    }
    let at = block_on(async {
        let main = cluster.connect("main").await;
        // From here on all that is read is in the cache.
        main.batch_execute("CREATE TABLE t (n int); INSERT INTO t VALUES (0)").await.unwrap();
        current_lsn(&main).await;
        cluster.signal("pageserver", Signal::SIGSTOP);
        main.batch_execute("INSERT INTO t VALUES (1)").await.unwrap();
        current_lsn(&main).await
    });
    std::thread::scope(|scope| {
        scope.spawn(|| {
            std::thread::sleep(Duration::from_millis(500));
            cluster.signal("pageserver", Signal::SIGCONT);
        });
        cluster.varve(&["timeline", "branch", "--branch-name", "late", "--ancestor-start-lsn", &at]);
    });
    start_endpoint(&cluster, "late");
    block_on(async { assert_eq!(numbers(&cluster.connect("late").await, "t").await, [0, 1]) });
}

/// The WAL writer writes whole pages: what PostgreSQL says it has written may end in the middle of a record.
#[test]
fn a_branch_in_the_middle_of_a_record_begins_at_the_one_before() {
    let cluster = Cluster::up("branch-middle");
    // Open until the end: a transaction that ended would have the rest flushed.
    let (at, open) = block_on(async {
        let (main, open) = (cluster.connect("main").await, cluster.connect("main").await);
        main.batch_execute("CREATE TABLE t (n int); INSERT INTO t VALUES (1)").await.unwrap();
        open.batch_execute("BEGIN").await.unwrap();
        loop {
            let before = current_lsn(&main).await;
            let message = "SELECT pg_logical_emit_message(false, 'varve', repeat('x', 30000))";
            open.batch_execute(message).await.unwrap();
            // It sleeps for five seconds when it has had nothing to do.
            let what = "the WAL writer writes what is there";
            eventually(what, Duration::from_secs(30), async || current_lsn(&main).await != before).await;
            let at = current_lsn(&main).await;
            // Else the checkpointer or the background writer had all of it flushed.
            if at.ends_with("000") {
                break (at, open);
            }
        }
    });
    cluster.varve(&["timeline", "branch", "--branch-name", "middle", "--ancestor-start-lsn", &at]);
    let target = cluster.directory().join("middle").display().to_string();
    cluster.varve(&["timeline", "export", "--at-lsn", &at, "--output", &target]);
    let start = lsn(&cluster.pageserver_timeline("middle")["initdb_lsn"]);
    assert!(start < at.parse().unwrap(), "nothing was unfinished at {at}: the branch begins at {start}");
    start_endpoint(&cluster, "middle");
    block_on(async {
        let middle = cluster.connect("middle").await;
        assert_eq!(numbers(&middle, "t").await, [1]);
        drop(open);
        middle.batch_execute("INSERT INTO t VALUES (2)").await.unwrap();
        cluster.varve(&["down"]);
        cluster.varve(&["up"]);
        assert_eq!(numbers(&cluster.connect("middle").await, "t").await, [1, 2]);
    });
}

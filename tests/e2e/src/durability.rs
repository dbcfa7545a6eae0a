//! Visible means durable: while no quorum has a commit, no other session sees it, whatever is done to the
//! session that waits; and nobody can talk the server out of waiting.

use std::time::Duration;

use harness::{Cluster, block_on, connect};
use tokio_postgres::{Client, error::SqlState};

async fn count(client: &Client, table: &str) -> i64 {
    client.query_one(&format!("SELECT count(*) FROM {table}"), &[]).await.expect("a count").get(0)
}

async fn backend_pid(client: &Client) -> i32 {
    client.query_one("SELECT pg_backend_pid()", &[]).await.expect("a pid").get(0)
}

/// With two safekeepers down: `setup` and then `commit` on a session of its own, which must wait; `disturb`
/// by another session; nobody sees the row of `table` until the quorum is back, and then everybody does.
async fn stays_invisible(
    cluster: &Cluster,
    table: &str,
    setup: &str,
    commit: &str,
    disturb: impl AsyncFn(&Client, i32),
) {
    let connstr = cluster.connstr("main");
    let (writer, observer) = (connect(&connstr).await.unwrap(), connect(&connstr).await.unwrap());
    observer.batch_execute(&format!("CREATE TABLE {table} (n int)")).await.unwrap();
    writer.batch_execute(setup).await.unwrap();
    let pid = backend_pid(&writer).await;
    // Warm what the observer needs, so that it is not the missing quorum that it waits for.
    assert_eq!(count(&observer, table).await, 0);
    cluster.kill("safekeeper-1");
    cluster.kill("safekeeper-2");

    let commit = commit.to_owned();
    let waiting = tokio::spawn(async move { writer.batch_execute(&commit).await });
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(!waiting.is_finished(), "the commit did not wait for a quorum");
    disturb(&observer, pid).await;
    for _ in 0..10 {
        tokio::time::sleep(Duration::from_millis(200)).await;
        assert_eq!(count(&observer, table).await, 0, "visible without being durable");
    }

    cluster.varve(&["safekeeper", "start", "--id", "1"]);
    cluster.varve(&["safekeeper", "start", "--id", "2"]);
    // The client may be told of success or of its termination; the row is there in both cases.
    let _ = tokio::time::timeout(Duration::from_secs(60), waiting).await.expect("the commit ends");
    harness::eventually("the row is visible", Duration::from_secs(30), async || {
        count(&observer, table).await == 1
    })
    .await;
}

async fn cancel(observer: &Client, pid: i32) {
    observer.execute("SELECT pg_cancel_backend($1)", &[&pid]).await.unwrap();
}

async fn terminate(observer: &Client, pid: i32) {
    observer.execute("SELECT pg_terminate_backend($1)", &[&pid]).await.unwrap();
}

#[test]
fn a_waiting_commit_stays_invisible() {
    let cluster = Cluster::up("visible-durable");
    block_on(async {
        stays_invisible(&cluster, "cancelled", "SELECT 1", "INSERT INTO cancelled VALUES (1)", cancel).await;
        stays_invisible(&cluster, "terminated", "SELECT 1", "INSERT INTO terminated VALUES (1)", terminate)
            .await;
        let timeout = "SET statement_timeout = '500ms'";
        stays_invisible(&cluster, "timed_out", timeout, "INSERT INTO timed_out VALUES (1)", async |_, _| {})
            .await;
        let explicit = "BEGIN; INSERT INTO explicit VALUES (1); COMMIT";
        stays_invisible(&cluster, "explicit", "SELECT 1", explicit, cancel).await;
        for mode in ["local", "remote_write"] {
            let table = format!("mode_{mode}");
            let insert = format!("INSERT INTO {table} VALUES (1)");
            let set = format!("SET synchronous_commit = {mode}");
            stays_invisible(&cluster, &table, &set, &insert, async |_, _| {}).await;
        }
    });
}

#[test]
fn a_waiting_commit_prepared_stays_invisible() {
    let cluster = Cluster::init("visible-durable-2pc");
    cluster.varve(&["up"]);
    cluster.varve(&["endpoint", "stop", "main"]);
    cluster.varve(&["endpoint", "reconfigure", "main", "--set", "max_prepared_transactions=10"]);
    cluster.varve(&["endpoint", "start", "main"]);
    block_on(async {
        for (table, disturb) in [("prepared_cancelled", true), ("prepared_terminated", false)] {
            let setup = format!("BEGIN; INSERT INTO {table} VALUES (1); PREPARE TRANSACTION '{table}'");
            let commit = format!("COMMIT PREPARED '{table}'");
            stays_invisible(&cluster, table, &setup, &commit, async |observer, pid| {
                if disturb { cancel(observer, pid).await } else { terminate(observer, pid).await }
            })
            .await;
        }
    });
}

/// Who notifies waits on its way to the commit for those who notified before. Nothing of it is in WAL by then, so that it
/// may give up; the commit that it waits for may not.
#[test]
fn who_waits_for_the_notification_of_a_waiting_commit_can_be_ended() {
    // The observer looks on for as long as it takes, without a quorum.
    let cluster = Cluster::up_with("durable-notify", &["varve.read_lease=0"])
        .need_not_evict("next to nothing is written");
    block_on(async {
        let connstr = cluster.connstr("main");
        let (writer, observer) = (connect(&connstr).await.unwrap(), connect(&connstr).await.unwrap());
        observer.batch_execute("CREATE TABLE t (n int)").await.unwrap();
        assert_eq!(count(&observer, "t").await, 0);
        let mut notifiers = Vec::new();
        for _ in 0..3 {
            let notifier = connect(&connstr).await.unwrap();
            notifier.batch_execute("INSERT INTO t VALUES (0); DELETE FROM t; NOTIFY x").await.unwrap();
            notifiers.push(notifier);
        }
        cluster.kill("safekeeper-1");
        cluster.kill("safekeeper-2");
        let first = "BEGIN; INSERT INTO t VALUES (1); NOTIFY x; COMMIT";
        let waiting = tokio::spawn(async move { writer.batch_execute(first).await });
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert!(!waiting.is_finished(), "the commit did not wait for a quorum");

        for (notifier, how) in notifiers.iter().zip(["cancel", "terminate", "lock_timeout"]) {
            let pid = backend_pid(notifier).await;
            let limit = if how == "lock_timeout" { "2s" } else { "0" };
            notifier.batch_execute(&format!("SET lock_timeout = '{limit}'")).await.unwrap();
            let second = notifier.batch_execute("BEGIN; INSERT INTO t VALUES (2); NOTIFY x; COMMIT");
            let ended = tokio::time::timeout(Duration::from_secs(10), second);
            let (ended, ()) = tokio::join!(ended, async {
                let waits = format!(
                    "SELECT count(*) FROM pg_stat_activity WHERE pid = {pid} AND wait_event_type = 'Lock'"
                );
                if how == "lock_timeout" {
                    return;
                }
                harness::eventually("it waits for the first", Duration::from_secs(10), async || {
                    harness::number(&observer, &waits).await == 1
                })
                .await;
                if how == "cancel" { cancel(&observer, pid).await } else { terminate(&observer, pid).await }
            });
            let error = ended.unwrap_or_else(|_| panic!("{how}: it goes on to wait")).expect_err(how);
            let expected = match how {
                "cancel" => SqlState::QUERY_CANCELED,
                "terminate" => SqlState::ADMIN_SHUTDOWN,
                _ => SqlState::LOCK_NOT_AVAILABLE,
            };
            assert_eq!(error.code(), Some(&expected), "{how}: {error}");
            assert!(!waiting.is_finished(), "{how}: the first commit was ended");
            assert_eq!(count(&observer, "t").await, 0, "{how}: visible without being durable");
        }
        // One that was cancelled while it waited is guarded as ever when its own commit waits.
        notifiers[0].batch_execute("ROLLBACK").await.unwrap();
        let pid = backend_pid(&notifiers[0]).await;
        let third = notifiers.swap_remove(0);
        let third = tokio::spawn(async move { third.batch_execute("INSERT INTO t VALUES (3)").await });
        tokio::time::sleep(Duration::from_secs(1)).await;
        cancel(&observer, pid).await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert!(!third.is_finished() && !waiting.is_finished());
        assert_eq!(count(&observer, "t").await, 0, "visible without being durable");

        cluster.varve(&["safekeeper", "start", "--id", "1"]);
        cluster.varve(&["safekeeper", "start", "--id", "2"]);
        for commit in [waiting, third] {
            let ended = tokio::time::timeout(Duration::from_secs(60), commit).await;
            ended.expect("the commit ends").unwrap().unwrap();
        }
        assert_eq!(harness::number(&observer, "SELECT sum(n) FROM t").await, 4);
    });
}

#[test]
fn nobody_talks_the_server_out_of_waiting() {
    let cluster = Cluster::up("durability-settings");
    block_on(async {
        let client = cluster.connect("main").await;
        for setting in [
            "synchronous_standby_names = ''",
            "fsync = on",
            "full_page_writes = on",
            "shared_preload_libraries = ''",
            "restart_after_crash = on",
        ] {
            let (name, _) = setting.split_once(' ').unwrap();
            let show = || async {
                let row = client.query_one(&format!("SHOW {name}"), &[]).await.unwrap();
                row.get::<_, String>(0)
            };
            let before = show().await;
            client.batch_execute(&format!("ALTER SYSTEM SET {setting}")).await.unwrap();
            client.batch_execute("SELECT pg_reload_conf()").await.unwrap();
            tokio::time::sleep(Duration::from_millis(500)).await;
            assert_eq!(show().await, before, "ALTER SYSTEM changed {name}");
        }
        // A client that calls itself walproposer is not the synchronous standby.
        let impostor = connect(&format!("{}?application_name=walproposer", cluster.connstr("main"))).await;
        if let Ok(impostor) = impostor {
            let name: String = impostor.query_one("SHOW application_name", &[]).await.unwrap().get(0);
            assert_ne!(name, "walproposer");
        }
        assert!(
            client.batch_execute("SET application_name = 'walproposer'").await.is_err() || {
                let name: String = client.query_one("SHOW application_name", &[]).await.unwrap().get(0);
                name != "walproposer"
            }
        );
        let synchronous = client
            .query(
                "SELECT application_name FROM pg_stat_replication WHERE sync_state IN ('sync', 'quorum')",
                &[],
            )
            .await
            .unwrap();
        assert_eq!(synchronous.len(), 1);
        // Physical streaming over TCP is nobody's.
        let physical = connect(&format!("{}?replication=true", cluster.connstr("main"))).await;
        assert!(physical.is_err(), "physical replication over TCP must be refused");
    });
}

#[test]
fn a_stop_without_a_quorum_names_who_is_missing() {
    let cluster = Cluster::up("stop-without-quorum");
    block_on(async {
        let client = cluster.connect("main").await;
        client.batch_execute("CREATE TABLE t (n int)").await.unwrap();
        cluster.kill("safekeeper-1");
        cluster.kill("safekeeper-3");
        let writer = tokio::spawn(async move { client.batch_execute("INSERT INTO t VALUES (1)").await });
        tokio::time::sleep(Duration::from_millis(500)).await;
        cluster.signal("endpoint-main", nix::sys::signal::Signal::SIGTERM);
        harness::eventually("compute_ctl gives up", Duration::from_secs(90), async || {
            cluster.pid("endpoint-main").is_none()
        })
        .await;
        let log = cluster.log("endpoint-main");
        let last = log.lines().rev().take(20).collect::<Vec<_>>().join("\n");
        assert!(last.contains('1') && last.contains('3') && last.contains("safekeeper"), "{last}");
        assert!(writer.await.unwrap().is_err(), "the commit was acknowledged without a quorum");
    });
}

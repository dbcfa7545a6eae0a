//! A compute that subscribes to a stock server.

use std::path::Path;
use std::time::Duration;

use harness::{Cluster, StockServer, block_on, connect, eventually, number};
use nix::sys::signal::Signal;
use tokio_postgres::Client;
use types::Lsn;

use super::{LOGICAL, PATIENCE, reconnect, subscribe, text};

const COUNT: &str = "SELECT count(*) FROM t";

/// A stock server that publishes an empty table, to which `main` subscribes.
async fn publishing<'a>(cluster: &Cluster, directory: &'a Path) -> (StockServer<'a>, Client, Client) {
    let stock = StockServer::fresh(directory, cluster.safekeeper_port(122), &[LOGICAL]);
    let publisher = connect(&stock.own_connstr()).await.unwrap();
    let table = "CREATE TABLE t (n bigint)";
    publisher.batch_execute(&format!("{table}; CREATE PUBLICATION pub FOR TABLE t")).await.unwrap();
    let main = reconnect(cluster, "main").await;
    main.batch_execute(table).await.unwrap();
    subscribe(&main, &stock.own_connstr()).await;
    (stock, publisher, main)
}

/// No key: a transaction that is applied twice leaves its rows twice.
#[test]
fn a_compute_that_subscribes_goes_on_where_it_was() {
    let cluster = Cluster::up_with("logical-subscriber", &["wal_retrieve_retry_interval=200ms"])
        .need_not_evict("its database is small");
    let directory = cluster.directory().join("publisher");
    block_on(async {
        let (_stock, publisher, _) = publishing(&cluster, &directory).await;

        let mut last = 0;
        for round in 0..4 {
            for _ in 0..50 {
                last += 1;
                let insert = format!("INSERT INTO t VALUES ({last})");
                publisher.batch_execute(&insert).await.unwrap();
            }
            let client = reconnect(&cluster, "main").await;
            eventually("rows arrive", PATIENCE, async || number(&client, COUNT).await > last - 20).await;
            if round % 2 == 0 {
                cluster.kill("endpoint-main");
            } else {
                cluster.varve(&["endpoint", "stop", "main"]);
            }
            cluster.varve(&["endpoint", "start", "main"]);
        }
        let client = reconnect(&cluster, "main").await;
        eventually("all rows arrive", PATIENCE, async || number(&client, COUNT).await >= last).await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(number(&client, COUNT).await, last);
        assert_eq!(number(&client, "SELECT count(DISTINCT n) FROM t").await, last);

        // Where it is, belongs to the data: a branch and an export know it, too.
        let progress = "SELECT count(*) FROM pg_replication_origin_status WHERE remote_lsn > '0/0'";
        assert_eq!(number(&client, progress).await, 1);
        client.batch_execute("ALTER SUBSCRIPTION sub DISABLE").await.unwrap();
        cluster.varve(&["timeline", "branch", "--branch-name", "branch"]);
        cluster.varve(&["endpoint", "create", "branch", "--branch-name", "branch"]);
        cluster.varve(&["endpoint", "start", "branch"]);
        let branch = reconnect(&cluster, "branch").await;
        assert_eq!(number(&branch, progress).await, 1);
        let exported = cluster.directory().join("exported");
        cluster.export("main", &exported);
        let server = StockServer::start(&exported, cluster.safekeeper_port(123));
        let export = connect(&server.connstr(&cluster.connstr("main"))).await.unwrap();
        assert_eq!(number(&export, progress).await, 1);
    });
}

/// The publisher sends nothing again that was confirmed.
#[test]
fn nothing_is_confirmed_to_a_publisher_that_no_quorum_has() {
    let cluster = Cluster::up_with("logical-confirmed", &["wal_retrieve_retry_interval=200ms"])
        .need_not_evict("its database is small");
    let directory = cluster.directory().join("publisher");
    block_on(async {
        let (_stock, publisher, main) = publishing(&cluster, &directory).await;
        publisher.batch_execute("INSERT INTO t VALUES (0)").await.unwrap();
        eventually("it arrives", PATIENCE, async || number(&main, COUNT).await == 1).await;

        let stopped = ["safekeeper-1", "safekeeper-2"];
        stopped.iter().for_each(|name| cluster.signal(name, Signal::SIGSTOP));
        publisher.batch_execute("INSERT INTO t SELECT generate_series(1, 100)").await.unwrap();
        let sent: Lsn = text(&publisher, "SELECT pg_current_wal_lsn()::text").await.parse().unwrap();
        let slot = "SELECT confirmed_flush_lsn::text FROM pg_replication_slots WHERE slot_name = 'sub'";
        for _ in 0..30 {
            let confirmed: Lsn = text(&publisher, slot).await.parse().unwrap();
            assert!(confirmed < sent, "{confirmed} was confirmed of {sent}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        cluster.kill("endpoint-main");
        stopped.iter().for_each(|name| cluster.signal(name, Signal::SIGCONT));
        cluster.varve(&["endpoint", "start", "main"]);
        let main = reconnect(&cluster, "main").await;
        eventually("all rows arrive", PATIENCE, async || number(&main, COUNT).await >= 101).await;
        assert_eq!(number(&main, "SELECT count(DISTINCT n) FROM t").await, 101);
    });
}

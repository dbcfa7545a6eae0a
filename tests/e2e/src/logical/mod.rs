//! Logical replication between a compute and a stock server, through everything that can happen to the compute; and what
//! else outlives it beside the database: slots, progress of subscriptions, statistics.

mod failover;
mod publisher;
mod quorum;
mod slots;
mod statistics;
mod subscriber;

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use harness::{Cluster, StockServer, connect, eventually, pg_program, run};
use tokio_postgres::Client;

const PATIENCE: Duration = Duration::from_secs(120);
const LOGICAL: &str = "wal_level=logical";
const PGBENCH: [&str; 4] = ["pgbench_accounts", "pgbench_branches", "pgbench_tellers", "pgbench_history"];

/// A stock server that tries again soon after its publisher went.
fn subscriber<'a>(directory: &'a Path, cluster: &Cluster) -> StockServer<'a> {
    let settings = ["wal_retrieve_retry_interval=200ms", "max_sync_workers_per_subscription=4", LOGICAL];
    StockServer::fresh(directory, cluster.safekeeper_port(120), &settings)
}

/// Definitions of tables, without their rows.
fn copy_tables(from: &str, to: &str) {
    let definitions = run(Command::new(pg_program("pg_dump"))
        .args(["--schema-only", "--no-owner", "--no-publications", "--no-subscriptions"])
        .args(["--table", "public.*", from]));
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), definitions).unwrap();
    run(Command::new(pg_program("psql"))
        .args(["-qX", "-v", "ON_ERROR_STOP=1", "-f"])
        .arg(file.path())
        .arg(to));
}

/// A session on the subscriber, which has all that is published and stands by for more.
async fn subscribed(stock: &StockServer<'_>, publisher: &str) -> Client {
    copy_tables(publisher, &stock.own_connstr());
    let copy = connect(&stock.own_connstr()).await.unwrap();
    subscribe(&copy, publisher).await;
    copy
}

/// Waits until the initial copies are done.
async fn subscribe(subscriber: &Client, publisher: &str) {
    let create = format!("CREATE SUBSCRIPTION sub CONNECTION '{publisher}' PUBLICATION pub");
    subscriber.batch_execute(&create).await.unwrap();
    eventually("all tables are copied", PATIENCE, async || {
        harness::number(subscriber, "SELECT count(*) FROM pg_subscription_rel WHERE srsubstate <> 'r'").await
            == 0
    })
    .await;
}

/// How many rows, and a sum that is another one with any other rows.
async fn contents(client: &Client, table: &str) -> (i64, i64) {
    let query = format!(
        "SELECT count(*), coalesce(sum(hashtextextended(t::text, 0) % 1000000007), 0)::bigint FROM {table} t"
    );
    let row = client.query_one(&query, &[]).await.unwrap_or_else(|error| panic!("{query}: {error:?}"));
    (row.get(0), row.get(1))
}

/// Nobody writes any more: in the end the subscriber has just the same rows.
async fn becomes_equal(publisher: &Client, subscriber: &Client, tables: &[&str]) {
    for table in tables {
        let wanted = contents(publisher, table).await;
        let found = std::cell::Cell::new((0, 0));
        let what = format!("{table} has {wanted:?} on the publisher");
        let started = std::time::Instant::now();
        while started.elapsed() < PATIENCE && found.get() != wanted {
            found.set(contents(subscriber, table).await);
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        assert_eq!(found.get(), wanted, "{what}");
    }
}

/// The one value that a query gives, as text.
async fn text(client: &Client, query: &str) -> String {
    client.query_one(query, &[]).await.unwrap_or_else(|error| panic!("{query}: {error:?}")).get(0)
}

async fn reconnect(cluster: &Cluster, endpoint: &str) -> Client {
    connect(&cluster.connstr(endpoint)).await.unwrap()
}

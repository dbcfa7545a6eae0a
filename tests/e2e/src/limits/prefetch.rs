//! Scans over what is not cached ask for pages before they need them.

use harness::{Cluster, block_on, number};
use tokio_postgres::Client;

use super::observer;

const ROWS: i64 = 60_000;

struct Traffic {
    misses: i64,
    requests: i64,
    hits: i64,
}

async fn traffic(client: &Client) -> Traffic {
    Traffic {
        misses: number(client, "SELECT misses FROM varve.cache").await,
        requests: number(client, "SELECT requests FROM varve.pageserver").await,
        hits: number(client, "SELECT prefetch_hits FROM varve.pageserver").await,
    }
}

/// Runs a statement on a compute with nothing cached, and says what it asked for.
async fn cold(cluster: &Cluster, setup: &str, statement: &str) -> Traffic {
    cluster.varve(&["endpoint", "stop", "main"]);
    cluster.varve(&["endpoint", "start", "main"]);
    let client = observer(cluster).await;
    client.batch_execute(setup).await.unwrap();
    let before = traffic(&client).await;
    client.batch_execute(statement).await.unwrap_or_else(|error| panic!("{statement}: {error:?}"));
    let after = traffic(&client).await;
    let difference = Traffic {
        misses: after.misses - before.misses,
        requests: after.requests - before.requests,
        hits: after.hits - before.hits,
    };
    let Traffic { misses, requests, hits } = difference;
    eprintln!("prefetch: {statement}: {requests} requests, {misses} misses, {hits} of them asked for before");
    difference
}

#[test]
fn scans_ask_ahead() {
    let cluster =
        Cluster::up_with("prefetch", &["autovacuum=off"]).need_not_evict("it starts with nothing cached");
    block_on(async {
        let client = observer(&cluster).await;
        let rows = format!(
            "CREATE TABLE big AS SELECT n, (n * 7919 % {ROWS}) AS m, repeat('x', 400) AS t FROM generate_series(1, {ROWS}) n;
             CREATE INDEX ON big (m)"
        );
        client.batch_execute(&rows).await.unwrap();
        client.batch_execute("VACUUM ANALYZE big").await.unwrap();
        let blocks = number(&client, "SELECT pg_relation_size('big') / 8192").await;
        assert!(blocks > 3000, "{blocks}");
        drop(client);

        let scan = cold(&cluster, "", "SELECT count(t) FROM big").await;
        assert!(scan.requests < blocks / 50, "{} requests for {blocks} blocks", scan.requests);
        assert!(scan.hits > blocks / 200, "{} runs came ahead", scan.hits);

        // Rows on nearly as many pages, in no order.
        let bitmap_only =
            "SET enable_seqscan = off; SET enable_indexscan = off; SET enable_indexonlyscan = off";
        let bitmap =
            cold(&cluster, bitmap_only, "SELECT count(t) FROM big WHERE m BETWEEN 100 AND 400").await;
        assert!(bitmap.hits > 200, "{} pages came ahead of {} misses", bitmap.hits, bitmap.misses);

        let client = observer(&cluster).await;
        client.batch_execute("DELETE FROM big WHERE n % 10 = 0").await.unwrap();
        drop(client);
        let vacuum = cold(&cluster, "", "VACUUM big").await;
        assert!(vacuum.misses < blocks / 20, "{} misses for {blocks} blocks", vacuum.misses);
        assert!(vacuum.hits > blocks / 200, "{} runs came ahead", vacuum.hits);
    });
}

//! Free space maps survive restarts: a table that is filled and emptied over and over does not grow.

use harness::{Cluster, StockServer, block_on, connect};

const CYCLES: u32 = 20;
const ROWS: u32 = 3000;

/// One cycle: new rows in, the oldest out, and their space known again.
async fn cycle(connstr: &str, at: u32) -> i64 {
    let client = connect(connstr).await.expect("a connection");
    let (first, last) = (at * ROWS, (at + 1) * ROWS - 1);
    let insert =
        format!("INSERT INTO churn SELECT n, repeat('x', 200) FROM generate_series({first}, {last}) n");
    client.batch_execute(&insert).await.unwrap();
    client.batch_execute(&format!("DELETE FROM churn WHERE n < {first}")).await.unwrap();
    client.batch_execute("VACUUM churn").await.unwrap();
    client.query_one("SELECT pg_relation_size('churn')", &[]).await.unwrap().get(0)
}

const TABLE: &str =
    "CREATE TABLE churn (n int, t text) WITH (autovacuum_enabled = off, vacuum_truncate = off)";

#[test]
fn restarts_do_not_make_a_table_grow() {
    let cluster = Cluster::up("free-space").need_not_evict("the table is small and used all the time");
    block_on(async {
        let connstr = cluster.connstr("main");
        cluster.connect("main").await.batch_execute(TABLE).await.unwrap();
        let directory = cluster.directory().join("stock");
        cluster.export("main", &directory);

        let mut ours = 0;
        for at in 0..CYCLES {
            ours = cycle(&connstr, at).await;
            cluster.varve(&["endpoint", "stop", "main"]);
            cluster.varve(&["endpoint", "start", "main"]);
        }
        let mut stock = 0;
        for at in 0..CYCLES {
            // Ended, in order, when it goes out of scope.
            let server = StockServer::start(&directory, cluster.safekeeper_port(100));
            stock = cycle(&server.connstr(&connstr), at).await;
        }
        eprintln!("free space: after {CYCLES} restarts {ours} bytes, on stock {stock}");
        assert!(ours as f64 <= stock as f64 * 1.05, "{ours} bytes, on stock {stock}");
        let client = connect(&connstr).await.unwrap();
        let rows: i64 = client.query_one("SELECT count(*) FROM churn", &[]).await.unwrap().get(0);
        assert_eq!(rows, i64::from(ROWS));
    });
}

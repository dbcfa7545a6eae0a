//! Cumulative statistics outlive a clean stop.

use std::time::Duration;

use harness::{Cluster, block_on, eventually, number};

use super::reconnect;

async fn counters(cluster: &Cluster) -> (i64, i64, i64) {
    let client = reconnect(cluster, "main").await;
    let query = "SELECT n_tup_ins, n_tup_del, n_dead_tup FROM pg_stat_user_tables WHERE relname = 't'";
    let row = client.query_one(query, &[]).await.unwrap();
    (row.get(0), row.get(1), row.get(2))
}

#[test]
fn statistics_survive_a_clean_stop_and_autovacuum_sees_them() {
    let cluster = Cluster::up_with("statistics", &["autovacuum=off"]).need_not_evict("its database is small");
    block_on(async {
        let client = reconnect(&cluster, "main").await;
        let fill = "CREATE TABLE t (n int); INSERT INTO t SELECT generate_series(1, 10000)";
        client.batch_execute(fill).await.unwrap();
        // On a session that is there when the server stops: it reports what it did as it ends.
        client.batch_execute("DELETE FROM t WHERE n % 2 = 0").await.unwrap();
        for _ in 0..2 {
            cluster.varve(&["endpoint", "stop", "main"]);
            cluster.varve(&["endpoint", "start", "main"]);
            assert_eq!(counters(&cluster).await, (10000, 5000, 5000));
        }
        cluster.varve(&["endpoint", "stop", "main"]);
        let autovacuum = ["--set", "autovacuum=on", "--set", "autovacuum_naptime=1s"];
        cluster.varve(&[&["endpoint", "reconfigure", "main"], &autovacuum[..]].concat());
        cluster.varve(&["endpoint", "start", "main"]);
        let client = reconnect(&cluster, "main").await;
        eventually("autovacuum finds what was to do before the stop", Duration::from_secs(60), async || {
            number(&client, "SELECT autovacuum_count FROM pg_stat_user_tables WHERE relname = 't'").await > 0
        })
        .await;

        // As after a crash of stock PostgreSQL: older ones than of this moment would mislead.
        client.batch_execute("INSERT INTO t VALUES (0)").await.unwrap();
        cluster.kill("endpoint-main");
        cluster.varve(&["endpoint", "start", "main"]);
        let (inserted, deleted, _) = counters(&cluster).await;
        assert_eq!((inserted, deleted), (0, 0));
    });
}

//! A primary is lost and a read replica promoted: whoever subscribed goes on there. Stock PostgreSQL takes slots that are
//! marked for it (`failover`, 17) and a worker that copies them to its standby; here they are the timeline's.

use harness::{Cluster, block_on, eventually, number, pg_version};
use types::PgVersion;

use super::publisher::followed;
use super::{LOGICAL, PATIENCE, PGBENCH, becomes_equal, reconnect};
use crate::pgbench;

#[test]
fn a_promoted_replica_has_the_slots() {
    let cluster = Cluster::up_with("logical-failover", &[LOGICAL]).need_not_evict("it is about what is sent");
    let directory = cluster.directory().join("subscriber");
    block_on(async {
        let (main, stock, copy) = followed(&cluster, &directory).await;
        let client = reconnect(&cluster, "main").await;
        let before = number(&client, "SELECT count(*) FROM pgbench_history").await;
        client
            .batch_execute("SELECT pg_create_logical_replication_slot('by_hand', 'test_decoding')")
            .await
            .unwrap();
        let marked = if pg_version() >= PgVersion::V17 {
            copy.batch_execute("ALTER SUBSCRIPTION sub DISABLE").await.unwrap();
            eventually("the subscription can be changed", PATIENCE, async || {
                copy.batch_execute("ALTER SUBSCRIPTION sub SET (failover = true)").await.is_ok()
            })
            .await;
            copy.batch_execute("ALTER SUBSCRIPTION sub ENABLE").await.unwrap();
            " AND failover = (slot_name = 'sub')"
        } else {
            ""
        };
        let slots = format!(
            "SELECT count(*) FROM pg_replication_slots WHERE slot_name IN ('sub', 'by_hand') AND NOT temporary{marked}"
        );
        assert_eq!(number(&client, &slots).await, 2);
        let replica =
            ["endpoint", "create", "ro", "--branch-name", "main", "--hot-standby", "--set", LOGICAL];
        cluster.varve(&replica);
        cluster.varve(&["endpoint", "start", "ro"]);
        let reader = reconnect(&cluster, "ro").await;
        assert_eq!(number(&reader, "SELECT count(*) FROM pg_replication_slots").await, 0, "it has none");

        pgbench::mix(&main, 2, 1);
        cluster.kill("endpoint-main");
        cluster.varve(&["endpoint", "promote", "ro"]);
        let promoted = reconnect(&cluster, "ro").await;
        assert_eq!(number(&promoted, &slots).await, 2);
        let moved = format!("ALTER SUBSCRIPTION sub CONNECTION '{}'", cluster.connstr("ro"));
        copy.batch_execute(&moved).await.unwrap();
        pgbench::mix(&cluster.connstr("ro"), 2, 1);
        becomes_equal(&promoted, &copy, &PGBENCH).await;
        pgbench::checked_sum(&stock.own_connstr()).await;

        // What the other slot has not shown yet is all there, from before the primary was lost and after.
        let changes = "SELECT count(*) FROM pg_logical_slot_peek_changes('by_hand', NULL, NULL)
                       WHERE data LIKE 'table public.pgbench_history: INSERT:%'";
        let inserted = number(&promoted, "SELECT count(*) FROM pgbench_history").await - before;
        assert!(inserted > 0);
        assert_eq!(number(&promoted, changes).await, inserted);

        let refused = cluster.try_varve(&["endpoint", "create", "x", "--set", "sync_replication_slots=on"]);
        let said = String::from_utf8_lossy(&refused.stderr);
        assert!(!refused.status.success() && said.contains("kept with the branch"), "{said}");
    });
}

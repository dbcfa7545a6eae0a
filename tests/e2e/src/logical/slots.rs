//! Slots that come, go, and are read by SQL.

use harness::{Cluster, StockServer, block_on, connect, number};

use super::{LOGICAL, reconnect, text};

const SLOTS: &str =
    "SELECT coalesce(string_agg(slot_name, ' ' ORDER BY slot_name), '') FROM pg_replication_slots
                     WHERE slot_type = 'logical'";
/// Rows that it has got since it was read.
pub const READ: &str =
    "SELECT count(*) FROM pg_logical_slot_get_changes('kept', NULL, NULL) WHERE data LIKE '%INSERT%'";

#[test]
fn slots_are_the_timelines_own() {
    let cluster =
        Cluster::up_with("logical-slots", &[LOGICAL]).need_not_evict("its database is nearly empty");
    block_on(async {
        let client = reconnect(&cluster, "main").await;
        for each in [
            "CREATE TABLE t (n int PRIMARY KEY)",
            "SELECT pg_create_logical_replication_slot('kept', 'test_decoding')",
            "SELECT pg_create_logical_replication_slot('dropped', 'test_decoding')",
            "SELECT pg_create_logical_replication_slot('short', 'test_decoding', true)",
            "SELECT pg_create_physical_replication_slot('physical', true)",
            "INSERT INTO t SELECT generate_series(1, 10)",
        ] {
            client.batch_execute(each).await.unwrap();
        }
        assert_eq!(text(&client, SLOTS).await, "dropped kept short");
        client.batch_execute("SELECT pg_drop_replication_slot('dropped')").await.unwrap();

        // Nothing was waited for: what the server has answered is kept.
        cluster.kill("endpoint-main");
        cluster.varve(&["endpoint", "start", "main"]);
        let client = reconnect(&cluster, "main").await;
        assert_eq!(text(&client, SLOTS).await, "kept");
        let others = "SELECT coalesce(string_agg(slot_name, ' '), '') FROM pg_replication_slots WHERE slot_type = 'physical'";
        assert_eq!(text(&client, others).await, "walproposer");
        assert_eq!(number(&client, READ).await, 10);
        client.batch_execute("INSERT INTO t VALUES (11)").await.unwrap();

        // After a clean stop nothing is read twice.
        cluster.varve(&["endpoint", "stop", "main"]);
        cluster.varve(&["endpoint", "start", "main"]);
        let client = reconnect(&cluster, "main").await;
        assert_eq!(number(&client, READ).await, 1);
        assert_eq!(number(&client, READ).await, 0);

        // No user can write a file into the timeline.
        client
            .batch_execute("SELECT pg_logical_emit_message(false, 'varve-file', E'Wpg_stat/forged')")
            .await
            .unwrap();
        let forged = "SELECT pg_logical_emit_message(false, 'varve-file', E'Wpg_stat/forged\\\\000x'::bytea)";
        client.batch_execute(forged).await.unwrap();

        // Nobody listens to a branch, an export, or a replica in the past.
        cluster.varve(&["timeline", "branch", "--branch-name", "branch"]);
        cluster.varve(&["endpoint", "create", "branch", "--branch-name", "branch"]);
        cluster.varve(&["endpoint", "start", "branch"]);
        let branch = reconnect(&cluster, "branch").await;
        assert_eq!(text(&branch, SLOTS).await, "");
        for each in [
            "SELECT pg_create_logical_replication_slot('kept', 'test_decoding')",
            "INSERT INTO t VALUES (100), (101)",
        ] {
            branch.batch_execute(each).await.unwrap();
        }
        cluster.varve(&["timeline", "detach-ancestor", "--branch-name", "branch"]);
        cluster.kill("endpoint-branch");
        cluster.varve(&["endpoint", "start", "branch"]);
        let branch = reconnect(&cluster, "branch").await;
        assert_eq!((text(&branch, SLOTS).await, number(&branch, READ).await), ("kept".to_owned(), 2));

        let exported = cluster.directory().join("exported");
        cluster.export("main", &exported);
        let server = StockServer::start(&exported, cluster.safekeeper_port(121));
        let stock = connect(&server.connstr(&cluster.connstr("main"))).await.unwrap();
        assert_eq!(number(&stock, "SELECT count(*) FROM pg_replication_slots").await, 0);
        let lsn = text(&client, "SELECT pg_current_wal_flush_lsn()::text").await;
        cluster.varve(&["endpoint", "create", "past", "--branch-name", "main", "--lsn", &lsn]);
        cluster.varve(&["endpoint", "start", "past"]);
        let past = reconnect(&cluster, "past").await;
        assert_eq!(number(&past, "SELECT count(*) FROM pg_replication_slots").await, 0);
        assert!(!cluster.pgdata("main").join("pg_stat/forged").exists());

        // Dropped for good, also through a stop.
        client.batch_execute("SELECT pg_drop_replication_slot('kept')").await.unwrap();
        for _ in 0..2 {
            cluster.varve(&["endpoint", "stop", "main"]);
            cluster.varve(&["endpoint", "start", "main"]);
            assert_eq!(text(&reconnect(&cluster, "main").await, SLOTS).await, "");
        }
        assert!(!cluster.pgdata("main").join("pg_stat/forged").exists());
    });
}

//! The pageserver's disk is too small for what it serves: layers go and come back, and every page is right.

use std::time::Duration;

use harness::{Cluster, block_on, eventually};

/// Bytes that layer files may take.
const MOST: f64 = 12e6;

#[test]
fn a_database_larger_than_the_pageservers_disk_is_served() {
    let settings = format!(
        "checkpoint_distance = 2000000\nstorage.compaction_target_size = 1000000\n\
         storage.image_layer_size = 2000000\ndisk_usage_based_eviction.max_layer_bytes = {MOST:.0}\n\
         disk_usage_based_eviction.period = \"1s\"\n\
         page_service.slow_read_milliseconds = 0"
    );
    let cluster = Cluster::up_configured("layer-eviction", "", &settings);
    block_on(async {
        let client = cluster.connect("main").await;
        // Which lz4 cannot make small.
        let fill = "CREATE TABLE t AS SELECT n, md5(n::text) || md5((-n)::text) AS filler
                    FROM generate_series(1, 400000) n";
        client.batch_execute(fill).await.unwrap();
        client.batch_execute("CREATE INDEX ON t (filler)").await.unwrap();
        let sum = "SELECT sum(hashtext(filler)::bigint + n)::text FROM t";
        let expected: String = client.query_one(sum, &[]).await.unwrap().get(0);
        let metric = |name: &str| cluster.metric("pageserver", &format!("pageserver_storage_{name}"));
        for round in 1..=2 {
            // From storage alone, in two ways.
            cluster.varve(&["endpoint", "stop", "main"]);
            cluster.varve(&["endpoint", "start", "main"]);
            let client = cluster.connect("main").await;
            let found: String = client.query_one(sum, &[]).await.unwrap().get(0);
            assert_eq!(found, expected);
            client.batch_execute("SET enable_seqscan = off").await.unwrap();
            let by_index = "SELECT count(*) FROM t WHERE filler >= \'0\' AND filler < \'2\'";
            let count: i64 = client.query_one(by_index, &[]).await.unwrap().get(0);
            assert!(count > 40_000, "{count}");
            client.batch_execute("UPDATE t SET n = n WHERE n % 50 = 0").await.unwrap();
            eventually("layers fit", Duration::from_secs(60), async || metric("local_layer_bytes") <= MOST)
                .await;
            eprintln!(
                "layer-eviction: round {round}: {} layers evicted, {:.0} MB downloaded, {:.1} MB of layers here",
                metric("evicted_layers_total"),
                metric("layer_downloaded_bytes_total") / 1e6,
                metric("local_layer_bytes") / 1e6
            );
        }
        assert!(metric("evicted_layers_total") > 20.0);
        let log = cluster.log("pageserver");
        let slow = log.lines().find(|line| line.contains("a slow read")).expect("every read is slow here");
        assert!(slow.contains(" layers: "), "{slow}");
        let timeline = cluster.pageserver_timeline("main");
        let physical = timeline["current_physical_size"].as_f64().unwrap();
        assert!(physical > 2.0 * MOST, "all of it would have fitted: {physical}");
    });
}

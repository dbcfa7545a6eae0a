//! One long idle snapshot: no grace period ends, nothing that is written may be evicted. Over the hard limit
//! pages go into WAL whole and are dropped all the same, so the disk stays bounded.

use std::time::Duration;

use harness::{Cluster, block_on, number};

use super::{disk_usage, observer};

const HARD_LIMIT: u64 = 12 << 20;
/// Kept blocks and what other databases hold, measured before the load, may grow by so much; and the limit is
/// soft: each session may be over it by what it is just adding.
const SLACK: u64 = 3 << 20;
const SECONDS: u64 = 20;

#[test]
fn an_idle_snapshot_does_not_fill_the_disk() {
    let cluster = Cluster::up_with(
        "snapshot",
        &[
            "shared_buffers=1MB",
            "varve.cache_size=4MB",
            "varve.cache_hard_limit=12MB",
            "varve.debug=on",
            "varve.test_shadow=on",
        ],
    );
    block_on(async {
        let connstr = cluster.connstr("main");
        let client = observer(&cluster).await;
        crate::pgbench::load(&connstr, 10, 4, 1);
        let mut idle = cluster.connect("main").await;
        let snapshot =
            idle.build_transaction().isolation_level(tokio_postgres::IsolationLevel::RepeatableRead);
        let snapshot = snapshot.start().await.unwrap();
        let before: i64 =
            snapshot.query_one("SELECT sum(abalance) FROM pgbench_accounts", &[]).await.unwrap().get(0);

        let base = cluster.pgdata("main").join("base");
        let load = {
            let connstr = connstr.clone();
            tokio::task::spawn_blocking(move || crate::pgbench::mix(&connstr, 4, SECONDS as u32))
        };
        let mut most = 0;
        let mut most_written = 0;
        while !load.is_finished() {
            tokio::time::sleep(Duration::from_millis(500)).await;
            let kept = number(&client, "SELECT kept_blocks * 8192 FROM varve.cache").await as u64;
            most = most.max(disk_usage(&base).saturating_sub(kept));
            most_written = most_written.max(number(&client, "SELECT written_blocks FROM varve.cache").await);
        }
        load.await.unwrap();
        let images = number(&client, "SELECT page_images FROM varve.cache").await;
        eprintln!(
            "snapshot: at most {most} bytes on disk beside what is kept (hard limit {HARD_LIMIT}), {images} page images"
        );
        assert!(most <= HARD_LIMIT + SLACK, "{most} bytes on disk");
        assert!(
            most_written > 1000 && images > 1000,
            "the hard limit was hardly reached: {most_written} blocks, {images} images"
        );

        let still: i64 =
            snapshot.query_one("SELECT sum(abalance) FROM pgbench_accounts", &[]).await.unwrap().get(0);
        assert_eq!(still, before, "the snapshot's own view");
        drop(snapshot);
        crate::pgbench::checked_sum(&connstr).await;
        crate::pgbench::amcheck(&connstr);
        let bad = "SELECT mismatches + all_visible_lost + live_cids_lost + live_tokens_lost + live_cycle_ids_lost FROM varve.shadow";
        assert_eq!(number(&client, bad).await, 0);
        assert!(number(&client, "SELECT refetched FROM varve.shadow").await > 1000);
        drop((client, idle));
        // Images and all: from nothing.
        cluster.varve(&["endpoint", "stop", "main"]);
        cluster.varve(&["endpoint", "start", "main"]);
        crate::pgbench::checked_sum(&connstr).await;
    });
}

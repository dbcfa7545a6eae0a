//! pg_cron: a job runs in a background worker of the compute; it is data, and outlives the compute.

use std::time::Duration;

use harness::{Cluster, block_on, eventually, number, pg_version};
use types::PgVersion;

const SETTINGS: [&str; 4] = [
    "shared_preload_libraries=pg_cron",
    "cron.database_name=postgres",
    // As a backend of its own, not through a connection that needs a password.
    "cron.use_background_workers=on",
    "cron.timezone=UTC",
];

const BEATS: &str = "SELECT count(*) FROM beats";

#[test]
#[ignore = "as postgis"]
fn a_job_outlives_its_compute() {
    // Seconds came with 1.5; Debian 12 has 1.4.
    let (every, patience) = match pg_version() {
        PgVersion::V15 => ("* * * * *", Duration::from_secs(90)),
        PgVersion::V17 => ("1 second", Duration::from_secs(30)),
    };
    let cluster = Cluster::up_with("pg_cron", &SETTINGS).need_not_evict("it has next to no data");
    block_on(async {
        let client = cluster.connect("main").await;
        client
            .batch_execute("CREATE EXTENSION pg_cron; CREATE TABLE beats (at timestamptz DEFAULT now())")
            .await
            .unwrap();
        let schedule = format!("SELECT cron.schedule('beat', '{every}', 'INSERT INTO beats DEFAULT VALUES')");
        client.batch_execute(&schedule).await.unwrap();
        eventually("the job runs", patience, async || number(&client, BEATS).await > 0).await;
        let succeeded = "SELECT count(*) FROM cron.job_run_details WHERE status = 'succeeded'";
        eventually("and is noted", patience, async || number(&client, succeeded).await > 0).await;

        // No clean stop: what is left is what a quorum has.
        cluster.kill("endpoint-main");
        cluster.varve(&["endpoint", "start", "main"]);
        let client = cluster.connect("main").await;
        assert_eq!(number(&client, "SELECT count(*) FROM cron.job WHERE jobname = 'beat'").await, 1);
        let before = number(&client, BEATS).await;
        assert!(before > 0, "what the job did is gone");
        eventually("the job runs again", patience, async || number(&client, BEATS).await > before).await;

        client.batch_execute("SELECT cron.unschedule('beat')").await.unwrap();
        assert_eq!(number(&client, "SELECT count(*) FROM cron.job").await, 0);
        cluster.varve(&["endpoint", "stop", "main"]);
    });
}

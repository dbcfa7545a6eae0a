//! A pageserver with many tenants of ten timelines each, which nobody uses: what they cost, at rest and at its start; and
//! that each is served for all that.
//!
//! ```text
//! many tenants: 20 of 10 timelines; 31.5 KiB of memory each timeline; started in 0.4 s (none: 0.1 s); …
//! ```
//! `make many-tenants TENANTS=1000` measures a thousand; `make test` fewer.

use std::sync::Arc;
use std::time::{Duration, Instant};

use harness::{Cluster, block_on, eventually, lsn, pg_version};
use pageserver_api::PageserverClient;
use pageserver_api::models::TimelineCreateRequest;
use types::{Lsn, TenantId, TimelineId};

use crate::many_timelines::{Usage, at_a_time};

const TIMELINES: u64 = 10;
/// How long it is watched at rest.
const REST: Duration = Duration::from_secs(5);
/// Bytes of memory that a timeline at rest may take at the most.
const MEMORY: u64 = 64 << 10;
/// Tenants that are made at a time.
const AT_A_TIME: usize = 4;

async fn make_tenant(client: &PageserverClient) {
    let (tenant, main) = (TenantId::generate(), TimelineId::generate());
    client.create_tenant(tenant).await.expect("a tenant");
    let root = TimelineCreateRequest::root(main, pg_version());
    client.create_timeline(tenant, &root).await.expect("a root timeline");
    for _ in 1..TIMELINES {
        let branch = TimelineCreateRequest::branch(TimelineId::generate(), main, None);
        client.create_timeline(tenant, &branch).await.expect("a branch");
    }
}

async fn make(cluster: &Cluster, count: u64) {
    let client = Arc::new(PageserverClient::new(&cluster.http_address("pageserver"), cluster.credentials()));
    at_a_time(AT_A_TIME, 0..count, |_| {
        let client = Arc::clone(&client);
        async move { make_tenant(&client).await }
    })
    .await;
}

fn restart(cluster: &Cluster) -> (Duration, Usage) {
    cluster.varve(&["pageserver", "stop"]);
    let began = Instant::now();
    cluster.varve(&["pageserver", "start"]);
    (began.elapsed(), Usage::of(cluster.pid("pageserver").expect("it runs")))
}

#[test]
fn tenants_at_rest_cost_little() {
    let count: u64 = std::env::var("MANY_TENANTS").map_or(20, |text| text.parse().expect("a number"));
    let cluster = Cluster::up("many-tenants").need_not_evict("nothing is read");
    block_on(async {
        let (empty_start, empty) = restart(&cluster);
        let mut starts = Vec::new();
        for (made, count) in [(0, count / 2), (count / 2, count)] {
            make(&cluster, count - made).await;
            let (start, usage) = restart(&cluster);
            starts.push(start);
            let timelines = async || -> u64 {
                let status: serde_json::Value =
                    serde_json::from_str(&cluster.get("pageserver", "/v1/status")).expect("JSON");
                status["timelines"].as_u64().expect("a number")
            };
            // And the branch that every cluster has.
            eventually("all are there", Duration::from_secs(60), async || {
                timelines().await == count * TIMELINES + 1
            })
            .await;
            tokio::time::sleep(Duration::from_secs(1)).await;
            let pid = cluster.pid("pageserver").expect("it runs");
            let before = Usage::of(pid);
            tokio::time::sleep(REST).await;
            let after = Usage::of(pid);
            let each =
                usage.resident.max(after.resident).saturating_sub(empty.resident) / (count * TIMELINES);
            eprintln!(
                "many tenants: {count} of {TIMELINES} timelines; {:.1} KiB of memory each timeline; started in {:.1} s (none: \
                 {:.1} s); in {} s of rest {:.2} s of CPU, {} bytes written",
                each as f64 / 1024.0,
                start.as_secs_f64(),
                empty_start.as_secs_f64(),
                REST.as_secs(),
                (after.cpu - before.cpu).as_secs_f64(),
                after.written - before.written,
            );
            // Of few, most is what the process takes for itself.
            assert!(count < 100 || each < MEMORY, "{each} bytes each");
        }
        let (half, whole) = (starts[0].as_secs_f64(), starts[1].as_secs_f64());
        // Of a short time most is that of the process itself, and noise.
        assert!(whole < 3.0 || whole < 4.0 * half, "the start is not linear: {starts:?}");
    });
}

/// Of WAL that a branch has now, the pageserver hears.
async fn takes_in(cluster: &Cluster, branch: &str, statement: &str) {
    let client = cluster.connect(branch).await;
    client.batch_execute(statement).await.expect("it can be written to");
    let row = client.query_one("SELECT pg_current_wal_flush_lsn()::text", &[]).await.expect("an LSN");
    let end: Lsn = row.get::<_, String>(0).parse().expect("an LSN");
    eventually("the pageserver has it", Duration::from_secs(60), async || {
        lsn(&cluster.pageserver_timeline(branch)["last_record_lsn"]) >= end
    })
    .await;
}

/// There are more than one connection of HTTP/2 would have streams for, if each timeline had its own.
#[test]
fn the_last_of_many_timelines_is_heard_of_too() {
    const TENANTS: u64 = 25;
    let cluster = Cluster::up("last-of-many").need_not_evict("what is written is not read");
    let told_of = || -> u64 {
        let status: serde_json::Value =
            serde_json::from_str(&cluster.get("broker", "/status")).expect("JSON");
        status["timelines"].as_u64().expect("a number")
    };
    block_on(async {
        make(&cluster, TENANTS).await;
        let before = told_of();
        cluster.varve(&["timeline", "branch", "--branch-name", "last"]);
        cluster.varve(&["endpoint", "create", "last", "--branch-name", "last"]);
        cluster.varve(&["endpoint", "start", "last"]);
        takes_in(&cluster, "last", "CREATE TABLE t (n int); INSERT INTO t VALUES (1)").await;
        assert_eq!(told_of(), before + 1);
        // The pageserver's, and one of each safekeeper.
        assert_eq!(cluster.metric("broker", "broker_subscribers"), 4.0);

        cluster.varve(&["broker", "stop"]);
        cluster.varve(&["broker", "start"]);
        takes_in(&cluster, "last", "INSERT INTO t VALUES (2)").await;

        // What is deleted is nobody's to remember.
        cluster.varve(&["endpoint", "stop", "last"]);
        cluster.varve(&["endpoint", "delete", "last"]);
        cluster.varve(&["timeline", "delete", "--branch-name", "last"]);
        eventually("the broker knows it no more", Duration::from_secs(60), async || told_of() == before)
            .await;
    });
}

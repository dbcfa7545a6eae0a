//! A safekeeper with many timelines of which nobody uses any: what they cost, at rest and at its start.
//!
//! ```text
//! many timelines: 2500 made; 0.35 KiB of memory each; started in 0.20 s; in 5 s of rest 0.00 s of CPU, …
//! ```
//! `make many-timelines TIMELINES=10000` measures ten thousand; `make test` fewer.

use std::sync::Arc;
use std::time::{Duration, Instant};

use consensus::Member;
use harness::{Cluster, block_on, eventually};
use safekeeper_api::http::{Client, TimelineCreateRequest};
use types::{Lsn, NodeId, PgVersion, TenantId, TimelineId, WalSegmentSize};

/// How long it is watched at rest.
const REST: Duration = Duration::from_secs(5);
/// Bytes of memory that a timeline at rest may take at the most.
const MEMORY: u64 = 20 << 10;
/// Timelines that are made at a time.
const AT_A_TIME: usize = 16;

/// What `/proc` says of a process.
#[derive(Clone, Copy, Debug)]
pub struct Usage {
    pub resident: u64,
    pub cpu: Duration,
    pub written: u64,
}

impl Usage {
    pub fn of(pid: i32) -> Self {
        let read = |file: &str| std::fs::read_to_string(format!("/proc/{pid}/{file}")).expect("it runs");
        let field = |text: &str, name: &str| -> u64 {
            let line = text.lines().find_map(|line| line.strip_prefix(name)).expect("a known field");
            line.split_whitespace().next().and_then(|word| word.parse().ok()).expect("a number")
        };
        let stat = read("stat");
        let after_name: Vec<&str> = stat[stat.rfind(')').expect("a name") + 2..].split(' ').collect();
        let ticks: u64 = after_name[11..13].iter().map(|word| word.parse::<u64>().expect("ticks")).sum();
        Usage {
            resident: field(&read("status"), "VmRSS:") << 10,
            cpu: Duration::from_millis(ticks * 10),
            written: field(&read("io"), "wchar:"),
        }
    }
}

/// Does a piece of work for each number, so many at a time.
pub async fn at_a_time<Work: Future<Output = ()> + Send + 'static>(
    limit: usize,
    numbers: std::ops::Range<u64>,
    work: impl Fn(u64) -> Work,
) {
    let mut working = tokio::task::JoinSet::new();
    for number in numbers {
        if working.len() == limit {
            working.join_next().await.expect("some work").expect("no panic");
        }
        working.spawn(work(number));
    }
    working.join_all().await;
}

struct Safekeeper {
    cluster: Cluster,
    client: Client,
    made: u64,
}

impl Safekeeper {
    fn start() -> Self {
        let cluster = Cluster::init("many-timelines");
        cluster.configure("config.toml", "safekeeper_evict_after = 1");
        cluster.varve(&["broker", "start"]);
        cluster.varve(&["safekeeper", "start", "--id", "1"]);
        let client = Client::new(&cluster.http_address("safekeeper-1"), cluster.credentials());
        Self { cluster, client, made: 0 }
    }

    fn usage(&self) -> Usage {
        Usage::of(self.cluster.pid("safekeeper-1").expect("it runs"))
    }

    async fn make_up_to(&mut self, count: u64) {
        let member = |id| Member {
            id: NodeId(id),
            pg_connstr: format!("127.0.0.1:{id}"),
            http_connstr: format!("127.0.0.1:{id}"),
        };
        let request = |number: u64| TimelineCreateRequest {
            tenant_id: TenantId([7; 16]),
            timeline_id: TimelineId((u128::from(number) + 1).to_be_bytes()),
            pg_version: PgVersion::V15,
            system_id: 7_000_000_000_000_000_001,
            wal_seg_size: WalSegmentSize::DEFAULT,
            start_lsn: Lsn(0x149_8028),
            members: (1..=3).map(member).collect(),
            configuration: None,
            ancestor: None,
        };
        let client =
            Arc::new(Client::new(&self.cluster.http_address("safekeeper-1"), self.cluster.credentials()));
        at_a_time(AT_A_TIME, self.made..count, |number| {
            let (client, request) = (Arc::clone(&client), request(number));
            async move {
                client.create_timeline(&request).await.expect("a timeline");
            }
        })
        .await;
        self.made = count;
    }

    /// Restarts it, and waits until it has all timelines. How long that took.
    async fn restart(&self) -> Duration {
        self.cluster.varve(&["safekeeper", "stop", "--id", "1"]);
        let began = Instant::now();
        self.cluster.varve(&["safekeeper", "start", "--id", "1"]);
        assert_eq!(self.client.status().await.expect("its status").timelines as u64, self.made);
        began.elapsed()
    }
}

#[test]
fn timelines_at_rest_cost_next_to_nothing() {
    let count = std::env::var("MANY_TIMELINES").map_or(400, |text| text.parse().expect("a number"));
    let mut safekeeper = Safekeeper::start();
    block_on(async {
        let mut starts = Vec::new();
        let empty_start = safekeeper.restart().await;
        let empty = safekeeper.usage();
        for count in [count / 4, count / 2, count] {
            let before = safekeeper.made;
            safekeeper.make_up_to(count).await;
            eventually("all are evicted", Duration::from_secs(600), async || {
                safekeeper.cluster.metric("safekeeper-1", "safekeeper_evictions_total")
                    >= (count - before) as f64
            })
            .await;
            let start = safekeeper.restart().await;
            starts.push(start);
            let published = || safekeeper.cluster.metric("broker", "broker_published_messages_total");
            eventually("the broker knows all of them", Duration::from_secs(60), async || {
                let status: serde_json::Value =
                    serde_json::from_str(&safekeeper.cluster.get("broker", "/status")).expect("JSON");
                status["timelines"] == count
            })
            .await;
            tokio::time::sleep(Duration::from_secs(1)).await;
            let (before, told) = (safekeeper.usage(), published());
            tokio::time::sleep(REST).await;
            let (after, told) = (safekeeper.usage(), published() - told);
            let each = after.resident.saturating_sub(empty.resident) / count;
            let written = after.written - before.written;
            eprintln!(
                "many timelines: {count} made; {:.2} KiB of memory each; started in {:.2} s (none: {:.2} s); in {} s of \
                 rest {:.2} s of CPU, {written} bytes written, {told} messages to the broker",
                each as f64 / 1024.0,
                start.as_secs_f64(),
                empty_start.as_secs_f64(),
                REST.as_secs(),
                (after.cpu - before.cpu).as_secs_f64(),
            );
            assert!(each < MEMORY, "{each} bytes each");
            assert_eq!(told, 0.0, "nothing moved");
            // What it answered to the measuring itself is all that it wrote.
            assert!(written < 64 << 10, "{written} bytes written at rest");
        }
        let timelines = safekeeper.client.timelines().await.expect("a list");
        assert_eq!(timelines.len() as u64, count);
        let (quarter, whole) = (starts[0].as_secs_f64(), starts[2].as_secs_f64());
        // Of a short time most is that of the process itself, and noise.
        assert!(whole < 2.0 || whole < 8.0 * quarter, "the start is not linear: {starts:?}");
    });
}

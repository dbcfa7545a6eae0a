//! The pageserver ends in the midst of its background work, at every point at which that touches files or objects, and
//! nothing is lost and nothing comes back.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use harness::{Cluster, Writers, block_on, eventually, ledger_rows, program};
use pageserver_api::PageserverClient;
use pageserver_api::models::TimelineCreateRequest;
use types::{TenantId, TimelineId};

use crate::pgbench::amcheck;

/// A flush every second or so, layers so small that there is something to do all the time, little history, and a disk
/// that is too small.
const SETTINGS: &str = "checkpoint_distance = 2000000\nstorage.compaction_target_size = 1000000\n\
                        storage.image_layer_size = 2000000\ntenant_config.pitr_interval = \"0s\"\n\
                        tenant_config.gc_horizon = 1048576\ntenant_config.gc_period = \"1s\"\n\
                        tenant_config.lsn_lease_length = \"0s\"\n\
                        disk_usage_based_eviction.max_layer_bytes = 3000000\n\
                        disk_usage_based_eviction.period = \"1s\"";

/// Layers have `__` in their names. Files are written, synced, renamed and their directory synced by flushes, merges,
/// images and downloads alike, so several of each.
const POINTS: [&str; 25] = [
    "sync-file:/tenants/:1",
    "sync-file:/tenants/:4",
    "sync-file:/tenants/:9",
    "rename:__:1",
    "rename:__:4",
    "rename:__:9",
    "sync-directory:/timelines/:2",
    "sync-directory:/timelines/:7",
    "create-directory:/timelines/:1",
    "remove:/timelines/:1",
    "before-put:__:2",
    "after-put:__:2",
    "after-put:__:8",
    "before-put:index_part:1",
    "after-put:index_part:1",
    "before-put:index_part:4",
    "after-put:index_part:4",
    "before-put:tenant.json:2",
    "after-put:tenant.json:2",
    "before-get:__:1",
    "after-get:__:3",
    "before-delete:__:1",
    "after-delete:__:2",
    "before-delete:index_part:1",
    "after-delete:index_part:1",
];
const PATIENCE: Duration = Duration::from_secs(90);

struct Run<'a> {
    cluster: &'a Cluster,
    client: PageserverClient,
    tenant: TenantId,
    main: TimelineId,
}

impl Run<'_> {
    /// The pageserver of the cluster, which is to end at a point.
    fn start(&self, point: &str) -> (Child, PathBuf) {
        let log = self.cluster.directory().join(format!("crash-{}.log", point.replace(['/', ':'], "-")));
        let process = self
            .cluster
            .pageserver_command(&self.cluster.directory().join("pageserver"))
            .args(["--allow-faults", "--crash-at", point])
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(&log).unwrap())
            .spawn()
            .expect("a pageserver");
        (process, log)
    }

    /// Makes and deletes a branch. The pageserver may end at any time.
    async fn branch(&self) {
        let id = TimelineId::generate();
        let request = TimelineCreateRequest::branch(id, self.main, None);
        if self.client.create_timeline(self.tenant, &request).await.is_ok() {
            let _ = self.client.checkpoint(self.tenant, id).await;
            let _ = self.client.delete_timeline(self.tenant, id).await;
        }
    }

    async fn crash_at(&self, point: &str) {
        let (mut process, log) = self.start(point);
        let began = Instant::now();
        while process.try_wait().unwrap().is_none() {
            if began.elapsed() > PATIENCE {
                let _ = process.kill();
                panic!("{point} is not reached: {}", std::fs::read_to_string(&log).unwrap());
            }
            self.branch().await;
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        let said = std::fs::read_to_string(&log).unwrap();
        assert!(said.contains(&format!("crash point {point} is reached")), "{point}: {said}");
        eprintln!("crash-points: {point} after {:.1} s", began.elapsed().as_secs_f32());
    }
}

/// Changes all rows of a table again and again, each time in one transaction; with checkpoints, without which all of the past
/// would be kept.
fn change_rows(connstr: String, stop: Arc<AtomicBool>) -> std::thread::JoinHandle<u64> {
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut rounds = 0;
            while !stop.load(Ordering::Relaxed) {
                let Ok(client) = harness::connect(&connstr).await else { continue };
                while !stop.load(Ordering::Relaxed)
                    && client.batch_execute("UPDATE changing SET n = n + 1").await.is_ok()
                {
                    rounds += 1;
                    if rounds % 10 == 0 {
                        // It is tried again ten rounds later.
                        let _ = client.batch_execute("CHECKPOINT").await;
                    }
                }
            }
            rounds
        })
    })
}

#[test]
fn the_pageserver_may_end_anywhere() {
    let cluster =
        Cluster::up_configured("crash-points", "", SETTINGS).need_not_evict("the pageserver is away often");
    block_on(async {
        let setup = cluster.connect("main").await;
        let table = "CREATE TABLE changing AS SELECT i AS id, 0 AS n, md5(i::text) AS filler FROM generate_series(1, 4000) i;
                     CREATE INDEX ON changing (id)";
        setup.batch_execute(table).await.unwrap();
        let writers = Writers::start(&cluster.connstr("main"), 2).await;
        let stop = Arc::new(AtomicBool::new(false));
        let changing = change_rows(cluster.connstr("main"), Arc::clone(&stop));
        cluster.varve(&["pageserver", "stop"]);
        let (tenant, main) = cluster.ids("main");
        let client = PageserverClient::new(&cluster.http_address("pageserver"), cluster.credentials());
        let run =
            Run { cluster: &cluster, client, tenant: tenant.parse().unwrap(), main: main.parse().unwrap() };
        for point in POINTS {
            run.crash_at(point).await;
        }
        cluster.varve(&["pageserver", "start"]);
        writers.wait_for_progress(20).await;
        stop.store(true, Ordering::Relaxed);
        let rounds = changing.join().unwrap();
        let ledger = writers.stop().await;

        // From storage alone.
        cluster.varve(&["endpoint", "stop", "main"]);
        cluster.varve(&["endpoint", "start", "main"]);
        let client = cluster.connect("main").await;
        let verdict = ledger.check(ledger_rows(&client).await);
        assert!(verdict.is_clean(), "{verdict:?}");
        let row = client.query_one("SELECT min(n), max(n), count(*) FROM changing", &[]).await.unwrap();
        let (least, most, count): (i32, i32, i64) = (row.get(0), row.get(1), row.get(2));
        assert!(least == most && u64::try_from(most).unwrap() >= rounds && count == 4000, "{row:?} {rounds}");
        amcheck(&cluster.connstr("main"));

        // Branches whose deletion was cut short are deleted now, and nothing is left of any.
        for info in run.client.timelines(run.tenant).await.unwrap() {
            if info.timeline_id != run.main {
                run.client.delete_timeline(run.tenant, info.timeline_id).await.unwrap();
            }
        }
        cluster.varve(&["pageserver", "stop"]);
        cluster.varve(&["pageserver", "start"]);
        let timelines = cluster.directory().join(format!("remote_storage/tenants/{tenant}/timelines"));
        let others = || -> Vec<String> {
            let entries = std::fs::read_dir(&timelines).unwrap().map(|entry| entry.unwrap());
            let full = entries.filter(|entry| std::fs::read_dir(entry.path()).unwrap().next().is_some());
            full.map(|entry| entry.file_name().into_string().unwrap()).filter(|name| *name != main).collect()
        };
        eventually("nothing is left of the others", PATIENCE, async || others().is_empty()).await;
        eprintln!(
            "crash-points: {} crashes, {rounds} rounds of changes, {} acknowledged, {} lost",
            POINTS.len(),
            verdict.acknowledged,
            verdict.lost.len()
        );
    });
}

#[test]
fn faults_are_refused_unless_they_are_allowed() {
    let output = Command::new(program("pageserver"))
        .args(["--workdir", "/nowhere", "--crash-at", "rename"])
        .output()
        .expect("a pageserver");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains("--allow-faults"), "{said}");
}

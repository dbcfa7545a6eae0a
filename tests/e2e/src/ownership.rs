//! One pageserver owns a tenant at a time: a second one takes it over, and the first finds out before it does harm.

use std::net::TcpListener;
use std::path::PathBuf;
use std::process::Child;
use std::time::Duration;

use harness::{Cluster, Writers, block_on, eventually, ledger_rows, lsn};
use pageserver_api::PageserverClient;
use pageserver_api::models::TimelineCreateRequest;
use safekeeper_api::http::{Ancestor, Client};
use types::{Lsn, TenantId, TenantTimelineId, TimelineId};

const PATIENCE: Duration = Duration::from_secs(60);

/// A pageserver of the same cluster that nobody at the cluster knows of.
struct Second {
    process: Child,
    log: PathBuf,
}

impl Second {
    fn start(cluster: &Cluster) -> Second {
        let workdir = cluster.directory().join("second");
        std::fs::create_dir(&workdir).unwrap();
        let first = cluster.directory().join("pageserver/pageserver.toml");
        let free = || TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let config = std::fs::read_to_string(first).unwrap();
        let line = |line: &str| match line.split_once(" = ") {
            Some((key @ ("listen_pg_addr" | "listen_http_addr"), _)) => format!("{key} = \"{}\"\n", free()),
            Some(("id", _)) => "id = 2\n".to_owned(),
            _ => format!("{line}\n"),
        };
        let config: String = config.lines().map(line).collect();
        std::fs::write(workdir.join("pageserver.toml"), config).unwrap();
        let log = workdir.join("log");
        let process = cluster
            .pageserver_command(&workdir)
            .stderr(std::fs::File::create(&log).unwrap())
            .spawn()
            .expect("a second pageserver");
        Second { process, log }
    }

    fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap()
    }
}

impl Drop for Second {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
fn a_second_pageserver_takes_over_and_nothing_is_lost() {
    let cluster = Cluster::up_configured("second-pageserver", "", "checkpoint_distance = 200000")
        .need_not_evict("the pageserver stops serving half-way");
    block_on(async {
        let writers = Writers::start(&cluster.connstr("main"), 4).await;
        writers.wait_for_progress(200).await;
        let uploaded = || lsn(&cluster.pageserver_timeline("main")["remote_consistent_lsn"]);
        let begun = uploaded();
        eventually("the first one uploads", PATIENCE, async || uploaded() > begun).await;
        let second = Second::start(&cluster);
        let taken = "granted a generation";
        eventually("the second one takes over", PATIENCE, async || second.log().contains(taken)).await;
        let lost = "belongs to another pageserver now";
        let log = || cluster.log("pageserver");
        eventually("the first one finds out", PATIENCE, async || log().contains(lost)).await;
        let wrote = "wrote a layer";
        eventually("the second one uploads", PATIENCE, async || second.log().contains(wrote)).await;
        // Commits need safekeepers only.
        writers.wait_for_progress(50).await;
        let refused = cluster.try_varve(&["timeline", "branch", "--branch-name", "late"]);
        assert!(String::from_utf8_lossy(&refused.stderr).contains(lost), "{refused:?}");
        drop(second);
        // Whoever restarts a pageserver wants that one.
        cluster.varve(&["pageserver", "stop"]);
        cluster.varve(&["pageserver", "start"]);
        let ledger = writers.stop().await;
        cluster.varve(&["endpoint", "stop", "main"]);
        cluster.varve(&["endpoint", "start", "main"]);
        let verdict = ledger.check(ledger_rows(&cluster.connect("main").await).await);
        assert!(verdict.is_clean() && verdict.acknowledged >= 250, "{verdict:?}");
        let text = cluster.varve(&["timeline", "detail"]);
        let generation = text.split("granted generation ").nth(1).and_then(|rest| rest.split('\n').next());
        // One for each start: of `start`, of `up`, the second one's, and the last.
        assert!(generation.is_some_and(|it| it.trim().parse::<u32>().is_ok_and(|it| it >= 4)), "{text}");
    });
}

#[test]
fn a_pageserver_waits_for_a_quorum_and_says_so() {
    let cluster = Cluster::up("pageserver-without-quorum").need_not_evict("little is written");
    cluster.varve(&["pageserver", "stop"]);
    cluster.kill("safekeeper-1");
    cluster.kill("safekeeper-2");
    let second = Second::start(&cluster);
    block_on(async {
        let said = "does not answer";
        eventually("it says so", PATIENCE, async || second.log().contains(said)).await;
    });
    let log = second.log();
    assert!(log.contains("no quorum of safekeepers has granted a generation yet"), "{log}");
    assert!(!log.contains("pageserver is up"), "{log}");
    cluster.varve(&["safekeeper", "start", "--id", "1"]);
    block_on(async {
        let up = "pageserver is up";
        eventually("it goes on", PATIENCE, async || second.log().contains(up)).await;
    });
}

/// A branch that was made on the pageserver and on one safekeeper, as when the command died between the two.
#[test]
fn a_timeline_without_a_quorum_holds_up_its_own_tenant_alone() {
    let cluster = Cluster::up("half-a-branch").need_not_evict("it is about starts");
    let tenant = TenantId([0xab; 16]);
    cluster.varve(&["tenant", "create", "--tenant-id", &tenant.to_string()]);
    let client = PageserverClient::new(&cluster.http_address("pageserver"), cluster.credentials());
    let safekeeper =
        |id: u32| Client::new(&cluster.http_address(&format!("safekeeper-{id}")), cluster.credentials());
    block_on(async {
        let main = client.timelines(tenant).await.unwrap().remove(0);
        // With one safekeeper away the command does not begin.
        cluster.varve(&["safekeeper", "stop", "--id", "3"]);
        let branch = ["timeline", "branch", "--tenant-id", &tenant.to_string(), "--branch-name", "half"];
        cluster.refuses(&branch, "nothing was made");
        assert_eq!(client.timelines(tenant).await.unwrap().len(), 1);
        cluster.varve(&["safekeeper", "start", "--id", "3"]);

        let request = TimelineCreateRequest::branch(TimelineId([0xcd; 16]), main.timeline_id, None);
        let info = client.create_timeline(tenant, &request).await.unwrap();
        let ttid = TenantTimelineId::new(tenant, main.timeline_id);
        let members = safekeeper(1).timeline(ttid).await.unwrap().configuration.members;
        let on_safekeepers = safekeeper_api::http::TimelineCreateRequest {
            tenant_id: tenant,
            timeline_id: info.timeline_id,
            pg_version: info.pg_version,
            system_id: info.system_identifier.parse().unwrap(),
            wal_seg_size: info.wal_seg_size,
            start_lsn: info.initdb_lsn,
            members,
            configuration: None,
            ancestor: Some(Ancestor { timeline_id: main.timeline_id }),
        };
        for id in [1, 2] {
            safekeeper(id).create_timeline(&on_safekeepers).await.unwrap();
        }
        // One of them cannot read it, and the third has not got it.
        let directory = cluster.directory().join(format!("safekeepers/2/{tenant}/{}", info.timeline_id));
        let (control, aside) = (directory.join("control"), directory.join("aside"));
        cluster.varve(&["safekeeper", "stop", "--id", "2"]);
        std::fs::copy(&control, &aside).unwrap();
        std::fs::write(&control, "damaged").unwrap();
        cluster.varve(&["safekeeper", "start", "--id", "2"]);
        cluster.varve(&["endpoint", "stop", "main"]);
        cluster.varve(&["pageserver", "stop"]);
        cluster.varve(&["pageserver", "start"]);
        cluster.varve(&["endpoint", "start", "main"]);
        let connection = cluster.connect("main").await;
        connection.batch_execute("CREATE TABLE t AS SELECT 1 AS n").await.unwrap();
        let refused = client.timelines(tenant).await.unwrap_err().to_string();
        assert!(refused.contains("is not served yet"), "{refused}");
        let log = cluster.log("pageserver");
        assert!(log.contains("no quorum of safekeepers has granted it"), "{log}");

        cluster.varve(&["safekeeper", "stop", "--id", "2"]);
        std::fs::rename(&aside, &control).unwrap();
        cluster.varve(&["safekeeper", "start", "--id", "2"]);
        eventually("it is granted", PATIENCE, async || client.timelines(tenant).await.is_ok()).await;
        // With a receiver for what is written there.
        cluster.varve(&["endpoint", "create", "late", "--tenant-id", &tenant.to_string()]);
        cluster.varve(&["endpoint", "start", "late"]);
        let late = cluster.connect("late").await;
        late.batch_execute("CREATE TABLE t AS SELECT 1 AS n").await.unwrap();
        let end = late.query_one("SELECT pg_current_wal_flush_lsn()::text", &[]).await.unwrap();
        let end: Lsn = end.get::<_, String>(0).parse().unwrap();
        eventually("the pageserver has it", PATIENCE, async || {
            client.timeline(tenant, main.timeline_id).await.unwrap().last_record_lsn >= end
        })
        .await;
    });
}

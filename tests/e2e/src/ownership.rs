//! One pageserver owns a tenant at a time: a second one takes it over, and the first finds out before it does harm.

use std::net::TcpListener;
use std::path::PathBuf;
use std::process::Child;
use std::time::Duration;

use harness::{Cluster, Writers, block_on, eventually, ledger_rows, lsn};

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

//! An import that does not come to its end: a part is not there, the command is killed, or the pageserver. The same command
//! goes on, and what nobody goes on with can be deleted.

use std::fs::File;
use std::process::{Child, Stdio};
use std::time::Duration;

use harness::{Cluster, StockServer, block_on, connect, eventually, number};
use nix::sys::signal::Signal;
use pageserver_api::PageserverClient;
use safekeeper_api::http::{Client as SafekeeperClient, TimelineDeleteQuery};
use types::{TenantTimelineId, TimelineId};

use super::{connstr, endpoint, initdb};

const PATIENCE: Duration = Duration::from_secs(60);
const ROWS: i64 = 10_000;

/// Of one timeline, which becomes a branch with the name of its moment.
struct Import<'a> {
    cluster: &'a Cluster,
    stock: &'a str,
    branch: &'a str,
    id: TenantTimelineId,
}

impl<'a> Import<'a> {
    fn new(cluster: &'a Cluster, stock: &'a str, branch: &'a str) -> Self {
        let tenant = cluster.ids("main").0.parse().unwrap();
        Import { cluster, stock, branch, id: TenantTimelineId::new(tenant, TimelineId::generate()) }
    }

    fn arguments(&self) -> Vec<String> {
        let id = self.timeline();
        ["timeline", "import", "--branch-name", self.branch, "--timeline-id", &id, "--from", self.stock]
            .map(str::to_owned)
            .into()
    }

    /// Whether it came to its end, and what it said.
    fn run(&self) -> (bool, String) {
        let arguments = self.arguments();
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let output = self.cluster.try_varve(&arguments);
        (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
    }

    fn fails(&self, words: &str) -> String {
        let (success, said) = self.run();
        assert!(!success && said.contains(words), "{}: {said}", self.branch);
        said
    }

    /// Comes to its end, and the branch is what the server is.
    async fn succeeds(&self) -> String {
        let (success, said) = self.run();
        assert!(success, "{}: {said}", self.branch);
        let client = connect(&endpoint(self.cluster, self.branch).await).await.unwrap();
        assert_eq!(number(&client, "SELECT count(*) FROM t").await, ROWS, "{}", self.branch);
        client.batch_execute("INSERT INTO t VALUES (0)").await.unwrap();
        drop(client);
        self.cluster.varve(&["endpoint", "stop", self.branch, "--destroy"]);
        assert!(self.cluster.directory().join("import").read_link().is_err(), "its copy is left");
        said
    }

    /// Killed once it has said that, and what is to happen then has happened.
    async fn is_killed_at(&self, words: &str, then: impl AsyncFnOnce()) {
        let arguments = self.arguments();
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let log = self.cluster.directory().join(format!("{}.log", self.branch));
        let mut command = self.cluster.command(&arguments);
        let mut process =
            command.stdout(Stdio::null()).stderr(File::create(&log).unwrap()).spawn().expect("varve runs");
        let said = || std::fs::read_to_string(&log).unwrap();
        eventually(words, PATIENCE, async || said().contains(words)).await;
        then().await;
        assert_eq!(process.try_wait().unwrap(), None, "it came to its end: {}", said());
        process.kill().unwrap();
        process.wait().unwrap();
    }

    /// Safekeepers 1 and 2 have it, and safekeeper 3 does not.
    async fn is_killed_before_the_third(&self) {
        self.is_killed_at("recovering it", async || {
            self.cluster.signal("safekeeper-3", Signal::SIGSTOP);
            for id in [1, 2] {
                eventually("it has the timeline", PATIENCE, async || {
                    safekeeper(self.cluster, id).timeline(self.id).await.is_ok()
                })
                .await;
            }
        })
        .await;
        self.cluster.kill("safekeeper-3");
    }

    fn timeline(&self) -> String {
        self.id.timeline_id.to_string()
    }

    /// Files and objects of it, on the pageserver's disk and in object storage.
    fn traces(&self) -> Vec<String> {
        let mut traces = Vec::new();
        for place in ["pageserver/tenants", "remote_storage"] {
            let mut waiting = vec![self.cluster.directory().join(place)];
            while let Some(directory) = waiting.pop() {
                for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
                    let path = entry.path();
                    match path.is_dir() {
                        true => waiting.push(path),
                        false => traces.push(path.display().to_string()),
                    }
                }
            }
        }
        traces.retain(|path| path.contains(&self.timeline()));
        traces
    }
}

fn safekeeper(cluster: &Cluster, id: u64) -> SafekeeperClient {
    SafekeeperClient::new(&cluster.http_address(&format!("safekeeper-{id}")), cluster.credentials())
}

/// In the place of the cluster's own. It ends with the test, also where that fails.
struct Pageserver(Child);

impl Drop for Pageserver {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn pageserver(cluster: &Cluster, arguments: &[&str]) -> Pageserver {
    let log = File::create(cluster.directory().join("pageserver-of-the-test.log")).unwrap();
    let mut command = cluster.pageserver_command(&cluster.directory().join("pageserver"));
    Pageserver(command.args(arguments).stdout(Stdio::null()).stderr(log).spawn().expect("a pageserver"))
}

fn with_stock(name: &str, test: impl AsyncFnOnce(&Cluster, &str)) {
    let cluster = Cluster::up(name).need_not_evict("it reads what it has written just now");
    let port = cluster.safekeeper_port(150);
    let directory = initdb(&cluster, "stock", "postgres");
    let server = StockServer::start(&directory, port);
    let stock = connstr(port);
    block_on(async {
        let client = connect(&stock).await.unwrap();
        client.batch_execute("CREATE TABLE t AS SELECT generate_series(1, 10000) AS n").await.unwrap();
        test(&cluster, &stock).await;
    });
    drop(server);
}

#[test]
fn who_is_not_there_is_missed_before_there_is_work() {
    with_stock("import-alone", async |cluster, stock| {
        let import = Import::new(cluster, stock, "early");
        for (part, words) in [("safekeeper-2", "all of them must run"), ("pageserver", "does not answer")] {
            cluster.kill(part);
            let said = import.fails(words);
            assert!(said.contains("nothing was made") && !said.contains("base backup"), "{said}");
            cluster.varve(&["start"]);
        }
        import.succeeds().await;
        // What has come to its end is nobody else's.
        Import { branch: "other", ..import }.fails("is branch \"early\" already");
    });
}

#[test]
fn a_command_that_was_killed_is_repeated() {
    with_stock("import-killed", async |cluster, stock| {
        // Before it has sent anything: its copy goes, and the next one begins anew.
        let import = Import::new(cluster, stock, "recovering");
        import.is_killed_at("recovering it", async || {}).await;
        let left = cluster.directory().join("import").read_link().unwrap();
        assert!(left.join("data").is_dir());
        let said = import.succeeds().await;
        assert!(said.contains("taking a base backup") && !left.exists(), "{said}");

        // When safekeeper 3 has not made the timeline yet.
        let import = Import::new(cluster, stock, "making");
        import.is_killed_before_the_third().await;
        cluster.varve(&["safekeeper", "start"]);
        cluster.refuses(
            &["timeline", "create", "--branch-name", "x", "--timeline-id", &import.timeline()],
            "did not come to its end",
        );
        let said = import.succeeds().await;
        assert!(said.contains("going on with") && !said.contains("base backup"), "{said}");

        // When only safekeeper 1 has, and the pageserver looks for a quorum that grants it its tenant.
        let import = Import::new(cluster, stock, "granting");
        import.is_killed_before_the_third().await;
        let locally = TimelineDeleteQuery { only_local: true };
        safekeeper(cluster, 2).delete_timeline(import.id, locally).await.unwrap();
        cluster.varve(&["safekeeper", "start"]);
        // Those who lack it are a majority: together they would say that it is nobody's.
        cluster.signal("safekeeper-2", Signal::SIGSTOP);
        cluster.kill("pageserver");
        let waiting = pageserver(cluster, &[]);
        tokio::time::sleep(Duration::from_secs(2)).await;
        let client = PageserverClient::new(&cluster.http_address("pageserver"), cluster.credentials());
        client.tenant_config(import.id.tenant_id).await.expect_err("it has its tenant");
        cluster.signal("safekeeper-2", Signal::SIGCONT);
        let said = import.succeeds().await;
        assert!(said.contains("going on with"), "{said}");
        drop(waiting);
        cluster.varve(&["pageserver", "start"]);
        for id in 1..=3 {
            safekeeper(cluster, id).timeline(import.id).await.expect("each of them has it");
        }
    });
}

#[test]
fn a_pageserver_that_ended_in_the_midst_is_asked_again() {
    with_stock("import-crash", async |cluster, stock| {
        for (branch, point, words) in [
            ("layers", "after-put:ID:1", "taking a base backup"),
            ("index", "before-put:ID/index_part:1", "taking a base backup"),
            ("made", "after-put:ID/index_part:1", "going on with"),
        ] {
            let import = Import::new(cluster, stock, branch);
            let id = import.timeline();
            cluster.varve(&["pageserver", "stop"]);
            let mut crashing =
                pageserver(cluster, &["--allow-faults", "--crash-at", &point.replace("ID", &id)]);
            let client = PageserverClient::new(&cluster.http_address("pageserver"), cluster.credentials());
            eventually("it answers", PATIENCE, async || client.status().await.is_ok()).await;
            let said = import.fails("may be there or not");
            assert!(said.contains(&format!("--timeline-id {id}")), "{said}");
            crashing.0.wait().unwrap();
            cluster.varve(&["pageserver", "start"]);
            assert!(!import.traces().is_empty());
            if branch == "index" {
                // Nobody goes on with it.
                cluster.varve(&["timeline", "delete", "--timeline-id", &id]);
                assert_eq!(import.traces(), [""; 0]);
                import.fails("was deleted");
                continue;
            }
            let said = import.succeeds().await;
            assert!(said.contains(words), "{point}: {said}");
        }
    });
}

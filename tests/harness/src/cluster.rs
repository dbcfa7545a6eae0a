//! [`Cluster`]: broker, safekeepers, pageserver and endpoints, run by the command line tool itself.

use std::fs::File;
use std::io::{Read, Seek};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::{Mutex, OnceLock};
use std::time::Duration;

use auth::{Credentials, Trust};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use tokio_postgres::{Client, NoTls};
use types::{Lsn, PgVersion};

use crate::cache_log::CacheActivity;
use crate::ports::PortRange;
use crate::programs::{describe, pg_version, program};
use crate::settings::EndpointSettings;

/// Root of all test directories; below /tmp so that the user `postgres` gets there.
const TESTS: &str = "/tmp/varve-tests";

pub struct Cluster {
    directory: PathBuf,
    ports: PortRange,
    settings: EndpointSettings,
    /// Object storage other than its own directory.
    remote: Option<Remote>,
    /// Why a full cache may do without evictions and blocks that are fetched again.
    excuse: Option<&'static str>,
    /// Endpoints go on with the cache of their last stop, as users' do. Else they begin with nothing when they are started.
    keeps_caches: bool,
    /// Logs of endpoints that the test deletes. They can still be read, to the end, after their names are gone.
    deleted_logs: Mutex<Vec<File>>,
}

/// Where a cluster's objects are, and what its daemons need in their environment for that.
pub struct Remote {
    /// As `varve init` takes it.
    pub remote_storage: String,
    pub environment: Vec<(&'static str, String)>,
}

impl Cluster {
    /// A new cluster with its first database running. `name` is the test's.
    pub fn up(name: &str) -> Cluster {
        Cluster::up_with(name, &[])
    }

    /// With settings, as NAME=VALUE, on each of its endpoints.
    pub fn up_with(name: &str, settings: &[&str]) -> Cluster {
        let cluster = Cluster::make(name, EndpointSettings::of_this_run().and(settings));
        cluster.varve(&["up"]);
        cluster
    }

    /// The parts speak TLS among themselves. Clients come in without, since few tests have one that can do otherwise.
    pub fn up_with_tls(name: &str) -> Cluster {
        let cluster = Cluster::make_on(name, EndpointSettings::of_this_run(), None, true);
        cluster.varve(&["up"]);
        cluster
    }

    /// On an object store that is not a directory, with lines at the head of its `pageserver.toml`.
    pub fn up_on(name: &str, remote: Remote, pageserver: &str) -> Cluster {
        let cluster = Cluster::init_on(name, remote);
        cluster.up_with_lines("", pageserver);
        cluster
    }

    /// With lines at the head of its `config.toml` and of its `pageserver.toml`.
    pub fn up_configured(name: &str, config: &str, pageserver: &str) -> Cluster {
        let cluster = Cluster::init(name);
        cluster.up_with_lines(config, pageserver);
        cluster
    }

    fn up_with_lines(&self, config: &str, pageserver: &str) {
        self.varve(&["start"]);
        self.varve(&["stop"]);
        self.configure("config.toml", config);
        self.configure("pageserver/pageserver.toml", pageserver);
        self.varve(&["up"]);
    }

    /// Restarts the pageserver with lines at the head of its `pageserver.toml`.
    pub fn reconfigure_pageserver(&self, lines: &str) {
        self.varve(&["pageserver", "stop"]);
        self.configure("pageserver/pageserver.toml", lines);
        self.varve(&["pageserver", "start"]);
    }

    /// Puts lines at the head of a file that `varve` has written.
    pub fn configure(&self, file: &str, lines: &str) {
        let path = self.directory.join(file);
        let text = std::fs::read_to_string(&path).expect("a file that varve has written");
        std::fs::write(&path, format!("{lines}\n{text}")).expect("it can be changed");
    }

    /// A new cluster of which nothing runs yet.
    pub fn init(name: &str) -> Cluster {
        Cluster::make(name, EndpointSettings::of_this_run())
    }

    /// The same on an object store that is not a directory, and may have something in it.
    pub fn init_on(name: &str, remote: Remote) -> Cluster {
        Cluster::make_on(name, EndpointSettings::of_this_run(), Some(remote), tls_in_this_run())
    }

    fn make(name: &str, settings: EndpointSettings) -> Cluster {
        Cluster::make_on(name, settings, None, tls_in_this_run())
    }

    fn make_on(name: &str, settings: EndpointSettings, remote: Option<Remote>, tls: bool) -> Cluster {
        let ports = PortRange::reserve();
        let directory = Path::new(TESTS).join(format!("{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&directory);
        let template = directory.join("template");
        std::fs::create_dir_all(&template).expect("a directory for the test");
        let version = pg_version().to_string();
        let template_file = template.join(format!("pg{version}.tar.zst"));
        std::fs::copy(shared_template(), template_file).expect("a copy of the template");
        let deleted_logs = Mutex::default();
        let cluster =
            Cluster { directory, ports, settings, remote, excuse: None, keeps_caches: false, deleted_logs };
        let base = cluster.ports.base.to_string();
        let mut init = vec!["init", "--port-base", &base, "--pg-version", &version];
        if let Some(remote) = &cluster.remote {
            init.extend(["--remote-storage", &remote.remote_storage]);
        }
        if tls {
            init.push("--tls");
        }
        cluster.varve(&init);
        if tls {
            std::fs::remove_file(cluster.directory.join("tls/server.pem"))
                .expect("a certificate of endpoints");
        }
        if !cluster.settings.is_empty() {
            cluster.create_main();
        }
        cluster
    }

    /// What `varve up` would do by itself, and then start the endpoint with no settings at all.
    fn create_main(&self) {
        self.varve(&["start"]);
        self.varve(&["tenant", "create", "--set-default"]);
        self.varve(&["endpoint", "create", "main"]);
        self.varve(&["stop"]);
    }

    /// For a test that fills even a bounded cache and still cannot see blocks evicted and fetched again.
    pub fn need_not_evict(mut self, because: &'static str) -> Cluster {
        self.excuse = Some(because);
        self
    }

    /// For a test of what a stop leaves.
    pub fn keeping_caches(mut self) -> Cluster {
        self.keeps_caches = true;
        self
    }

    /// Whether the caches of its endpoints are so small that they show in what endpoints do.
    pub fn is_cache_bounded(&self) -> bool {
        self.settings.cache_bound().is_some()
    }

    pub fn directory(&self) -> &Path {
        &self.directory
    }

    pub fn credentials(&self) -> Credentials {
        let token = Credentials::load(&self.directory.join("auth/private/admin"));
        token.expect("the administrator's token").believing(self.trust())
    }

    /// Whom to believe, if the parts speak TLS.
    pub fn trust(&self) -> Option<Trust> {
        let authority = self.authority();
        authority.exists().then(|| Trust::load(&authority).expect("the certificate of the authority"))
    }

    /// Of the parts, whether they speak TLS or not.
    pub fn authority(&self) -> PathBuf {
        self.directory.join("tls/parts-ca.pem")
    }

    /// `http` or `https`
    pub fn scheme(&self) -> &'static str {
        if self.authority().exists() { "https" } else { "http" }
    }

    /// The file with the token of who may look at all parts, and do nothing: Prometheus.
    pub fn monitor_token_file(&self) -> PathBuf {
        self.directory.join("auth/tokens/monitor")
    }

    /// A port of this cluster's range that `varve` gives to nobody.
    pub fn spare_port(&self) -> u16 {
        self.ports.base + 99
    }

    /// Runs `varve` and returns its standard output; it must succeed.
    pub fn varve(&self, arguments: &[&str]) -> String {
        let output = self.try_varve(arguments);
        assert!(output.status.success(), "varve {arguments:?}: {}", describe(&output));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Runs `varve --json` and returns the document that it prints.
    pub fn varve_json(&self, arguments: &[&str]) -> Value {
        let text = self.varve(&[&["--json"], arguments].concat());
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("varve {arguments:?}: {error} in {text}"))
    }

    /// A command that is to fail, and to say this.
    pub fn refuses(&self, arguments: &[&str], because: &str) {
        let output = self.try_varve(arguments);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && said.contains(because), "{arguments:?}: {said}");
    }

    /// A pageserver of this cluster beside, or instead of, the one that `varve` runs.
    pub fn pageserver_command(&self, workdir: &Path) -> Command {
        let safekeepers = [1, 2, 3].map(|id| self.http_address(&format!("safekeeper-{id}")));
        let mut command = Command::new(program("pageserver"));
        command.arg("--workdir").arg(workdir).args(["--safekeepers", &safekeepers.join(",")]);
        command.stdin(Stdio::null());
        command
    }

    /// Runs `varve`, which may fail.
    pub fn try_varve(&self, arguments: &[&str]) -> Output {
        let deleted_log = match arguments {
            ["endpoint", "delete", endpoint] | ["endpoint", "stop", endpoint, "--destroy"] => {
                File::open(self.postgres_log(endpoint)).ok()
            }
            _ => None,
        };
        let output = self.command(arguments).output().expect("varve runs");
        if output.status.success() {
            self.deleted_logs.lock().expect("no panic").extend(deleted_log);
        }
        output
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(program("varve"));
        command.arg("--data-dir").arg(&self.directory).args(self.settings.added_to(arguments));
        if arguments.starts_with(&["endpoint", "start"]) && !self.keeps_caches {
            command.arg("--cold");
        }
        command.envs(self.remote.iter().flat_map(|remote| remote.environment.clone()));
        command
    }

    /// Runs `varve` where the programs of that PostgreSQL are, which this machine's release may not have.
    pub fn varve_on(&self, version: PgVersion, arguments: &[&str]) -> String {
        let with_postgres = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts/with-postgres");
        let varve = self.command(arguments);
        let mut command = Command::new(with_postgres);
        command.arg(version.to_string()).arg(varve.get_program()).args(varve.get_args());
        crate::run(&mut command)
    }

    pub fn connstr(&self, endpoint: &str) -> String {
        self.varve(&["connstr", endpoint]).trim().to_owned()
    }

    pub async fn connect(&self, endpoint: &str) -> Client {
        self.try_connect(endpoint)
            .await
            .unwrap_or_else(|error| panic!("cannot connect to {endpoint}: {error:?}"))
    }

    pub async fn try_connect(&self, endpoint: &str) -> Result<Client, tokio_postgres::Error> {
        connect(&self.connstr(endpoint)).await
    }

    /// Pid of a process as `varve` names it in its run directory: `broker`, `safekeeper-2`, `endpoint-main`.
    pub fn pid(&self, process: &str) -> Option<i32> {
        let text = std::fs::read_to_string(self.directory.join(format!("run/{process}.pid"))).ok()?;
        let pid = text.split_ascii_whitespace().next()?.parse().ok()?;
        is_running(pid).then_some(pid)
    }

    /// `kill -9`; panics if it was not running, since then the fault would not have happened.
    pub fn kill(&self, process: &str) {
        self.signal(process, Signal::SIGKILL);
        let pid_gone = || self.pid(process).is_none();
        let started = std::time::Instant::now();
        while !pid_gone() {
            assert!(started.elapsed() < Duration::from_secs(10), "{process} survived SIGKILL");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    pub fn signal(&self, process: &str, signal: Signal) {
        let pid = self.pid(process).unwrap_or_else(|| panic!("{process} does not run"));
        kill(Pid::from_raw(pid), signal).unwrap_or_else(|error| panic!("cannot signal {process}: {error}"));
    }

    /// Pid of the postmaster of an endpoint.
    pub fn postmaster_pid(&self, endpoint: &str) -> i32 {
        let file = self.pgdata(endpoint).join("postmaster.pid");
        let text = std::fs::read_to_string(&file).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
        text.lines().next().and_then(|line| line.trim().parse().ok()).expect("a pid in postmaster.pid")
    }

    pub fn pgdata(&self, endpoint: &str) -> PathBuf {
        self.directory.join("endpoints").join(endpoint).join("compute/pgdata")
    }

    /// PostgreSQL's own log of an endpoint, which goes on over all its starts.
    pub fn postgres_log(&self, endpoint: &str) -> PathBuf {
        self.pgdata(endpoint).with_file_name("postgres.log")
    }

    /// What the caches of all endpoints have done so far, as their logs say.
    pub fn cache_activity(&self) -> CacheActivity {
        let endpoints = std::fs::read_dir(self.directory.join("endpoints")).into_iter().flatten().flatten();
        let present = endpoints
            .filter_map(|entry| File::open(self.postgres_log(&entry.file_name().to_string_lossy())).ok())
            .map(activity);
        let deleted = self.deleted_logs.lock().expect("no panic");
        present.chain(deleted.iter().map(activity)).sum()
    }

    pub fn log(&self, process: &str) -> String {
        std::fs::read_to_string(self.directory.join(format!("run/{process}.log"))).unwrap_or_default()
    }

    /// Address of the HTTP API of a daemon, or of the compute of `endpoint-NAME`.
    pub fn http_address(&self, daemon: &str) -> String {
        if let Some(endpoint) = daemon.strip_prefix("endpoint-") {
            let endpoints = self.varve_json(&["endpoint", "list"]);
            let mut all = endpoints.as_array().expect("endpoints").iter();
            let found = all.find(|other| other["endpoint"] == endpoint).expect("an endpoint of that name");
            return format!("127.0.0.1:{}", found["http_port"]);
        }
        let offset = match daemon {
            "broker" => 0,
            "pageserver" => 2,
            other => {
                let id: u16 = other.trim_start_matches("safekeeper-").parse().expect("safekeeper-N");
                30 + id
            }
        };
        format!("127.0.0.1:{}", self.ports.base + offset)
    }

    pub fn page_service_address(&self) -> String {
        format!("127.0.0.1:{}", self.ports.base + 1)
    }

    /// Port of a safekeeper's WAL service.
    pub fn safekeeper_port(&self, id: u16) -> u16 {
        self.ports.base + 10 + id
    }

    /// Sum over all labels of a metric of a daemon.
    pub fn metric(&self, daemon: &str, name: &str) -> f64 {
        self.metric_so_far(daemon, name).unwrap_or_else(|| panic!("{daemon} has no metric {name}"))
    }

    /// The same; none if it has had no occasion yet, and is not shown.
    pub fn metric_so_far(&self, daemon: &str, name: &str) -> Option<f64> {
        let text = self.get(daemon, "/metrics");
        let value = |line: &str| {
            let rest = line.strip_prefix(name)?;
            rest.starts_with([' ', '{']).then(|| line.rsplit(' ').next()?.parse::<f64>().ok())?
        };
        text.lines().filter_map(value).reduce(|one, other| one + other)
    }

    /// A branch as a plain data directory, which is made here.
    pub fn export(&self, branch: &str, directory: &Path) {
        let directory = directory.display().to_string();
        self.varve(&["timeline", "export", "--branch-name", branch, "-o", &directory]);
    }

    /// What the compute of an endpoint says about itself.
    pub fn compute_status(&self, endpoint: &str) -> Value {
        serde_json::from_str(&self.get(&format!("endpoint-{endpoint}"), "/v1/status")).expect("JSON")
    }

    /// Body of a GET of a daemon's HTTP API.
    pub fn get(&self, daemon: &str, path: &str) -> String {
        let url = format!("{}://{}{path}", self.scheme(), self.http_address(daemon));
        let mut command = Command::new("curl");
        if self.trust().is_some() {
            command.arg("--cacert").arg(self.authority());
        }
        command
            .args(["-sS", "--fail-with-body", "-H"])
            .arg(format!("Authorization: {}", self.credentials().bearer()));
        crate::run(command.arg(url))
    }

    /// Default tenant and the timeline of a branch.
    pub fn ids(&self, branch: &str) -> (String, String) {
        let tenants = self.varve_json(&["tenant", "list"]);
        let tenant = tenants
            .as_array()
            .and_then(|all| all.iter().find(|t| t["default"] == true))
            .expect("a default tenant");
        let timeline = tenant["branches"][branch].as_str().unwrap_or_else(|| panic!("no branch {branch}"));
        (tenant["tenant_id"].as_str().expect("an id").to_owned(), timeline.to_owned())
    }

    /// What a safekeeper says of a branch.
    pub fn safekeeper_timeline(&self, id: u16, branch: &str) -> Value {
        let (tenant, timeline) = self.ids(branch);
        let text = self.get(&format!("safekeeper-{id}"), &format!("/v1/tenant/{tenant}/timeline/{timeline}"));
        serde_json::from_str(&text).expect("JSON")
    }

    /// What the pageserver says of a branch.
    pub fn pageserver_timeline(&self, branch: &str) -> Value {
        let (tenant, timeline) = self.ids(branch);
        let text = self.get("pageserver", &format!("/v1/tenant/{tenant}/timeline/{timeline}"));
        serde_json::from_str(&text).expect("JSON")
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let _ = self.command(&["down", "--mode", "immediate"]).output();
        let kept = format!("the failed test's cluster is kept in {}", self.directory.display());
        if std::thread::panicking() {
            eprintln!("{kept}");
            return;
        }
        let activity = self.cache_activity();
        let bound = self.settings.cache_bound().filter(|_| self.excuse.is_none());
        if let Some(fault) = activity.fault(bound) {
            panic!("{fault}: {activity}; {kept}");
        }
        if let Some(excuse) = self.excuse {
            eprintln!("this test need not evict: {excuse}");
        }
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

/// `VARVE_TEST_TLS=1`: the same tests on clusters whose parts speak TLS among themselves.
fn tls_in_this_run() -> bool {
    std::env::var_os("VARVE_TEST_TLS").is_some_and(|value| value == "1")
}

pub async fn connect(connstr: &str) -> Result<Client, tokio_postgres::Error> {
    let (client, connection) = tokio_postgres::connect(connstr, NoTls).await?;
    tokio::spawn(connection);
    Ok(client)
}

fn activity(mut log: impl Read + Seek) -> CacheActivity {
    let mut bytes = Vec::new();
    log.rewind().and_then(|()| log.read_to_end(&mut bytes)).expect("a log to read");
    // Not all of it is text: PostgreSQL logs what clients send.
    CacheActivity::of_log(&String::from_utf8_lossy(&bytes))
}

/// The one number that a query gives.
pub async fn number(client: &Client, query: &str) -> i64 {
    client.query_one(query, &[]).await.unwrap_or_else(|error| panic!("{query}: {error:?}")).get(0)
}

/// An LSN out of a JSON document.
pub fn lsn(value: &Value) -> Lsn {
    value.as_str().and_then(|text| text.parse().ok()).unwrap_or_else(|| panic!("{value} is not an LSN"))
}

fn is_running(pid: i32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat"))
        .ok()
        .and_then(|stat| stat.rsplit_once(") ").map(|(_, rest)| !rest.starts_with(['Z', 'X'])))
        .unwrap_or(false)
}

/// initdb's output is the same for all clusters: made once a test process.
fn shared_template() -> &'static Path {
    static TEMPLATE: OnceLock<tempfile::TempDir> = OnceLock::new();
    static FILE: OnceLock<PathBuf> = OnceLock::new();
    FILE.get_or_init(|| {
        let directory = TEMPLATE.get_or_init(|| tempfile::tempdir().expect("a directory"));
        let cluster = directory.path().join("cluster");
        let mut command = Command::new(program("varve"));
        let version = pg_version().to_string();
        crate::run(command.arg("--data-dir").arg(&cluster).args(["init", "--pg-version", &version]));
        cluster.join(format!("template/pg{version}.tar.zst"))
    })
}

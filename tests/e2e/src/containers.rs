//! What containers are made of, without containers: the entry point of the storage image, and a cluster whose parts
//! have hosts of their own. The hosts here are addresses of this machine.

mod network;
mod replicas;
mod running;
mod services;
mod tls;

use std::io::Write;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use auth::Credentials;
use harness::{block_on, eventually, program};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use safekeeper_api::http::Client;
use tempfile::TempDir;
use types::{NodeId, TenantTimelineId};

const SAYS_ITS_ARGUMENTS: &str = "#!/bin/sh
for argument; do echo \"$argument\"; done
echo \"credentials=$AWS_SHARED_CREDENTIALS_FILE\"
";

/// Runs the entry point with programs that only say what they were started with, and where credentials are.
fn entry_point(data: &Path, part: &str, environment: &[(&str, &str)]) -> Vec<String> {
    let output = run_entry_point(data, part, environment);
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

fn run_entry_point(data: &Path, part: &str, environment: &[(&str, &str)]) -> Output {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let bin = data.join("bin");
    make_program(&bin.join(part), SAYS_ITS_ARGUMENTS);
    Command::new(root.join("docker/storage-entrypoint"))
        .arg(part)
        .env("PATH", format!("{}:/usr/bin:/bin", bin.display()))
        .env("VARVE_DIR", data.join("cluster"))
        .env("VARVE_CONFIGURATION", root.join("docker"))
        .envs(environment.iter().copied())
        .output()
        .unwrap()
}

/// Another process writes it: what this one has open for writing, a child that another test starts has open too for a
/// moment, and a program that somebody writes cannot be run ("Text file busy").
fn make_program(path: &Path, script: &str) {
    let mut install = Command::new("install");
    install.args(["-D", "-m", "755", "/dev/stdin"]).arg(path).stdin(Stdio::piped());
    let mut install = install.spawn().unwrap();
    install.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
    assert!(install.wait().unwrap().success());
}

fn value<'a>(arguments: &'a [String], flag: &str) -> &'a str {
    let found = arguments.iter().find_map(|argument| argument.strip_prefix(flag)?.strip_prefix('='));
    found.unwrap_or_else(|| panic!("{flag} is not among {arguments:?}"))
}

/// Volumes as `init` leaves them.
fn volumes() -> TempDir {
    let data = tempfile::tempdir().unwrap();
    for directory in ["cluster/auth/tokens", "pageserver", "object_storage", "s3_keys"] {
        std::fs::create_dir_all(data.path().join(directory)).unwrap();
    }
    std::fs::write(data.path().join("cluster/auth/tokens/monitor"), "token").unwrap();
    std::fs::write(data.path().join("cluster/config.toml"), "format_version = 1\n").unwrap();
    data
}

#[test]
fn the_entry_point_takes_a_bucket() {
    let data = volumes();
    let file = data.path().join("pageserver/pageserver.toml");
    let volume =
        toml::from_str(&format!("local_path = \"{}/object_storage\"", data.path().display())).unwrap();
    let bucket = "{ bucket_name = \"b\", endpoint = \"http://store:9000\" }";
    let of_bucket: toml::Table = toml::from_str(&format!("it = {bucket}")).unwrap();
    let config = || std::fs::read_to_string(&file).unwrap().parse::<toml::Table>().unwrap();

    let safekeeper = entry_point(data.path(), "safekeeper", &[("VARVE_REMOTE_STORAGE", "")]);
    let said: toml::Table = value(&safekeeper, "--remote-storage").parse().unwrap();
    assert_eq!(said, volume);
    let safekeeper = entry_point(data.path(), "safekeeper", &[("VARVE_REMOTE_STORAGE", bucket)]);
    assert_eq!(value(&safekeeper, "--remote-storage"), bucket);

    let pageserver = entry_point(data.path(), "pageserver", &[("VARVE_SAFEKEEPERS", "")]);
    assert_eq!(value(&pageserver, "--safekeepers"), "safekeeper1:7676,safekeeper2:7676,safekeeper3:7676");
    let mut of_image = config();
    // There and back: nothing of the one is left in the other.
    let environment = [("VARVE_REMOTE_STORAGE", bucket), ("VARVE_SAFEKEEPERS", "safekeeper4:7676")];
    let pageserver = entry_point(data.path(), "pageserver", &environment);
    assert_eq!(value(&pageserver, "--safekeepers"), "safekeeper4:7676");
    assert_eq!(config()["remote_storage"], of_bucket["it"]);
    let before = of_image.insert("remote_storage".to_owned(), of_bucket["it"].clone());
    assert_eq!(config(), of_image, "only object storage is another");
    entry_point(data.path(), "pageserver", &[]);
    assert_eq!(Some(config()["remote_storage"].clone()), before);

    // TLS comes and goes beside it.
    let cluster = data.path().join("cluster").display().to_string();
    std::fs::write(format!("{cluster}/config.toml"), "format_version = 1\ntls = true\n").unwrap();
    for host in ["pageserver", "wal3.example.org", "storage_broker"] {
        std::fs::create_dir_all(format!("{cluster}/auth/hosts/{host}")).unwrap();
        std::fs::write(format!("{cluster}/auth/hosts/{host}/parts-key.pem"), "").unwrap();
    }
    entry_point(data.path(), "pageserver", &[("VARVE_REMOTE_STORAGE", bucket)]);
    let with_both = config();
    assert_eq!(with_both["remote_storage"], of_bucket["it"]);
    assert_eq!(with_both["broker_endpoint"].as_str(), Some("https://storage_broker:50051"));
    let own = format!("{cluster}/auth/hosts/pageserver/parts.pem");
    assert_eq!(with_both["tls_cert_file"].as_str(), Some(own.as_str()));
    assert_eq!(with_both["tls_ca_file"].as_str(), Some(format!("{cluster}/tls/parts-ca.pem").as_str()));
    assert_eq!(with_both["listen_pg_addr"], of_image["listen_pg_addr"]);
    let broker = entry_point(data.path(), "storage_broker", &[]);
    assert!(value(&broker, "--tls-key-file").ends_with("/storage_broker/parts-key.pem"));
    assert!(
        !broker.iter().any(|flag| flag.starts_with("--tls-ca-file")),
        "it connects to nobody: {broker:?}"
    );
}

#[test]
fn the_entry_point_takes_the_server_beside_it_and_stays_with_what_it_began_with() {
    let data = volumes();
    let s3 = [("VARVE_REMOTE_STORAGE", "s3")];
    let bucket = [("VARVE_REMOTE_STORAGE", "{ bucket_name = \"b\" }")];
    let (credentials, object) =
        (data.path().join("s3_keys/credentials"), data.path().join("object_storage/a/b"));
    let refuses = |part, environment: &[(&str, &str)], because: &str| {
        let output = run_entry_point(data.path(), part, environment);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && said.contains(because), "{part} {environment:?}: {output:?}");
    };

    std::fs::create_dir(object.parent().unwrap()).unwrap();
    std::fs::write(&object, "an object").unwrap();
    for part in ["safekeeper", "pageserver"] {
        refuses(part, &s3, "it goes on without VARVE_REMOTE_STORAGE");
        refuses(part, &bucket, "it goes on without VARVE_REMOTE_STORAGE");
    }
    std::fs::remove_file(&object).unwrap();
    std::fs::write(&credentials, "[default]\n").unwrap();
    for part in ["safekeeper", "pageserver"] {
        refuses(part, &[], "it goes on with VARVE_REMOTE_STORAGE=s3");
        refuses(part, &bucket, "it goes on with VARVE_REMOTE_STORAGE=s3");
    }
    // It stores nothing.
    entry_point(data.path(), "storage_broker", &[]);

    let safekeeper = entry_point(data.path(), "safekeeper", &s3);
    let said: toml::Table =
        toml::from_str(&format!("it = {}", value(&safekeeper, "--remote-storage"))).unwrap();
    assert_eq!(said["it"]["endpoint"].as_str(), Some("http://s3:3900"));
    let pageserver = entry_point(data.path(), "pageserver", &s3);
    let config = std::fs::read_to_string(data.path().join("pageserver/pageserver.toml")).unwrap();
    assert_eq!(config.parse::<toml::Table>().unwrap()["remote_storage"], said["it"]);
    for arguments in [safekeeper, pageserver] {
        assert_eq!(Path::new(value(&arguments, "credentials")), credentials);
    }
    // A bucket elsewhere has credentials of its own.
    std::fs::remove_file(&credentials).unwrap();
    let elsewhere = entry_point(data.path(), "safekeeper", &bucket);
    assert_eq!(value(&elsewhere, "credentials"), "");
}

/// Daemons that are alone on their hosts, as in containers.
struct Hosts {
    place: TempDir,
    network: [u8; 2],
    daemons: Vec<(String, Child)>,
}

impl Hosts {
    fn new() -> Hosts {
        // Addresses that no other test on this machine has.
        let pid = std::process::id();
        let network = [100 + (pid % 100) as u8, (pid / 100 % 250) as u8];
        Hosts { place: tempfile::tempdir_in("/tmp").unwrap(), network, daemons: Vec::new() }
    }

    fn directory(&self) -> PathBuf {
        self.place.path().join("cluster")
    }

    fn host(&self, number: u8) -> String {
        Ipv4Addr::new(127, self.network[0], self.network[1], number).to_string()
    }

    fn varve(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(program("varve"));
        command.arg("--data-dir").arg(self.directory()).args(arguments);
        command.output().unwrap()
    }

    fn succeeds(&self, arguments: &[&str]) -> String {
        let output = self.varve(arguments);
        assert!(output.status.success(), "{arguments:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    fn refuses(&self, arguments: &[&str], because: &str) {
        let output = self.varve(arguments);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && said.contains(because), "{arguments:?}: {said}");
    }

    fn start(&mut self, name: &str, arguments: &[String]) {
        let log = std::fs::File::create(self.place.path().join(format!("{name}.log"))).unwrap();
        let mut command = Command::new(program(name.trim_end_matches(|c: char| c.is_ascii_digit())));
        command.args(arguments).stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        self.daemons.push((name.to_owned(), command.spawn().unwrap()));
    }

    fn start_storage(&mut self) {
        let (keys, storage) = (self.directory().join("auth"), self.place.path().join("objects"));
        let listen = format!("--listen-addr={}:50051", self.host(100));
        self.start("storage_broker", &[listen, format!("--auth-public-key-path={}/public", keys.display())]);
        (1..=3).for_each(|id| self.start_safekeeper(id));
        let workdir = self.place.path().join("pageserver");
        std::fs::create_dir(&workdir).unwrap();
        let host = self.host(101);
        let config = format!(
            "id = 1\nlisten_pg_addr = \"{host}:64000\"\nlisten_http_addr = \"{host}:9898\"\n\
             broker_endpoint = \"http://{}:50051\"\nauth_public_key_path = \"{keys}/public\"\n\
             auth_token_file = \"{keys}/tokens/pageserver\"\n\
             remote_storage = {{ local_path = \"{}\" }}\n",
            self.host(100),
            storage.display(),
            keys = keys.display()
        );
        std::fs::write(workdir.join("pageserver.toml"), config).unwrap();
        let safekeepers = [1, 2, 3].map(|id| format!("{}:7676", self.host(id))).join(",");
        let arguments = [format!("--workdir={}", workdir.display()), format!("--safekeepers={safekeepers}")];
        self.start("pageserver", &arguments);
    }

    fn start_safekeeper(&mut self, id: u8) {
        let (place, host, broker) = (self.place.path(), self.host(id), self.host(100));
        let keys = self.directory().join("auth");
        let arguments = [
            format!("--id={id}"),
            format!("--datadir={}", place.join(format!("wal{id}")).display()),
            format!("--listen-pg={host}:5454"),
            format!("--listen-http={host}:7676"),
            format!("--broker-endpoint=http://{broker}:50051"),
            format!("--auth-public-key-path={}", keys.join("public").display()),
            format!("--auth-token-file={}", keys.join("tokens/safekeeper").display()),
            format!("--remote-storage=local_path = \"{}\"", place.join("objects").display()),
        ];
        self.start(&format!("safekeeper{id}"), &arguments);
    }

    fn kill(&self, name: &str) {
        let (_, daemon) = self.daemons.iter().find(|(other, _)| other == name).unwrap();
        kill(Pid::from_raw(daemon.id().cast_signed()), Signal::SIGKILL).unwrap();
    }

    /// Members of the timeline as a safekeeper knows them, with where they are. A change is made when a quorum knows it;
    /// the others hear of it.
    async fn members(&self, of: u8, ttid: TenantTimelineId) -> Vec<(NodeId, String)> {
        let credentials = Credentials::load(&self.directory().join("auth/private/admin")).unwrap();
        let client = Client::new(&format!("{}:7676", self.host(of)), credentials);
        let mut members = Vec::new();
        eventually("a change of members is over", Duration::from_secs(30), async || {
            let configuration = client.timeline(ttid).await.unwrap().configuration;
            members = configuration.members;
            configuration.new_members.is_none()
        })
        .await;
        members.into_iter().map(|member| (member.id, member.http_connstr)).collect()
    }
}

impl Drop for Hosts {
    fn drop(&mut self) {
        for (_, daemon) in &mut self.daemons {
            let _ = daemon.kill();
            let _ = daemon.wait();
        }
    }
}

#[test]
fn safekeepers_with_hosts_of_their_own_come_and_go() {
    let mut hosts = Hosts::new();
    let safekeepers = [1, 2, 3].map(|id| hosts.host(id)).join(",");
    let (broker, pageserver) = (hosts.host(100), hosts.host(101));
    let init = [
        ["container", "init", "--broker", &broker, "--pageserver"],
        [&pageserver, "--safekeepers", &safekeepers, "--password", "secret"],
    ]
    .concat();
    let mut first_init = Command::new(program("varve"));
    first_init.arg("--data-dir").arg(hosts.directory()).args(&init);
    // The parts wait for their tokens, and it for them.
    let first_init = first_init.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let token = hosts.directory().join("auth/tokens/monitor");
    block_on(eventually("a token", Duration::from_secs(30), async || token.exists()));
    hosts.start_storage();
    let output = first_init.wait_with_output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let list: serde_json::Value =
        serde_json::from_str(&hosts.succeeds(&["--json", "timeline", "list"])).unwrap();
    let first = &list.as_array().unwrap_or_else(|| panic!("{list}"))[0];
    let id = |name: &str| first[name].as_str().unwrap_or_else(|| panic!("{list}")).to_owned();
    let ttid = TenantTimelineId::new(id("tenant_id").parse().unwrap(), id("timeline_id").parse().unwrap());

    // Names are kept in one place, and storage has the rest.
    for lost in ["branches.json", "first_tenant.json"] {
        std::fs::remove_file(hosts.directory().join(lost)).unwrap();
    }
    hosts.refuses(&init, "init recover");
    let said = hosts.succeeds(&["recover"]);
    assert!(said.contains(&format!("timeline {} had no name here", ttid.timeline_id)), "{said}");
    let said = hosts.succeeds(&init);
    assert!(said.contains("was recovered") && said.contains(&ttid.timeline_id.to_string()), "{said}");

    let (third, fourth) = (hosts.host(3), hosts.host(4));
    hosts.refuses(&["safekeeper", "add", "4"], "--host");
    hosts.refuses(&["safekeeper", "add", "4", "--host", &fourth], "has to be started before");
    hosts.refuses(&["safekeeper", "add", "4", "--host", &third], "is safekeeper 3");
    hosts.start_safekeeper(4);
    block_on(async {
        eventually("the fourth is added", Duration::from_secs(30), async || {
            hosts.varve(&["safekeeper", "add", "4", "--host", &fourth]).status.success()
        })
        .await;
        let at = |id: u8| (NodeId(id.into()), format!("{}:7676", hosts.host(id)));
        assert_eq!(hosts.members(4, ttid).await, [1, 2, 3, 4].map(at));
        // One that is dead as well.
        hosts.kill("safekeeper2");
        let said = hosts.succeeds(&["safekeeper", "remove", "2"]);
        assert!(said.contains("stopped for good"), "{said}");
        assert_eq!(hosts.members(1, ttid).await, [1, 3, 4].map(at));
    });
    // What comes later goes to those that are there, and the same commands go on where they ended.
    hosts.succeeds(&["timeline", "branch", "--branch-name", "later"]);
    hosts.succeeds(&["safekeeper", "add", "4"]);
    hosts.refuses(&["safekeeper", "remove", "1"], "add another first");
}

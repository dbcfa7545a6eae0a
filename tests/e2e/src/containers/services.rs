//! [`Services`]: what docker-compose.yml and docker/tls.yml make of the images, without Docker: the same commands with the same
//! volumes at the same places, each on a host of its own.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use harness::{block_on, eventually, pg_program, program};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

use super::network::Network;

pub const STORAGE: [&str; 5] = ["storage_broker", "safekeeper1", "safekeeper2", "safekeeper3", "pageserver"];
/// `replica` comes with the profile of this name.
const COMPUTES: [&str; 2] = ["compute", "replica"];
/// Where volumes are mounted.
const HOME: &str = "/var/lib/varve";
const CLUSTER: &str = "/var/lib/varve/cluster";
const PATIENCE: Duration = Duration::from_secs(60);
/// Of each log, when a test has failed.
const LINES: usize = 40;

pub struct Services {
    network: Network,
    running: BTreeMap<String, Child>,
    /// A directory for each volume.
    volumes: TempDir,
    /// With docker/tls.yml.
    pub tls: bool,
}

impl Services {
    pub fn new() -> Services {
        let others = ["safekeeper4", "init", "client"];
        let network = Network::new(&[&STORAGE[..], &COMPUTES, &others].concat());
        let volumes = tempfile::tempdir_in("/tmp").expect("a directory");
        // As docker/add-user makes it.
        for directory in
            ["cluster/auth/private", "cluster/auth/hosts", "keys", "storage_keys", "object_storage"]
        {
            fs::create_dir_all(volumes.path().join(directory)).expect("a directory");
        }
        Services { network, running: BTreeMap::new(), volumes, tls: false }
    }

    /// With storage that runs, and what `init` makes; no compute yet.
    pub fn with_storage(tls: bool) -> Services {
        let mut services = Services::new();
        services.tls = tls;
        services.start_storage();
        let made = services.init();
        assert!(made.status.success(), "{}", said(&made));
        services
    }

    pub fn volume(&self, name: &str) -> PathBuf {
        self.volumes.path().join(name)
    }

    /// A command in a container of that service, with the volumes that it has.
    pub fn command(&self, service: &str, words: &[&str]) -> Command {
        let storage_keys = if self.tls { "storage_keys " } else { "" };
        let mounts = match service {
            "init" => format!("cluster keys {storage_keys}"),
            compute if COMPUTES.contains(&compute) => format!("cluster:ro {compute}"),
            "client" => "cluster:ro ".to_owned(),
            "storage_broker" => format!("cluster:ro {storage_keys}"),
            storage => format!("cluster:ro {storage_keys}object_storage {storage} "),
        };
        // What is mounted there is seen by this host alone; an empty directory stays.
        let mut script = format!("mkdir -p {HOME}\nmount -t tmpfs -o mode=755 none {HOME}\n");
        for mount in mounts.split_ascii_whitespace() {
            let (volume, mode) = mount.split_once(':').unwrap_or((mount, "rw"));
            let place = match volume {
                "cluster" => CLUSTER.to_owned(),
                "keys" => format!("{CLUSTER}/auth/private"),
                "storage_keys" => format!("{CLUSTER}/auth/hosts"),
                compute if COMPUTES.contains(&compute) => self.home_of(compute),
                other => format!("{HOME}/{}", other.trim_end_matches(|c: char| c.is_ascii_digit())),
            };
            let from = self.volume(volume);
            fs::create_dir_all(&from).expect("a directory");
            script += &format!("[ -d {place} ] || mkdir {place}\nmount --bind {} {place}\n", from.display());
            if mode == "ro" {
                script += &format!("mount -o remount,bind,ro {place}\n");
            }
        }
        let mut command = self.network.command(service, &format!("{script}exec \"$@\""));
        command.args(words);
        let programs = program("varve").parent().expect("a directory").display().to_string();
        command.env("PATH", format!("{programs}:/usr/sbin:/usr/bin:/sbin:/bin")).env("VARVE_DIR", CLUSTER);
        command.env("VARVE_CONFIGURATION", root().join("docker"));
        if self.tls && service != "client" {
            command.env("VARVE_PARTS_TLS", "yes");
            if service == "init" {
                command.env("VARVE_COMPUTES", COMPUTES.join(","));
            } else if COMPUTES.contains(&service) {
                command.env("VARVE_ADVERTISE", service);
            }
        }
        command.stdin(Stdio::null());
        command
    }

    /// Runs it to its end.
    pub fn exec(&self, service: &str, words: &[&str]) -> Output {
        self.command(service, words).output().expect("it runs")
    }

    pub fn succeeds(&self, service: &str, words: &[&str]) -> String {
        let output = self.exec(service, words);
        assert!(output.status.success(), "{words:?} in {service}: {}", said(&output));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// `docker compose run --rm init …`
    pub fn varve(&self, words: &[&str]) -> String {
        self.succeeds("init", &[&["varve"], words].concat())
    }

    pub fn init(&self) -> Output {
        let mut command = self.command("init", &["varve", "container", "init", "--broker=storage_broker"]);
        command.args(["--pageserver=pageserver", "--safekeepers=safekeeper1,safekeeper2,safekeeper3"]);
        command.env("POSTGRES_PASSWORD", "secret").output().expect("it runs")
    }

    /// With the command that docker-compose.yml has.
    pub fn start(&mut self, service: &str) {
        let words = self.words(service);
        let more: &[&str] = if service == "replica" { &["--hot-standby"] } else { &[] };
        self.run(service, &words, more);
    }

    /// A compute, with flags of its own.
    pub fn start_with(&mut self, compute: &str, flags: &[&str]) {
        let words = self.words(compute);
        self.run(compute, &words, flags);
    }

    fn run(&mut self, service: &str, words: &[String], more: &[&str]) {
        let words: Vec<&str> = words.iter().map(String::as_str).chain(more.iter().copied()).collect();
        // PostgreSQL opens it by another way.
        let path = self.volume(&format!("{service}.log"));
        let log = File::options().create(true).append(true).open(path).expect("a log");
        let mut command = self.command(service, &words);
        command.stdout(log.try_clone().expect("a log")).stderr(log);
        self.running.insert(service.to_owned(), command.spawn().expect("it starts"));
    }

    pub fn start_storage(&mut self) {
        STORAGE.iter().for_each(|service| self.start(service));
    }

    /// Its own in each test: a compute ends the PostgreSQL of the one before it, which it knows by this directory, and processes
    /// are seen across these hosts.
    fn home_of(&self, compute: &str) -> String {
        format!("{HOME}/{compute}-{}", self.network.name)
    }

    fn words(&self, service: &str) -> Vec<String> {
        let entry_point = root().join("docker/storage-entrypoint").display().to_string();
        match service.strip_prefix("safekeeper") {
            Some(id) => vec![
                entry_point,
                "safekeeper".to_owned(),
                format!("--id={id}"),
                format!("--advertise-pg={service}:5454"),
                format!("--advertise-http={service}:7676"),
            ],
            None if COMPUTES.contains(&service) => {
                let home = format!("--home={}", self.home_of(service));
                vec!["varve".to_owned(), "container".to_owned(), "compute".to_owned(), home]
            }
            None => vec![entry_point, service.to_owned()],
        }
    }

    /// What a part that has been started has said.
    pub fn log(&self, service: &str) -> String {
        fs::read_to_string(self.volume(&format!("{service}.log"))).unwrap_or_default()
    }

    pub fn is_healthy(&self, service: &str) -> bool {
        let part = match service {
            "replica" => "compute",
            other => other.trim_start_matches("storage_").trim_end_matches(|c: char| c.is_ascii_digit()),
        };
        self.exec(service, &["varve", "container", "health", part]).status.success()
    }

    pub fn becomes_healthy(&self, service: &str) {
        block_on(eventually(&format!("{service} is healthy"), PATIENCE, async || self.is_healthy(service)));
    }

    pub fn kill(&mut self, service: &str) {
        self.network.kill_all(service);
        self.started(service).wait().expect("it ends");
    }

    /// In order.
    pub fn stop(&mut self, service: &str) {
        let mut process = self.started(service);
        kill(Pid::from_raw(process.id().cast_signed()), Signal::SIGTERM).expect("it runs");
        let status = process.wait().expect("it ends");
        assert!(status.success(), "{service} {status}: {}", self.log(service));
    }

    fn started(&mut self, service: &str) -> Child {
        self.running.remove(service).unwrap_or_else(|| panic!("{service} was not started"))
    }

    /// From another host, as a user. The complaint, if it is refused.
    pub fn sql(&self, query: &str) -> Result<String, String> {
        self.sql_at("compute", query)
    }

    pub fn sql_at(&self, compute: &str, query: &str) -> Result<String, String> {
        self.psql(compute, 5432, "dbname=postgres sslmode=disable", "secret", query)
    }

    /// A server of PostgreSQL's protocol on a host, with a password that it may want.
    pub fn psql(
        &self,
        host: &str,
        port: u16,
        more: &str,
        password: &str,
        query: &str,
    ) -> Result<String, String> {
        let connstr = format!("host={host} port={port} user=postgres connect_timeout=10 {more}");
        let psql = pg_program("psql").display().to_string();
        let words = ["timeout", "60", &psql, &connstr, "-XAtc", query];
        let output = self.command("client", &words).env("PGPASSWORD", password).output().expect("it runs");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
        if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
    }
}

impl Drop for Services {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for service in STORAGE.iter().chain(&COMPUTES) {
                let log = self.log(service);
                let last = log.lines().count().saturating_sub(LINES);
                eprintln!("--- {service}");
                log.lines().skip(last).for_each(|line| eprintln!("{line}"));
            }
        }
        for (service, mut process) in std::mem::take(&mut self.running) {
            self.network.kill_all(&service);
            let _ = process.wait();
        }
    }
}

pub fn said(output: &Output) -> String {
    String::from_utf8_lossy(&[&output.stdout[..], &output.stderr[..]].concat()).into_owned()
}

pub fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

//! Stock PostgreSQL whose commits wait until two of three `pg_receivewal --synchronous` have flushed them.

use std::fs::File;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use harness::{block_on, connect, pg_program, run, run_as_postgres};
use tempfile::TempDir;

const PASSWORD: &str = "stock";
const RECEIVERS: usize = 3;
const SYNCHRONOUS: &str = "ANY 2 (receiver_1, receiver_2, receiver_3)";

pub struct StockServer {
    directory: TempDir,
    port: u16,
    receivers: Vec<Child>,
}

impl StockServer {
    /// As initdb makes it; the cluster on the other side comes from an initdb with the same options. `beside` is
    /// a directory on the file system that both are to use.
    pub fn start(beside: &Path, port: u16) -> StockServer {
        let directory =
            tempfile::Builder::new().prefix("bench-stock-").tempdir_in(beside).expect("a directory");
        std::fs::set_permissions(directory.path(), PermissionsExt::from_mode(0o755)).expect("permissions");
        let password_file = directory.path().join("password");
        std::fs::write(&password_file, PASSWORD).expect("a file");
        if nix::unistd::geteuid().is_root() {
            run(Command::new("chown").args(["-R", "postgres"]).arg(directory.path()));
        }
        let mut server = StockServer { directory, port, receivers: Vec::new() };
        run(run_as_postgres(&pg_program("initdb"))
            .args(["--encoding=UTF8", "--locale=C.UTF-8", "--username=postgres", "--auth=scram-sha-256"])
            .arg("--pwfile")
            .arg(&password_file)
            .arg("--pgdata")
            .arg(server.data()));
        let configuration =
            format!("port = {port}\nlisten_addresses = '127.0.0.1'\nunix_socket_directories = ''\n");
        append(&server.data().join("postgresql.conf"), &configuration);
        server.run();
        server.receive();
        append(
            &server.data().join("postgresql.conf"),
            &format!("synchronous_standby_names = '{SYNCHRONOUS}'\n"),
        );
        server.command("reload");
        server.wait_for_receivers();
        server
    }

    pub fn connstr(&self, database: &str) -> String {
        format!("postgresql://postgres:{PASSWORD}@127.0.0.1:{}/{database}", self.port)
    }

    pub fn data(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.directory.path().join("log")).unwrap_or_default()
    }

    /// Starts the server and waits until it takes connections.
    pub fn run(&self) {
        self.command("start");
    }

    /// pg_ctl, which waits.
    pub fn command(&self, verb: &str) {
        let mut command = run_as_postgres(&pg_program("pg_ctl"));
        command.args([verb, "--wait", "--pgdata"]).arg(self.data());
        if verb == "start" {
            command.arg("--log").arg(self.directory.path().join("log"));
        }
        // The server keeps pg_ctl's output open, so it must not be a pipe that is read to its end.
        let status = command.stdout(Stdio::null()).stderr(Stdio::null()).status().expect("pg_ctl");
        assert!(status.success(), "pg_ctl {verb}: {}", self.log());
    }

    /// `kill -9` of all its processes, as a loss of power would end them.
    pub fn crash(&self) {
        let mut command = run_as_postgres(&pg_program("pg_ctl"));
        run(command.args(["stop", "--mode=immediate", "--wait", "--pgdata"]).arg(self.data()));
    }

    fn receive(&mut self) {
        for number in 1..=RECEIVERS {
            let name = format!("receiver_{number}");
            let directory = self.directory.path().join(&name);
            run(run_as_postgres(Path::new("mkdir")).arg(&directory));
            let connstr = format!("{}?application_name={name}", self.connstr("postgres"));
            let receiver = |options: &[&str]| {
                let mut command = run_as_postgres(&pg_program("pg_receivewal"));
                command.args(["--no-password", "--slot", &name, "--directory"]).arg(&directory);
                command.args(["--dbname", &connstr]).args(options);
                command
            };
            run(&mut receiver(&["--create-slot"]));
            let log = File::create(directory.with_extension("log")).expect("a log");
            let child = receiver(&["--synchronous"]).stdout(Stdio::null()).stderr(log).spawn();
            self.receivers.push(child.expect("pg_receivewal"));
        }
    }

    /// All of them are connected and count.
    pub fn wait_for_receivers(&self) {
        let query =
            "SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'quorum' AND state = 'streaming'";
        let begun = Instant::now();
        block_on(async {
            let client = connect(&self.connstr("postgres")).await.expect("a connection");
            while client.query_one(query, &[]).await.expect("receivers").get::<_, i64>(0) < RECEIVERS as i64 {
                assert!(begun.elapsed() < Duration::from_secs(30), "the receivers of WAL do not connect");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        });
    }
}

impl Drop for StockServer {
    fn drop(&mut self) {
        for receiver in &mut self.receivers {
            let _ = receiver.kill();
            let _ = receiver.wait();
        }
        let mut command = run_as_postgres(&pg_program("pg_ctl"));
        let _ = command.args(["stop", "--mode=immediate", "--pgdata"]).arg(self.data()).output();
    }
}

fn append(file: &Path, text: &str) {
    let before = std::fs::read_to_string(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    std::fs::write(file, before + text).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
}

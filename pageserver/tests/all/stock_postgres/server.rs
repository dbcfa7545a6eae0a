//! A stock PostgreSQL of its own, on a Unix socket only.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const PROGRAMS: &str = "/usr/lib/postgresql/15/bin";

pub fn installed() -> bool {
    Path::new(PROGRAMS).join("postgres").exists()
}

fn is_root() -> bool {
    std::fs::metadata("/proc/self").is_ok_and(|me| std::os::unix::fs::MetadataExt::uid(&me) == 0)
}

pub fn scratch_directory() -> tempfile::TempDir {
    let directory = tempfile::Builder::new().prefix("varve-service-").tempdir_in("/tmp").unwrap();
    give_to_postgres(directory.path());
    directory
}

pub fn give_to_postgres(path: &Path) {
    if is_root() {
        run(Command::new("chown").args(["-R", "postgres:postgres"]).arg(path));
    }
    run(Command::new("chmod").args(["-R", "u+rwX,go-rwx"]).arg(path));
}

fn run(command: &mut Command) -> Output {
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {text}{}", String::from_utf8_lossy(&output.stdout));
    output
}

/// As the user `postgres`, if we are root.
fn program(name: &str) -> Command {
    let path = Path::new(PROGRAMS).join(name);
    let mut command = if is_root() {
        let mut command = Command::new("runuser");
        command.args(["-u", "postgres", "--"]).arg(path);
        command
    } else {
        Command::new(path)
    };
    command.current_dir("/");
    command
}

pub struct Server {
    data: PathBuf,
}

impl Server {
    pub fn init(data: &Path) -> Server {
        run(program("initdb").arg("-D").arg(data).args([
            "--locale=C.UTF-8",
            "--encoding=UTF8",
            "--auth=trust",
            "--no-sync",
        ]));
        Server::adopt(data)
    }

    pub fn adopt(data: &Path) -> Server {
        Server { data: data.to_owned() }
    }

    pub fn data(&self) -> &Path {
        &self.data
    }

    pub fn start(&self) {
        let settings = "-c listen_addresses= -c full_page_writes=off -c fsync=off -c wal_keep_size=8GB \
                        -c max_wal_size=8GB -c max_prepared_transactions=10 -c autovacuum_naptime=1s \
                        -c shared_buffers=4MB -c allow_in_place_tablespaces=on -c log_min_messages=warning";
        let options = format!("{settings} -c unix_socket_directories={}", self.data.display());
        let log = self.data.join("server.log");
        run(program("pg_ctl")
            .args(["start", "-w", "-t", "60", "-o", &options, "-D"])
            .arg(&self.data)
            .arg("-l")
            .arg(log));
    }

    pub fn stop(&self) {
        run(program("pg_ctl").args(["stop", "-w", "-m", "fast", "-D"]).arg(&self.data));
    }

    fn client(&self, name: &str) -> Command {
        let mut command = program(name);
        command.args(["-h", &self.data.to_string_lossy(), "-U", "postgres"]);
        command
    }

    pub fn sql_in(&self, database: &str, text: &str) -> String {
        let mut command = self.client("psql");
        command.args(["-XqAt", "-v", "ON_ERROR_STOP=1", "-d", database, "-c", text]);
        String::from_utf8(run(&mut command).stdout).unwrap().trim().to_owned()
    }

    pub fn sql(&self, text: &str) -> String {
        self.sql_in("postgres", text)
    }

    pub fn pgbench(&self, arguments: &[&str]) {
        run(self.client("pgbench").args(arguments).arg("postgres"));
    }

    /// Without the positions of sequences: WAL has them up to 32 values ahead, so they may skip.
    pub fn dump_all(&self) -> String {
        let dump = run(self.client("pg_dumpall").args(["--restrict-key=x"])).stdout;
        let dump = String::from_utf8(dump).unwrap();
        dump.lines().filter(|line| !line.contains("pg_catalog.setval")).collect::<Vec<_>>().join("\n")
    }

    pub fn amcheck(&self) {
        run(self.client("pg_amcheck").args(["--all", "--heapallindexed", "--install-missing"]));
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if self.data.join("postmaster.pid").exists() {
            let _ = program("pg_ctl").args(["stop", "-m", "immediate", "-D"]).arg(&self.data).output();
        }
    }
}

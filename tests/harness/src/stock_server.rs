//! [`StockServer`]: PostgreSQL without anything of ours, on a directory that `varve timeline export` or initdb made.

use std::path::Path;
use std::process::{Command, Stdio};

use crate::programs::{pg_program, run, run_as_postgres};

/// Ended when dropped.
pub struct StockServer<'a> {
    directory: &'a Path,
    port: u16,
}

impl StockServer<'_> {
    pub fn start(directory: &Path, port: u16) -> StockServer<'_> {
        StockServer::start_with(directory, port, &[])
    }

    /// With settings as NAME=VALUE.
    pub fn start_with<'a>(directory: &'a Path, port: u16, settings: &[&str]) -> StockServer<'a> {
        if nix::unistd::geteuid().is_root() {
            run(Command::new("chown").args(["-R", "postgres"]).arg(directory));
        }
        let mut options = format!("-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories=''");
        for setting in settings {
            options.push_str(&format!(" -c {setting}"));
        }
        let mut command = run_as_postgres(&pg_program("pg_ctl"));
        command
            .args(["start", "-w", "-D"])
            .arg(directory)
            .arg("-l")
            .arg(directory.join("server.log"))
            .args(["-o", &options]);
        // pg_ctl's child keeps its output open, so it must not be a pipe that we wait for.
        let status = command.stdout(Stdio::null()).stderr(Stdio::null()).status().expect("pg_ctl");
        let log = std::fs::read_to_string(directory.join("server.log")).unwrap_or_default();
        assert!(status.success(), "stock PostgreSQL does not start: {log}");
        StockServer { directory, port }
    }

    /// A new database cluster, in which everybody may be the superuser.
    pub fn fresh<'a>(directory: &'a Path, port: u16, settings: &[&str]) -> StockServer<'a> {
        std::fs::create_dir_all(directory).expect("a directory for the server");
        if nix::unistd::geteuid().is_root() {
            run(Command::new("chown").arg("postgres").arg(directory));
        }
        let mut initdb = run_as_postgres(&pg_program("initdb"));
        run(initdb
            .args(["-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8", "-N", "-D"])
            .arg(directory));
        StockServer::start_with(directory, port, settings)
    }

    /// Of a fresh one.
    pub fn own_connstr(&self) -> String {
        format!("postgresql://postgres@127.0.0.1:{}/postgres", self.port)
    }

    /// The roles and their passwords are part of what was exported.
    pub fn connstr(&self, original: &str) -> String {
        let (front, _) = original.rsplit_once(':').expect("a port");
        format!("{front}:{}/postgres", self.port)
    }
}

impl Drop for StockServer<'_> {
    fn drop(&mut self) {
        let mut command = run_as_postgres(&pg_program("pg_ctl"));
        let _ = command.args(["stop", "-m", "fast", "-D"]).arg(self.directory).output();
    }
}

//! `varve timeline export`: stock PostgreSQL starts on it, without anything of ours.

use std::path::Path;
use std::process::Command;

use harness::{Cluster, block_on, connect, pg_program, run, run_as_postgres};

/// A stock server on an exported directory, ended when dropped.
pub struct StockServer<'a> {
    directory: &'a Path,
    port: u16,
}

impl StockServer<'_> {
    pub fn start(directory: &Path, port: u16) -> StockServer<'_> {
        if nix::unistd::geteuid().is_root() {
            run(Command::new("chown").args(["-R", "postgres"]).arg(directory));
        }
        let options = format!("-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories=''");
        let mut command = run_as_postgres(&pg_program("pg_ctl"));
        command
            .args(["start", "-w", "-D"])
            .arg(directory)
            .arg("-l")
            .arg(directory.join("server.log"))
            .args(["-o", &options]);
        // pg_ctl's child keeps its output open, so it must not be a pipe that we wait for.
        let status =
            command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null()).status().unwrap();
        let log = std::fs::read_to_string(directory.join("server.log")).unwrap_or_default();
        assert!(status.success(), "stock PostgreSQL does not start: {log}");
        StockServer { directory, port }
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

#[test]
fn stock_postgres_starts_on_an_export_at_any_lsn() {
    let cluster = Cluster::up("export");
    block_on(async {
        let connstr = cluster.connstr("main");
        crate::pgbench::load(&connstr, 1, 4, 2);
        let mut points = Vec::new();
        for _ in 0..3 {
            crate::pgbench::mix(&connstr, 4, 2);
            // Nobody writes between the sums and the LSN, so that they belong together.
            let sums = crate::pgbench::checked_sum(&connstr).await;
            let client = connect(&connstr).await.unwrap();
            let lsn: String =
                client.query_one("SELECT pg_current_wal_insert_lsn()::text", &[]).await.unwrap().get(0);
            points.push((lsn, sums));
        }
        let dumped = crate::pgbench::dump(&connstr);
        for (at, (lsn, sums)) in points.iter().enumerate() {
            let directory = cluster.directory().join(format!("exported-{at}"));
            let target = directory.display().to_string();
            cluster.varve(&["timeline", "export", "--branch-name", "main", "--at-lsn", lsn, "-o", &target]);
            let server = StockServer::start(&directory, cluster.safekeeper_port(100 + at as u16));
            assert_eq!(crate::pgbench::checked_sum(&server.connstr(&connstr)).await, *sums, "at {lsn}");
            // The dump first: the check installs an extension.
            if at + 1 == points.len() {
                assert_eq!(crate::pgbench::dump(&server.connstr(&connstr)), dumped);
            }
            crate::pgbench::amcheck(&server.connstr(&connstr));
            let again = cluster.try_varve(&["timeline", "export", "-o", &target]);
            assert!(!again.status.success(), "an export over existing files must be refused");
        }
    });
}

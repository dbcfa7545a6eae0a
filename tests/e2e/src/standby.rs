//! A stock standby that streams from a safekeeper and stops at an LSN is what an export at that LSN is.
//!
//! ```text
//!             ┌─► pageserver ── export at L ─────────────────────────────────────────┐
//!  compute ─► safekeepers                                                            ├ equal?
//!             └─► stock standby, begun from an export at the first LSN, stopped at L ┘
//! ```

mod load;
mod mixed;
mod oracle;

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use harness::{
    Cluster, Comparison, Sides, StockServer, Theirs, block_on, compare, eventually, lsn, pg_program, run,
    run_as_postgres,
};
use types::Lsn;

/// The compute's setting, which a server that replays its WAL must have too.
const PREPARED_TRANSACTIONS: u32 = 5;

/// A data directory on which stock PostgreSQL runs as a standby of safekeeper 1.
struct Standby<'a> {
    cluster: &'a Cluster,
    directory: PathBuf,
}

impl Standby<'_> {
    /// From the first LSN of the timeline.
    fn of(cluster: &Cluster, start: Lsn) -> Standby<'_> {
        let directory = export(cluster, "standby", start);
        std::fs::write(directory.join("standby.signal"), "").unwrap();
        Standby { cluster, directory }
    }

    fn conninfo(&self) -> String {
        let (tenant, timeline) = self.cluster.ids("main");
        let (port, credentials) = (self.cluster.safekeeper_port(1), self.cluster.credentials());
        let options = format!("-c tenant_id={tenant} -c timeline_id={timeline}");
        format!(
            "host=127.0.0.1 port={port} user=standby password={} options='{options}'",
            credentials.token()
        )
    }

    /// Streams and replays all records that end at or before `target`, writes all pages, and ends.
    async fn run_until(&self, target: Lsn) {
        // The target is where the next record begins, so that one is left out.
        configure(&self.directory, target, "shutdown", &self.conninfo());
        let log = self.directory.with_extension(format!("{:X}.log", target.0));
        let mut server = Server::run(&self.directory, &log);
        let what = format!("a standby that stops at {target}, see {}", log.display());
        eventually(&what, Duration::from_secs(120), async || server.0.try_wait().expect("a child").is_some())
            .await;
        let said = std::fs::read_to_string(&log).unwrap_or_default();
        for expected in
            ["started streaming WAL from primary", "shutdown at recovery target", "restartpoint complete"]
        {
            assert!(said.contains(expected), "{expected:?} is not in the standby's log: {said}");
        }
    }

    /// A copy of what it is now, which will become a primary when it is started.
    fn copy(&self, target: Lsn) -> PathBuf {
        let copy = self.directory.with_extension(format!("{:X}", target.0));
        run(Command::new("cp").arg("-a").arg(&self.directory).arg(&copy));
        configure(&copy, target, "promote", "");
        copy
    }
}

/// Beside the `postgresql.conf` that an export brings.
fn configure(directory: &Path, target: Lsn, action: &str, conninfo: &str) {
    let conninfo = conninfo.replace('\'', "''");
    let settings = format!(
        "primary_conninfo = '{conninfo}'\n\
         recovery_target_lsn = '{target}'\n\
         recovery_target_inclusive = off\n\
         recovery_target_action = {action}\n\
         # Nobody reads, so nobody leaves hints on pages, and the primary's settings need not be met.\n\
         hot_standby = off\n\
         max_prepared_transactions = {PREPARED_TRANSACTIONS}\n\
         allow_in_place_tablespaces = on\n\
         autovacuum = off\n"
    );
    std::fs::write(directory.join("postgresql.auto.conf"), settings).unwrap();
}

/// A postmaster that is our child.
struct Server(Child);

impl Server {
    fn run(directory: &Path, log: &Path) -> Server {
        if nix::unistd::geteuid().is_root() {
            run(Command::new("chown").args(["-R", "postgres"]).arg(directory));
        }
        let log = std::fs::File::create(log).expect("a log file");
        let child = run_as_postgres(&pg_program("postgres"))
            .arg("-D")
            .arg(directory)
            .args(["-c", "listen_addresses=", "-c", "unix_socket_directories=."])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("postgres");
        Server(child)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = nix::sys::signal::kill(
            nix::unistd::Pid::from_raw(self.0.id().cast_signed()),
            nix::sys::signal::Signal::SIGQUIT,
        );
        let _ = self.0.wait();
    }
}

fn export(cluster: &Cluster, name: &str, at: Lsn) -> PathBuf {
    let directory = cluster.directory().join(name);
    let (target, at) = (directory.display().to_string(), at.to_string());
    cluster.varve(&["timeline", "export", "--branch-name", "main", "--at-lsn", &at, "-o", &target]);
    directory
}

/// Where the next record begins, which follows at once: a standby stops when it sees a record behind its target.
/// A restartpoint, which writes a standby's pages, needs a checkpoint before.
async fn checkpoint(cluster: &Cluster) -> Lsn {
    let client = cluster.connect("main").await;
    client.batch_execute("CHECKPOINT").await.unwrap();
    let position: String =
        client.query_one("SELECT pg_current_wal_insert_lsn()::text", &[]).await.unwrap().get(0);
    client.batch_execute("SELECT pg_logical_emit_message(true, 'standby', 'the next record')").await.unwrap();
    position.parse().expect("an LSN")
}

/// Leaves files and rows of a transaction that never ended, and a checkpoint that the pageserver made, in the WAL.
async fn crash_and_restart(cluster: &Cluster) {
    let client = cluster.connect("main").await;
    let torn = "BEGIN; CREATE TABLE torn AS SELECT generate_series(1, 10000) n; CREATE INDEX ON torn (n)";
    client.batch_execute(torn).await.unwrap();
    // A commit takes its WAL to the safekeepers.
    let other = cluster.connect("main").await;
    other.batch_execute("DROP TABLE IF EXISTS whole; CREATE TABLE whole ()").await.unwrap();
    let postmaster = cluster.postmaster_pid("main");
    cluster.kill("endpoint-main");
    eventually("PostgreSQL dies with compute_ctl", Duration::from_secs(30), async || {
        !Path::new(&format!("/proc/{postmaster}")).exists()
    })
    .await;
    let setting = format!("max_prepared_transactions={PREPARED_TRANSACTIONS}");
    cluster.varve(&["endpoint", "reconfigure", "main", "--set", &setting]);
    cluster.varve(&["endpoint", "start", "main"]);
}

/// Compares files, then starts both: `port` and the next one are theirs.
async fn equal_at(cluster: &Cluster, standby: &Path, start: Lsn, at: Lsn, port: u16) -> Comparison {
    let exported = export(cluster, &format!("exported-{:X}", at.0), at);
    let comparison =
        compare(&exported, standby, Sides { start, all_prepared: true, theirs: Theirs::Standby });
    eprintln!("at {at}: {comparison}");
    assert!(comparison.differences.is_empty(), "at {at}: {comparison}");

    let of_export = dump(cluster, &exported, port).await;
    let of_standby = dump(cluster, standby, port + 1).await;
    assert!(of_export == of_standby, "the dumps at {at} differ");
    eprintln!("at {at}: dumps of {} bytes are equal", of_export.len());
    assert!(of_export.len() > 1 << 20, "a dump of {} bytes", of_export.len());
    comparison
}

async fn dump(cluster: &Cluster, directory: &Path, port: u16) -> String {
    let server = StockServer::start(directory, cluster.safekeeper_port(port));
    let connstr = server.connstr(&cluster.connstr("main"));
    // A standby counts as started before it is promoted.
    eventually("connections", Duration::from_secs(60), async || harness::connect(&connstr).await.is_ok())
        .await;
    crate::pgbench::dump(&connstr)
}

#[test]
fn a_stock_standby_of_a_safekeeper_equals_an_export() {
    let cluster = Cluster::up("standby");
    block_on(async {
        let start = lsn(&cluster.pageserver_timeline("main")["initdb_lsn"]);
        let standby = Standby::of(&cluster, start);
        let connstr = cluster.connstr("main");

        crate::pgbench::load(&connstr, 1, 4, 2);
        load::first_half(&cluster.connect("main").await).await.unwrap();
        let middle = checkpoint(&cluster).await;
        standby.run_until(middle).await;
        let standby_at_middle = standby.copy(middle);

        crate::pgbench::mix(&connstr, 4, 2);
        crash_and_restart(&cluster).await;
        load::second_half(&cluster.connect("main").await, &cluster.connect("main").await).await.unwrap();
        let end = checkpoint(&cluster).await;
        // On from where it stopped, with one more session of streaming.
        standby.run_until(end).await;
        let standby_at_end = standby.copy(end);

        let at_middle = equal_at(&cluster, &standby_at_middle, start, middle, 110).await;
        let at_end = equal_at(&cluster, &standby_at_end, start, end, 120).await;
        for (comparison, least) in [(&at_middle, 3000), (&at_end, 5000)] {
            assert!(comparison.changed_in_all() >= least, "too few pages: {comparison}");
            assert!(comparison.maps >= 4, "too few relation maps: {comparison}");
            for kind in ["Heap", "Btree", "Hash", "Gin", "Gist", "SPGist", "BRIN", "Sequence", "VM", "init"] {
                assert!(comparison.changed(kind) > 0, "no page of {kind}: {comparison}");
            }
        }
        assert_eq!((at_middle.prepared, at_end.prepared), (0, 1), "prepared transactions: {at_end}");
        for (slru, least) in [("pg_xact", 2), ("pg_multixact/offsets", 2), ("pg_multixact/members", 2)] {
            assert!(at_end.changed(slru) >= least, "too few pages of {slru}: {at_end}");
        }
    });
}

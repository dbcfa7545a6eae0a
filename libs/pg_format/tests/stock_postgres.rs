//! Stock PostgreSQL 15 as the judge: it starts without recovery wherever we say, and our pg_control and page
//! checksums are its own.

use std::fs;
use std::os::unix::fs::{MetadataExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, ensure};
use pg_format::wal::WalIdentity;
use pg_format::{ControlFile, DatabaseState, page, synthesise_start};
use types::{BLCKSZ, Lsn};

const PGBIN: &str = "/usr/lib/postgresql/15/bin";
const MEGABYTE: u64 = 1 << 20;

struct Server {
    directory: tempfile::TempDir,
}

impl Server {
    /// A stopped cluster with checksums and segments of 1 MiB.
    fn new() -> anyhow::Result<Server> {
        let directory = tempfile::tempdir()?;
        if is_root() {
            let postgres = fs::metadata("/var/lib/postgresql").context("no home of user postgres")?;
            chown(directory.path(), Some(postgres.uid()), Some(postgres.gid()))?;
        }
        let server = Server { directory };
        let data = server.data();
        let options = ["-A", "trust", "-U", "postgres", "-k", "--wal-segsize=1", "--no-sync", "--locale=C"];
        run(tool("initdb").arg("-D").arg(&data).args(options))?;
        Ok(server)
    }

    fn data(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    fn control(&self, action: &[&str]) -> anyhow::Result<String> {
        let settings = format!("-c listen_addresses='' -k {}", self.directory.path().display());
        let log = self.directory.path().join("log");
        run(tool("pg_ctl")
            .arg("-D")
            .arg(self.data())
            .arg("-w")
            .arg("-l")
            .arg(log)
            .arg("-o")
            .arg(settings)
            .args(action))
    }

    fn sql(&self, query: &str) -> anyhow::Result<String> {
        let host = self.directory.path();
        run(tool("psql").arg("-h").arg(host).args(["-U", "postgres", "-XAtc", query, "postgres"]))
    }

    fn control_file(&self) -> anyhow::Result<ControlFile> {
        Ok(ControlFile::decode(&fs::read(self.data().join("global/pg_control"))?)?)
    }

    /// Makes the stopped cluster one whose WAL ends in a shutdown checkpoint at `x`, and starts it.
    fn start_at(&self, x: Lsn) -> anyhow::Result<Lsn> {
        let control = self.control_file()?;
        let identity = WalIdentity {
            version: control.version,
            system_identifier: control.system_identifier,
            segment_size: control.wal_segment_size,
            tli: 1,
        };
        let start = synthesise_start(x, control.checkpoint, &control.checkpoint_copy, &identity);
        let checkpoint = start.record_lsn;
        let state = DatabaseState::ShutDown;
        let control = ControlFile { state, checkpoint, checkpoint_copy: start.checkpoint, ..control };
        let owner = fs::metadata(self.data())?;
        let write = |path: PathBuf, bytes: &[u8]| -> anyhow::Result<()> {
            fs::write(&path, bytes)?;
            Ok(chown(&path, Some(owner.uid()), Some(owner.gid()))?)
        };
        write(self.data().join("global/pg_control"), &control.encode())?;
        for entry in fs::read_dir(self.data().join("pg_wal"))? {
            let path = entry?.path();
            if path.is_file() {
                fs::remove_file(path)?;
            }
        }
        for (number, bytes) in &start.segments {
            write(self.data().join("pg_wal").join(identity.segment_size.file_name(1, *number)), bytes)?;
        }
        // pg_ctl appends to it; only this start is to be judged.
        let log = self.directory.path().join("log");
        if log.exists() {
            fs::remove_file(log)?;
        }
        self.control(&["start"])?;
        Ok(checkpoint)
    }

    fn log(&self) -> anyhow::Result<String> {
        Ok(fs::read_to_string(self.directory.path().join("log"))?)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Often stopped already.
        let _ = self.control(&["stop", "-m", "immediate"]);
    }
}

fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|metadata| metadata.uid() == 0)
}

/// PostgreSQL refuses to run as root.
fn tool(name: &str) -> Command {
    let program = Path::new(PGBIN).join(name);
    if !is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid=postgres", "--regid=postgres", "--init-groups", "--"]).arg(program);
    command
}

fn run(command: &mut Command) -> anyhow::Result<String> {
    let output = command.current_dir("/").output()?;
    let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    ensure!(output.status.success(), "{command:?}: {text} {}", String::from_utf8_lossy(&output.stderr));
    Ok(text)
}

#[test]
fn starts_without_recovery_at_any_alignment() -> anyhow::Result<()> {
    let server = Server::new()?;
    let positions = [
        40 * MEGABYTE + 3 * 8192 + 4096,
        50 * MEGABYTE + 7 * 8192,
        60 * MEGABYTE + 8 * 8192 - 32,
        70 * MEGABYTE,
        80 * MEGABYTE - 32,
        90 * MEGABYTE + 8192 - 120,
    ];
    for (round, x) in positions.map(Lsn).into_iter().enumerate() {
        let record = server.start_at(x)?;
        let log = server.log()?;
        ensure!(log.contains("database system was shut down") && !log.contains("redo"), "at {x}: {log}");
        server.sql(&format!("create table t{round} as select generate_series(1, 1000) a"))?;
        ensure!(server.sql("select pg_current_wal_lsn()")?.parse::<Lsn>()? > record);
        // Our record is one that PostgreSQL's own reader finds, and what follows links to it.
        let wal = server.data().join("pg_wal");
        let dump = run(tool("pg_waldump").arg("-p").arg(&wal).args(["-n", "2", "-s", &record.to_string()]))?;
        let mut lines = dump.lines();
        ensure!(lines.next().is_some_and(|line| line.contains("CHECKPOINT_SHUTDOWN")), "at {x}: {dump}");
        let link = format!("prev {:X}/{:08X}", record.0 >> 32, record.0 as u32);
        ensure!(lines.next().is_some_and(|line| line.contains(&link)), "at {x}: {dump}");
        // After a crash it recovers from there.
        server.control(&["stop", "-m", "immediate"])?;
        server.control(&["start"])?;
        ensure!(server.sql(&format!("select count(*) from t{round}"))? == "1000");
        server.control(&["stop", "-m", "fast"])?;
    }
    Ok(())
}

#[test]
fn control_file_and_checksums_are_postgres() -> anyhow::Result<()> {
    let server = Server::new()?;
    let bytes = fs::read(server.data().join("global/pg_control"))?;
    let control = ControlFile::decode(&bytes)?;
    ensure!(control.encode() == bytes, "pg_control does not come back as it was");
    ensure!(control.state == DatabaseState::ShutDown && control.data_checksum_version == 1);

    let mut pages = 0;
    for entry in fs::read_dir(server.data().join("base/5"))? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if !name.starts_with(|first: char| first.is_ascii_digit()) {
            continue;
        }
        for (block, bytes) in fs::read(&path)?.chunks_exact(BLCKSZ).enumerate() {
            let original: [u8; BLCKSZ] = bytes.try_into()?;
            let mut ours = original;
            page::set_checksum(&mut ours, block as u32);
            ensure!(ours == original, "{name} block {block}");
            pages += 1;
        }
    }
    ensure!(pages > 500, "only {pages} pages");
    Ok(())
}

//! The suite as PostgreSQL's sources bring it, and its driver `pg_regress`, which the package for extensions
//! brings.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use harness::{pg_program, pg_version, run, run_as_postgres};

use crate::schedule;

/// What the tests are, should print and read.
const INPUTS: [&str; 4] = ["sql", "expected", "data", "resultmap"];
/// Libraries that tests load: PostgreSQL's package has these two, the third we compile.
const LIBRARIES: [&str; 2] = ["refint.so", "autoinc.so"];
/// For all tests on one server. Where a page went wrong, a backend may loop for ever and heed no time-out.
const LONGEST: &str = "10m";

/// Where a server listens.
pub struct Socket {
    pub directory: PathBuf,
    pub port: u16,
}

/// A copy of the suite for servers to read and write. Tests print its path, so both servers get the same one,
/// one after the other.
pub struct Suite {
    directory: PathBuf,
    tests: Vec<String>,
}

/// What the tests printed on one server.
pub struct Outcome {
    /// By name.
    pub results: BTreeMap<String, Vec<u8>>,
    /// Tests that printed none of what PostgreSQL's sources expect.
    pub failed: Vec<String>,
}

impl Suite {
    pub fn prepare(directory: PathBuf) -> Suite {
        let source = source().join("src/test/regress");
        fs::create_dir(&directory).expect("a directory for the suite");
        run(Command::new("cp").arg("-r").args(INPUTS.map(|name| source.join(name))).arg(&directory));
        let package = pg_config("--pkglibdir");
        run(Command::new("cp").args(LIBRARIES.map(|name| package.join(name))).arg(&directory));
        run(Command::new("cc")
            .args(["-shared", "-fPIC", "-w", "-O1", "-I"])
            .arg(pg_config("--includedir-server"))
            .arg("-o")
            .arg(directory.join("regress.so"))
            .arg(source.join("regress.c")));
        let parallel = fs::read_to_string(source.join("parallel_schedule")).expect("PostgreSQL's schedule");
        let names = schedule::names(&parallel);
        fs::write(directory.join("schedule"), schedule::serial(&names)).expect("a schedule");
        if nix::unistd::geteuid().is_root() {
            run(Command::new("chown").args(["-R", "postgres"]).arg(&directory));
        }
        Suite { directory, tests: names.into_iter().map(str::to_owned).collect() }
    }

    /// Runs all tests as the bootstrap superuser, in a database that is made for them. What they printed stays
    /// in a directory with the name of the server.
    pub fn run_on(&self, server: &str, socket: &Socket) -> Outcome {
        let mut command = run_as_postgres(Path::new("timeout"));
        command.arg(LONGEST).arg(pg_config("--pkglibdir").join("pgxs/src/test/regress/pg_regress"));
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("PG")) {
            command.env_remove(name);
        }
        command
            .current_dir(&self.directory)
            .args(["--inputdir=.", "--outputdir=.", "--schedule=schedule"])
            .args(["--encoding=UTF8", "--user=postgres"])
            .arg(format!("--bindir={}", pg_program("").display()))
            .arg(format!("--dlpath={}", self.directory.display()))
            .arg(format!("--host={}", socket.directory.display()))
            .arg(format!("--port={}", socket.port));
        let output = command.output().expect("pg_regress");
        let report = String::from_utf8_lossy(&output.stdout).into_owned();
        // 0: all passed, 1: some failed. Else they could not be run, or not to the end.
        assert!(
            matches!(output.status.code(), Some(0 | 1)),
            "the tests did not run on the server {server}, {}: {report}{}",
            output.status,
            String::from_utf8_lossy(&output.stderr)
        );
        fs::rename(self.directory.join("results"), self.directory.join(server)).expect("results");
        let results = self.tests.iter().map(|test| {
            let path = self.result(server, test);
            let printed = fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            (test.clone(), printed)
        });
        Outcome { results: results.collect(), failed: failed(&report) }
    }

    /// The file with what a test printed on a server.
    pub fn result(&self, server: &str, test: &str) -> PathBuf {
        self.directory.join(server).join(format!("{test}.out"))
    }
}

/// Names in lines like `test copy ... FAILED 143 ms`.
fn failed(report: &str) -> Vec<String> {
    let name = |line: &str| match line.split_whitespace().collect::<Vec<_>>()[..] {
        ["test", name, "...", "FAILED", ..] => Some(name.to_owned()),
        _ => None,
    };
    report.lines().filter_map(name).collect()
}

/// PostgreSQL's sources; those of the newest release in the cache.
fn source() -> PathBuf {
    let cache = std::env::var_os("VARVE_CACHE").unwrap_or_else(|| "/var/cache/varve".into());
    let sources = Path::new(&cache).join("src");
    let major = pg_version();
    let prefix = format!("postgresql-{major}-{major}.");
    let minor = |path: &PathBuf| path.file_name()?.to_str()?.strip_prefix(&prefix)?.parse::<u32>().ok();
    let present = fs::read_dir(&sources).into_iter().flatten().flatten().map(|entry| entry.path());
    present.filter(|path| minor(path).is_some()).max_by_key(minor).unwrap_or_else(|| {
        panic!(
            "PostgreSQL's sources are not in {}: `make pg-regress` or tests/scripts/postgres-source {major} fetches them",
            sources.display()
        )
    })
}

fn pg_config(what: &str) -> PathBuf {
    PathBuf::from(run(Command::new(pg_program("pg_config")).arg(what)).trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_are_read_from_the_drivers_report() {
        let report = "test copy                         ... FAILED      143 ms\n\
                      test copyselect                   ... ok           54 ms\n\
                      test rules                        ... FAILED (test process exited with exit code 2)       12 ms\n\
                      2 of 3 tests failed. \n";
        assert_eq!(failed(report), ["copy", "rules"]);
    }
}

//! One suite of PostgreSQL's sources, and the driver that runs it, `pg_regress` or `pg_isolation_regress`, which the
//! package for extensions brings.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use harness::{pg_program, run, run_as_postgres};

use crate::source::{pg_config, source};
use crate::{report, schedule};

/// Longest time of one suite on one server. Where a page went wrong, a backend may loop for ever and heed no time-out.
const LONGEST: &str = "20m";

/// Where a server listens.
pub struct Socket {
    pub directory: PathBuf,
    pub port: u16,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Driver {
    Regress,
    /// Sessions whose steps are interleaved. Some have several outcomes, which PostgreSQL's sources list.
    Isolation,
}

/// Which tests, and in which order.
#[derive(Clone, Debug)]
pub enum Tests {
    OneByOne(Vec<String>),
    /// Lines of tests that run side by side.
    Schedule(String),
}

impl Tests {
    pub fn names(&self) -> Vec<String> {
        match self {
            Tests::OneByOne(names) => names.clone(),
            Tests::Schedule(text) => schedule::names(text),
        }
    }
}

/// What there is to run.
#[derive(Clone, Debug)]
pub struct Suite {
    /// As it is told: `regress`, `isolation`, `contrib/hstore`.
    pub name: String,
    pub driver: Driver,
    pub source: PathBuf,
    pub tests: Tests,
    pub options: Vec<String>,
    pub database: String,
    /// Directory with libraries that tests load.
    pub libraries: PathBuf,
}

/// What the tests printed on one server.
#[derive(Default)]
pub struct Outcome {
    /// By name. Of a test that did not run there is nothing.
    pub results: BTreeMap<String, Vec<u8>>,
    /// Tests that printed none of what PostgreSQL's sources expect.
    pub failed: Vec<String>,
    /// Why the driver did not come to its end.
    pub stopped: Option<String>,
    pub took: Duration,
}

/// A copy of a suite for servers to read and write. Tests print its path, so both servers get the same one,
/// one after the other.
pub struct Prepared {
    pub suite: Suite,
    directory: PathBuf,
}

impl Suite {
    pub fn prepare(&self, directory: PathBuf) -> Prepared {
        fs::create_dir_all(directory.parent().expect("a parent")).expect("a directory for suites");
        run(Command::new("cp").arg("-r").arg(&self.source).arg(&directory));
        let text = match &self.tests {
            Tests::OneByOne(names) => schedule::serial(names),
            Tests::Schedule(text) => text.clone(),
        };
        fs::write(directory.join("varve_schedule"), text).expect("a schedule");
        give_to_postgres(&directory);
        Prepared { suite: self.clone(), directory }
    }
}

impl Prepared {
    /// Runs all tests as the bootstrap superuser, in a database that is made for them. What they printed stays
    /// in a directory with the name of the server.
    pub fn run_on(&self, server: &str, socket: &Socket) -> Outcome {
        let began = Instant::now();
        let output = self.command(socket).output().expect("the driver");
        let report = String::from_utf8_lossy(&output.stdout).into_owned();
        // 0: all passed, 1: some failed. Else they could not be run, or not to the end.
        let stopped = (!matches!(output.status.code(), Some(0 | 1))).then(|| {
            let said = String::from_utf8_lossy(&output.stderr);
            format!(
                "the driver did not come to its end, {}: {}{}",
                output.status,
                last_of(&report),
                last_of(&said)
            )
        });
        let _ = fs::rename(self.directory.join("results"), self.directory.join(server));
        fs::write(self.directory.join(format!("{server}.report")), &report).expect("the report");
        let read = |test: String| fs::read(self.result(server, &test)).ok().map(|printed| (test, printed));
        let results = self.suite.tests.names().into_iter().filter_map(read).collect();
        Outcome { results, failed: report::failed(&report), stopped, took: began.elapsed() }
    }

    fn command(&self, socket: &Socket) -> Command {
        let Suite { driver, options, database, libraries, .. } = &self.suite;
        let program = match driver {
            Driver::Regress => "regress/pg_regress",
            Driver::Isolation => "isolation/pg_isolation_regress",
        };
        let mut command = run_as_postgres(Path::new("timeout"));
        command.arg(LONGEST).arg(pg_config("--pkglibdir").join("pgxs/src/test").join(program));
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("PG")) {
            command.env_remove(name);
        }
        command
            .current_dir(&self.directory)
            .args(["--inputdir=.", "--outputdir=.", "--schedule=varve_schedule"])
            .args(["--encoding=UTF8", "--user=postgres"])
            .arg(format!("--dbname={database}"))
            .arg(format!("--bindir={}", pg_program("").display()))
            .arg(format!("--dlpath={}", libraries.display()))
            .arg(format!("--host={}", socket.directory.display()))
            .arg(format!("--port={}", socket.port))
            .args(options);
        command
    }

    /// The file with what a test printed on a server.
    pub fn result(&self, server: &str, test: &str) -> PathBuf {
        self.directory.join(server).join(format!("{test}.out"))
    }
}

fn last_of(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(10)..].join("\n")
}

pub fn give_to_postgres(directory: &Path) {
    if nix::unistd::geteuid().is_root() {
        run(Command::new("chown").args(["-R", "postgres"]).arg(directory));
    }
}

/// Libraries that tests of the regression suite load: PostgreSQL's package has two, the third is compiled.
pub fn libraries(directory: &Path) {
    let source = source();
    fs::create_dir_all(directory).expect("a directory for libraries");
    let package = pg_config("--pkglibdir");
    run(Command::new("cp").args(["refint.so", "autoinc.so"].map(|name| package.join(name))).arg(directory));
    run(Command::new("cc")
        .args(["-shared", "-fPIC", "-w", "-O1", "-I"])
        .arg(pg_config("--includedir-server"))
        .arg("-o")
        .arg(directory.join("regress.so"))
        .arg(source.join("src/test/regress/regress.c")));
    give_to_postgres(directory);
}

//! Programs under test and PostgreSQL's own.

use std::path::PathBuf;
use std::process::{Command, Output};

use nix::unistd::User;
use types::PgVersion;

/// One of our programs, beside the test's own binary (`target/<profile>/`).
pub fn program(name: &str) -> PathBuf {
    let own = std::env::current_exe().expect("the path of the test program");
    let directory = own.parent().and_then(|deps| deps.parent()).expect("target/<profile>/deps");
    let path = directory.join(name);
    assert!(path.exists(), "{} is missing: `make build` builds it", path.display());
    path
}

/// The major version of PostgreSQL that tests run on: what VARVE_TEST_PG says, else the first one that is installed.
pub fn pg_version() -> PgVersion {
    match std::env::var("VARVE_TEST_PG") {
        Ok(version) => version.parse().expect("VARVE_TEST_PG is a version of PostgreSQL"),
        Err(_) => PgVersion::ALL
            .into_iter()
            .find(|version| bin_directory(*version).join("postgres").exists())
            .expect("PostgreSQL is installed: `make deps` does that"),
    }
}

fn bin_directory(version: PgVersion) -> PathBuf {
    PathBuf::from(format!("/usr/lib/postgresql/{version}/bin"))
}

/// `prometheus` or `promtool`, of Debian's package, which is unpacked when it is wanted for the first time.
pub fn prometheus_program(name: &str) -> PathBuf {
    let root = run(&mut Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../scripts/prometheus-root")));
    PathBuf::from(root.trim()).join("usr/bin").join(name)
}

/// One of PostgreSQL's programs.
pub fn pg_program(name: &str) -> PathBuf {
    bin_directory(pg_version()).join(name)
}

/// Runs a command that must succeed and returns its standard output.
pub fn run(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("cannot run {command:?}: {error}"));
    assert!(output.status.success(), "{command:?} failed: {}", describe(&output));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

pub(crate) fn describe(output: &Output) -> String {
    format!(
        "{}\nstdout: {}\nstderr: {}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

/// A command that PostgreSQL would refuse to run as root, run as the user `postgres` where we are root.
pub fn run_as_postgres(program: &std::path::Path) -> Command {
    if !nix::unistd::geteuid().is_root() {
        return Command::new(program);
    }
    let user = User::from_name("postgres").expect("user database").expect("user postgres");
    let mut command = Command::new("setpriv");
    command
        .arg(format!("--reuid={}", user.uid))
        .arg(format!("--regid={}", user.gid))
        .args(["--clear-groups", "--"])
        .arg(program)
        .current_dir("/tmp");
    command
}

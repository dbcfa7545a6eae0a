//! What a compute must not start with.

use std::path::PathBuf;
use std::process::{Command, Output};

use harness::Cluster;

/// The start must fail, and the server's log say why.
fn refused(cluster: &Cluster, output: &Output, reasons: &[&str]) {
    assert!(!output.status.success(), "it started: {output:?}");
    let log = std::fs::read_to_string(cluster.pgdata("main").with_file_name("postgres.log")).unwrap();
    for reason in reasons {
        assert!(log.contains(reason), "{reason:?} is not in the log:\n{log}");
    }
}

fn stopped(name: &str) -> Cluster {
    let cluster = Cluster::up(name).need_not_evict("it does not start");
    cluster.varve(&["endpoint", "stop", "main"]);
    cluster
}

/// A library that makes every fallocate fail as on a file system that knows no holes.
fn without_holes(cluster: &Cluster) -> PathBuf {
    let source = cluster.directory().join("without_holes.c");
    let library = cluster.directory().join("without_holes.so");
    let code = "#include <errno.h>\n#include <sys/types.h>\n\
                int fallocate(int f, int m, off_t o, off_t l) { errno = EOPNOTSUPP; return -1; }\n\
                int fallocate64(int f, int m, off_t o, off_t l) { errno = EOPNOTSUPP; return -1; }\n";
    std::fs::write(&source, code).unwrap();
    harness::run(Command::new("gcc").args(["-shared", "-fPIC", "-o"]).arg(&library).arg(&source));
    library
}

#[test]
fn a_file_system_without_holes_is_refused() {
    let cluster = stopped("no-holes");
    let library = without_holes(&cluster);
    let start =
        cluster.command(&["endpoint", "start", "main", "-t", "20"]).env("LD_PRELOAD", library).output();
    refused(&cluster, &start.unwrap(), &["cannot punch holes into files", "ext4, XFS, Btrfs or tmpfs"]);
    // Nothing is wrong with the endpoint itself.
    cluster.varve(&["endpoint", "stop", "main", "--mode", "immediate"]);
    cluster.varve(&["endpoint", "start", "main"]);
}

#[test]
fn settings_that_break_rules_need_the_debug_flag() {
    for setting in ["varve.test_sabotage=grace", "varve.test_shadow=on"] {
        let cluster = stopped("debug-flag");
        cluster.varve(&["endpoint", "reconfigure", "main", "--set", setting]);
        let start = cluster.try_varve(&["endpoint", "start", "main", "-t", "20"]);
        let name = setting.split_once('=').unwrap().0;
        refused(&cluster, &start, &[&format!("{name} is for tests"), "varve.debug = on"]);
    }
}

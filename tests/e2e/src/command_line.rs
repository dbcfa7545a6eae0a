//! The command line: what it prints, what it refuses, and that it may be run twice.

use std::fs::File;
use std::process::Stdio;
use std::time::Duration;

use harness::Cluster;
use nix::fcntl::{Flock, FlockArg};

fn refusal(cluster: &Cluster, arguments: &[&str]) -> String {
    let output = cluster.try_varve(arguments);
    assert!(!output.status.success(), "varve {arguments:?} must be refused");
    assert!(output.stdout.is_empty(), "{output:?}");
    String::from_utf8_lossy(&output.stderr).trim().to_owned()
}

#[test]
fn mistakes_get_one_clear_sentence() {
    let cluster = Cluster::up("mistakes");
    for (arguments, word) in [
        (vec!["timeline", "branch", "--branch-name", "x", "--ancestor-branch-name", "nowhere"], "nowhere"),
        (vec!["timeline", "branch", "--branch-name", "main"], "main"),
        (vec!["timeline", "branch", "--branch-name", "a b"], "a b"),
        (vec!["endpoint", "start", "nobody"], "nobody"),
        (vec!["endpoint", "create", "second", "--branch-name", "main"], "main"),
        (vec!["endpoint", "delete", "main"], "runs"),
        (vec!["connstr", "nobody"], "nobody"),
        (vec!["logs", "nobody"], "nobody"),
        (vec!["tenant", "set-default", "--tenant-id", "00000000000000000000000000000000"], "tenant"),
        (vec!["safekeeper", "start", "--id", "9"], "9"),
        (vec!["up", "--port-base", "21111"], "config.toml"),
    ] {
        let said = refusal(&cluster, &arguments);
        assert!(said.contains(word) && said.lines().count() == 1, "varve {arguments:?}: {said}");
    }
}

#[test]
fn a_taken_port_is_named() {
    let cluster = Cluster::init("taken-port");
    let port: u16 = cluster.http_address("pageserver").rsplit_once(':').unwrap().1.parse().unwrap();
    let _taken = std::net::TcpListener::bind(("127.0.0.1", port)).unwrap();
    let said = refusal(&cluster, &["up"]);
    assert!(said.contains(&port.to_string()), "{said}");
}

#[test]
fn every_command_may_be_run_twice() {
    let cluster = Cluster::init("idempotent");
    cluster.varve(&["up"]);
    let pids = |names: &[&str]| names.iter().map(|name| cluster.pid(name)).collect::<Vec<_>>();
    let all = ["broker", "safekeeper-1", "safekeeper-2", "safekeeper-3", "pageserver", "endpoint-main"];
    let before = pids(&all);
    assert!(before.iter().all(Option::is_some), "{before:?}");
    let again = cluster.varve(&["up"]);
    assert!(again.contains("psql postgresql://"), "{again}");
    assert_eq!(pids(&all), before, "a second `up` restarted something");

    // `start` repairs what died, and only that.
    cluster.kill("safekeeper-2");
    cluster.varve(&["start"]);
    let repaired = pids(&all);
    assert!(repaired.iter().all(Option::is_some) && repaired[2] != before[2], "{repaired:?}");
    assert_eq!(repaired[0], before[0]);

    let status = cluster.varve_json(&["status"]);
    let states: Vec<&str> =
        status.as_array().unwrap().iter().map(|row| row["state"].as_str().unwrap()).collect();
    assert_eq!(states, ["up", "up", "up", "up", "up", "running"], "{status}");

    for _ in 0..2 {
        cluster.varve(&["down"]);
        assert!(pids(&all).iter().all(Option::is_none));
    }
    cluster.varve(&["up"]);
    assert!(pids(&all).iter().all(Option::is_some));
    let listed = cluster.varve_json(&["endpoint", "list"]);
    assert_eq!(listed[0]["branch_name"], "main", "{listed}");
}

#[test]
fn who_waits_for_another_command_acts_on_what_that_one_has_changed() {
    let cluster = Cluster::init("behind-others");
    let file = File::create(cluster.directory().join("lock")).unwrap();
    let another = Flock::lock(file, FlockArg::LockExclusive).unwrap();
    let mut waiting = cluster.command(&["safekeeper", "start"]);
    let mut waiting = waiting.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(waiting.try_wait().unwrap(), None, "it does not wait");
    // As `safekeeper add 4` and `safekeeper remove 3` leave it.
    cluster.configure("config.toml", "safekeepers = [1, 2, 4]");
    drop(another);
    assert!(waiting.wait().unwrap().success());
    let run = [1, 2, 3, 4].map(|id| cluster.pid(&format!("safekeeper-{id}")).is_some());
    assert_eq!(run, [true, true, false, true]);
}

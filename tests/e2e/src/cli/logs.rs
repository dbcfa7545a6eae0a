//! `varve logs`: which there are, and how they are followed while what writes them ends and comes back.

use std::fs::File;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use harness::{Cluster, pg_version};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::{refusal, shell, text};

const PATIENCE: Duration = Duration::from_secs(30);

/// `varve logs --follow` that writes to a file.
struct Following {
    process: std::process::Child,
    written: PathBuf,
}

impl Following {
    fn start(cluster: &Cluster, arguments: &[&str]) -> Following {
        let written = cluster.directory().join("followed");
        let process = cluster
            .command(&[&["logs", "--follow"], arguments].concat())
            .stdout(File::create(&written).expect("a file"))
            .stderr(Stdio::piped())
            .spawn()
            .expect("varve runs");
        Following { process, written }
    }

    fn text(&self) -> String {
        std::fs::read_to_string(&self.written).expect("what was followed")
    }

    fn wait_for(&self, what: &str, happened: impl Fn(&str) -> bool) {
        let begun = Instant::now();
        while !happened(&self.text()) {
            assert!(begun.elapsed() < PATIENCE, "{what} did not come:\n{}", self.text());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Ctrl-C, which must end it at once, without a word and with 0.
    fn interrupt(mut self) -> String {
        let text = self.text();
        let pid = Pid::from_raw(self.process.id().cast_signed());
        kill(pid, Signal::SIGINT).expect("a signal");
        let status = self.process.wait().expect("its end");
        let said = std::io::read_to_string(self.process.stderr.take().expect("a pipe")).expect("text");
        assert_eq!((status.code(), said.as_str()), (Some(0), ""));
        text
    }
}

impl Drop for Following {
    /// A test that failed leaves nobody behind.
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
fn a_log_is_followed_across_restarts_and_rotation() {
    let cluster = Cluster::up("cli-logs");
    let opened = "PostgreSQL is open";
    let following = Following::start(&cluster, &["main", "-n", "1"]);
    following.wait_for("the last line", |text| text.contains(opened));
    let pid = cluster.pid("endpoint-main");
    cluster.varve(&["endpoint", "stop", "main"]);
    cluster.varve(&["endpoint", "start", "main"]);
    assert_ne!(cluster.pid("endpoint-main"), pid);
    following.wait_for("the next start", |text| text.matches(opened).count() == 2);

    // What logrotate does while nothing runs, and then while somebody still writes to the old file.
    let log = cluster.directory().join("run/endpoint-main.log");
    std::fs::rename(&log, log.with_extension("log.1")).expect("a rotation");
    cluster.varve(&["endpoint", "stop", "main"]);
    cluster.varve(&["endpoint", "start", "main"]);
    following.wait_for("the start after the rotation", |text| text.matches(opened).count() == 3);
    let followed = following.interrupt();
    let rotated = std::fs::read_to_string(log.with_extension("log.1")).expect("the old log");
    let all = rotated + &std::fs::read_to_string(&log).expect("the new log");
    assert!(all.ends_with(&followed), "a gap, or a line twice:\n{followed}\n--- of\n{all}");
    assert_eq!(followed.lines().next().map(|line| line.contains(opened)), Some(true), "{followed}");
}

#[test]
fn logs_are_listed_and_several_are_told_apart() {
    let cluster = Cluster::up("cli-log-names");
    let listed = cluster.varve(&["logs"]);
    for name in ["broker", "safekeeper-3", "pageserver", "main", "main/postgres"] {
        assert!(listed.lines().any(|line| line.starts_with(&format!("{name} "))), "{name}: {listed}");
    }
    let whole = cluster.varve(&["logs", "main"]);
    assert_eq!(whole, cluster.log("endpoint-main"));
    assert_eq!(cluster.varve(&["logs", "main", "-n", "2"]).lines().count(), 2);
    let postgres = cluster.varve(&["logs", "main/postgres"]);
    assert!(postgres.contains(&format!("starting PostgreSQL {}", pg_version())), "{postgres}");
    let both = cluster.varve(&["logs", "broker", "main", "-n", "1"]);
    let labels: Vec<&str> = both.lines().filter_map(|line| line.split('|').next()).collect();
    assert_eq!(labels, ["broker ", "main   "], "{both}");
    let document = cluster.varve_json(&["logs", "main", "-n", "1"]);
    assert_eq!(document[0]["lines"][0].as_str(), whole.lines().last());

    let said = refusal(&cluster, &["logs", "nobody"], 1);
    for name in ["nobody", "broker", "safekeeper-1", "main/postgres"] {
        assert!(said.contains(name), "{name}: {said}");
    }

    // The log outlives the endpoint, which is when somebody wants to read it.
    cluster.varve(&["timeline", "branch", "--branch-name", "brief"]);
    cluster.varve(&["endpoint", "create", "brief", "--branch-name", "brief"]);
    cluster.varve(&["endpoint", "start", "brief"]);
    let following = Following::start(&cluster, &["brief", "main"]);
    following.wait_for("both logs", |text| text.contains("brief |") && text.contains("main  |"));
    cluster.varve(&["endpoint", "stop", "brief", "--destroy"]);
    following.interrupt();
    assert!(cluster.varve(&["logs", "brief"]).contains("PostgreSQL is open"));

    // A reader that has seen enough ends it, even when nothing more is written.
    let output = shell(
        &cluster,
        "timeout 20 varve logs -f pageserver -n all | grep -q -m 1 . ; echo ${PIPESTATUS[0]}",
    );
    assert_eq!(text(&output.stdout).trim(), "0", "{output:?}");
}

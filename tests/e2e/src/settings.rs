//! Settings of endpoints: what is refused changes nothing; a data directory that is started by hand does not start.

use std::process::Output;

use harness::{Cluster, block_on, pg_program, run_as_postgres};

fn reconfigure(cluster: &Cluster, arguments: &[&str]) -> Output {
    cluster.try_varve(&[&["endpoint", "reconfigure", "main"], arguments].concat())
}

/// It fails and says so with these words.
fn refused(cluster: &Cluster, setting: &str, words: &[&str]) {
    let output = reconfigure(cluster, &["--set", setting]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success(), "{setting} was taken");
    for word in words {
        assert!(said.contains(word), "{setting}: {said}");
    }
}

fn show(cluster: &Cluster, setting: &str) -> String {
    block_on(async {
        let row = cluster.connect("main").await.query_one(&format!("SHOW {setting}"), &[]).await;
        row.unwrap_or_else(|error| panic!("{setting}: {error}")).get(0)
    })
}

#[test]
fn what_is_refused_changes_nothing() {
    let cluster = Cluster::up("settings");
    let before = show(&cluster, "work_mem");
    refused(&cluster, "fsync=on", &["fsync", "durability"]);
    refused(&cluster, "wal_level=minimal", &["wal_level", "replica or logical"]);
    refused(&cluster, "nonsense=1", &["nonsense", "unrecognized configuration parameter"]);
    refused(&cluster, "work_mem=much", &["work_mem"]);
    refused(&cluster, "varve.max_lag=much", &["varve.max_lag"]);

    // None of it stands in the way of a good one, or of the next start.
    cluster.varve(&["endpoint", "reconfigure", "main", "--set", "log_min_duration_statement=1234"]);
    assert_eq!(show(&cluster, "log_min_duration_statement"), "1234ms");
    cluster.varve(&["endpoint", "stop", "main"]);
    refused(&cluster, "full_page_writes=off", &["full_page_writes"]);
    let created =
        cluster.try_varve(&["endpoint", "create", "other", "--allow-multiple", "--set", "fsync=off"]);
    assert!(!created.status.success(), "an endpoint without fsync was made");
    cluster.varve(&["endpoint", "start", "main"]);
    assert_eq!(show(&cluster, "log_min_duration_statement"), "1234ms");
    assert_eq!(show(&cluster, "work_mem"), before);
}

#[test]
fn settings_go_back_to_their_defaults_and_say_when_they_count() {
    let cluster = Cluster::up("settings-unset");
    let said = cluster.varve(&["endpoint", "reconfigure", "main", "--set", "max_connections=77"]);
    assert!(said.contains("max_connections only after a restart"), "{said}");
    cluster.varve(&["endpoint", "reconfigure", "main", "--set", "work_mem=7MB"]);
    assert_eq!(show(&cluster, "work_mem"), "7MB");
    cluster.varve(&["endpoint", "reconfigure", "main", "--unset", "WORK_MEM", "--unset", "max_connections"]);
    assert_eq!(show(&cluster, "work_mem"), "4MB");
    let nothing = reconfigure(&cluster, &["--unset", "work_mem"]);
    assert!(!nothing.status.success() && String::from_utf8_lossy(&nothing.stderr).contains("work_mem"));
    assert!(!reconfigure(&cluster, &[]).status.success(), "nothing to do is a mistake");
}

/// Holes of its files would read as empty pages.
#[test]
fn a_data_directory_is_not_started_by_hand() {
    let cluster = Cluster::up("by-hand");
    cluster.varve(&["endpoint", "stop", "main"]);
    let pgdata = cluster.pgdata("main");
    let mut postgres = run_as_postgres(&pg_program("postgres"));
    let output = postgres.args(["--single", "-D"]).arg(&pgdata).arg("postgres").output().expect("postgres");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success(), "it started: {said}");
    assert!(said.contains("this data directory was not made for this start of the server"), "{said}");
    cluster.varve(&["endpoint", "start", "main"]);
}

//! Settings of endpoints: what is refused changes nothing; a data directory that is started by hand does not start.

use std::process::Output;

use compute_api::{ComputeClient, ConfigureRequest, DatabaseSpec, SettingSpec};
use harness::{Cluster, block_on, number, pg_program, run_as_postgres};

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
    // A line that is no setting would keep the server from starting.
    refused(&cluster, "7=1", &["7", "not beginning with a digit"]);
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

/// Nobody could connect to take it back.
#[test]
fn what_would_keep_everybody_out_is_taken_back() {
    let cluster = Cluster::up("settings-keep-out").need_not_evict("its database is empty");
    for setting in ["session_preload_libraries=not_there", "local_preload_libraries=not_there"] {
        refused(&cluster, setting, &["no session can begin", "not_there"]);
        let (name, _) = setting.split_once('=').unwrap();
        assert_eq!(show(&cluster, name), "");
    }
    cluster.varve(&["endpoint", "reconfigure", "main", "--set", "work_mem=5MB"]);
    assert_eq!(show(&cluster, "work_mem"), "5MB");
}

/// What is set for everybody does not count for who brings roles and databases to the spec.
#[test]
fn an_endpoint_may_be_one_that_only_reads() {
    let cluster = Cluster::up("settings-read-only").need_not_evict("its database is empty");
    let read_only = ["--set", "default_transaction_read_only=on"];
    let create = ["endpoint", "create", "frozen", "--branch-name", "frozen"];
    cluster.varve(&["timeline", "branch", "--branch-name", "frozen"]);
    cluster.varve(&[create.as_slice(), &read_only].concat());
    cluster.varve(&["endpoint", "start", "frozen"]);
    block_on(async {
        let client = cluster.connect("frozen").await;
        let refused = client.batch_execute("CREATE TABLE t (n int)").await.unwrap_err();
        assert_eq!(refused.code(), Some(&tokio_postgres::error::SqlState::READ_ONLY_SQL_TRANSACTION));
    });
}

/// A database that cannot be made takes the settings with it that were asked for in one go: nobody was told that they are
/// in force, so no reload may ever bring them.
#[test]
fn what_is_refused_in_part_is_refused_whole() {
    let cluster = Cluster::up("settings-whole");
    let compute = ComputeClient::new(&cluster.http_address("endpoint-main"), cluster.credentials());
    let wanted = ConfigureRequest {
        roles: Vec::new(),
        databases: vec![DatabaseSpec { name: "shop".into(), owner: "nobody_of_this_name".into() }],
        settings: vec![SettingSpec { name: "work_mem".into(), value: "7MB".into() }],
    };
    let on_disk = block_on(async {
        let refused = compute.configure(&wanted).await.expect_err("there is no such owner");
        assert_eq!(refused.status().map(|status| status.as_u16()), Some(400), "{refused}");
        assert!(refused.to_string().contains("nobody_of_this_name"), "{refused}");
        let client = cluster.connect("main").await;
        number(&client, "SELECT count(*) FROM pg_file_settings WHERE name = 'work_mem'").await
    });
    assert_eq!(on_disk, 0, "it is in postgresql.conf");
}

#[test]
fn settings_go_back_to_their_defaults_and_say_when_they_count() {
    let cluster = Cluster::up("settings-unset");
    let said = cluster.varve(&["endpoint", "reconfigure", "main", "--set", "max_connections=77"]);
    assert!(said.contains("max_connections only after a restart"), "{said}");
    cluster.varve(&["endpoint", "reconfigure", "main", "--set", "work_mem=7MB"]);
    assert_eq!(show(&cluster, "work_mem"), "7MB");
    // One that only a start can change, and which the running server complains of when it goes.
    cluster.varve(&["endpoint", "reconfigure", "main", "--set", "wal_buffers=1MB"]);
    cluster.varve(&["endpoint", "stop", "main"]);
    cluster.varve(&["endpoint", "start", "main"]);
    cluster.varve(&["endpoint", "reconfigure", "main", "--unset", "wal_buffers"]);
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

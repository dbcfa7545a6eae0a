//! TLS between the parts: what each port shows and refuses, that nothing goes over the wire in clear, and certificates that are
//! replaced while everything runs.

mod capture;
mod ports;

use std::process::Command;
use std::time::Duration;

use harness::{Cluster, Writers, block_on, eventually, ledger_rows, pg_program};

use capture::Capture;
use ports::{Port, Speaks};

const PATIENCE: Duration = Duration::from_secs(60);

/// Both sides of TLS as a user has it: parts and clients.
fn whole_cluster(name: &str) -> Cluster {
    let cluster = Cluster::init(name).need_not_evict("next to nothing is written");
    cluster.varve(&["up", "--tls"]);
    cluster
}

/// By psql, which verifies whom it talks to.
fn sql(cluster: &Cluster, endpoint: &str, query: &str) -> String {
    let output = Command::new(pg_program("psql"))
        .args([&cluster.connstr(endpoint), "-XAt", "-v", "ON_ERROR_STOP=1", "-c", query])
        .output()
        .expect("psql runs");
    assert!(output.status.success(), "{query}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// Writes, reads with an empty cache, follows, exports, and asks every part through every command that does.
#[test]
fn a_cluster_does_all_that_it_does_over_tls() {
    let cluster = whole_cluster("tls-parts");
    sql(
        &cluster,
        "main",
        "CREATE TABLE t AS SELECT n, repeat('x', 500) AS filler FROM generate_series(1, 20000) n",
    );
    cluster.varve(&["endpoint", "stop", "main"]);
    cluster.varve(&["endpoint", "start", "main"]);
    let sum = "SELECT count(*), sum(n), sum(length(filler)) FROM t";
    assert_eq!(sql(&cluster, "main", sum), "20000|200010000|10000000");
    sql(&cluster, "main", "CREATE EXTENSION IF NOT EXISTS varve");
    let fetched: u64 = sql(&cluster, "main", "SELECT requests FROM varve.pageserver").parse().unwrap();
    assert!(fetched > 10, "{fetched} requests");

    cluster.varve(&["endpoint", "create", "replica", "--branch-name", "main", "--hot-standby"]);
    cluster.varve(&["endpoint", "start", "replica"]);
    sql(&cluster, "main", "INSERT INTO t VALUES (20001, 'new')");
    block_on(eventually("the replica follows", PATIENCE, async || {
        sql(&cluster, "replica", "SELECT count(*) FROM t") == "20001"
    }));
    let receiver = sql(&cluster, "replica", "SELECT conninfo FROM pg_stat_wal_receiver");
    assert!(receiver.contains("sslmode=verify-full"), "{receiver}");

    let status = cluster.varve(&["status"]);
    assert!(!status.contains("Down:"), "{status}");
    let doctor = cluster.try_varve(&["doctor"]);
    assert!(doctor.status.success(), "{}", String::from_utf8_lossy(&doctor.stdout));
    cluster.varve(&["top", "--every", "1s", "--rounds", "1"]);
    cluster.varve(&["timeline", "branch", "--branch-name", "second"]);
    cluster.varve(&["auth", "rotate"]);
    let copy = cluster.directory().join("copy");
    cluster.export("main", &copy);
    assert!(copy.join("PG_VERSION").exists());
    cluster.varve(&["stop"]);
    cluster.varve(&["start"]);
    assert_eq!(sql(&cluster, "main", "SELECT count(*) FROM t"), "20001");
}

#[test]
fn every_port_shows_its_certificate_and_speaks_nothing_but_tls() {
    let cluster = whole_cluster("tls-ports");
    let stranger = Cluster::init("tls-ports-stranger");
    stranger.varve(&["init", "--tls"]);
    let ports = Port::all(&cluster);
    assert_eq!(
        ports.len(),
        10,
        "broker, pageserver and three safekeepers with two each, compute_ctl: {ports:?}"
    );
    for port in &ports {
        assert_eq!(port.verified(&cluster.authority()), Ok(()), "{port:?}");
        // What clients believe is no authority over parts: who has an endpoint's key must not pass for one.
        for wrong in [stranger.authority(), cluster.directory().join("tls/ca.pem")] {
            let refused = port.verified(&wrong).unwrap_err();
            assert!(refused.contains("verify error"), "{port:?} by {}: {refused}", wrong.display());
        }
        let said = port.plain();
        assert!(said.contains("speaks TLS only"), "{port:?}: {said}");
        if port.speaks == Speaks::Postgres {
            let said = port.psql(&cluster, "sslmode=disable").unwrap_err();
            assert!(said.contains("speaks TLS only"), "{port:?}: {said}");
            let authority = cluster.authority().display().to_string();
            let answer = port.psql(&cluster, &format!("sslmode=verify-full sslrootcert={authority}"));
            // It got through to the part itself, which has another language.
            let said = answer.unwrap_err();
            let answered = said.contains("ERROR:") || said.contains("FATAL:");
            assert!(answered && !said.contains("SSL") && !said.contains("TLS"), "{port:?}: {said}");
        }
    }
}

/// A row that is written, and read by a compute with an empty cache, on clusters with and without TLS. Without it has to be
/// seen, or else nobody would have looked.
#[test]
fn what_is_written_is_not_seen_on_the_wire() {
    for tls in [false, true] {
        let name = if tls { "tls-wire" } else { "tls-wire-clear" };
        let cluster = if tls { whole_cluster(name) } else { super::quiet(name) };
        let marker = format!("marker-{:016x}", rand::random::<u64>());
        let ports: Vec<u16> = Port::all(&cluster).iter().map(|port| port.number).collect();
        let capture = Capture::start(&ports);
        sql(
            &cluster,
            "main",
            &format!("CREATE TABLE t AS SELECT n, '{marker}' AS text FROM generate_series(1, 5000) n"),
        );
        cluster.varve(&["endpoint", "stop", "main"]);
        cluster.varve(&["endpoint", "start", "main"]);
        assert_eq!(sql(&cluster, "main", &format!("SELECT count(*) FROM t WHERE text = '{marker}'")), "5000");
        let token = cluster.credentials().token();
        let seen = capture.stop(&[marker.as_bytes(), token.as_bytes()]);
        let pg: Vec<u16> = Port::all(&cluster)
            .iter()
            .filter(|port| port.speaks == Speaks::Postgres)
            .map(|port| port.number)
            .collect();
        for port in &pg {
            assert!(seen.bytes(*port) > 100_000, "{} bytes at port {port}", seen.bytes(*port));
            assert_eq!(seen.of(0).contains(port), !tls, "port {port} with TLS {tls}");
        }
        assert_eq!(seen.of(0).is_empty(), tls, "the row");
        assert_eq!(seen.of(1).is_empty(), tls, "the administrator's token");
    }
}

#[test]
fn certificates_are_replaced_while_everything_runs() {
    let cluster = Cluster::up_with_tls("tls-parts-rotation").need_not_evict("what counts is who is believed");
    block_on(async {
        let client = cluster.connect("main").await;
        let writers = Writers::start(&cluster.connstr("main"), 2).await;
        writers.wait_for_progress(50).await;
        let ports = Port::all(&cluster);
        let shown = |port: &Port| port.shown(&cluster.authority());
        let before: Vec<_> = ports.iter().map(shown).collect();
        let said = cluster.varve(&["auth", "certificate"]);
        assert!(said.contains("The parts take on one of their own"), "{said}");
        for (port, before) in ports.iter().zip(&before) {
            eventually("the new one is shown", PATIENCE, async || shown(port) != *before).await;
        }
        writers.wait_for_progress(50).await;

        // A key that does not fit: complained of, and what was there before is shown on.
        let key = cluster.directory().join("tls/parts-key.pem");
        let good = std::fs::read(&key).unwrap();
        let before: Vec<_> = ports.iter().map(shown).collect();
        let parts = ["broker", "safekeeper-1", "pageserver", "endpoint-main"];
        let complaints = || parts.map(|part| cluster.log(part).matches("do not fit").count());
        let earlier = complaints();
        std::fs::write(&key, std::fs::read(cluster.directory().join("tls/server-key.pem")).unwrap()).unwrap();
        eventually("all of them complain", PATIENCE, async || {
            // Who is asked looks at its files.
            assert_eq!(ports.iter().map(shown).collect::<Vec<_>>(), before);
            complaints().iter().zip(earlier).all(|(now, earlier)| *now > earlier)
        })
        .await;
        std::fs::write(&key, good).unwrap();

        // Connections that were open are made anew, one part after the other.
        super::each_part_anew(&cluster, &writers).await;
        let ledger = writers.stop().await;
        let rows = ledger_rows(&client).await;
        assert!(ledger.check(rows.iter().copied()).is_clean());
    });
}

#[test]
fn a_cluster_of_a_time_without_tls_begins_with_it_when_nothing_runs() {
    let cluster = super::quiet("tls-begin");
    sql(&cluster, "main", "CREATE TABLE t AS SELECT 7 AS n");
    cluster.refuses(&["up", "--tls"], "run without TLS");
    cluster.varve(&["down"]);
    cluster.varve(&["up", "--tls"]);
    assert_eq!(sql(&cluster, "main", "SELECT n FROM t"), "7");
    for port in Port::all(&cluster) {
        assert_eq!(port.verified(&cluster.authority()), Ok(()), "{port:?}");
        assert!(port.plain().contains("speaks TLS only"), "{port:?}");
    }
    // From now on without a word.
    cluster.varve(&["down"]);
    cluster.varve(&["up"]);
    assert_eq!(sql(&cluster, "main", "SELECT n FROM t"), "7");
}

/// Endpoints had certificates before parts had.
#[test]
fn certificates_of_endpoints_alone_change_nothing_between_the_parts() {
    let cluster = super::quiet("tls-endpoints-alone");
    let said = cluster.varve(&["auth", "certificate"]);
    assert!(said.contains("Parts speak no TLS among themselves"), "{said}");
    cluster.varve(&["endpoint", "stop", "main"]);
    cluster.varve(&["endpoint", "start", "main"]);
    assert_eq!(sql(&cluster, "main", "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()"), "t");
    assert!(!cluster.authority().exists());
    cluster.get("endpoint-main", "/v1/status");
    cluster.get("pageserver", "/v1/status");
}

//! Clients that come in over TLS, and certificates that are replaced while they do. The client is psql, which is to say
//! libpq and OpenSSL.

use std::process::Command;
use std::time::Duration;

use harness::{Cluster, block_on, eventually, pg_program};

const PATIENCE: Duration = Duration::from_secs(30);

/// The answer, or the complaint.
fn psql(connstr: &str, query: &str) -> Result<String, String> {
    let output =
        Command::new(pg_program("psql")).args([connstr, "-XAtc", query]).output().expect("psql runs");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
}

fn with(connstr: &str, parameters: &str) -> String {
    format!("{}?{parameters}", connstr.split('?').next().expect("a connection string"))
}

const ENCRYPTED: &str = "SELECT ssl, version FROM pg_stat_ssl WHERE pid = pg_backend_pid()";

/// Makes the endpoint's certificate, and starts it with it.
fn cluster_with_tls(name: &str, settings: &[&str]) -> Cluster {
    let cluster = Cluster::up(name).need_not_evict("next to nothing is written");
    cluster.varve(&["endpoint", "stop", "main"]);
    let said = cluster.varve(&["auth", "certificate", "--tls-name", "db.example.com"]);
    assert!(said.contains("from their next start on"), "{said}");
    if !settings.is_empty() {
        cluster.varve(&[&["endpoint", "reconfigure", "main"], settings].concat());
    }
    cluster.varve(&["endpoint", "start", "main"]);
    cluster
}

#[test]
fn clients_know_whom_they_talk_to_and_nobody_talks_in_clear() {
    let cluster = cluster_with_tls("tls", &[]);
    let connstr = cluster.connstr("main");
    assert!(connstr.contains("sslmode=verify-full&sslrootcert=/"), "{connstr}");
    assert_eq!(psql(&connstr, ENCRYPTED).unwrap(), "t|TLSv1.3");
    let clear = psql(&with(&connstr, "sslmode=disable"), "SELECT 1").unwrap_err();
    assert!(clear.contains("no encryption"), "{clear}");
    // Another cluster's authority, and another name.
    let other = Cluster::init("tls-stranger");
    other.varve(&["auth", "certificate"]);
    let theirs = other.directory().join("tls/ca.pem").display().to_string();
    let refused =
        psql(&with(&connstr, &format!("sslmode=verify-full&sslrootcert={theirs}")), "SELECT 1").unwrap_err();
    assert!(refused.contains("certificate verify failed"), "{refused}");
    let authority = cluster.directory().join("tls/ca.pem").display().to_string();
    let named = |name: &str| {
        let place = with(
            &connstr,
            &format!("sslmode=verify-full&sslrootcert={authority}&host={name}&hostaddr=127.0.0.1"),
        );
        psql(&place, "SELECT 1")
    };
    assert_eq!(named("db.example.com").as_deref(), Ok("1"));
    let wrong = named("other.example.com").unwrap_err();
    assert!(wrong.contains("does not match host name"), "{wrong}");

    // The certificate is replaced while a session goes on; new sessions see the new one.
    block_on(async {
        let before = shown(&cluster);
        let said = cluster.varve(&["auth", "certificate", "--tls-name", "other.example.com"]);
        assert!(said.contains("take it on now"), "{said}");
        eventually("the new name is shown", PATIENCE, async || named("other.example.com").is_ok()).await;
        assert!(named("db.example.com").is_err());
        let first = shown(&cluster);
        assert_ne!(first, before);
        // The next one is of the same name.
        let said = cluster.varve(&["auth", "certificate"]);
        assert!(said.contains("for other.example.com and this machine's own names"), "{said}");
        eventually("the next one is shown", PATIENCE, async || shown(&cluster) != first).await;
        assert_eq!(named("other.example.com").as_deref(), Ok("1"));
        // A key that does not fit changes nothing.
        let key = std::fs::read(other.directory().join("tls/server-key.pem")).unwrap();
        let good = std::fs::read(cluster.directory().join("tls/server-key.pem")).unwrap();
        std::fs::write(cluster.directory().join("tls/server-key.pem"), key).unwrap();
        let log = || std::fs::read_to_string(cluster.postgres_log("main")).unwrap();
        eventually("the server complains", PATIENCE, async || {
            log().contains("SSL configuration was not reloaded")
        })
        .await;
        assert_eq!(named("other.example.com").as_deref(), Ok("1"));
        std::fs::write(cluster.directory().join("tls/server-key.pem"), good).unwrap();
    });
    one_of_somebodys_own_stays(&cluster, &other);
    // Without a certificate the next start is one in clear again.
    cluster.varve(&["endpoint", "stop", "main"]);
    std::fs::rename(cluster.directory().join("tls"), cluster.directory().join("no-tls")).unwrap();
    cluster.varve(&["endpoint", "start", "main"]);
    assert_eq!(psql(&cluster.connstr("main"), ENCRYPTED).unwrap(), "f|");
}

/// Instead of that of an endpoint, as of a part.
fn one_of_somebodys_own_stays(cluster: &Cluster, other: &Cluster) {
    let file = |cluster: &Cluster, name: &str| cluster.directory().join("tls").join(name);
    let kept = ["server.pem", "server-key.pem"].map(|name| {
        std::fs::copy(file(other, name), file(cluster, name)).unwrap();
        std::fs::read(file(cluster, name)).unwrap()
    });
    cluster.refuses(
        &["auth", "certificate", "--tls-name", "db.example.com"],
        "tls/server.pem was not signed by",
    );
    assert_eq!(
        ["server.pem", "server-key.pem"].map(|name| std::fs::read(file(cluster, name)).unwrap()),
        kept
    );
    std::fs::rename(file(cluster, "server.pem"), file(cluster, "own.pem")).unwrap();
    let said = cluster.varve(&["auth", "certificate"]);
    assert!(said.contains("for other.example.com and"), "{said}");
}

/// The certificate that a client is shown, as the server's own copy of it.
fn shown(cluster: &Cluster) -> Vec<u8> {
    let copy = cluster.pgdata("main").parent().expect("a home").join("server.crt");
    std::fs::read(copy).expect("the server's copy")
}

#[test]
fn a_suspended_endpoint_is_woken_by_a_client_that_wants_tls() {
    let cluster = cluster_with_tls("tls-suspend", &["--suspend-timeout", "1s"]);
    let state = || cluster.compute_status("main")["state"].as_str().expect("a state").to_owned();
    block_on(async {
        eventually("it is suspended", Duration::from_secs(60), async || state() == "suspended").await;
    });
    assert_eq!(psql(&cluster.connstr("main"), ENCRYPTED).unwrap(), "t|TLSv1.3");
    let clear = psql(&with(&cluster.connstr("main"), "sslmode=disable"), "SELECT 1").unwrap_err();
    assert!(clear.contains("no encryption"), "{clear}");
}

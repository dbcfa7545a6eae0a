//! Scale to zero: a compute that nobody uses is suspended, and woken by whoever comes next.

use std::time::{Duration, Instant};

use harness::{Cluster, block_on, eventually, number};
use nix::sys::signal::Signal;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_postgres::Client;
use tokio_postgres::error::SqlState;

use crate::kept_cache::went_on;

const PATIENCE: Duration = Duration::from_secs(60);

/// An endpoint that is suspended after a second.
fn sleepy(name: &str) -> Cluster {
    let cluster = Cluster::up(name).need_not_evict("next to nothing is written");
    cluster.varve(&["endpoint", "stop", "main"]);
    let said = cluster.varve(&["endpoint", "reconfigure", "main", "--suspend-timeout", "1s"]);
    assert!(said.contains("at its next start"), "{said}");
    cluster.varve(&["endpoint", "start", "main"]);
    cluster
}

fn state(cluster: &Cluster, endpoint: &str) -> String {
    cluster.compute_status(endpoint)["state"].as_str().expect("a state").to_owned()
}

fn starts(cluster: &Cluster) -> u64 {
    cluster.compute_status("main")["starts"].as_u64().expect("a number of starts")
}

async fn until_suspended(cluster: &Cluster, endpoint: &str) {
    eventually("it is suspended", PATIENCE, async || state(cluster, endpoint) == "suspended").await;
}

fn port(cluster: &Cluster) -> u16 {
    let endpoints = cluster.varve_json(&["endpoint", "list"]);
    u16::try_from(endpoints[0]["pg_port"].as_u64().expect("a port")).expect("a port")
}

/// Longer than the time-out, and than the look at what works.
async fn stays_awake(cluster: &Cluster, because: &str) {
    let until = Instant::now() + Duration::from_secs(4);
    while Instant::now() < until {
        assert_eq!(state(cluster, "main"), "running", "suspended, although {because}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[test]
fn a_client_wakes_it_and_finds_everything() {
    let cluster = sleepy("suspend");
    block_on(async {
        let (idle, session) =
            tokio_postgres::connect(&cluster.connstr("main"), tokio_postgres::NoTls).await.unwrap();
        let session = tokio::spawn(session);
        idle.batch_execute("CREATE TABLE t AS SELECT n FROM generate_series(1, 1000) n").await.unwrap();
        let postgres = format!("/proc/{}", cluster.postmaster_pid("main"));
        // A session that is idle does not keep it awake, and is told why it ends.
        until_suspended(&cluster, "main").await;
        assert_eq!(session.await.unwrap().unwrap_err().code(), Some(&SqlState::ADMIN_SHUTDOWN));
        assert!(!std::path::Path::new(&postgres).exists(), "the server runs on");
        let status = cluster.varve(&["status"]);
        assert!(status.contains("suspended"), "{status}");
        // To start it once more is not to wake it.
        cluster.varve(&["endpoint", "start", "main"]);
        assert_eq!(state(&cluster, "main"), "suspended");

        // Ten at once: all wait for one start, and none is turned away.
        let before = starts(&cluster);
        let connstr = cluster.connstr("main");
        let clients = (0..10).map(|_| {
            let connstr = connstr.clone();
            tokio::spawn(async move {
                let client = harness::connect(&connstr).await.expect("a session");
                number(&client, "SELECT count(*) FROM t").await
            })
        });
        for client in clients.collect::<Vec<_>>() {
            assert_eq!(client.await.unwrap(), 1000);
        }
        assert_eq!(starts(&cluster), before + 1);

        // Over and over, with a change each time.
        for round in 1..=3 {
            let began = Instant::now();
            let client = cluster.connect("main").await;
            eprintln!("woken in {:.0} ms", began.elapsed().as_secs_f64() * 1e3);
            assert!(went_on(&cluster), "it began with an empty cache");
            client.execute("INSERT INTO t VALUES ($1)", &[&(1000 + round)]).await.unwrap();
            drop(client);
            until_suspended(&cluster, "main").await;
        }
        let client = cluster.connect("main").await;
        assert_eq!(number(&client, "SELECT count(*) FROM t").await, 1003);
        until_suspended(&cluster, "main").await;
    });
    // A stop of one that has no server, and the start after.
    let said = cluster.varve(&["endpoint", "stop", "main"]);
    assert!(said.contains("stopped"), "{said}");
    cluster.varve(&["endpoint", "start", "main"]);
    assert_eq!(state(&cluster, "main"), "running");
}

#[test]
fn what_works_keeps_it_awake_and_what_is_no_client_does_not_wake_it() {
    let cluster = sleepy("suspend-busy");
    let port = port(&cluster);
    block_on(async {
        let client = cluster.connect("main").await;
        let cancel = client.cancel_token();
        let sleeping =
            tokio::spawn(async move { (client.batch_execute("SELECT pg_sleep(60)").await, client) });
        stays_awake(&cluster, "a statement runs").await;
        // To cancel goes through, as it does without anything between.
        cancel.cancel_query(tokio_postgres::NoTls).await.unwrap();
        let (cancelled, client) = sleeping.await.unwrap();
        assert_eq!(cancelled.unwrap_err().code(), Some(&SqlState::QUERY_CANCELED));
        client.batch_execute("BEGIN; CREATE TABLE t (n int)").await.unwrap();
        stays_awake(&cluster, "a transaction is open").await;
        client.batch_execute("COMMIT").await.unwrap();
        // Prometheus, who asks PostgreSQL, neither keeps it awake nor wakes it.
        let commits = || cluster.metric("endpoint-main", "compute_postgres_commits_total");
        let (mut most, mut last) = (0.0_f64, 0.0);
        eventually("it is suspended between scrapes", PATIENCE, async || {
            last = commits();
            most = most.max(last);
            state(&cluster, "main") == "suspended"
        })
        .await;
        assert!(last > 0.0 && last >= most, "PostgreSQL said {most} commits, and then {last}");
        assert!(commits() >= last, "what it said last");

        let before = starts(&cluster);
        // A port scanner, a web browser, and somebody who cancels what is long over.
        drop(TcpStream::connect(("127.0.0.1", port)).await.unwrap());
        commits();
        let mut browser = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        browser.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
        assert_eq!(browser.read(&mut [0; 16]).await.unwrap_or(0), 0, "it is answered");
        cancel.cancel_query(tokio_postgres::NoTls).await.unwrap();
        let silent = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert_eq!((state(&cluster, "main").as_str(), starts(&cluster)), ("suspended", before));
        drop(silent);

        // A new configuration takes a server, which judges it, and stays in force.
        let said = cluster.varve(&["endpoint", "reconfigure", "main", "--set", "work_mem=7MB"]);
        assert!(said.contains("now"), "{said}");
        cluster.refuses(&["endpoint", "reconfigure", "main", "--set", "work_mem=much"], "work_mem");
        until_suspended(&cluster, "main").await;
        let client = cluster.connect("main").await;
        let work_mem: String = client.query_one("SHOW work_mem", &[]).await.unwrap().get(0);
        assert_eq!(work_mem, "7MB");
    });
}

#[test]
fn who_was_replaced_in_its_sleep_does_not_take_the_branch_back() {
    let cluster = sleepy("suspend-fenced");
    block_on(async {
        let main = cluster.connect("main").await;
        main.batch_execute("CREATE TABLE t (n int)").await.unwrap();
        drop(main);
        until_suspended(&cluster, "main").await;
        let connstr = cluster.connstr("main");

        // Taken over behind its back: the command that would end it is killed before it does.
        cluster.varve(&["endpoint", "create", "second", "--branch-name", "main", "--allow-multiple"]);
        cluster.signal("endpoint-main", Signal::SIGSTOP);
        let mut start =
            cluster.command(&["endpoint", "start", "second", "--allow-multiple"]).spawn().unwrap();
        eventually("the second one is open", PATIENCE, async || cluster.try_connect("second").await.is_ok())
            .await;
        start.kill().and_then(|()| start.wait()).unwrap();
        cluster.signal("endpoint-main", Signal::SIGCONT);
        let second = cluster.connect("second").await;
        second.batch_execute("INSERT INTO t VALUES (1)").await.unwrap();

        // Woken, it finds that out, and ends.
        assert!(harness::connect(&connstr).await.is_err(), "a session on the compute that was replaced");
        eventually("it ends", PATIENCE, async || cluster.pid("endpoint-main").is_none()).await;
        second.batch_execute("INSERT INTO t VALUES (2)").await.unwrap();
        assert_eq!(number(&second, "SELECT count(*) FROM t").await, 2);
    });
}

#[test]
fn replicas_sleep_too() {
    let cluster = Cluster::up("suspend-replicas").need_not_evict("next to nothing is written");
    block_on(async {
        let main = cluster.connect("main").await;
        main.batch_execute("CREATE TABLE t AS SELECT 1 AS n; CHECKPOINT").await.unwrap();
        let lsn: String =
            main.query_one("SELECT pg_current_wal_flush_lsn()::text", &[]).await.unwrap().get(0);
        let timeout = ["--suspend-timeout", "1s"];
        cluster.varve(&[&["endpoint", "create", "ro", "--hot-standby"][..], &timeout].concat());
        cluster.varve(&[&["endpoint", "create", "past", "--lsn", &lsn][..], &timeout].concat());
        for name in ["ro", "past"] {
            cluster.varve(&["endpoint", "start", name]);
            until_suspended(&cluster, name).await;
        }
        main.batch_execute("INSERT INTO t VALUES (2)").await.unwrap();
        for (name, rows) in [("ro", 2), ("past", 1)] {
            let client: Client = cluster.connect(name).await;
            assert_eq!(number(&client, "SELECT count(*) FROM t").await, rows, "{name}");
            drop(client);
            until_suspended(&cluster, name).await;
        }
    });
}

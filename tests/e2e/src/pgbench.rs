//! PostgreSQL's own benchmark as a consistency check: money moves, none appears or disappears.

use std::path::Path;
use std::process::Command;

use harness::{Cluster, block_on, connect, lsn, pg_program, run};

/// Fills the tables of pgbench and runs its TPC-B mix.
pub fn load(connstr: &str, scale: u32, clients: u32, seconds: u32) {
    let scale = scale.to_string();
    run(Command::new(pg_program("pgbench")).args(["-q", "-i", "-s", &scale, connstr]));
    mix(connstr, clients, seconds);
}

pub fn mix(connstr: &str, clients: u32, seconds: u32) {
    let (clients, seconds) = (clients.to_string(), seconds.to_string());
    run(Command::new(pg_program("pgbench")).args(["-n", "-c", &clients, "-T", &seconds, connstr]));
}

/// The four sums of pgbench, which must be one number; and the number of transactions in the history.
pub async fn checked_sum(connstr: &str) -> (i64, i64) {
    let client = connect(connstr).await.expect("a connection");
    let sums = "SELECT (SELECT sum(abalance) FROM pgbench_accounts)::bigint, (SELECT sum(tbalance) FROM pgbench_tellers)::bigint,
                       (SELECT sum(bbalance) FROM pgbench_branches)::bigint, (SELECT coalesce(sum(delta), 0) FROM pgbench_history)::bigint,
                       (SELECT count(*) FROM pgbench_history)";
    let row = client.query_one(sums, &[]).await.expect("the sums");
    let [accounts, tellers, branches, history, transactions]: [i64; 5] =
        std::array::from_fn(|at| row.get(at));
    assert_eq!(
        (accounts, tellers, branches),
        (history, history, history),
        "accounts, tellers, branches, history"
    );
    (history, transactions)
}

/// Every index against its table, by PostgreSQL's own checker.
pub fn amcheck(connstr: &str) {
    amcheck_with(connstr, &["--install-missing", "--parent-check"]);
}

/// As far as a replica can check it, where nobody can make the extension or take the locks for more.
pub fn amcheck_on_a_replica(connstr: &str) {
    amcheck_with(connstr, &[]);
}

fn amcheck_with(connstr: &str, options: &[&str]) {
    let config: tokio_postgres::Config = connstr.parse().expect("a connection string");
    let password = String::from_utf8_lossy(config.get_password().expect("a password")).into_owned();
    let checked = run(Command::new(pg_program("pg_amcheck"))
        .args(options)
        .arg("--heapallindexed")
        .args(["--host", "127.0.0.1", "--port", &config.get_ports()[0].to_string()])
        .args(["--username", config.get_user().expect("a user")])
        .arg(config.get_dbname().expect("a database"))
        .env("PGPASSWORD", password));
    assert_eq!(checked.trim(), "", "pg_amcheck found something");
}

/// A dump without the key that newer releases put in at random.
pub fn dump(connstr: &str) -> String {
    run(Command::new(pg_program("pg_dump")).args(["--restrict-key=x", connstr]))
}

/// Share of full-page images in a stretch of a safekeeper's WAL, as pg_waldump counts it, in percent.
fn full_page_image_share(segments: &Path, start: &str, end: &str) -> f64 {
    let statistics = Command::new(pg_program("pg_waldump"))
        .args(["--stats", "--start", start, "--end", end, "--path"])
        .arg(segments)
        .output()
        .expect("pg_waldump");
    let text = String::from_utf8_lossy(&statistics.stdout).into_owned();
    let total =
        text.lines().find(|line| line.starts_with("Total")).unwrap_or_else(|| panic!("no total in {text}"));
    let percents: Vec<f64> =
        total.split(['[', ']']).filter_map(|part| part.strip_suffix('%')?.parse().ok()).collect();
    // Columns: records, record size, FPI size.
    *percents.get(1).unwrap_or_else(|| panic!("no share in {total}"))
}

#[test]
fn pgbench_holds_through_a_restart_from_nothing() {
    let cluster = Cluster::init("pgbench");
    block_on(async {
        cluster.varve(&["up"]);
        cluster.varve(&["endpoint", "stop", "main"]);
        cluster.varve(&["endpoint", "reconfigure", "main", "--set", "shared_buffers=1MB"]);
        cluster.varve(&["endpoint", "start", "main"]);
        let connstr = cluster.connstr("main");
        load(&connstr, 2, 4, 6);
        let before = checked_sum(&connstr).await;
        assert!(before.1 > 50, "only {} transactions ran", before.1);
        amcheck(&connstr);
        let dumped = dump(&connstr);
        let version = connect(&connstr).await.unwrap().query_one("SELECT version()", &[]).await.unwrap();
        assert!(version.get::<_, String>(0).contains("Debian"), "stock PostgreSQL as Debian builds it");

        cluster.varve(&["endpoint", "stop", "main"]);
        std::fs::remove_dir_all(cluster.pgdata("main")).expect("a data directory to delete");
        cluster.varve(&["endpoint", "start", "main"]);
        assert_eq!(checked_sum(&connstr).await, before);
        amcheck(&connstr);
        assert_eq!(dump(&connstr), dumped);

        // It was the pageserver that gave the pages, and it had to apply WAL to make them.
        let pages = cluster.metric("pageserver", "pageserver_page_service_pages_total");
        assert!(pages > 100.0, "{pages} pages were fetched");
        let text = cluster.get("pageserver", "/metrics");
        for manager in ["Heap", "Btree"] {
            let line = text.lines().find(|line| {
                line.starts_with("pageserver_redo_records_total{") && line.contains(&format!("\"{manager}\""))
            });
            let count: f64 = line.and_then(|line| line.rsplit(' ').next()?.parse().ok()).unwrap_or(0.0);
            assert!(count > 0.0, "no record of {manager} was applied:\n{text}");
        }
        // Pages are never logged whole because of a checkpoint: the mix is small changes and little else.
        let client = connect(&connstr).await.unwrap();
        client.batch_execute("CHECKPOINT").await.unwrap();
        let start: String =
            client.query_one("SELECT pg_current_wal_flush_lsn()::text", &[]).await.unwrap().get(0);
        mix(&connstr, 4, 2);
        checked_sum(&connstr).await;
        let end = lsn(&cluster.safekeeper_timeline(1, "main")["commit_lsn"]).to_string();
        let (tenant, timeline) = cluster.ids("main");
        let segments = cluster.directory().join(format!("safekeepers/1/{tenant}/{timeline}"));
        let share = full_page_image_share(&segments, &start, &end);
        // A full cache logs pages whole to be rid of them.
        assert!(share < 5.0 || cluster.is_cache_bounded(), "{share} % of the WAL is full-page images");
    });
}

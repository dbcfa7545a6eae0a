//! A stock server becomes a branch: while it runs, or from its base backup; and the branch is what the server was.

mod interrupted;

use std::path::{Path, PathBuf};
use std::process::Command;

use harness::{Cluster, StockServer, block_on, connect, pg_program, run, run_as_postgres};

use crate::pgbench;

/// A stock server's directory, with checksums and WAL segments that are not of the usual size.
pub fn initdb(cluster: &Cluster, name: &str, user: &str) -> PathBuf {
    let directory = cluster.directory().join(name);
    std::fs::create_dir(&directory).unwrap();
    if nix::unistd::geteuid().is_root() {
        run(Command::new("chown").arg("postgres").arg(&directory));
    }
    let mut initdb = run_as_postgres(&pg_program("initdb"));
    run(initdb
        .args(["--auth=trust", "-U", user, "--data-checksums", "--wal-segsize=4", "-D"])
        .arg(&directory));
    directory
}

pub fn connstr(port: u16) -> String {
    connstr_of("postgres", port)
}

fn connstr_of(user: &str, port: u16) -> String {
    format!("postgresql://{user}@127.0.0.1:{port}/postgres")
}

/// Makes the server begin PostgreSQL's timeline 2, as a fail-over does.
fn promote(directory: &Path, port: u16) {
    std::fs::write(directory.join("standby.signal"), "").unwrap();
    let server = StockServer::start(directory, port);
    run(run_as_postgres(&pg_program("pg_ctl")).args(["promote", "-w", "-D"]).arg(directory));
    drop(server);
}

fn tar_backup(cluster: &Cluster, name: &str, port: u16) -> (String, String) {
    let target = cluster.directory().join(name);
    run(Command::new(pg_program("pg_basebackup"))
        .args(["-Ft", "-X", "stream", "-c", "fast", "-d", &connstr(port), "-D"])
        .arg(&target));
    let file = |file: &str| target.join(file).display().to_string();
    (file("base.tar"), file("pg_wal.tar"))
}

/// The endpoint of a branch that was imported.
pub async fn endpoint(cluster: &Cluster, branch: &str) -> String {
    cluster.varve(&["endpoint", "create", branch, "--branch-name", branch]);
    cluster.varve(&["endpoint", "start", branch]);
    cluster.connstr(branch)
}

#[test]
fn a_stock_server_becomes_a_branch() {
    let cluster = Cluster::up("import").need_not_evict("it reads what it has written just now");
    let port = cluster.safekeeper_port(150);
    let directory = initdb(&cluster, "stock", "postgres");
    promote(&directory, port);
    let server = StockServer::start(&directory, port);
    let stock = connstr(port);
    block_on(async {
        pgbench::load(&stock, 1, 4, 2);
        let client = connect(&stock).await.unwrap();
        client
            .batch_execute(
                "CREATE UNLOGGED TABLE passing AS SELECT generate_series(1, 1000) AS n;
                 CREATE INDEX ON passing (n);
                 CREATE TABLE kept (id int PRIMARY KEY, filler text);
                 INSERT INTO kept SELECT i, repeat(md5(i::text), 100) FROM generate_series(1, 3000) i;
                 SELECT * FROM kept WHERE id < 100 FOR SHARE;
                 CREATE SEQUENCE numbers; SELECT nextval(\'numbers\');
                 CREATE ROLE somebody LOGIN PASSWORD \'secret\'",
            )
            .await
            .unwrap();

        // While it writes: the sums of a moment.
        let running = stock.clone();
        let load = std::thread::spawn(move || pgbench::mix(&running, 4, 6));
        cluster.varve(&["timeline", "import", "--branch-name", "live", "--from", &stock]);
        load.join().unwrap();
        let live = endpoint(&cluster, "live").await;
        let (_, transactions) = pgbench::checked_sum(&live).await;
        let (_, of_stock) = pgbench::checked_sum(&stock).await;
        assert!(transactions <= of_stock, "{transactions} of {of_stock}");

        // At rest: the same to the last byte.
        let dumped = pgbench::dump(&stock);
        let (base, wal) = tar_backup(&cluster, "backup", port);
        let import = ["timeline", "import", "--branch-name", "mine", "--base-tarfile", base.as_str()];
        cluster.refuses(&import, "was all its WAL given");
        cluster.varve(&[&import[..], &["--wal-tarfile", wal.as_str()]].concat());
        let mine = endpoint(&cluster, "mine").await;
        let client = connect(&mine).await.unwrap();
        let unlogged: i64 = client.query_one("SELECT count(*) FROM passing", &[]).await.unwrap().get(0);
        assert_eq!(unlogged, 0, "as after a crash");
        let as_stock = connect(&stock).await.unwrap();
        as_stock.batch_execute("TRUNCATE passing").await.unwrap();
        let emptied = pgbench::dump(&stock);
        assert_ne!(emptied, dumped);
        assert_eq!(pgbench::dump(&mine), emptied);
        // It lives on.
        client
            .batch_execute("INSERT INTO passing VALUES (7); UPDATE kept SET filler = \'x\' WHERE id = 1")
            .await
            .unwrap();
        let next: i64 = client.query_one("SELECT nextval(\'numbers\')", &[]).await.unwrap().get(0);
        assert!(next >= 2, "{next}");
        pgbench::amcheck(&mine);

        // And out again: stock PostgreSQL starts on what Varve has made of it. Of a sequence it would have skipped values,
        // as after a crash.
        client
            .batch_execute(
                "TRUNCATE passing; DROP EXTENSION IF EXISTS amcheck; SELECT setval('numbers', 100)",
            )
            .await
            .unwrap();
        let dumped = pgbench::dump(&mine);
        cluster.varve(&["endpoint", "stop", "mine"]);
        let exported = cluster.directory().join("exported");
        cluster.varve(&[
            "timeline",
            "export",
            "--branch-name",
            "mine",
            "-o",
            &exported.display().to_string(),
        ]);
        let again = StockServer::start(&exported, cluster.safekeeper_port(151));
        assert_eq!(pgbench::dump(&again.connstr(&mine)), dumped);
        drop(again);

        // What would be lost is refused, before and behind recovery.
        let place = cluster.directory().join("tablespace");
        std::fs::create_dir(&place).unwrap();
        if nix::unistd::geteuid().is_root() {
            run(Command::new("chown").arg("postgres").arg(&place));
        }
        let tablespace = format!("CREATE TABLESPACE far LOCATION \'{}\'", place.display());
        as_stock.batch_execute(&tablespace).await.unwrap();
        let (base, _) = tar_backup(&cluster, "far", port);
        let import = ["timeline", "import", "--branch-name", "far", "--base-tarfile", base.as_str()];
        cluster.refuses(&import, "tablespaces of its own");
        as_stock.batch_execute("DROP TABLESPACE far").await.unwrap();
    });
    drop(server);
    prepared_transactions_are_refused(&cluster, &directory, port);
    let others = initdb(&cluster, "others", "boss");
    let server = StockServer::start(&others, port);
    let boss = connstr_of("boss", port);
    let import = ["timeline", "import", "--branch-name", "others", "--from", &boss];
    cluster.refuses(&import, "is not called postgres");
    drop(server);
    let no_backup = ["timeline", "import", "--branch-name", "no", "--base-tarfile", "/bin/true"];
    cluster.refuses(&no_backup, "cannot unpack /bin/true");
}

fn prepared_transactions_are_refused(cluster: &Cluster, directory: &Path, port: u16) {
    let server = StockServer::start_with(directory, port, &["max_prepared_transactions=5"]);
    block_on(async {
        let client = connect(&connstr(port)).await.unwrap();
        let prepared = "BEGIN; INSERT INTO kept VALUES (-1, \'\'); PREPARE TRANSACTION \'waits\'";
        client.batch_execute(prepared).await.unwrap();
    });
    let import = ["timeline", "import", "--branch-name", "prepared", "--from", &connstr(port)];
    cluster.refuses(&import, "prepared transaction");
    drop(server);
}

//! A load that goes on while a standby is stopped again and again: workers that do different things all the time.
//!
//! They come back after the server was killed on purpose. Any other end of a connection is a failure, and so is an
//! error of a statement, unless two workers got into each other's way.

use std::collections::BTreeMap;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use harness::{block_on, connect, pg_program};
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, Error};

use super::load::{self, run};

/// Files and catalogs: each cycle leaves as much as there was. `{n}` is the cycle's number.
const DEFINITIONS: &[&str] = &[
    "CREATE INDEX built_gin ON things USING gin (words)",
    "CREATE INDEX built_gist ON things USING gist (place)",
    "CREATE INDEX built_hash ON things USING hash (n)",
    "CREATE INDEX built_spgist ON things USING spgist (name)",
    "CREATE INDEX built_brin ON things USING brin (area box_inclusion_ops)",
    "REINDEX INDEX things_gin",
    "CREATE MATERIALIZED VIEW counted AS SELECT n % 10 AS digit, count(*) FROM things GROUP BY 1",
    "CREATE TABLE parts (n int, t text) PARTITION BY RANGE (n)",
    "CREATE TABLE parts_low PARTITION OF parts FOR VALUES FROM (0) TO (1000)",
    "CREATE TABLE parts_high PARTITION OF parts FOR VALUES FROM (1000) TO (2000)",
    "INSERT INTO parts SELECT n, md5(n::text) FROM generate_series(0, 1999) n",
    "ALTER TABLE parts ALTER t TYPE varchar(40) USING t || 'x'",
    "CREATE DATABASE logged STRATEGY wal_log",
    "SET allow_in_place_tablespaces = on",
    "CREATE TABLESPACE space LOCATION ''",
    "CREATE TABLE spaced (n int PRIMARY KEY) TABLESPACE space",
    "INSERT INTO spaced SELECT generate_series(1, 3000)",
    "ALTER TABLE spaced SET TABLESPACE pg_default",
    "ALTER TABLE spaced SET (fillfactor = 50)",
    "BEGIN; INSERT INTO spaced VALUES (-1); PREPARE TRANSACTION 'one {n}'",
    "BEGIN; DELETE FROM spaced WHERE n < 100; DROP TABLE parts_low; PREPARE TRANSACTION 'two {n}'",
    "CREATE DATABASE copied STRATEGY file_copy",
    // It holds locks that the next ones wait for.
    "ROLLBACK PREPARED 'two {n}'",
    "VACUUM FULL pg_class",
    "VACUUM FULL pg_database",
    "CLUSTER things USING things_pkey",
    "COMMIT PREPARED 'one {n}'",
    "VACUUM FREEZE pgbench_history",
    "TRUNCATE pgbench_history",
    "SELECT lo_unlink(oid) FROM pg_largeobject_metadata",
    "SELECT lo_from_bytea(0, convert_to(repeat(md5(i::text), 1000), 'UTF8')) FROM generate_series(1, 20) i",
];

/// What a cycle of [`DEFINITIONS`] leaves, or what is left of it after a crash.
const CLEANUP: &[&str] = &[
    "DROP INDEX IF EXISTS built_gin, built_gist, built_hash, built_spgist, built_brin",
    "DROP MATERIALIZED VIEW IF EXISTS counted",
    "DROP TABLE IF EXISTS parts, spaced",
    "DROP TABLESPACE IF EXISTS space",
    "DROP DATABASE IF EXISTS logged",
    "DROP DATABASE IF EXISTS copied",
];

struct Shared {
    connstr: String,
    ends: AtomicBool,
    /// The server is killed and started again.
    away: AtomicBool,
    /// Rounds of each worker, and what it had to do again.
    rounds: Mutex<BTreeMap<&'static str, (u32, u32)>>,
}

pub struct Mixed {
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<()>>,
}

impl Mixed {
    pub async fn start(connstr: &str) -> Mixed {
        crate::pgbench::load(connstr, 1, 2, 1);
        load::first_half(&connect(connstr).await.expect("a connection")).await.unwrap();
        let shared = Arc::new(Shared {
            connstr: connstr.to_owned(),
            ends: AtomicBool::new(false),
            away: AtomicBool::new(false),
            rounds: Mutex::default(),
        });
        let workers = vec![
            spawn(&shared, "pgbench", pgbench),
            spawn(&shared, "churn", churn),
            spawn(&shared, "definitions", definitions),
            spawn(&shared, "multixacts", multixacts),
        ];
        Mixed { shared, workers }
    }

    /// Workers wait for the server while `change` kills it.
    pub async fn while_away(&self, change: impl AsyncFnOnce()) {
        self.shared.away.store(true, Ordering::SeqCst);
        change().await;
        self.shared.away.store(false, Ordering::SeqCst);
    }

    pub fn assert_goes_on(&self) {
        assert!(!self.workers.iter().any(JoinHandle::is_finished), "a worker failed");
    }

    /// What was done.
    pub fn end(self) -> String {
        self.shared.ends.store(true, Ordering::SeqCst);
        for worker in self.workers {
            worker.join().expect("no worker failed");
        }
        let rounds = self.shared.rounds.lock().expect("no panic");
        let lines = rounds.iter().map(|(name, (done, again))| {
            assert!(*done > 0, "{name} did nothing");
            format!("{name} {done} rounds ({again} given up)")
        });
        lines.collect::<Vec<_>>().join(", ")
    }
}

/// A thread of its own, so that a round need not be one that may change threads.
fn spawn(
    shared: &Arc<Shared>,
    name: &'static str,
    round: impl AsyncFn(&str, u32) -> Result<(), Error> + Send + 'static,
) -> JoinHandle<()> {
    let shared = Arc::clone(shared);
    std::thread::spawn(move || block_on(work(&shared, name, round)))
}

async fn work(shared: &Shared, name: &'static str, round: impl AsyncFn(&str, u32) -> Result<(), Error>) {
    let mut number = 0;
    while !shared.ends.load(Ordering::SeqCst) {
        number += 1;
        let began_away = shared.away.load(Ordering::SeqCst);
        let done = round(&shared.connstr, number).await;
        let expected = began_away || shared.away.load(Ordering::SeqCst);
        {
            let mut rounds = shared.rounds.lock().expect("no panic");
            let (good, bad) = rounds.entry(name).or_default();
            *(if done.is_ok() { good } else { bad }) += 1;
        }
        let Err(error) = done else { continue };
        let in_the_way =
            [SqlState::T_R_DEADLOCK_DETECTED, SqlState::LOCK_NOT_AVAILABLE, SqlState::OBJECT_IN_USE];
        let harmless = error.code().is_some_and(|code| in_the_way.contains(code));
        assert!(harmless || expected, "{name}, round {number}: {error:?}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

async fn pgbench(connstr: &str, _number: u32) -> Result<(), Error> {
    // That the server is there is asked first; what becomes of pgbench in a crash is its own affair.
    drop(connect(connstr).await?);
    let mut pgbench = Command::new(pg_program("pgbench"));
    pgbench.args(["-n", "-c", "2", "-T", "1", connstr]).stdout(Stdio::null()).stderr(Stdio::null());
    tokio::task::spawn_blocking(move || pgbench.status()).await.expect("no panic").expect("pgbench runs");
    Ok(())
}

async fn churn(connstr: &str, number: u32) -> Result<(), Error> {
    let client = session(connstr).await?;
    let first = 20_000 + number * 10_000;
    load::churn(&client, first, first + 1500).await?;
    run(&client, "TRUNCATE cut, unlogged").await?;
    run(&client, &format!("DELETE FROM things WHERE n > 10000 AND n < {}", first.saturating_sub(15_000)))
        .await?;
    run(&client, "TRUNCATE rows RESTART IDENTITY").await
}

async fn definitions(connstr: &str, number: u32) -> Result<(), Error> {
    let client = session(connstr).await?;
    let pending = "SELECT gid FROM pg_prepared_xacts";
    for row in client.query(pending, &[]).await? {
        run(&client, &format!("COMMIT PREPARED '{}'", row.get::<_, &str>(0))).await?;
    }
    for statement in CLEANUP {
        run(&client, statement).await?;
    }
    for statement in DEFINITIONS {
        run(&client, &statement.replace("{n}", &number.to_string())).await?;
    }
    Ok(())
}

async fn multixacts(connstr: &str, _number: u32) -> Result<(), Error> {
    load::multixacts(&session(connstr).await?, &session(connstr).await?, 4000).await
}

/// A round that waits for another worker too long is given up: the two sessions of [`multixacts`] wait for each other
/// in a way that the server cannot see.
async fn session(connstr: &str) -> Result<Client, Error> {
    let client = connect(connstr).await?;
    run(&client, "SET lock_timeout = '2s'").await?;
    Ok(client)
}

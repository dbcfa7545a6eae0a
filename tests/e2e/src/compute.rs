//! The compute's own promises about pages: what the extension may never get wrong while other sessions, the
//! pageserver and the clock do what they like.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use harness::{Cluster, StockServer, block_on, connect, number};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

fn restart(cluster: &Cluster) {
    cluster.varve(&["endpoint", "stop", "main"]);
    cluster.varve(&["endpoint", "start", "main"]);
}

/// 128 buffers: every session writes out the pages of the others.
fn up_with_few_buffers(name: &str) -> Cluster {
    let cluster = Cluster::up(name);
    cluster.varve(&["endpoint", "stop", "main"]);
    cluster.varve(&["endpoint", "reconfigure", "main", "--set", "shared_buffers=1MB"]);
    cluster.varve(&["endpoint", "start", "main"]);
    cluster
}

/// An index becomes unlogged, to whoever looks at files, only at the end of its build. A session that wrote
/// out pages of it before then must not go on to take it for a permanent one, whose pages the pageserver has.
#[test]
fn an_unlogged_index_is_local_also_to_who_wrote_its_pages_early() {
    let cluster = up_with_few_buffers("unlogged-index");
    block_on(async {
        let builder = cluster.connect("main").await;
        builder
            .batch_execute(
                "CREATE TABLE big AS SELECT n AS id, repeat('x', 300) AS filler FROM generate_series(1, 30000) n;
                 CREATE INDEX big_id ON big (id);
                 CREATE UNLOGGED TABLE u AS SELECT n FROM generate_series(1, 100000) n",
            )
            .await
            .unwrap();
        builder.batch_execute("VACUUM ANALYZE big").await.unwrap();
        let evictor = cluster.connect("main").await;
        evictor
            .batch_execute(
                "BEGIN; SET LOCAL enable_seqscan = off; SET LOCAL enable_hashjoin = off;
                 SET LOCAL enable_mergejoin = off; SET LOCAL enable_bitmapscan = off; SET LOCAL jit = off;
                 SET LOCAL max_parallel_workers_per_gather = 0",
            )
            .await
            .unwrap();
        let build = tokio::spawn(async move {
            builder.batch_execute("CREATE INDEX u_n ON u USING hash (n)").await.unwrap();
            builder
        });
        // A page at random each time: nothing stays in the buffers.
        let scatter =
            "SELECT count(b.filler) FROM generate_series(1, 5000) g JOIN big b ON b.id = (g * 7919) % 30000";
        while !build.is_finished() {
            number(&evictor, scatter).await;
        }
        let builder = build.await.unwrap();
        assert_eq!(number(&evictor, "SELECT count(*) FROM u WHERE n = 777").await, 1);
        builder.batch_execute("INSERT INTO u SELECT n FROM generate_series(100001, 300000) n").await.unwrap();
        for n in (100_001..300_000).step_by(997) {
            assert_eq!(number(&evictor, &format!("SELECT count(*) FROM u WHERE n = {n}")).await, 1, "{n}");
        }
    });
}

/// A session that ends drops its temporary tables, for which it reads catalogs. It may not stay for ever when
/// nobody serves them, or a stop of the compute would wait for it.
#[test]
fn a_terminated_session_ends_without_a_pageserver() {
    let cluster = Cluster::up("terminate");
    block_on(async {
        restart(&cluster);
        let client = cluster.connect("main").await;
        client.batch_execute("CREATE TEMP TABLE t (n serial PRIMARY KEY, t text)").await.unwrap();
        let pid: i32 = client.query_one("SELECT pg_backend_pid()", &[]).await.unwrap().get(0);
        cluster.kill("pageserver");
        kill(Pid::from_raw(pid), Signal::SIGTERM).unwrap();
        harness::eventually("the session ends", Duration::from_secs(20), async || {
            !Path::new(&format!("/proc/{pid}")).exists()
        })
        .await;
    });
}

/// The server dies of it in the middle of the start, as it would at any other time: that is a crash, and no reason to end.
#[test]
fn a_backend_that_is_killed_while_the_spec_is_applied_ends_one_life_and_not_the_compute() {
    let cluster = Cluster::up_with("killed-in-start", &["max_prepared_transactions=1"])
        .need_not_evict("next to nothing is written");
    block_on(async {
        let client = cluster.connect("main").await;
        // The next start has a role to change, and cannot: a transaction that outlives restarts holds the catalog.
        client.batch_execute("ALTER ROLE CURRENT_USER NOCREATEROLE").await.unwrap();
        let hold = "BEGIN; LOCK TABLE pg_authid IN SHARE MODE; PREPARE TRANSACTION 'held'";
        client.batch_execute(hold).await.unwrap();
        drop(client);
        let connstr = cluster.connstr("main");
        cluster.varve(&["endpoint", "stop", "main"]);
        let mut start = cluster.command(&["endpoint", "start", "main"]).spawn().unwrap();

        let first = who_applies(&connstr, 0).await;
        let compute_ctl = cluster.pid("endpoint-main").expect("compute_ctl runs");
        kill(Pid::from_raw(first), Signal::SIGKILL).unwrap();
        who_applies(&connstr, first).await;
        let status = cluster.compute_status("main");
        assert_eq!(status["state"], "starting");
        assert_eq!(status["starts"], 2);

        let client = connect(&connstr).await.unwrap();
        client.batch_execute("ROLLBACK PREPARED 'held'").await.unwrap();
        assert!(start.wait().unwrap().success());
        assert_eq!(cluster.compute_status("main")["state"], "running");
        assert_eq!(cluster.pid("endpoint-main"), Some(compute_ctl));
        let row = client.query_one("SELECT rolcreaterole FROM pg_roles WHERE rolname = current_user", &[]);
        assert!(row.await.unwrap().get::<_, bool>(0), "the spec was not applied");
    });
}

/// The backend by which compute_ctl changes a role and has to wait; another than the one before.
async fn who_applies(connstr: &str, before: i32) -> i32 {
    let mut applies = None;
    let query = "SELECT max(pid) FROM pg_stat_activity
                 WHERE application_name = 'compute_ctl' AND query ~ '^ALTER ROLE' AND wait_event_type = 'Lock'";
    harness::eventually("a role is about to be changed", Duration::from_secs(60), async || {
        let Ok(client) = connect(connstr).await else { return false };
        let Ok(row) = client.query_one(query, &[]).await else { return false };
        applies = row.get::<_, Option<i32>>(0).filter(|pid| *pid != before);
        applies.is_some()
    })
    .await;
    applies.expect("a backend")
}

/// Marsaglia's xorshift: the same statements for both servers, from a seed.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % sides
    }
}

const SESSIONS: u64 = 6;
const TABLES: u64 = 3;

const METHODS: [&str; 5] = ["btree", "hash", "gist", "brin", "spgist"];

fn create(table: &str, dice: &mut Dice) -> String {
    let method = METHODS[dice.roll(METHODS.len() as u64) as usize];
    create_with(method, table, dice)
}

fn create_with(method: &str, table: &str, dice: &mut Dice) -> String {
    let persistence = if dice.roll(5) == 0 { "UNLOGGED" } else { "" };
    let column = if matches!(method, "gist" | "spgist") { "p" } else { "v" };
    format!(
        "CREATE {persistence} TABLE {table} (n int PRIMARY KEY, v int, p point, t text, j int[]);
         CREATE INDEX {table}_v ON {table} USING {method} ({column}); CREATE INDEX {table}_j ON {table} USING gin (j)"
    )
}

fn insert(table: &str, dice: &mut Dice) -> String {
    let (first, rows, width) = (dice.roll(5000), 1 + dice.roll(600), dice.roll(900));
    format!(
        "INSERT INTO {table} SELECT n, n % 97, point(n, n % 89), repeat(chr(65 + n % 26), {width}), ARRAY[n % 13, n % 7]
         FROM generate_series({first}, {first} + {rows}) n ON CONFLICT (n) DO UPDATE SET v = {table}.v + 1"
    )
}

/// One step of a session.
fn step(table: &str, dice: &mut Dice) -> String {
    let low = dice.roll(5000);
    let high = low + dice.roll(800);
    let between = format!("n BETWEEN {low} AND {high}");
    match dice.roll(18) {
        0..=4 => insert(table, dice),
        5 | 6 => format!("UPDATE {table} SET v = v + 1, t = t || 'x' WHERE {between}"),
        7 => format!("DELETE FROM {table} WHERE {between}"),
        8 => format!("DELETE FROM {table} WHERE n > {low}"),
        9 | 10 => format!("VACUUM {table}"),
        11 => format!("BEGIN; TRUNCATE {table}; {}; COMMIT", insert(table, dice)),
        12 => format!(
            "BEGIN; {}; SAVEPOINT s; TRUNCATE {table}; {}; ROLLBACK TO s; UPDATE {table} SET v = v - 1 WHERE {between}; COMMIT",
            insert(table, dice),
            insert(table, dice)
        ),
        13 => format!("DROP TABLE {table}; {}", create(table, dice)),
        14 => format!("VACUUM FULL {table}"),
        15 => format!("REINDEX TABLE {table}"),
        // Made, cut off and filled again within one transaction: the same file three times over. Not with SP-GiST:
        // stock PostgreSQL 15 then fails itself, its cache of free pages outlives the truncation.
        16 => format!(
            "BEGIN; DROP TABLE {table}; {}; {}; TRUNCATE {table}; {}; COMMIT",
            create_with(METHODS[dice.roll(4) as usize], table, dice),
            insert(table, dice),
            insert(table, dice)
        ),
        _ => format!(
            "BEGIN; UPDATE {table} SET v = v + 10000 WHERE v BETWEEN 0 AND 50; {}; ROLLBACK",
            insert(table, dice)
        ),
    }
}

async fn session(connstr: String, session: u64, seed: u64, steps: u64) {
    let client = connect(&connstr).await.expect("a connection");
    let mut dice = Dice(0x9E37_79B9_7F4A_7C15 ^ (seed << 16 | (session + 1)));
    // Plans over tables this small would never touch an index.
    client.batch_execute("SET enable_seqscan = off; SET client_min_messages = error").await.unwrap();
    for table in 0..TABLES {
        let table = format!("s{session}_t{table}");
        let made =
            format!("SELECT count(*) FROM pg_class WHERE relname = '{table}' AND relpersistence = 'p'");
        // Unlogged ones are empty after a start of the compute, and not on stock.
        let made_anew = format!("DROP TABLE IF EXISTS {table}; {}", create(&table, &mut dice));
        if number(&client, &made).await == 0 {
            client.batch_execute(&made_anew).await.unwrap();
        }
    }
    for at in 0..steps {
        let table = format!("s{session}_t{}", dice.roll(TABLES));
        let statement = step(&table, &mut dice);
        let done = tokio::time::timeout(Duration::from_secs(60), client.batch_execute(&statement)).await;
        done.unwrap_or_else(|_| panic!("session {session} step {at} hangs: {statement}"))
            .unwrap_or_else(|error| panic!("session {session} step {at}: {statement}: {error:?}"));
    }
}

/// Reads everybody's tables while they change, and is cut short most of the time, while it waits for a page
/// too. Only a broken page is an error here.
async fn reader(connstr: String, seed: u64, stop: Arc<AtomicBool>) {
    let client = connect(&connstr).await.expect("a connection");
    let mut dice = Dice(seed + 1);
    while !stop.load(Ordering::Relaxed) {
        let table = format!("s{}_t{}", dice.roll(SESSIONS), dice.roll(TABLES));
        let (scan, patience) = (["seqscan", "indexscan"][dice.roll(2) as usize], 1 + dice.roll(30));
        let set = format!("RESET ALL; SET enable_{scan} = off; SET statement_timeout = {patience}");
        let read = format!("SELECT count(t), sum(v), max(j) FROM {table} WHERE n >= 0");
        if dice.roll(50) == 0 {
            let _ = client.batch_execute("CHECKPOINT").await;
        }
        let read = match client.batch_execute(&set).await {
            Ok(()) => client.batch_execute(&read).await,
            refused => refused,
        };
        let Err(error) = read else { continue };
        match error.code().map(|code| code.code()) {
            // Cut short; or dropped meanwhile, under its name or under its number.
            Some("57014" | "42P01" | "XX000") => {}
            _ => panic!("{table}: {error:?}"),
        }
    }
}

/// What all tables hold, by sequential scan and by index. Unlogged ones may be empty after a start.
pub(crate) async fn digest(connstr: &str, persistence: &str) -> Vec<String> {
    let client = connect(connstr).await.expect("a connection");
    let tables = format!(
        "SELECT relname::text FROM pg_class WHERE relname ~ '^s[0-9]+_t[0-9]+$' AND relkind = 'r'
         AND relpersistence ~ '{persistence}' ORDER BY 1"
    );
    let mut digests = Vec::new();
    for row in client.query(&tables, &[]).await.unwrap() {
        let table: String = row.get(0);
        for scan in ["enable_indexscan = off", "enable_seqscan = off"] {
            let query = format!(
                "SELECT md5(string_agg(concat_ws('|', n, v, p, t, j), ',' ORDER BY n)) || ' ' || count(*) FROM {table} WHERE n >= 0"
            );
            client.batch_execute(&format!("RESET ALL; SET {scan}")).await.unwrap();
            let row =
                client.query_one(&query, &[]).await.unwrap_or_else(|error| panic!("{table}: {error:?}"));
            let text: Option<String> = row.get(0);
            digests.push(format!("{table} {scan} {}", text.unwrap_or_default()));
        }
    }
    digests
}

pub(crate) async fn storm(connstr: &str, seed: u64, steps: u64) {
    let stop = Arc::new(AtomicBool::new(false));
    let readers: Vec<_> =
        (0..2).map(|at| tokio::spawn(reader(connstr.to_owned(), seed + at, stop.clone()))).collect();
    let sessions: Vec<_> =
        (0..SESSIONS).map(|at| tokio::spawn(session(connstr.to_owned(), at, seed, steps))).collect();
    for session in sessions {
        session.await.expect("a session");
    }
    stop.store(true, Ordering::Relaxed);
    for reader in readers {
        reader.await.expect("a reader");
    }
}

/// Tables checked, then checked by PostgreSQL's own programs; no page was zeros that should not have been.
async fn nothing_is_suspect(connstr: &str) {
    crate::pgbench::amcheck(connstr);
    let client = connect(connstr).await.unwrap();
    client.batch_execute("CREATE EXTENSION IF NOT EXISTS varve").await.unwrap();
    assert_eq!(number(&client, "SELECT zero_pages_suspect FROM varve.cache").await, 0);
}

#[test]
fn a_storm_of_statements_comes_out_as_on_stock() {
    let seed = std::env::var("VARVE_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(1);
    let steps = std::env::var("VARVE_STEPS").ok().and_then(|steps| steps.parse().ok()).unwrap_or(40);
    let cluster = up_with_few_buffers("storm");
    block_on(async {
        let connstr = cluster.connstr("main");
        let directory = cluster.directory().join("stock");
        cluster.export("main", &directory);
        let stock = StockServer::start(&directory, cluster.safekeeper_port(100));
        let stock_connstr = stock.connstr(&connstr);
        for round in 0..2 {
            storm(&stock_connstr, seed + round, steps).await;
            storm(&connstr, seed + round, steps).await;
            assert_eq!(
                digest(&connstr, "[pu]").await,
                digest(&stock_connstr, "[pu]").await,
                "seed {seed} round {round}"
            );
            nothing_is_suspect(&connstr).await;
            // From nothing: every page comes from the pageserver.
            restart(&cluster);
            assert_eq!(
                digest(&connstr, "p").await,
                digest(&stock_connstr, "p").await,
                "seed {seed} cold {round}"
            );
            nothing_is_suspect(&connstr).await;
            // The next round meets a cold cache.
            restart(&cluster);
        }
    });
}

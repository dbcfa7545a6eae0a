//! A compute that publishes, to a stock subscriber.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use harness::{Cluster, StockServer, block_on, connect, eventually, lsn, number, pg_program};
use nix::sys::signal::Signal;
use tokio_postgres::Client;
use types::{Lsn, WalSegmentSize};

use super::slots::READ;
use super::{LOGICAL, PATIENCE, PGBENCH, becomes_equal, reconnect, subscribed, subscriber, text};
use crate::kept_cache::went_on;
use crate::pgbench;

/// pgbench, which may lose its server; it must have got something done.
fn load(connstr: &str, seconds: u32) -> std::thread::JoinHandle<()> {
    let connstr = connstr.to_owned();
    std::thread::spawn(move || {
        let mut command = Command::new(pg_program("pgbench"));
        command.args(["-n", "-c", "3", "-T", &seconds.to_string(), &connstr]).stderr(Stdio::null());
        command.output().expect("pgbench runs");
    })
}

/// Of pgbench's, with a key in the history, so that no row can be there twice.
async fn published(cluster: &Cluster, endpoint: &str) -> String {
    let connstr = cluster.connstr(endpoint);
    pgbench::load(&connstr, 1, 2, 1);
    let client = connect(&connstr).await.unwrap();
    let tables = PGBENCH.join(", ");
    let publish = format!(
        "ALTER TABLE pgbench_history ADD COLUMN id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY;
         CREATE PUBLICATION pub FOR TABLE {tables}"
    );
    client.batch_execute(&publish).await.unwrap();
    connstr
}

/// The endpoint `main` publishes, and a stock server has all of it and stands by for more.
pub async fn followed<'a>(cluster: &Cluster, directory: &'a Path) -> (String, StockServer<'a>, Client) {
    let main = published(cluster, "main").await;
    let stock = subscriber(directory, cluster);
    let copy = subscribed(&stock, &main).await;
    (main, stock, copy)
}

#[test]
fn a_subscriber_misses_nothing_through_kills_stops_and_takeovers() {
    let cluster = Cluster::up_with("logical", &[LOGICAL]).need_not_evict("it is about what is sent");
    let directory = cluster.directory().join("subscriber");
    block_on(async {
        let (_, stock, copy) = followed(&cluster, &directory).await;

        let mut rows = number(&copy, "SELECT count(*) FROM pgbench_history").await;
        for round in 0..5 {
            let writing = load(&cluster.connstr("main"), 4);
            eventually("rows reach the subscriber while the compute writes", PATIENCE, async || {
                number(&copy, "SELECT count(*) FROM pgbench_history").await > rows + 20
            })
            .await;
            match round {
                // By force, as often as in order.
                0 | 2 => cluster.kill("endpoint-main"),
                1 | 3 => drop(cluster.varve(&["endpoint", "stop", "main"])),
                _ => {
                    // While the first one writes.
                    let create = ["endpoint", "create", "second", "--branch-name", "main"];
                    cluster.varve(&[&create[..], &["--allow-multiple"]].concat());
                    cluster.varve(&["endpoint", "start", "second", "--allow-multiple"]);
                    let moved = format!("ALTER SUBSCRIPTION sub CONNECTION '{}'", cluster.connstr("second"));
                    copy.batch_execute(&moved).await.unwrap();
                }
            }
            writing.join().unwrap();
            if round < 4 {
                cluster.varve(&["endpoint", "start", "main"]);
                // The slot came along; it was not made anew.
                let client = reconnect(&cluster, "main").await;
                assert_eq!(
                    number(&client, "SELECT count(*) FROM pg_replication_slots WHERE slot_name = 'sub'")
                        .await,
                    1
                );
            }
            rows = number(&copy, "SELECT count(*) FROM pgbench_history").await;
        }
        let second = reconnect(&cluster, "second").await;
        pgbench::mix(&cluster.connstr("second"), 2, 1);
        becomes_equal(&second, &copy, &PGBENCH).await;
        pgbench::checked_sum(&stock.own_connstr()).await;
    });
}

#[test]
fn wal_that_no_compute_has_any_more_comes_from_safekeepers() {
    let cluster = Cluster::up_with("logical-old-wal", &[LOGICAL, "autovacuum_naptime=1s"])
        .need_not_evict("it is about what is sent");
    let directory = cluster.directory().join("subscriber");
    block_on(async {
        let (main, _stock, copy) = followed(&cluster, &directory).await;
        copy.batch_execute("ALTER SUBSCRIPTION sub DISABLE").await.unwrap();
        let mut client = reconnect(&cluster, "main").await;
        eventually("nobody reads the slot", PATIENCE, async || {
            number(&client, "SELECT count(*) FROM pg_replication_slots WHERE active AND slot_name = 'sub'")
                .await
                == 0
        })
        .await;
        let restart =
            text(&client, "SELECT restart_lsn::text FROM pg_replication_slots WHERE slot_name = 'sub'").await;
        let restart: Lsn = restart.parse().unwrap();

        // Catalogs are rewritten below a transaction that has changed them, so that decoding needs the mappings.
        let other = reconnect(&cluster, "main").await;
        other.batch_execute("BEGIN; ALTER TABLE pgbench_tellers ADD COLUMN extra int").await.unwrap();
        client.batch_execute("SET lock_timeout = '10s'").await.unwrap();
        client.batch_execute("VACUUM FULL pg_attribute").await.unwrap();
        client.batch_execute("VACUUM FULL pg_class").await.unwrap();
        other.batch_execute("UPDATE pgbench_tellers SET extra = tid; COMMIT").await.unwrap();
        copy.batch_execute("ALTER TABLE pgbench_tellers ADD COLUMN extra int").await.unwrap();
        let mappings = || files(&cluster, "pg_logical/mappings");
        let before = mappings();
        assert!(!before.is_empty(), "no mapping was written");

        // Each life writes more than two segments, and removes what it may of its own.
        for round in 0..3 {
            let filler = "UPDATE pgbench_accounts SET filler = repeat(md5(random()::text), 2)";
            client.batch_execute(filler).await.unwrap();
            pgbench::mix(&main, 2, 1);
            client.batch_execute("VACUUM pg_class").await.unwrap();
            client.batch_execute("VACUUM pg_attribute").await.unwrap();
            client.batch_execute("CHECKPOINT").await.unwrap();
            if round == 1 {
                cluster.kill("endpoint-main");
            } else {
                cluster.varve(&["endpoint", "stop", "main"]);
            }
            cluster.varve(&["endpoint", "start", "main"]);
            client = reconnect(&cluster, "main").await;
        }
        assert_eq!(mappings(), before, "mappings");
        // The last life began far behind the slot, with a directory that was empty before.
        let first = files(&cluster, "pg_wal").into_iter().find(|name| name.len() == 24).expect("a segment");
        assert_eq!(
            u64::from_str_radix(&first[16..], 16).unwrap(),
            restart.0 >> 24,
            "the first segment is {first}"
        );
        let now: Lsn = text(&client, "SELECT pg_current_wal_lsn()::text").await.parse().unwrap();
        assert!(now.0 - restart.0 > 3 << 24, "from {restart} to {now}");

        copy.batch_execute("ALTER SUBSCRIPTION sub ENABLE").await.unwrap();
        becomes_equal(&client, &copy, &PGBENCH).await;
        // And what is not needed any more goes, here and from the timeline.
        eventually("the slot moves, and old snapshots and mappings go", PATIENCE, async || {
            pgbench::mix(&main, 1, 1);
            client.batch_execute("CHECKPOINT").await.unwrap();
            mappings().is_empty()
        })
        .await;
        becomes_equal(&client, &copy, &PGBENCH).await;
        cluster.varve(&["endpoint", "stop", "main"]);
        cluster.varve(&["endpoint", "start", "main"]);
        assert_eq!(mappings(), Vec::<String>::new(), "they were forgotten");
        let client = reconnect(&cluster, "main").await;
        pgbench::mix(&main, 1, 1);
        becomes_equal(&client, &copy, &PGBENCH).await;
    });
}

/// A start that cannot fetch WAL for slots goes on without; its stop keeps nothing, so that the next one tries again.
#[test]
fn wal_that_a_start_could_not_fetch_comes_with_the_next() {
    let cluster = Cluster::up_with("logical-no-wal", &[LOGICAL])
        .keeping_caches()
        .need_not_evict("next to nothing is written");
    block_on(async {
        let client = reconnect(&cluster, "main").await;
        client.batch_execute("CREATE TABLE t (n int PRIMARY KEY)").await.unwrap();
        client
            .batch_execute("SELECT pg_create_logical_replication_slot('kept', 'test_decoding')")
            .await
            .unwrap();
        client.batch_execute("INSERT INTO t SELECT generate_series(1, 10)").await.unwrap();
        let restart =
            text(&client, "SELECT restart_lsn::text FROM pg_replication_slots WHERE slot_name = 'kept'")
                .await;
        let restart: Lsn = restart.parse().unwrap();
        for n in 11..14 {
            client.batch_execute("SELECT pg_switch_wal()").await.unwrap();
            client.batch_execute(&format!("INSERT INTO t VALUES ({n})")).await.unwrap();
        }
        drop(client);
        cluster.varve(&["endpoint", "stop", "main"]);

        let segment = restart.0 >> 24;
        for id in 1..=3 {
            // Who is not done with it would put it there once more.
            eventually("a safekeeper has seen the segment in object storage", PATIENCE, async || {
                lsn(&cluster.safekeeper_timeline(id, "main")["backup_lsn"]).0 >> 24 > segment
            })
            .await;
        }
        let hidden = hide_segment(&cluster, segment);
        cluster.varve(&["endpoint", "start", "main", "--cold"]);
        assert!(cluster.log("endpoint-main").contains("is not to be had from any safekeeper"));
        let client = reconnect(&cluster, "main").await;
        let missing = client.query_one(READ, &[]).await.unwrap_err();
        let missing = missing.as_db_error().expect("an answer").message().to_owned();
        assert!(missing.contains("has already been removed"), "{missing}");
        client.batch_execute("INSERT INTO t VALUES (14)").await.unwrap();
        drop(client);
        cluster.varve(&["endpoint", "stop", "main"]);

        for (path, aside) in hidden {
            std::fs::rename(aside, path).unwrap();
        }
        cluster.varve(&["endpoint", "start", "main"]);
        assert!(!went_on(&cluster));
        let client = reconnect(&cluster, "main").await;
        assert_eq!(number(&client, READ).await, 14);
        drop(client);
        // Now nothing is missing, and the next one goes on with what there is.
        cluster.varve(&["endpoint", "stop", "main"]);
        cluster.varve(&["endpoint", "start", "main"]);
        assert!(went_on(&cluster));
    });
}

/// Puts a segment of `main` aside, wherever there is one: safekeepers and object storage. Where each was, and is.
fn hide_segment(cluster: &Cluster, number: u64) -> Vec<(PathBuf, PathBuf)> {
    let (tenant, timeline) = cluster.ids("main");
    let name = WalSegmentSize::DEFAULT.file_name(1, number);
    let directories = (1..=3)
        .map(|id| format!("safekeepers/{id}/{tenant}/{timeline}"))
        .chain([format!("remote_storage/wal/{tenant}/{timeline}")]);
    let paths = directories.map(|directory| cluster.directory().join(directory).join(&name));
    let hidden: Vec<_> =
        paths.filter(|path| path.exists()).map(|path| (path.clone(), path.with_extension("aside"))).collect();
    assert!(!hidden.is_empty(), "{name} is nowhere");
    for (path, aside) in &hidden {
        std::fs::rename(path, aside).unwrap();
    }
    hidden
}

/// A subscriber that stands still does not keep the compute from a clean stop for ever.
#[test]
fn a_subscriber_that_hangs_does_not_hold_a_stop() {
    let cluster = Cluster::up_with("logical-hang", &[LOGICAL, "wal_sender_timeout=3s"])
        .need_not_evict("it is about how it stops");
    let directory = cluster.directory().join("subscriber");
    block_on(async {
        let (_, _stock, copy) = followed(&cluster, &directory).await;
        let client = reconnect(&cluster, "main").await;
        let worker: i32 = copy
            .query_one("SELECT pid FROM pg_stat_subscription WHERE pid IS NOT NULL", &[])
            .await
            .unwrap()
            .get(0);
        let signal = |signal| nix::sys::signal::kill(nix::unistd::Pid::from_raw(worker), signal).unwrap();
        signal(Signal::SIGSTOP);
        client.batch_execute("UPDATE pgbench_branches SET filler = 'not confirmed'").await.unwrap();
        let started = std::time::Instant::now();
        cluster.varve(&["endpoint", "stop", "main"]);
        assert!(started.elapsed() < Duration::from_secs(40), "{:?}", started.elapsed());
        signal(Signal::SIGCONT);
        cluster.varve(&["endpoint", "start", "main"]);
        let client = reconnect(&cluster, "main").await;
        becomes_equal(&client, &copy, &PGBENCH).await;
    });
}

/// Names in a directory of the compute's, in order.
fn files(cluster: &Cluster, directory: &str) -> Vec<String> {
    let entries = std::fs::read_dir(cluster.pgdata("main").join(directory)).expect("a directory");
    let mut names: Vec<String> =
        entries.map(|entry| entry.expect("an entry").file_name().into_string().expect("a name")).collect();
    names.sort();
    names
}

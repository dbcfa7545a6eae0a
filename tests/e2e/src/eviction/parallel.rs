//! Parallel workers look at the same pages as their leader, with the command ids of their leader's transaction.

use harness::block_on;

use super::{HARD, Outcome, SMALL, Server, Session};

const PARALLEL: &str =
    "SET max_parallel_workers_per_gather = 2; SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0;
    SET min_parallel_table_scan_size = 0; SET min_parallel_index_scan_size = 0";
const SERIAL: &str = "SET max_parallel_workers_per_gather = 0";

/// A plan and a query for it.
const SCANS: [(&str, &str); 5] = [
    ("Parallel Seq Scan", "SELECT count(filler), sum(a) FROM wide"),
    ("Parallel Index Scan", "SELECT count(filler), sum(a) FROM wide WHERE a BETWEEN 1000 AND 6000"),
    ("Parallel Index Only Scan", "SELECT count(*), sum(a) FROM wide WHERE a > 0"),
    (
        "Parallel Bitmap Heap Scan",
        "SELECT count(filler), sum(a) FROM wide WHERE a BETWEEN 500 AND 6000 OR id < 100",
    ),
    (
        "Parallel Hash Join",
        "SELECT count(*), sum(w.a) FROM wide w JOIN wide v ON w.filler = v.filler AND w.a = v.id",
    ),
];

async fn forbid_all_scans_but(session: &Session, scan: &str) -> Outcome {
    for (setting, kinds) in [
        ("seqscan", ["Seq", "Join"]),
        ("indexscan", ["Index Scan", "Index Only"]),
        ("bitmapscan", ["Bitmap"; 2]),
    ] {
        let wanted = kinds.iter().any(|kind| scan.contains(kind));
        session.run(&format!("SET enable_{setting} = {wanted}")).await?;
    }
    Ok(())
}

async fn scan_all_ways(session: &Session) -> Outcome {
    for (scan, query) in SCANS {
        forbid_all_scans_but(session, scan).await?;
        session.run(SERIAL).await?;
        let expected = session.answer(query).await?;
        session.run(PARALLEL).await?;
        let plan = session.answer(&format!("EXPLAIN (ANALYZE, COSTS off, TIMING off) {query}")).await?;
        assert!(plan.contains(scan) && plan.contains("Workers Launched"), "not by {scan}: {plan}");
        session.expect(query, &expected).await?;
    }
    Ok(())
}

async fn builds_and_scans(server: &Server) -> Outcome {
    let session = server.session().await;
    session.run("DROP TABLE IF EXISTS wide; CREATE TABLE wide (id int, a int, filler text) WITH (parallel_workers = 2)").await?;
    session.run("INSERT INTO wide SELECT n, (n * 7919) % 16000, repeat(md5(n::text), 5) FROM generate_series(1, 16000) n").await?;
    session.run("VACUUM ANALYZE wide").await?;
    session.run("SET maintenance_work_mem = '128MB'; SET log_min_messages = debug1").await?;
    session.run("CREATE INDEX wide_a ON wide (a); CREATE UNIQUE INDEX wide_id ON wide (id)").await?;
    session.run("RESET log_min_messages").await?;
    scan_all_ways(&session).await?;
    // Now there are rows with combo command ids, which the workers get from their leader.
    session
        .run("BEGIN; UPDATE wide SET a = a + 1 WHERE id % 3 = 0; UPDATE wide SET a = a + 1 WHERE id % 3 = 0")
        .await?;
    session.run("DELETE FROM wide WHERE id % 7 = 0").await?;
    scan_all_ways(&session).await?;
    session.run("COMMIT").await?;
    scan_all_ways(&session).await
}

const FLOOD: &str = "SET enable_seqscan = off; SET enable_bitmapscan = off;
    SELECT count(filler) FROM wide WHERE id > 0; SELECT count(filler) FROM wide WHERE id > 1;
    SELECT count(filler) FROM wide WHERE id > 2; SELECT count(filler) FROM wide WHERE id > 3";

/// A worker that starts resets all settings and takes its leader's, one by one. Some of them look names up in
/// catalogs: pages come from the pageserver even while the worker's own setting does not say where that is.
async fn workers_start_without_their_catalogs(server: &Server) -> Outcome {
    let (session, other) = (server.session().await, server.session().await);
    session.run("DROP TABLE IF EXISTS wide; CREATE TABLE wide (id int PRIMARY KEY, filler text) WITH (parallel_workers = 2)").await?;
    session
        .run("INSERT INTO wide SELECT n, repeat(md5(n::text), 5) FROM generate_series(1, 16000) n")
        .await?;
    session.run(PARALLEL).await?;
    for round in 0..12 {
        // Through an index, page by page and often: what was in the buffers goes, then what was in the files.
        for _ in 0..=round % 3 {
            other.run(FLOOD).await?;
            tokio::time::sleep(std::time::Duration::from_millis(200 * (round % 4))).await;
        }
        // What a process reads before it has settings is there again: else it would be connected by then.
        if round % 2 == 0 {
            server.session().await.run("SELECT count(*) FROM wide WHERE id < 5").await?;
        }
        let plan =
            session.answer("EXPLAIN (ANALYZE, COSTS off, TIMING off) SELECT count(*) FROM wide").await?;
        if !plan.contains("Workers Launched: 2") {
            return Err(format!("no workers: {plan}"));
        }
    }
    Ok(())
}

#[test]
fn parallel_workers_find_catalogs_while_they_start() {
    let mut server = Server::start("parallel-start");
    block_on(async {
        server.enter(HARD);
        server.survives("starting workers", 300, workers_start_without_their_catalogs(&server)).await;
    });
}

#[test]
fn parallel_workers_see_the_same_pages() {
    let mut server = Server::start("parallel");
    block_on(async {
        for (mode, least) in [(HARD, 1000), (SMALL, 300)] {
            server.enter(mode);
            server.survives("parallel builds and scans", least, builds_and_scans(&server)).await;
        }
        let log = std::fs::read_to_string(server.cluster.postgres_log("main")).expect("a log");
        for index in ["wide_a", "wide_id"] {
            let built =
                format!("building index \"{index}\" on table \"wide\" with request for 2 parallel workers");
            assert_eq!(log.matches(&built).count(), 2, "{built}");
        }
    });
}

//! VACUUM goes through a btree in the order of its blocks. A page that is split meanwhile, to a block that VACUUM has
//! passed, says so by the cycle id of that VACUUM, which WAL does not have. Without it dead entries stay behind, and
//! point to rows that come to be there later.

use std::time::Duration;

use harness::{block_on, eventually};

use super::{BROKEN_GRACE, HARD, Outcome, SMALL, Server, Session, all};

/// The keys are 10 to 300000 in tens, one leaf having about 366 of them; blocks at the low end are free.
async fn make_table_with_free_low_blocks(session: &Session) -> Outcome {
    session
        .run("DROP TABLE IF EXISTS keyed; CREATE TABLE keyed (k int) WITH (autovacuum_enabled = off)")
        .await?;
    session.run("INSERT INTO keyed SELECT n * 10 FROM generate_series(1, 30000) n; CREATE INDEX keyed_k ON keyed (k)").await?;
    session.run("DELETE FROM keyed WHERE k <= 50000").await?;
    // The first deletes the empty pages; they are free once nobody can be on the way to them.
    for _ in 0..3 {
        session.run("VACUUM (INDEX_CLEANUP on) keyed").await?;
        session.run("SELECT pg_current_xact_id()").await?;
    }
    Ok(())
}

/// VACUUM is stopped at a leaf in the middle, by a cursor that has it pinned. A leaf with dead entries, further on, is
/// split into a free block before it.
async fn split_behind_vacuum(server: &Server) -> Outcome {
    let (session, vacuum, stop) = (server.session().await, server.session().await, server.session().await);
    make_table_with_free_low_blocks(&session).await?;
    session.run("DELETE FROM keyed WHERE k BETWEEN 200000 AND 210000").await?;
    stop.run("SET enable_seqscan = off; SET enable_bitmapscan = off").await?;
    stop.run("BEGIN; DECLARE c CURSOR FOR SELECT k FROM keyed WHERE k > 100000 ORDER BY k; FETCH c").await?;
    let vacuumed = tokio::spawn(async move { vacuum.run("VACUUM (INDEX_CLEANUP on) keyed").await });
    let waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'BufferPin'";
    eventually("VACUUM stops at the pinned leaf", Duration::from_secs(20), async || {
        session.answer(waiting).await.is_ok_and(|count| count == "1")
    })
    .await;
    session.run("INSERT INTO keyed SELECT n * 10 + 5 FROM generate_series(20000, 21000) n").await?;
    session.push_out(&["keyed_k"]).await?;
    stop.run("COMMIT").await?;
    all(vec![vacuumed]).await?;
    // These come to be where the dead rows were.
    // These fill what is free, and so come to be where the dead rows were.
    session.run("INSERT INTO keyed SELECT 1000000 + n FROM generate_series(1, 8000) n").await?;
    let reused =
        "SELECT count(*) FROM keyed WHERE k > 1000000 AND ctid > (SELECT ctid FROM keyed WHERE k = 199990)
                  AND ctid < (SELECT ctid FROM keyed WHERE k = 210010)";
    session.expect(reused, "1001").await?;
    session.same_by_index("keyed", "keyed_k", "k BETWEEN 190000 AND 220000").await
}

#[test]
fn vacuum_finds_dead_entries_of_pages_split_behind_it() {
    let mut server = Server::start("cycle-ids");
    block_on(async {
        server.survives("split behind VACUUM", 100, split_behind_vacuum(&server)).await;
        server.enter(BROKEN_GRACE);
        let (outcome, activity) = server.watch("split behind VACUUM", split_behind_vacuum(&server)).await;
        outcome.expect_err("cycle ids that are lost do harm");
        assert!(activity["live_cycle_ids_lost"] > 0, "{activity}");
    });
}

/// Sessions insert and delete at random, VACUUM goes round and round, slowly.
async fn splits_and_deletions(server: &Server) -> Outcome {
    let session = server.session().await;
    session
        .run(
            "DROP TABLE IF EXISTS churned; CREATE TABLE churned (k int, t text, filler text) WITH (autovacuum_enabled = off);
             CREATE INDEX churned_k ON churned (k); CREATE INDEX churned_t ON churned (t);
             INSERT INTO churned SELECT n, md5(n::text), repeat('x', 200) FROM generate_series(1, 20000) n",
        )
        .await?;
    let mut writers = Vec::new();
    for _ in 0..2 {
        let writer = server.session().await;
        writers.push(tokio::spawn(async move {
            for _ in 0..60 {
                writer
                    .run(
                        "INSERT INTO churned SELECT k, md5(k::text), repeat('x', 200) FROM (
                             SELECT (random() * 40000)::int AS k FROM generate_series(1, 150)) random;
                         DELETE FROM churned USING (SELECT (random() * 40000)::int low) random
                             WHERE k BETWEEN low AND low + 300",
                    )
                    .await?;
            }
            Ok(())
        }));
    }
    session.run("SET vacuum_cost_delay = 2; SET vacuum_cost_limit = 200").await?;
    let writing = tokio::spawn(all(writers));
    while !writing.is_finished() {
        session.run("VACUUM (INDEX_CLEANUP on) churned").await?;
    }
    all(vec![writing]).await?;
    session.same_by_index("churned", "churned_k", "k >= 0").await?;
    session.same_by_index("churned", "churned_t", "t >= ''").await
}

#[test]
fn vacuum_beside_splits_leaves_indexes_whole() {
    let mut server = Server::start("vacuum");
    block_on(async {
        for mode in [HARD, SMALL] {
            server.enter(mode);
            server.survives("VACUUM beside splits", 500, splits_and_deletions(&server)).await;
            crate::pgbench::amcheck(&server.cluster.connstr("main"));
        }
    });
}

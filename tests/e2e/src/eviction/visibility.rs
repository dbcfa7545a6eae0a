//! VACUUM marks a page as visible to all without moving its LSN, and the visibility map with it, on which index-only
//! scans rely. Who changes a row on a page clears the map only if the page has the mark.

use harness::block_on;

use super::{BROKEN_PAGE_LSN, HARD, Outcome, SMALL, Server, Session};

async fn make_table(server: &Server, rows: u32) -> Outcome {
    let session = server.session().await;
    session
        .run(&format!(
            "DROP TABLE IF EXISTS visible;
             CREATE TABLE visible (k int, v int, filler text) WITH (autovacuum_enabled = off);
             INSERT INTO visible SELECT n, 0, repeat('x', 300) FROM generate_series(1, {rows}) n;
             CREATE INDEX visible_k ON visible (k)"
        ))
        .await?;
    session.push_out(&["visible"]).await
}

/// With the visibility map and without.
async fn same_both_ways(session: &Session) -> Outcome {
    let count = "SELECT count(*), sum(k) FROM visible WHERE k > 0";
    session
        .run("SET enable_indexscan = off; SET enable_indexonlyscan = off; SET enable_seqscan = on")
        .await?;
    let expected = session.answer(count).await?;
    session.run("SET enable_indexscan = on; SET enable_indexonlyscan = on; SET enable_seqscan = off").await?;
    let plan = session.answer(&format!("EXPLAIN {count}")).await?;
    assert!(plan.contains("Index Only Scan"), "{plan}");
    session.expect(count, &expected).await
}

async fn changes_after_vacuum(server: &Server) -> Outcome {
    let session = server.session().await;
    session.run("SET enable_bitmapscan = off").await?;
    for change in [
        "DELETE FROM visible WHERE k % 10 = 1",
        "UPDATE visible SET k = k + 10000 WHERE k % 10 = 2",
        "UPDATE visible SET v = v + 1 WHERE k % 10 = 3",
        "INSERT INTO visible SELECT n, 0, 'new' FROM generate_series(20001, 20100) n",
        "BEGIN; SELECT 1 FROM visible WHERE k % 10 = 4 FOR UPDATE; DELETE FROM visible WHERE k % 10 = 5; ROLLBACK",
        "DELETE FROM visible WHERE k > 10000",
    ] {
        session.run("VACUUM visible").await?;
        session.push_out(&["visible"]).await?;
        same_both_ways(&session).await?;
        session.run(change).await?;
        same_both_ways(&session).await?;
        session.push_out(&["visible"]).await?;
        same_both_ways(&session).await?;
    }
    session.expect("SELECT count(*), max(k) FROM visible", "6400|8000").await
}

#[test]
fn index_only_scans_count_what_is_there() {
    let mut server = Server::start("visibility");
    block_on(async {
        for mode in [HARD, SMALL] {
            server.enter(mode);
            make_table(&server, 8000).await.expect("a table");
            server.survives("changes after VACUUM", 500, changes_after_vacuum(&server)).await;
        }
        crate::pgbench::amcheck(&server.cluster.connstr("main"));
        // Of one page, made in an earlier life: of a chunk with more, other rows might be missing first.
        make_table(&server, 20).await.expect("a table");
        server.enter(BROKEN_PAGE_LSN);
        let (outcome, activity) = server.watch("changes after VACUUM", changes_after_vacuum(&server)).await;
        let error = outcome.expect_err("marks that are lost do harm");
        assert!(error.contains("\"20|210\", not \"18|198\""), "{error}; {activity}");
        assert!(activity["all_visible_lost"] > 0, "{activity}");
    });
}

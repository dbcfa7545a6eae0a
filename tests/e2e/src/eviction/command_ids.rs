//! Command ids tell a transaction which of its own changes a command may see. WAL has none of them: a page that is
//! dropped while its writer runs comes back with all of them zero, and an UPDATE through an index then meets the
//! rows that it has just made, for ever.

use harness::block_on;

use super::{BROKEN_GRACE, HARD, Outcome, SMALL, Server, Session};

const ROWS: u32 = 10_000;

async fn filled(session: &Session, table: &str) -> Outcome {
    session.run(&format!("DROP TABLE IF EXISTS {table}")).await?;
    session
        .run(&format!(
            "CREATE TABLE {table} (id int PRIMARY KEY, a int, filler text);
             INSERT INTO {table} SELECT n, n, repeat('x', 300) FROM generate_series(1, {ROWS}) n;
             CREATE INDEX {table}_a ON {table} (a)"
        ))
        .await?;
    session.run(&format!("VACUUM ANALYZE {table}")).await?;
    session.run("CHECKPOINT; SET enable_seqscan = off; SET enable_bitmapscan = off").await
}

/// Every row moves to the end of the index that finds it, again and again, while a cursor looks at where it was.
async fn updates_through_an_index(server: &Server) -> Outcome {
    let session = server.session().await;
    filled(&session, "moving").await?;
    session.run("BEGIN; DECLARE before CURSOR FOR SELECT count(*), sum(a) FROM moving WHERE a > 0").await?;
    session
        .run("DECLARE rows CURSOR FOR SELECT a FROM moving WHERE a > 0 ORDER BY a; FETCH 10 FROM rows")
        .await?;
    let update = "UPDATE moving SET a = a + 10000 WHERE a > 0";
    session.run(update).await?;
    session.run("DECLARE between CURSOR FOR SELECT count(*), sum(a) FROM moving WHERE a > 0").await?;
    session.run(update).await?;
    session.run("SAVEPOINT s").await?;
    session.run(update).await?;
    session.expect("FETCH before", "10000|50005000").await?;
    session.expect("FETCH between", "10000|150005000").await?;
    session.run("MOVE FORWARD 9988 FROM rows").await?;
    session.expect("FETCH 3 FROM rows", "9999\n10000").await?;
    session.expect("SELECT count(*), sum(a) FROM moving WHERE a > 0", "10000|350005000").await?;
    session.run("COMMIT").await?;
    session.expect("SELECT count(*), sum(a) FROM moving WHERE a > 0", "10000|350005000").await?;
    session.same_by_index("moving", "moving_a", "a BETWEEN 1 AND 100000").await
}

/// A row made and unmade in one transaction carries both its command ids as one combo command id.
async fn own_rows_in_subtransactions(server: &Server) -> Outcome {
    let session = server.session().await;
    filled(&session, "own").await?;
    let sum = "SELECT count(*), sum(a) FROM own WHERE id > 0";
    session.run("BEGIN").await?;
    session.run("UPDATE own SET a = 0 WHERE id > 0").await?;
    session.run("UPDATE own SET a = a + 1 WHERE id > 0").await?;
    session.run(&format!("DECLARE ones CURSOR FOR {sum}")).await?;

    session.run("SAVEPOINT one; DELETE FROM own WHERE id > 0 AND id % 2 = 0").await?;
    session.run("UPDATE own SET a = a + 10 WHERE id > 0").await?;
    session.expect(sum, "5000|55000").await?;
    session.run(&format!("DECLARE elevens CURSOR FOR {sum}")).await?;

    session
        .run("SAVEPOINT two; INSERT INTO own SELECT n, 100, '' FROM generate_series(10001, 12000) n")
        .await?;
    session.run("UPDATE own SET a = a + 1 WHERE id > 10000").await?;
    session.run("DELETE FROM own WHERE id > 11000").await?;
    session.expect(sum, "6000|156000").await?;
    session.run("ROLLBACK TO two").await?;
    session.expect(sum, "5000|55000").await?;
    session.run("DELETE FROM own WHERE id > 0").await?;
    session.expect(sum, "0|").await?;
    session.expect("FETCH elevens", "5000|55000").await?;

    session.run("ROLLBACK TO one").await?;
    session.expect(sum, "10000|10000").await?;
    session.run("SAVEPOINT three; UPDATE own SET a = a + 5 WHERE id > 0; RELEASE three").await?;
    session.run("DELETE FROM own WHERE id > 7000").await?;
    session.expect(sum, "7000|42000").await?;
    session.expect("FETCH ones", "10000|10000").await?;
    session.run("COMMIT").await?;
    session.expect(sum, "7000|42000").await
}

#[test]
fn a_transaction_sees_what_its_own_commands_did() {
    let mut server = Server::start("command-ids");
    block_on(async {
        for mode in [HARD, SMALL] {
            server.enter(mode);
            server.survives("updates through an index", 500, updates_through_an_index(&server)).await;
            server.survives("own rows in subtransactions", 500, own_rows_in_subtransactions(&server)).await;
        }
        server.enter(BROKEN_GRACE);
        let (outcome, activity) =
            server.watch("updates through an index", updates_through_an_index(&server)).await;
        outcome.expect_err("command ids that are lost do harm");
        assert!(activity["live_cids_lost"] > 0, "{activity}");
    });
}

/// What a prepared transaction wrote may be dropped, and its command ids with it: it runs no more commands. (The
/// shadow, for which it is a running one, counts them.)
async fn prepared_transactions(server: &Server) -> Outcome {
    let session = server.session().await;
    let reader = server.session().await;
    filled(&session, "prepared").await?;
    let changes = |low: u32| {
        let between = format!("id BETWEEN {low} AND {}", low + 2000);
        format!(
            "BEGIN; UPDATE prepared SET a = a + 10000 WHERE {between}; UPDATE prepared SET a = a + 10000 WHERE {between};
             SAVEPOINT s; DELETE FROM prepared WHERE {between} AND id % 3 = 0;
             INSERT INTO prepared SELECT n + 100000, n, 'new' FROM generate_series({low}, {low} + 2000) n;
             PREPARE TRANSACTION 'at {low}'"
        )
    };
    session.run(&changes(1001)).await?;
    session.run(&changes(5001)).await?;
    session.push_out(&["prepared"]).await?;
    reader.run("SET enable_seqscan = off; SET lock_timeout = '1s'").await?;
    let sum = "SELECT count(*), sum(a) FROM prepared WHERE id > 0";
    reader.expect(sum, "10000|50005000").await?;
    let locked = reader.run("UPDATE prepared SET a = 0 WHERE id = 1500").await;
    if !locked.as_ref().is_err_and(|error| error.contains("lock timeout")) {
        return Err(format!("a row of a prepared transaction was not locked: {locked:?}"));
    }
    session.run("COMMIT PREPARED 'at 1001'").await?;
    session.run("ROLLBACK PREPARED 'at 5001'").await?;
    session.push_out(&["prepared"]).await?;
    let by_hand = "SELECT count(*), sum(a) FROM (
            SELECT n AS a FROM generate_series(1, 10000) n WHERE n NOT BETWEEN 1001 AND 3001
            UNION ALL SELECT n + 20000 FROM generate_series(1001, 3001) n WHERE n % 3 <> 0
            UNION ALL SELECT generate_series(1001, 3001)) expected";
    let expected = reader.answer(by_hand).await?;
    reader.expect(sum, &expected).await?;
    session.same_by_index("prepared", "prepared_a", "a BETWEEN 1 AND 100000").await
}

#[test]
fn a_prepared_transaction_needs_none_of_its_pages() {
    let mut server = Server::start("prepared");
    block_on(async {
        for mode in [HARD, SMALL] {
            server.enter(mode);
            let workload = prepared_transactions(&server);
            server.survives_but(&["live_cids_lost"], "prepared transactions", 500, workload).await;
        }
    });
}

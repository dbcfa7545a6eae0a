//! ON CONFLICT inserts a row speculatively: until its index entries are made, the row carries a token, which others
//! wait for and by which its writer takes the row back. WAL does not have the token.

use std::time::Duration;

use harness::{block_on, eventually};

use super::{BROKEN_GRACE, HARD, Outcome, SMALL, Server, Session, all, for_a_while};

const SESSIONS: u64 = 6;
const KEYS: u64 = 3000;

/// All sessions count through the same keys at the same time, so that they meet at keys that are not there yet.
async fn races(server: &Server) -> Outcome {
    let session = server.session().await;
    session
        .run(
            "DROP TABLE IF EXISTS counted; CREATE TABLE counted (key int, n int, filler text);
             CREATE UNIQUE INDEX counted_key ON counted (key)",
        )
        .await?;
    let mut racers = Vec::new();
    for _ in 0..SESSIONS {
        racers.push(tokio::spawn(count_through(server.session().await)));
    }
    all(racers).await?;
    session.expect("SELECT count(*), sum(n) FROM counted", &format!("{KEYS}|{}", KEYS * SESSIONS)).await?;
    session.same_by_index("counted", "counted_key", "key BETWEEN 0 AND 2000").await
}

async fn count_through(session: Session) -> Outcome {
    for low in (0..KEYS).step_by(10) {
        session
            .run(&format!(
                "INSERT INTO counted SELECT key, 1, repeat('x', 1200) FROM generate_series({low}, {low} + 9) key
                 ON CONFLICT (key) DO UPDATE SET n = counted.n + 1"
            ))
            .await?;
    }
    Ok(())
}

#[test]
fn upserts_that_race_are_all_counted() {
    let mut server = Server::start("upserts");
    block_on(async {
        for (mode, least) in [(HARD, 300), (SMALL, 30)] {
            server.enter(mode);
            server.survives("upserts that race", least, for_a_while(async || races(&server).await)).await;
        }
    });
}

/// The expression of the index stops a session between row and index entry (as in PostgreSQL's own test
/// insert-conflict-specconflict): its first call looks for conflicts, the second makes the entry of a row that is
/// in the table already.
const TABLE_WITH_A_STOP: &str = "
    CREATE FUNCTION stop(key int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS $$
    BEGIN
        IF set_config('hazard.calls', (current_setting('hazard.calls')::int + 1)::text, false) = '2' THEN
            PERFORM pg_advisory_xact_lock(1);
        END IF;
        RETURN key;
    END $$;
    SET hazard.calls = 100;
    CREATE TABLE stopped (key int, n int);
    CREATE UNIQUE INDEX ON stopped (stop(key))";

/// A session is stopped with its token in a row, and the row's page is pushed out. Another one makes a row of the
/// same key meanwhile, so that the first must take its own back, which it knows by the token.
async fn row_taken_back(server: &Server) -> Outcome {
    let upsert = "INSERT INTO stopped VALUES (1, 1) ON CONFLICT (stop(key)) DO UPDATE SET n = stopped.n + 1";
    let (keeper, slow, fast) = (server.session().await, server.session().await, server.session().await);
    keeper.run("DROP TABLE IF EXISTS stopped; DROP FUNCTION IF EXISTS stop").await?;
    keeper.run(TABLE_WITH_A_STOP).await?;
    slow.run("SET hazard.calls = 0").await?;
    fast.run("SET hazard.calls = 100").await?;
    keeper.run("SELECT pg_advisory_lock(1)").await?;
    let first = tokio::spawn(async move { slow.run(upsert).await });
    let waiting = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted";
    eventually("the first session stops", Duration::from_secs(20), async || {
        keeper.answer(waiting).await.is_ok_and(|count| count == "1")
    })
    .await;
    keeper.push_out(&["stopped"]).await?;
    fast.run(upsert).await?;
    keeper.push_out(&["stopped"]).await?;
    keeper.run("SELECT pg_advisory_unlock(1)").await?;
    all(vec![first]).await?;
    keeper.expect("SELECT * FROM stopped", "1|2").await
}

#[test]
fn a_row_that_lost_the_race_is_taken_back() {
    let mut server = Server::start("token");
    block_on(async {
        server.survives("row taken back", 100, row_taken_back(&server)).await;
        server.enter(BROKEN_GRACE);
        let (outcome, activity) = server.watch("row taken back", row_taken_back(&server)).await;
        let error = outcome.expect_err("a token that is lost does harm");
        assert!(error.contains("attempted to kill a non-speculative tuple"), "{error}");
        assert!(activity["live_tokens_lost"] > 0, "{activity}");
    });
}

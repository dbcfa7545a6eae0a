//! Pages that are asked for ahead of the scan that needs them: by then somebody may have changed the page, written it
//! out, and it may be gone from the cache again. The answer that was given before is a page of yesterday.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use harness::block_on;

use super::{Outcome, Server, Session, all};

const MOVERS: u32 = 3;
const ROWS: u32 = 4000;

/// Moves amounts between rows at random, so that their sum stays. Each session has rows of its own.
async fn move_amounts(session: Session, at: u32) -> Outcome {
    for _ in 0..1000 {
        session
            .run(&format!(
                "WITH pair AS MATERIALIZED (
                     SELECT {at} + {MOVERS} * (random() * 1000)::int one, {at} + {MOVERS} * (random() * 1000)::int other)
                 UPDATE amounts SET amount = amount + CASE WHEN k = one THEN 1 ELSE -1 END FROM pair
                 WHERE k IN (one, other) AND one <> other"
            ))
            .await?;
    }
    Ok(())
}

async fn scan(session: Session, stop: Arc<AtomicBool>) -> Outcome {
    session
        .run("SET effective_io_concurrency = 200; SET enable_seqscan = off; SET enable_indexscan = off")
        .await?;
    let sum = "SELECT count(*), sum(amount), count(filler) FROM amounts WHERE k > 0";
    let plan = session.answer(&format!("EXPLAIN {sum}")).await?;
    assert!(plan.contains("Bitmap Heap Scan"), "{plan}");
    while !stop.load(Ordering::Relaxed) {
        session.expect(sum, &format!("{ROWS}|0|{ROWS}")).await?;
    }
    Ok(())
}

async fn scans_beside_changes(server: &Server) -> Outcome {
    let session = server.session().await;
    session
        .run(&format!(
            "CREATE TABLE amounts (k int, amount int, filler text); CREATE INDEX amounts_k ON amounts (k);
             INSERT INTO amounts SELECT n, 0, repeat('x', 900) FROM generate_series(1, {ROWS}) n"
        ))
        .await?;
    session.run("VACUUM ANALYZE amounts").await?;
    let stop = Arc::new(AtomicBool::new(false));
    let (mut movers, mut scans) = (Vec::new(), Vec::new());
    for at in 1..=MOVERS {
        movers.push(tokio::spawn(move_amounts(server.session().await, at)));
    }
    for _ in 0..2 {
        scans.push(tokio::spawn(scan(server.session().await, stop.clone())));
    }
    let moved = all(movers).await;
    stop.store(true, Ordering::Relaxed);
    moved.and(all(scans).await)
}

#[test]
fn an_answer_from_before_a_change_does_not_count() {
    let server = Server::start("prefetch");
    block_on(async {
        let activity = server.survives("scans beside changes", 500, scans_beside_changes(&server)).await;
        let (taken, refused) = (activity["prefetch_hits"], activity["guard_refusals"]);
        eprintln!("{taken} prefetched blocks were taken, {refused} answers were not stored");
        assert!(taken > 300 && refused > 30, "{taken} {refused}");
    });
}

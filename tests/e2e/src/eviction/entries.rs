//! The table of chunks with far too few entries: what they knew is handed on when they give way to others.

use std::time::Duration;

use harness::block_on;

use super::{Outcome, Server, Session, all, series};

/// Of each of two sessions.
const TABLES: u32 = 60;
/// They stay on one page: a table of more has a free space map, which keeps its entry until a checkpoint.
const ROWS: u32 = 6;

/// Entries of what was written lately cannot give way: no more of it, until the pageserver has taken it in. (A grace
/// period begins only when there is new WAL.)
async fn wait_for_room(session: &Session) -> Outcome {
    session.run("SELECT pg_logical_emit_message(true, '', '')").await?;
    while session.answer("SELECT lag_bytes > 50000 FROM varve.lag").await? == "t" {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    Ok(())
}

/// More tables than there are entries, each read and changed in turn, by several sessions.
async fn many_tables(server: &Server) -> Outcome {
    let mut sessions = Vec::new();
    for at in 0..2 {
        let session = server.session().await;
        for table in 0..TABLES {
            let table = format!("t{at}_{table}");
            series::make(&session, &table, 1, ROWS, "0").await?;
            wait_for_room(&session).await?;
        }
        sessions.push(tokio::spawn(async move {
            for round in 1..=3 {
                let salt = round.to_string();
                for table in 0..TABLES {
                    session.run(&format!("UPDATE t{at}_{table} SET t = md5(k || '{salt}')")).await?;
                    wait_for_room(&session).await?;
                }
                // Who only reads writes too, what others left in the buffers, and no WAL with it.
                for table in 0..TABLES {
                    series::is(&session, &format!("t{at}_{table}"), 1, ROWS, &salt).await?;
                    wait_for_room(&session).await?;
                }
            }
            Ok(())
        }));
    }
    all(sessions).await
}

/// One table of many chunks.
async fn many_chunks(server: &Server) -> Outcome {
    let session = server.session().await;
    series::make(&session, "long", 1, 30_000, "0").await?;
    for round in 0..2 {
        series::is(&session, "long", 1, 30_000, &round.to_string()).await?;
        for low in (1..30_000).step_by(3000) {
            let update = format!(
                "UPDATE long SET t = md5(k || '{}') WHERE k BETWEEN {low} AND {low} + 2999",
                round + 1
            );
            session.run(&update).await?;
        }
        session.run("VACUUM long").await?;
    }
    series::is(&session, "long", 1, 30_000, "2").await?;
    wait_for_room(&session).await?;
    // A period that begins once somebody waits for an entry would wait for that one's transaction in turn.
    tokio::time::sleep(Duration::from_millis(300)).await;
    Ok(())
}

#[test]
fn entries_that_give_way_take_nothing_along() {
    let server = Server::start_with("entries", &["varve.cache_entries=256", "autovacuum=off"]);
    block_on(async {
        let chunks = server.survives("many chunks", 1000, many_chunks(&server)).await;
        assert!(chunks["recycled_entries"] > 50, "{chunks}");
        // With its entry it is forgotten of a block that it was dropped: few are known to have been fetched again.
        let tables = server.survives("many tables", 20, many_tables(&server)).await;
        assert!(tables["recycled_entries"] > 1000, "{tables}");
    });
}

//! Files that are cut off, made anew, moved and dropped: what was at a block before must not come back there.

use harness::block_on;
use tempfile::TempDir;

use super::{HARD, Outcome, SMALL, Server, Session, all, for_a_while, series};

/// A directory for a tablespace; the server makes its own below it.
pub fn tablespace_directory() -> TempDir {
    let directory = tempfile::Builder::new().prefix("varve-space-").tempdir_in("/tmp").expect("a directory");
    if nix::unistd::geteuid().is_root() {
        harness::run(std::process::Command::new("chown").arg("postgres").arg(directory.path()));
    }
    directory
}

/// The end of the table is cut off by VACUUM, all of it by TRUNCATE, in transactions that end well or not.
async fn cut_off_and_filled_again(server: &Server) -> Outcome {
    let session = server.session().await;
    series::make(&session, "cut", 1, 8000, "first").await?;
    for salt in ["second", "third"] {
        let size = session.answer("SELECT pg_relation_size('cut')").await?;
        session.run("DELETE FROM cut WHERE k > 3000").await?;
        session.run("VACUUM (TRUNCATE on) cut").await?;
        session.expect(&format!("SELECT pg_relation_size('cut') < {size}"), "t").await?;
        session.push_out(&["cut", "cut_k"]).await?;
        session.run(&format!("UPDATE cut SET t = md5(k || '{salt}')")).await?;
        session.run(&series::insert("cut", 3001, 8000, salt)).await?;
        session.push_out(&["cut", "cut_k"]).await?;
        series::is(&session, "cut", 1, 8000, salt).await?;
    }
    let fill = |salt: &str| series::insert("cut", 1, 5000, salt);
    session.run(&format!("TRUNCATE cut; {}", fill("fourth"))).await?;
    session.run("BEGIN; TRUNCATE cut; SAVEPOINT s").await?;
    session.run(&fill("nothing")).await?;
    session.push_out(&["cut", "cut_k"]).await?;
    // The second time within the transaction that made the file: it is cut off to nothing, and stays.
    session.run(&format!("TRUNCATE cut; {}", fill("nothing"))).await?;
    series::is(&session, "cut", 1, 5000, "nothing").await?;
    session.run("ROLLBACK TO s").await?;
    session.run(&fill("fifth")).await?;
    series::is(&session, "cut", 1, 5000, "fifth").await?;
    session.run("ROLLBACK").await?;
    session.push_out(&["cut", "cut_k"]).await?;
    series::is(&session, "cut", 1, 5000, "fourth").await
}

async fn made_and_dropped(session: Session, at: u32) -> Outcome {
    for round in 0..12 {
        let (table, salt) = (format!("short_{at}_{}", round % 3), format!("{at} {round}"));
        series::make(&session, &table, 1, 400, &salt).await?;
        series::is(&session, &table, 1, 400, &salt).await?;
        session.run(&format!("BEGIN; DROP TABLE {table}; CREATE TABLE {table} (k int); ROLLBACK")).await?;
        series::is(&session, &table, 1, 400, &salt).await?;
    }
    Ok(())
}

async fn many_made_and_dropped(server: &Server) -> Outcome {
    let mut sessions = Vec::new();
    for at in 0..4 {
        sessions.push(tokio::spawn(made_and_dropped(server.session().await, at)));
    }
    all(sessions).await
}

/// By everything that writes a table to a new file.
async fn rewritten(server: &Server) -> Outcome {
    let session = server.session().await;
    series::make(&session, "written", 1, 6000, "old").await?;
    for rewrite in [
        "ALTER TABLE written SET UNLOGGED",
        "ALTER TABLE written SET LOGGED",
        "CLUSTER written USING written_k",
        "VACUUM FULL written",
        "REINDEX TABLE written",
        "ALTER TABLE written ALTER k TYPE bigint",
        "ALTER TABLE written ALTER k TYPE int",
    ] {
        session
            .run(&format!(
                "DELETE FROM written WHERE k > 3000; {}",
                series::insert("written", 3001, 6000, "new")
            ))
            .await?;
        session.run("UPDATE written SET t = md5(k || 'new') WHERE k % 3 = 0 OR k > 5000").await?;
        session.run(rewrite).await?;
        session.push_out(&["written", "written_k"]).await?;
        session.run("UPDATE written SET t = md5(k || 'new')").await?;
        series::is(&session, "written", 1, 6000, "new").await?;
    }
    Ok(())
}

async fn unlogged(server: &Server) -> Outcome {
    let session = server.session().await;
    session.run("DROP TABLE IF EXISTS fleeting").await?;
    session.run("CREATE UNLOGGED TABLE fleeting (k int, t text, filler text)").await?;
    session.run(&series::insert("fleeting", 1, 6000, "one")).await?;
    session.run("CREATE INDEX fleeting_k ON fleeting (k)").await?;
    session.push_out(&["fleeting", "fleeting_k"]).await?;
    series::is(&session, "fleeting", 1, 6000, "one").await?;
    session.run("BEGIN; UPDATE fleeting SET t = md5(k || 'two'); SAVEPOINT s; TRUNCATE fleeting; ROLLBACK TO s; COMMIT").await?;
    session.push_out(&["fleeting", "fleeting_k"]).await?;
    series::is(&session, "fleeting", 1, 6000, "two").await
}

/// A table and its index to another place and back.
async fn moved(server: &Server) -> Outcome {
    let session = server.session().await;
    let directory = tablespace_directory();
    session.run(&format!("CREATE TABLESPACE elsewhere LOCATION '{}'", directory.path().display())).await?;
    series::make(&session, "movable", 1, 6000, "0").await?;
    for (round, place) in ["elsewhere", "pg_default", "elsewhere", "pg_default"].into_iter().enumerate() {
        session.run(&format!("UPDATE movable SET t = md5(k || '{round}')")).await?;
        session.push_out(&["movable", "movable_k"]).await?;
        session.run(&format!("ALTER TABLE movable SET TABLESPACE {place}")).await?;
        session.run(&format!("ALTER INDEX movable_k SET TABLESPACE {place}")).await?;
        session.push_out(&["movable", "movable_k"]).await?;
        series::is(&session, "movable", 1, 6000, &round.to_string()).await?;
    }
    session.run("DROP TABLESPACE elsewhere").await
}

#[test]
fn files_that_change_hold_what_they_should() {
    let mut server = Server::start("relations");
    block_on(async {
        for (mode, least) in [(HARD, 300), (SMALL, 30)] {
            server.enter(mode);
            server.survives("cut off and filled again", least, cut_off_and_filled_again(&server)).await;
            let short_lived = for_a_while(async || many_made_and_dropped(&server).await);
            server.survives("many made and dropped", least, short_lived).await;
            server.survives("rewritten", least, rewritten(&server)).await;
            server.survives("unlogged", least, unlogged(&server)).await;
            server.survives("moved", least, moved(&server)).await;
        }
        crate::pgbench::amcheck(&server.cluster.connstr("main"));
    });
}

//! Databases are made, moved and dropped as directories: the same number in the same place is another one's then,
//! with tables of the same numbers in it.

use harness::block_on;

use super::relations::tablespace_directory;
use super::{HARD, Outcome, SMALL, Server, series};

/// What was found there before is not found again.
async fn number_used_again(server: &Server) -> Outcome {
    let outside = server.session().await;
    outside.run("DROP DATABASE IF EXISTS source").await?;
    outside.run("CREATE DATABASE source").await?;
    series::make(&server.session_in("source").await, "t", 1, 3000, "0").await?;
    for round in 0..3 {
        let salt = round.to_string();
        outside.run("CREATE DATABASE again OID 70000 TEMPLATE source").await?;
        let inside = server.session_in("again").await;
        series::is(&inside, "t", 1, 3000, &salt).await?;
        inside.run("UPDATE t SET t = md5(k || 'changed')").await?;
        inside.run("VACUUM t").await?;
        inside.push_out(&["t", "t_k"]).await?;
        series::is(&inside, "t", 1, 3000, "changed").await?;
        drop(inside);
        outside.run("DROP DATABASE again WITH (FORCE)").await?;
        let source = server.session_in("source").await;
        source.run(&format!("UPDATE t SET t = md5(k || '{}')", round + 1)).await?;
        source.push_out(&["t", "t_k"]).await?;
    }
    Ok(())
}

async fn moved_there_and_back(server: &Server) -> Outcome {
    let outside = server.session().await;
    let directory = tablespace_directory();
    outside.run("DROP DATABASE IF EXISTS moving").await?;
    outside.run("CREATE DATABASE moving").await?;
    outside.run(&format!("CREATE TABLESPACE distant LOCATION '{}'", directory.path().display())).await?;
    series::make(&server.session_in("moving").await, "t", 1, 3000, "0").await?;
    for (round, place) in ["distant", "pg_default", "distant", "pg_default"].into_iter().enumerate() {
        outside.run(&format!("ALTER DATABASE moving SET TABLESPACE {place}")).await?;
        let inside = server.session_in("moving").await;
        series::is(&inside, "t", 1, 3000, &round.to_string()).await?;
        inside.run(&format!("UPDATE t SET t = md5(k || '{}')", round + 1)).await?;
        inside.push_out(&["t", "t_k"]).await?;
        series::is(&inside, "t", 1, 3000, &(round + 1).to_string()).await?;
    }
    outside.run("DROP TABLESPACE distant").await
}

#[test]
fn databases_that_come_and_go_keep_to_themselves() {
    let mut server = Server::start("databases");
    block_on(async {
        for (mode, least) in [(HARD, 500), (SMALL, 100)] {
            server.enter(mode);
            server.survives("number used again", least, number_used_again(&server)).await;
            server.survives("moved there and back", least, moved_there_and_back(&server)).await;
        }
    });
}

//! Builds of GIN, GiST and SP-GiST write their pages first and log them at the end, reading all of them again: until
//! then a page that is dropped is lost. (With it, the build loops where no signal stops it.)

use harness::block_on;

use super::{BROKEN_GRACE, Outcome, SMALL, Server, Session, all};

/// A column and a condition for every kind of index and of build.
const KINDS: [(&str, &str, &str); 8] = [
    ("b", "btree (b)", "b BETWEEN 100 AND 160"),
    ("t", "btree (t)", "t BETWEEN '3' AND '4'"),
    ("h", "hash (h)", "h = 77"),
    ("w", "gin (w)", "w @> ARRAY[5]"),
    ("s", "gist (s)", "s <@ box '((100,100),(3000,600))'"),
    ("g", "gist (g) WITH (buffering = on)", "g <@ box '((100,100),(3000,600))'"),
    ("q", "spgist (q)", "q <@ box '((100,100),(3000,600))'"),
    ("r", "brin (r) WITH (pages_per_range = 4)", "r BETWEEN 1000 AND 3000"),
];

const ROWS: &str = "n, n % 977, md5(n::text), n % 511, ARRAY[n % 13, n % 101, n % 7], point(n, n % 887),
                    point(n, n % 887), point(n, n % 887), n, repeat('x', 100)";

fn create_table(table: &str) -> String {
    format!(
        "CREATE TABLE {table} (n int PRIMARY KEY, b int, t text, h int, w int[], s point, g point, q point, r int,
                               filler text)"
    )
}

fn insert(table: &str, first: u32, last: u32) -> String {
    format!("INSERT INTO {table} SELECT {ROWS} FROM generate_series({first}, {last}) n")
}

async fn make_table(session: &Session, table: &str) -> Outcome {
    session.run(&format!("DROP TABLE IF EXISTS {table}; {}", create_table(table))).await?;
    session.run(&insert(table, 1, 12_000)).await?;
    session.run(&format!("ANALYZE {table}")).await
}

async fn build_all(session: &Session, table: &str, how: &str) -> Outcome {
    for (column, definition, _) in KINDS {
        session.run(&format!("CREATE INDEX {how} {table}_{column} ON {table} USING {definition}")).await?;
    }
    Ok(())
}

async fn check_all(session: &Session, table: &str) -> Outcome {
    for (column, _, condition) in KINDS {
        session.same_by_index(table, &format!("{table}_{column}"), condition).await?;
    }
    Ok(())
}

async fn plain(server: &Server) -> Outcome {
    let session = server.session().await;
    make_table(&session, "plain").await?;
    build_all(&session, "plain", "").await?;
    check_all(&session, "plain").await?;
    session
        .run("UPDATE plain SET b = b + 1, s = point(n, b), q = point(b, n), w = w || 5 WHERE n % 5 = 0")
        .await?;
    session.run("VACUUM plain").await?;
    check_all(&session, "plain").await
}

/// Table, rows and indexes are one transaction's, of which nothing may go before it ends.
async fn with_the_table(server: &Server) -> Outcome {
    let session = server.session().await;
    session.run("DROP TABLE IF EXISTS together").await?;
    session.run(&format!("BEGIN; {}; {}", create_table("together"), insert("together", 1, 8000))).await?;
    build_all(&session, "together", "").await?;
    session.run(&insert("together", 8001, 9000)).await?;
    check_all(&session, "together").await?;
    session.run("COMMIT").await?;
    check_all(&session, "together").await
}

async fn concurrently(server: &Server) -> Outcome {
    let session = server.session().await;
    make_table(&session, "busy").await?;
    let writer = server.session().await;
    let writes = tokio::spawn(async move {
        for at in 0..120 {
            let first = 20_000 + at * 20;
            writer.run(&insert("busy", first, first + 19)).await?;
            writer
                .run(&format!(
                    "UPDATE busy SET b = b + 1, h = h + 1 WHERE n BETWEEN {at} * 90 AND {at} * 90 + 40"
                ))
                .await?;
            writer
                .run(&format!("DELETE FROM busy WHERE n BETWEEN {at} * 90 + 50 AND {at} * 90 + 60"))
                .await?;
        }
        Ok(())
    });
    build_all(&session, "busy", "CONCURRENTLY").await?;
    session.run("REINDEX INDEX CONCURRENTLY busy_w").await?;
    all(vec![writes]).await?;
    check_all(&session, "busy").await
}

#[test]
fn indexes_of_all_kinds_find_what_a_scan_finds() {
    let mut server = Server::start("indexes");
    block_on(async {
        server.survives("indexes built plainly", 1000, plain(&server)).await;
        server.survives("indexes built with their table", 100, with_the_table(&server)).await;
        server.survives("indexes built concurrently", 1000, concurrently(&server)).await;
        crate::pgbench::amcheck(&server.cluster.connstr("main"));
        server.enter(SMALL);
        server.survives("indexes built plainly", 200, plain(&server)).await;
    });
}

/// With little memory: the build goes through its whole tree again and again.
async fn gin(server: &Server) -> Outcome {
    let session = server.session().await;
    session
        .run(
            "DROP TABLE IF EXISTS words; CREATE TABLE words AS
             SELECT n, ARRAY(SELECT (n * m * 7919) % 20011 FROM generate_series(1, 12) m) w FROM generate_series(1, 20000) n",
        )
        .await?;
    session.run("VACUUM ANALYZE words").await?;
    session.run("SET maintenance_work_mem = '1MB'; CREATE INDEX words_w ON words USING gin (w)").await?;
    session.same_by_index("words", "words_w", "w && ARRAY[5, 77, 1001, 19999]").await
}

#[test]
fn a_gin_build_needs_its_pages_to_the_end() {
    let mut server = Server::start("gin");
    block_on(async {
        server.survives("GIN build", 100, gin(&server)).await;
        server.enter(BROKEN_GRACE);
        let (outcome, activity) = server.watch("GIN build", gin(&server)).await;
        let error = outcome.expect_err("pages of a build that are lost do harm");
        assert!(error.contains("CREATE INDEX"), "{error}; {activity}");
    });
}

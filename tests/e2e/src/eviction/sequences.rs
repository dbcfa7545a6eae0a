//! WAL says of a sequence where it will be 32 values later. Its page, which knows better, never goes: within a life
//! no value is left out.

use harness::block_on;

use super::{BROKEN_SEQUENCES, Outcome, Server, Session};

/// The sequences' pages are on disk, and other pages go.
async fn push_all_out(session: &Session) -> Outcome {
    session.run("CHECKPOINT").await?;
    session.push_out(&["ones", "tens", "down", "owned_id_seq"]).await
}

async fn values_in_a_row(server: &Server) -> Outcome {
    let session = server.session().await;
    session
        .run(
            "DROP SEQUENCE IF EXISTS ones, tens, down; DROP TABLE IF EXISTS owned;
             CREATE SEQUENCE ones; CREATE SEQUENCE tens INCREMENT 10 START 10;
             CREATE SEQUENCE down INCREMENT -1 MAXVALUE 100 MINVALUE -100 START 100 CYCLE;
             CREATE TABLE owned (id int GENERATED ALWAYS AS IDENTITY, filler text)",
        )
        .await?;
    let all = "SELECT nextval('ones'), nextval('tens'), nextval('down')";
    for n in 1..=5 {
        session.expect(all, &format!("{n}|{}|{}", n * 10, 101 - n)).await?;
        session.run("INSERT INTO owned (filler) VALUES (repeat('x', 300))").await?;
        push_all_out(&session).await?;
    }
    session.expect("SELECT string_agg(id::text, ' ' ORDER BY id) FROM owned", "1 2 3 4 5").await?;

    // What is taken by a transaction that comes to nothing is taken.
    session.run(&format!("BEGIN; {all}; ROLLBACK; SELECT setval('tens', 500), setval('down', -100)")).await?;
    push_all_out(&session).await?;
    session.expect(all, "7|510|100").await?;
    session
        .run("ALTER SEQUENCE ones INCREMENT 3; ALTER SEQUENCE tens RESTART; ALTER SEQUENCE down NO CYCLE")
        .await?;
    push_all_out(&session).await?;
    session.expect(all, "10|10|99").await?;

    session.run("TRUNCATE owned RESTART IDENTITY; INSERT INTO owned (filler) VALUES ('a'), ('b')").await?;
    push_all_out(&session).await?;
    session.expect("INSERT INTO owned (filler) VALUES ('c') RETURNING id", "3").await?;
    // The new file of a sequence whose restart comes to nothing goes, and the old one counts on.
    session
        .run("BEGIN; TRUNCATE owned RESTART IDENTITY; INSERT INTO owned (filler) VALUES ('d'); ROLLBACK")
        .await?;
    push_all_out(&session).await?;
    session.expect("INSERT INTO owned (filler) VALUES ('e') RETURNING id", "4").await?;
    session.expect("SELECT last_value, is_called FROM ones", "10|t").await
}

#[test]
fn sequences_leave_nothing_out() {
    let mut server = Server::start("sequences");
    block_on(async {
        server.survives("values in a row", 200, values_in_a_row(&server)).await;
        server.enter(BROKEN_SEQUENCES);
        let (outcome, activity) = server.watch("values in a row", values_in_a_row(&server)).await;
        let error = outcome.expect_err("a sequence whose page is lost leaves values out");
        assert!(error.contains("\"34|340|67\", not \"2|20|99\""), "{error}; {activity}");
    });
}

//! A table whose content is known: the rows `low` to `high`, each with a text that follows from its key and a salt.

use super::{Outcome, Session};

pub fn create(table: &str) -> String {
    format!(
        "DROP TABLE IF EXISTS {table}; CREATE TABLE {table} (k int, t varchar(32), filler varchar(200));
         CREATE INDEX {table}_k ON {table} (k)"
    )
}

pub fn insert(table: &str, low: u32, high: u32, salt: &str) -> String {
    format!(
        "INSERT INTO {table} SELECT k, md5(k || '{salt}'), repeat('x', 200) FROM generate_series({low}, {high}) k"
    )
}

pub async fn make(session: &Session, table: &str, low: u32, high: u32, salt: &str) -> Outcome {
    session.run(&create(table)).await?;
    session.run(&insert(table, low, high, salt)).await
}

/// These rows and no others, by scan and by index.
pub async fn is(session: &Session, table: &str, low: u32, high: u32, salt: &str) -> Outcome {
    let digest = |rows: &str| format!("SELECT count(*), sum(k), sum(hashtext(t)::bigint) FROM {rows}");
    let made = format!("(SELECT k, md5(k || '{salt}') t FROM generate_series({low}, {high}) k) made");
    let expected = session.answer(&digest(&made)).await?;
    session.run("SET enable_seqscan = on; SET enable_indexscan = off; SET enable_bitmapscan = off").await?;
    session.expect(&digest(table), &expected).await?;
    session.run("SET enable_seqscan = off; SET enable_indexscan = on").await?;
    session.expect(&digest(&format!("{table} WHERE k > 0")), &expected).await?;
    session.run("RESET enable_seqscan; RESET enable_bitmapscan").await
}

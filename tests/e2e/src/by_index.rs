//! What a query finds by one index alone, and that a scan of the whole table finds the same.

use harness::connect;
use tokio_postgres::{Client, SimpleQueryMessage};

/// The first column of all rows.
pub async fn text(client: &Client, query: &str) -> Vec<String> {
    let messages = client.simple_query(query).await.unwrap_or_else(|error| panic!("{query}: {error:?}"));
    let row = |message| match message {
        SimpleQueryMessage::Row(row) => Some(row.get(0).unwrap_or_default().to_owned()),
        _ => None,
    };
    messages.into_iter().filter_map(row).collect()
}

/// Begins a transaction, which is to be taken back, in which the planner knows no other index of that table.
async fn begin_with_one(client: &Client, index: &str) {
    let others = format!(
        "DO $$ DECLARE i regclass; BEGIN FOR i IN SELECT indexrelid FROM pg_index WHERE indexrelid <> '{index}'::regclass \
         AND indrelid = (SELECT indrelid FROM pg_index WHERE indexrelid = '{index}'::regclass) LOOP \
         UPDATE pg_index SET indisvalid = false WHERE indexrelid = i; END LOOP; END $$"
    );
    client.batch_execute("SET enable_seqscan = off").await.unwrap();
    client.batch_execute(&format!("BEGIN; {others}")).await.unwrap();
}

async fn end(client: &Client) {
    client.batch_execute("ROLLBACK; RESET enable_seqscan").await.unwrap();
}

/// What a query finds by an index, after it was seen that the index is used.
pub async fn found_by(client: &Client, index: &str, query: &str) -> Vec<String> {
    begin_with_one(client, index).await;
    let plan = text(client, &format!("EXPLAIN (COSTS OFF) {query}")).await.join("\n");
    assert!(plan.contains(index), "{index} is not used:\n{plan}");
    let found = text(client, query).await;
    end(client).await;
    found
}

/// What it finds by no index at all.
pub async fn found_by_scan(client: &Client, query: &str) -> Vec<String> {
    let set = |value| format!("enable_indexscan = {value}; SET enable_bitmapscan = {value}");
    client.batch_execute(&format!("SET {}", set("off"))).await.unwrap();
    let found = text(client, query).await;
    client.batch_execute(&format!("SET {}", set("on"))).await.unwrap();
    found
}

/// The answer to each query, after it was seen that its index is used and that a scan finds the same.
pub async fn answers<Query: AsRef<str>>(connstr: &str, queries: &[(&str, Query)]) -> Vec<String> {
    let client = connect(connstr).await.expect("a connection");
    let mut answers = Vec::new();
    for (index, query) in queries {
        let query = query.as_ref();
        let by_index = found_by(&client, index, query).await;
        let by_scan = found_by_scan(&client, query).await;
        assert_eq!(by_index, by_scan, "{index}: {query}");
        answers.push(format!("{index} {}", by_index.join(" ")));
    }
    answers
}

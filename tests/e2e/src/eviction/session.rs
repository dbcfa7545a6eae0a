//! A client of the server, for which a statement that does not end has failed.

use std::time::{Duration, Instant};

use tokio::task::JoinHandle;
use tokio_postgres::{Client, SimpleQueryMessage};

use super::Outcome;

pub struct Session {
    client: Client,
    patience: Duration,
}

impl Session {
    pub async fn new(client: Client, patience: Duration) -> Session {
        let session = Session { client, patience };
        let set = format!(
            "SET statement_timeout = {}; SET client_min_messages = error; SET jit = off",
            patience.as_millis()
        );
        session.run(&set).await.expect("settings");
        session
    }

    pub async fn run(&self, statements: &str) -> Outcome {
        self.answer(statements).await.map(drop)
    }

    /// All rows of the answer as text: `1|one` a line.
    pub async fn answer(&self, query: &str) -> Result<String, String> {
        // A backend that loops does not heed statement_timeout.
        let limit = self.patience + Duration::from_secs(2);
        let messages = tokio::time::timeout(limit, self.client.simple_query(query))
            .await
            .map_err(|_| format!("no end after {limit:?}: {query}"))?
            .map_err(|error| {
                format!("{}: {query}", error.as_db_error().map_or(error.to_string(), |e| e.to_string()))
            })?;
        let line = |message: &SimpleQueryMessage| match message {
            SimpleQueryMessage::Row(row) => {
                Some((0..row.len()).map(|at| row.get(at).unwrap_or("")).collect::<Vec<_>>().join("|"))
            }
            _ => None,
        };
        Ok(messages.iter().filter_map(line).collect::<Vec<_>>().join("\n"))
    }

    pub async fn expect(&self, query: &str, expected: &str) -> Outcome {
        let found = self.answer(query).await?;
        if found == expected { Ok(()) } else { Err(format!("{found:?}, not {expected:?}: {query}")) }
    }

    /// As many rows, and the same, through this index as without any.
    pub async fn same_by_index(&self, table: &str, index: &str, condition: &str) -> Outcome {
        let query =
            format!("SELECT count(*), sum(hashtext(x::text)::bigint) FROM {table} x WHERE {condition}");
        self.run("RESET enable_seqscan; SET enable_indexscan = off; SET enable_bitmapscan = off").await?;
        let by_scan = self.answer(&query).await?;
        self.run("SET enable_seqscan = off; RESET enable_indexscan; RESET enable_bitmapscan").await?;
        let plan = self.answer(&format!("EXPLAIN {query}")).await?;
        assert!(plan.contains(&format!(" {index}")), "not by {index}: {plan}");
        self.expect(&query, &by_scan).await?;
        self.run("RESET enable_seqscan").await
    }

    /// Reads other pages until none of these relations is in the buffers: what there is of them is in files then,
    /// and goes if it may.
    pub async fn push_out(&self, relations: &[&str]) -> Outcome {
        self.run(
            "CREATE EXTENSION IF NOT EXISTS pg_buffercache;
             CREATE EXTENSION IF NOT EXISTS varve;
             CREATE TABLE IF NOT EXISTS other AS SELECT n, repeat('x', 500) filler FROM generate_series(0, 4999) n;
             CREATE INDEX IF NOT EXISTS other_n ON other (n)",
        )
        .await?;
        let read_at_random = "SELECT max(filler) FROM other WHERE n = (SELECT (random() * 4999)::int)";
        let in_buffers = format!(
            "SELECT count(*) FROM pg_buffercache JOIN unnest('{{{}}}'::regclass[]) relation
             ON relfilenode = pg_relation_filenode(relation) WHERE pinning_backends = 0",
            relations.join(",")
        );
        while self.answer(&in_buffers).await? != "0" {
            self.run(&[read_at_random; 50].join(";")).await?;
        }
        // A grace period covers what was written before it, and begins when there is new WAL.
        self.run("SELECT pg_logical_emit_message(true, '', '')").await?;
        while self.answer("SELECT lag_bytes > 0 FROM varve.lag").await? == "t" {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        tokio::time::sleep(Duration::from_millis(300)).await;
        Ok(())
    }
}

/// All of them come out right.
pub async fn all(workloads: Vec<JoinHandle<Outcome>>) -> Outcome {
    for workload in workloads {
        workload.await.map_err(|error| error.to_string())??;
    }
    Ok(())
}

/// Again and again, so that grace periods begin and end meanwhile on a fast machine, too: with the small cache there
/// is one a second.
pub async fn for_a_while(workload: impl AsyncFn() -> Outcome) -> Outcome {
    const LEAST_TIME: Duration = Duration::from_secs(6);
    let began = Instant::now();
    while began.elapsed() < LEAST_TIME {
        workload().await?;
    }
    Ok(())
}

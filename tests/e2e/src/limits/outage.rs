//! The pageserver is gone for minutes: who does not need a page goes on; who waits for one can be cancelled,
//! timed out and terminated; nobody has to wait for those who wait.

use std::time::{Duration, Instant};

use harness::{Cluster, block_on, connect, number};
use tokio_postgres::{Client, NoTls};

use super::observer;

const PATIENCE: Duration = Duration::from_secs(20);

fn outage() -> Duration {
    let seconds = std::env::var("VARVE_OUTAGE_SECONDS").ok().and_then(|seconds| seconds.parse().ok());
    Duration::from_secs(seconds.unwrap_or(300))
}

async fn in_time<T>(what: &str, work: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, work).await.unwrap_or_else(|_| panic!("{what} hangs"))
}

fn sqlstate<T: std::fmt::Debug>(result: Result<T, tokio_postgres::Error>) -> String {
    let error = result.expect_err("it cannot have the page");
    error.code().map(|code| code.code().to_owned()).unwrap_or_else(|| error.to_string())
}

/// A scan of what is no longer there.
const SCAN: &str = "SELECT sum(length(t)) FROM big";

async fn one_round(connstr: &str, longest_login: &mut Duration) {
    let began = Instant::now();
    let client = in_time("logging in", connect(connstr)).await.expect("a login");
    assert_eq!(in_time("a query without pages", number(&client, "SELECT 1::bigint")).await, 1);
    *longest_login = (*longest_login).max(began.elapsed());

    client.batch_execute("SET statement_timeout = '500ms'").await.unwrap();
    assert_eq!(sqlstate(in_time("a statement's time-out", client.query_one(SCAN, &[])).await), "57014");
    client.batch_execute("RESET statement_timeout").await.unwrap();

    let canceller = client.cancel_token();
    let (cancelled, ()) = tokio::join!(in_time("a cancelled scan", client.query_one(SCAN, &[])), async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        canceller.cancel_query(NoTls).await.expect("a cancel request");
    });
    assert_eq!(sqlstate(cancelled), "57014");
}

/// Sessions that wait for a page all the time.
async fn waiting_sessions(connstr: &str) -> Vec<tokio::task::JoinHandle<Result<i64, tokio_postgres::Error>>> {
    let mut sessions = Vec::new();
    for query in
        [SCAN, "SELECT count(*) FROM big WHERE n = 20000", "SELECT max(n)::bigint FROM big WHERE n < 9000"]
    {
        let client: Client = connect(connstr).await.expect("a connection");
        sessions.push(tokio::spawn(async move { Ok(client.query_one(query, &[]).await?.get(0)) }));
    }
    sessions
}

#[test]
fn five_minutes_without_a_pageserver() {
    let cluster = Cluster::up_with(
        "outage",
        &["shared_buffers=1MB", "varve.cache_size=4MB", "varve.log_cache_interval=1"],
    );
    block_on(async {
        let connstr = cluster.connstr("main");
        let client = observer(&cluster).await;
        client
            .batch_execute(
                "CREATE TABLE big AS SELECT n, repeat('x', 400) AS t FROM generate_series(1, 60000) n; CREATE INDEX ON big (n)",
            )
            .await
            .unwrap();
        let sum = number(&client, SCAN).await;
        for statement in ["CREATE DATABASE first", "CREATE DATABASE doomed", "CHECKPOINT"] {
            client.batch_execute(statement).await.unwrap();
        }
        let evicted = "SELECT evicted_chunks FROM varve.cache";
        harness::eventually("the table is evicted", Duration::from_secs(30), async || {
            number(&client, SCAN).await;
            number(&client, "SELECT valid_bytes FROM varve.cache").await < 6 << 20
        })
        .await;
        assert!(number(&client, evicted).await > 50);
        // CREATE DATABASE alone may have filled a cache this small to the limit at which catalogs go, too. From here
        // on it holds what DROP DATABASE reads (not the pages of the database itself), and what logging in does.
        client.batch_execute("DROP DATABASE first").await.unwrap();
        for _ in 0..3 {
            assert_eq!(number(&connect(&connstr).await.unwrap(), "SELECT 1::bigint").await, 1);
        }

        cluster.kill("pageserver");
        let began = Instant::now();
        let sessions = waiting_sessions(&connstr).await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        in_time("DROP DATABASE", client.batch_execute("DROP DATABASE doomed")).await.unwrap();
        let mut longest_login = Duration::ZERO;
        let mut rounds = 0;
        while began.elapsed() < outage() {
            one_round(&connstr, &mut longest_login).await;
            rounds += 1;
            tokio::time::sleep(Duration::from_secs(5)).await;
        }
        eprintln!("outage: {rounds} rounds, the longest login took {} ms", longest_login.as_millis());
        assert!(
            sessions.iter().all(|session| !session.is_finished()),
            "a session had a page that nobody served"
        );

        cluster.varve(&["pageserver", "start"]);
        let [scanned, found, highest] = {
            let mut answers = [0; 3];
            for (answer, session) in answers.iter_mut().zip(sessions) {
                let session = tokio::time::timeout(Duration::from_secs(60), session).await;
                *answer = session.expect("it goes on").unwrap().expect("an answer");
            }
            answers
        };
        assert_eq!((scanned, found, highest), (sum, 1, 8999));
    });
}

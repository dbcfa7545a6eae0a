//! Serializable transactions stay serializable while computes are killed and taken over: histories of list-append
//! transactions, held against what the `isolation` crate knows of anomalies.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use harness::{Cluster, block_on, connect, eventually};
use isolation::{Operation, Outcome, Transaction, check};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rand::RngExt;
use tokio::task::JoinHandle;
use tokio_postgres::{Client, Error, IsolationLevel, error::SqlState};

/// Few, so that transactions meet.
const LISTS: u32 = 6;
const CLIENTS: usize = 6;
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);

struct Workload {
    endpoint: Arc<std::sync::Mutex<String>>,
    stop: Arc<AtomicBool>,
    /// Transactions that were committed.
    committed: Arc<AtomicU64>,
    clients: Vec<JoinHandle<Vec<Transaction>>>,
}

impl Workload {
    async fn start(connstr: String) -> Workload {
        let client = connect(&connstr).await.expect("a connection");
        let tables = format!(
            "CREATE TABLE lists (list int PRIMARY KEY, numbers text NOT NULL);
             INSERT INTO lists SELECT n, '' FROM generate_series(0, {}) n",
            LISTS - 1
        );
        client.batch_execute(&tables).await.expect("a table");
        let mut workload = Workload {
            endpoint: Arc::new(std::sync::Mutex::new(connstr)),
            stop: Arc::default(),
            committed: Arc::default(),
            clients: Vec::new(),
        };
        let next = Arc::new(AtomicU64::new(1));
        for _ in 0..CLIENTS {
            let (endpoint, stop) = (workload.endpoint.clone(), workload.stop.clone());
            let (committed, next) = (workload.committed.clone(), next.clone());
            workload.clients.push(tokio::spawn(async move {
                let mut history = Vec::new();
                let mut client = None;
                while !stop.load(Ordering::Relaxed) {
                    let Some(connected) = client.as_mut() else {
                        let connstr = endpoint.lock().expect("no panic").clone();
                        let attempt = tokio::time::timeout(Duration::from_secs(5), connect(&connstr)).await;
                        client = attempt.ok().and_then(Result::ok);
                        tokio::time::sleep(Duration::from_millis(20)).await;
                        continue;
                    };
                    let (transaction, lost) = transact(connected, &next).await;
                    committed
                        .fetch_add(u64::from(transaction.outcome == Outcome::Committed), Ordering::Relaxed);
                    history.push(transaction);
                    if lost {
                        client = None;
                    }
                }
                history
            }));
        }
        workload
    }

    async fn wait_for_progress(&self, more: u64) {
        let target = self.committed.load(Ordering::Relaxed) + more;
        eventually("more transactions", Duration::from_secs(120), async || {
            self.committed.load(Ordering::Relaxed) >= target
        })
        .await;
    }

    async fn end(self) -> Vec<Transaction> {
        self.stop.store(true, Ordering::Relaxed);
        let mut all = Vec::new();
        for client in self.clients {
            all.extend(client.await.expect("a client"));
        }
        all
    }
}

/// One transaction of a few random operations. True if the connection is of no more use.
async fn transact(client: &mut Client, next: &AtomicU64) -> (Transaction, bool) {
    let mut operations = Vec::new();
    let body = body(client, next, &mut operations);
    match tokio::time::timeout(ANSWER_TIMEOUT, body).await {
        Ok(Ok(outcome)) => (Transaction { operations, outcome }, outcome == Outcome::Unknown),
        // COMMIT was not sent.
        Ok(Err(error)) => (
            Transaction { operations, outcome: Outcome::Aborted },
            error.is_closed() || error.code().is_none(),
        ),
        // Nobody knows how far it got.
        Err(_) => (Transaction { operations, outcome: Outcome::Unknown }, true),
    }
}

async fn body(
    client: &mut Client,
    next: &AtomicU64,
    operations: &mut Vec<Operation>,
) -> Result<Outcome, Error> {
    let transaction =
        client.build_transaction().isolation_level(IsolationLevel::Serializable).start().await?;
    for _ in 0..rand::random_range(1..5) {
        let (list, writes) = (rand::random_range(0..LISTS), rand::rng().random_bool(0.5));
        if writes {
            let number = next.fetch_add(1, Ordering::Relaxed);
            // Also if the answer is lost: it may have been done.
            operations.push(Operation::Append { list, number });
            let append = "UPDATE lists SET numbers = numbers || $1 || ',' WHERE list = $2";
            transaction.execute(append, &[&number.to_string(), &(list as i32)]).await?;
        } else {
            let read = "SELECT numbers FROM lists WHERE list = $1";
            let text: String = transaction.query_one(read, &[&(list as i32)]).await?.get(0);
            operations.push(Operation::Read { list, numbers: numbers(&text) });
        }
    }
    match transaction.commit().await {
        Ok(()) => Ok(Outcome::Committed),
        Err(error) => match error.code() {
            Some(code)
                if *code == SqlState::T_R_SERIALIZATION_FAILURE
                    || *code == SqlState::T_R_DEADLOCK_DETECTED =>
            {
                Ok(Outcome::Aborted)
            }
            _ => Ok(Outcome::Unknown),
        },
    }
}

fn numbers(text: &str) -> Vec<u64> {
    text.split_terminator(',').map(|number| number.parse().expect("a number")).collect()
}

async fn lists(client: &Client) -> BTreeMap<u32, Vec<u64>> {
    let rows = client.query("SELECT list, numbers FROM lists", &[]).await.expect("rows");
    rows.iter().map(|row| (row.get::<_, i32>(0) as u32, numbers(row.get(1)))).collect()
}

#[test]
fn serializable_transactions_stay_so_through_kills_and_take_overs() {
    let cluster = Cluster::up("isolation");
    block_on(async {
        let workload = Workload::start(cluster.connstr("main")).await;
        workload.wait_for_progress(200).await;
        kill(Pid::from_raw(cluster.postmaster_pid("main")), Signal::SIGKILL).expect("the postmaster runs");
        workload.wait_for_progress(100).await;
        cluster.kill("endpoint-main");
        cluster.varve(&["endpoint", "start", "main"]);
        workload.wait_for_progress(100).await;

        // Clients of the old compute are not told: they find out.
        cluster.varve(&["endpoint", "create", "second", "--allow-multiple"]);
        cluster.varve(&["endpoint", "start", "second", "--allow-multiple"]);
        assert!(cluster.log("endpoint-main").contains("fenced"), "the old compute did not notice");
        *workload.endpoint.lock().expect("no panic") = cluster.connstr("second");
        workload.wait_for_progress(200).await;
        cluster.kill("safekeeper-2");
        cluster.varve(&["endpoint", "stop", "second", "--mode", "immediate"]);
        cluster.varve(&["endpoint", "start", "second"]);
        workload.wait_for_progress(100).await;
        let history = workload.end().await;

        let at_end = lists(&cluster.connect("second").await).await;
        let count = |outcome| history.iter().filter(|transaction| transaction.outcome == outcome).count();
        let (committed, aborted, unknown) =
            (count(Outcome::Committed), count(Outcome::Aborted), count(Outcome::Unknown));
        assert!(
            committed >= 700 && aborted >= 50,
            "transactions hardly met: {committed} committed, {aborted} aborted, {unknown} unknown"
        );
        let found = check(&history, &at_end);
        let told: Vec<String> = found.iter().take(20).map(ToString::to_string).collect();
        assert!(found.is_empty(), "{} anomalies:\n{}", found.len(), told.join("\n"));
    });
}

//! Serializable transactions stay serializable while computes are killed and taken over: histories of list-append
//! transactions, held against what the `isolation` crate knows of anomalies.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use harness::{Cluster, block_on, connect, eventually};
use isolation::{Anomaly, Cycle, Operation, Outcome, Transaction, check};
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

/// Whole looks at all lists, each at one moment, until `stop`. The replica may be started anew meanwhile.
async fn look(connstr: String, stop: Arc<AtomicBool>) -> Vec<Transaction> {
    let mut looks: Vec<Transaction> = Vec::new();
    let mut client = None;
    while !stop.load(Ordering::Relaxed) {
        let Some(connected) = client.as_mut() else {
            client = connect(&connstr).await.ok();
            tokio::time::sleep(Duration::from_millis(20)).await;
            continue;
        };
        let one_look = async |client: &mut Client| -> Result<Vec<Operation>, Error> {
            let builder = client.build_transaction().isolation_level(IsolationLevel::RepeatableRead);
            let transaction = builder.read_only(true).start().await?;
            let mut operations = Vec::new();
            for list in 0..LISTS {
                let read = "SELECT numbers FROM lists WHERE list = $1";
                let text: String = transaction.query_one(read, &[&(list as i32)]).await?.get(0);
                operations.push(Operation::Read { list, numbers: numbers(&text) });
            }
            transaction.commit().await?;
            Ok(operations)
        };
        match one_look(connected).await {
            Ok(operations) => looks.push(Transaction { operations, outcome: Outcome::Committed }),
            Err(error) if error.is_closed() || error.code().is_none() => client = None,
            // In the way of vacuum.
            Err(_) => {}
        }
    }
    looks
}

/// One replica never goes back: each list grows from look to look.
fn never_goes_back(looks: &[Transaction]) {
    let lengths = |look: &Transaction| -> Vec<usize> {
        let length = |operation: &Operation| match operation {
            Operation::Read { numbers, .. } => numbers.len(),
            Operation::Append { .. } => 0,
        };
        look.operations.iter().map(length).collect()
    };
    for pair in looks.windows(2) {
        let (before, after) = (lengths(&pair[0]), lengths(&pair[1]));
        assert!(
            before.iter().zip(&after).all(|(before, after)| before <= after),
            "{before:?}, then {after:?}"
        );
    }
}

/// What is read on replicas at REPEATABLE READ is what was committed, as of one moment each, in an order that goes
/// forward. It need not fit the serial order of the primary's transactions (docs/faq.md): two replicas, or a replica and
/// the primary, may see two commits that do not depend on each other in different order.
#[test]
fn replicas_show_committed_moments_through_kills_and_take_overs() {
    let cluster = Cluster::up("isolation-replicas").need_not_evict("next to nothing is written");
    block_on(async {
        let workload = Workload::start(cluster.connstr("main")).await;
        let stop = Arc::new(AtomicBool::new(false));
        let mut readers = Vec::new();
        for name in ["ro", "ro2"] {
            let small = ["--set", "shared_buffers=1MB", "--set", "varve.cache_size=0"];
            cluster.varve(&[&["endpoint", "create", name, "--hot-standby"][..], &small].concat());
            cluster.varve(&["endpoint", "start", name]);
            readers.push(tokio::spawn(look(cluster.connstr(name), stop.clone())));
        }
        workload.wait_for_progress(300).await;
        cluster.kill("endpoint-main");
        cluster.varve(&["endpoint", "start", "main"]);
        workload.wait_for_progress(150).await;
        cluster.kill("safekeeper-1");
        workload.wait_for_progress(150).await;
        cluster.varve(&["start"]);
        cluster.kill("endpoint-ro2");
        cluster.varve(&["endpoint", "start", "ro2"]);
        workload.wait_for_progress(150).await;
        stop.store(true, Ordering::Relaxed);
        let mut history = workload.end().await;
        let at_end = lists(&cluster.connect("main").await).await;

        let mut seen = Vec::new();
        for (reader, name) in readers.into_iter().zip(["ro", "ro2"]) {
            let looks = reader.await.expect("a reader");
            // The other one was started anew, and may begin a little earlier.
            if name == "ro" {
                never_goes_back(&looks);
            }
            let different: std::collections::BTreeSet<String> =
                looks.iter().map(|look| format!("{:?}", look.operations)).collect();
            seen.push((looks.len(), different.len()));
            history.extend(looks);
        }
        eprintln!("looks, and how many of them saw something new: {seen:?}");
        assert!(seen.iter().all(|(_, different)| *different > 50), "{seen:?}");
        let allowed = |anomaly: &Anomaly| matches!(anomaly, Anomaly::Cycle { name: Cycle::G2, .. });
        let found: Vec<String> = check(&history, &at_end)
            .iter()
            .filter(|anomaly| !allowed(anomaly))
            .map(ToString::to_string)
            .collect();
        assert!(found.is_empty(), "{} anomalies:\n{}", found.len(), found[..found.len().min(20)].join("\n"));
    });
}

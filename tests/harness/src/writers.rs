//! Clients that write ledger rows until they are told to stop, reconnecting through whatever happens.

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::task::JoinHandle;
use tokio_postgres::Client;

use crate::cluster::connect;
use crate::ledger::Ledger;

/// Longest wait for one answer: a commit may wait for a quorum as long as a fault lasts.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(120);

pub struct Writers {
    stop: Arc<AtomicBool>,
    acknowledged: Arc<AtomicI64>,
    stall: Arc<Mutex<Stall>>,
    tasks: Vec<JoinHandle<Ledger>>,
}

/// The longest time without a commit.
struct Stall {
    last_commit: Instant,
    longest: Duration,
}

impl Stall {
    fn commit(&mut self) {
        self.longest = self.longest.max(self.last_commit.elapsed());
        self.last_commit = Instant::now();
    }
}

impl Writers {
    /// Makes the table `ledger` and starts `count` clients on it.
    pub async fn start(connstr: &str, count: usize) -> Writers {
        let client = connect(connstr).await.expect("a connection for the ledger's table");
        client
            .batch_execute("CREATE TABLE IF NOT EXISTS ledger (number bigint, filler text)")
            .await
            .expect("a table");
        Writers::resume(connstr, count, 0)
    }

    /// Starts clients on the existing table, with numbers from `first` on.
    pub fn resume(connstr: &str, count: usize, first: i64) -> Writers {
        let stop = Arc::new(AtomicBool::new(false));
        let acknowledged = Arc::new(AtomicI64::new(0));
        let stall = Arc::new(Mutex::new(Stall { last_commit: Instant::now(), longest: Duration::ZERO }));
        let next = Arc::new(AtomicI64::new(first));
        let tasks = (0..count)
            .map(|_| {
                let writer = Writer {
                    connstr: connstr.to_owned(),
                    stop: stop.clone(),
                    next: next.clone(),
                    acknowledged: acknowledged.clone(),
                    stall: stall.clone(),
                    ledger: Ledger::default(),
                };
                tokio::spawn(writer.run())
            })
            .collect();
        Writers { stop, acknowledged, stall, tasks }
    }

    /// Commits acknowledged so far.
    pub fn acknowledged(&self) -> i64 {
        self.acknowledged.load(Ordering::Relaxed)
    }

    /// The longest time without any commit since they were started.
    pub fn longest_stall(&self) -> Duration {
        let stall = self.stall.lock().expect("no panic");
        stall.longest.max(stall.last_commit.elapsed())
    }

    /// Waits for `more` commits to be acknowledged from now on.
    pub async fn wait_for_progress(&self, more: i64) {
        let target = self.acknowledged() + more;
        crate::eventually(&format!("{more} more commits"), Duration::from_secs(120), async || {
            self.acknowledged() >= target
        })
        .await;
    }

    pub async fn stop(self) -> Ledger {
        self.stop.store(true, Ordering::Relaxed);
        let mut all = Ledger::default();
        for task in self.tasks {
            all.merge(task.await.expect("a writer"));
        }
        all
    }
}

struct Writer {
    connstr: String,
    stop: Arc<AtomicBool>,
    next: Arc<AtomicI64>,
    acknowledged: Arc<AtomicI64>,
    stall: Arc<Mutex<Stall>>,
    ledger: Ledger,
}

impl Writer {
    async fn run(mut self) -> Ledger {
        let mut client = None;
        while !self.stop.load(Ordering::Relaxed) {
            match &client {
                None => client = self.reconnect().await,
                Some(connected) => {
                    if !self.write(connected).await {
                        client = None;
                    }
                }
            }
        }
        self.ledger
    }

    async fn reconnect(&self) -> Option<Client> {
        match tokio::time::timeout(Duration::from_secs(5), connect(&self.connstr)).await {
            Ok(Ok(client)) => Some(client),
            _ => {
                tokio::time::sleep(Duration::from_millis(100)).await;
                None
            }
        }
    }

    /// False when the connection is of no use any more.
    async fn write(&mut self, client: &Client) -> bool {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        // Known before the answer is: from here on it may be there.
        self.ledger.lose_track_of(number);
        let insert = format!("INSERT INTO ledger VALUES ({number}, repeat('x', 100))");
        let written = tokio::time::timeout(ANSWER_TIMEOUT, client.batch_execute(&insert)).await;
        if matches!(written, Ok(Ok(()))) {
            self.ledger.acknowledge(number);
            self.acknowledged.fetch_add(1, Ordering::Relaxed);
            self.stall.lock().expect("no panic").commit();
            return true;
        }
        false
    }
}

/// All numbers in the table, repeats included.
pub async fn ledger_rows(client: &Client) -> Vec<i64> {
    let rows = client.query("SELECT number FROM ledger", &[]).await.expect("the ledger's rows");
    rows.iter().map(|row| row.get(0)).collect()
}

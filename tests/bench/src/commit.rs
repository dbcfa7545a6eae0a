//! How long a commit takes beyond its statement, and what of it could not be less: two round trips (client's proposer to
//! safekeeper and back, on stock PostgreSQL walsender to receiver and back) and one flush of the disk.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::time::Instant;

use harness::block_on;
use tokio_postgres::Client;

use crate::arguments::Arguments;
use crate::pgbench::INSERT;
use crate::report::{Finding, Measurement, Report};
use crate::sides::{Side, Sides};
use crate::statistics::{median, percentile};

/// Statements, flushes and round trips of one turn.
const TURN: usize = 200;
const TURNS_PER_SECOND: usize = 3;

pub fn measure(sides: &Sides, arguments: &Arguments, report: &mut Report) {
    let turns = arguments.seconds as usize * TURNS_PER_SECOND;
    let (mut varve, mut stock) = (Times::default(), Times::default());
    let (mut flushes, mut trips) = (Vec::new(), Vec::new());
    let mut echo = Echo::start();
    block_on(async {
        let clients = [sides.connect(Side::Varve).await, sides.connect(Side::Stock).await];
        for _ in 0..turns {
            varve.turn(&clients[0]).await;
            stock.turn(&clients[1]).await;
            flushes.extend(flush(sides.cluster.directory()));
            trips.extend(std::iter::repeat_with(|| micros(|| echo.there_and_back())).take(TURN));
        }
    });
    let (flush, trip) = (median(&flushes), median(&trips));
    let least = flush + 2.0 * trip;
    let note = format!(
        "p99 {:.0}, on stock {:.0}; not durable {:.0}, on stock {:.0}; fdatasync {flush:.0}, round trip {trip:.0}; what \
         durability adds, over fdatasync and two round trips: {:.2}, on stock {:.2}",
        percentile(&varve.durable, 0.99),
        percentile(&stock.durable, 0.99),
        median(&varve.not_durable),
        median(&stock.not_durable),
        varve.added() / least,
        stock.added() / least,
    );
    report.add(Finding::Measured(Measurement {
        name: "commit-p50".to_owned(),
        unit: "µs",
        varve: median(&varve.durable),
        stock: Some(median(&stock.durable)),
        note,
    }));
}

/// Microseconds of one-row INSERTs.
#[derive(Default)]
struct Times {
    durable: Vec<f64>,
    not_durable: Vec<f64>,
}

impl Times {
    async fn turn(&mut self, client: &Client) {
        let insert = client.prepare(INSERT).await.expect("a statement");
        for (setting, times) in [("on", &mut self.durable), ("off", &mut self.not_durable)] {
            let set = format!("SET synchronous_commit = {setting}");
            client.batch_execute(&set).await.expect("a setting");
            for _ in 0..TURN {
                let begun = Instant::now();
                client.execute(&insert, &[]).await.expect("a row");
                times.push(begun.elapsed().as_secs_f64() * 1e6);
            }
        }
    }

    /// By durability.
    fn added(&self) -> f64 {
        median(&self.durable) - median(&self.not_durable)
    }
}

/// As a safekeeper flushes: a little into a file whose length stays.
fn flush(directory: &Path) -> Vec<f64> {
    let file: File = tempfile::tempfile_in(directory).expect("a file");
    file.write_all_at(&vec![0; 1 << 20], 0).and_then(|()| file.sync_all()).expect("a file of 1 MiB");
    let write = |n: usize| {
        micros(|| {
            file.write_all_at(&[1; 200], (n * 200) as u64).expect("written");
            file.sync_data().expect("flushed");
        })
    };
    (0..TURN).map(write).collect()
}

/// Somebody at the other end of a connection who sends everything back.
struct Echo(TcpStream);

impl Echo {
    fn start() -> Echo {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let stream = TcpStream::connect(listener.local_addr().expect("an address")).expect("a connection");
        let (mut other, _) = listener.accept().expect("the connection");
        for end in [&stream, &other] {
            end.set_nodelay(true).expect("no delay");
        }
        // Ends with the connection.
        std::thread::spawn(move || {
            let mut message = [0; 200];
            while other.read_exact(&mut message).and_then(|()| other.write_all(&message)).is_ok() {}
        });
        Echo(stream)
    }

    fn there_and_back(&mut self) {
        let mut message = [7; 200];
        self.0.write_all(&message).and_then(|()| self.0.read_exact(&mut message)).expect("an answer");
    }
}

fn micros(work: impl FnOnce()) -> f64 {
    let begun = Instant::now();
    work();
    begun.elapsed().as_secs_f64() * 1e6
}

//! pgbench on both sides, in turns, after a pair of equal runs that must agree.

use harness::block_on;

use crate::arguments::Arguments;
use crate::pgbench::{self, Length, Run, Workload};
use crate::report::{Finding, Measurement, Report};
use crate::sides::{Side, Sides};
use crate::statistics::{TOLERANCE, difference, median, percentile};

const SAFEKEEPERS: u16 = 3;

pub fn measure(sides: &Sides, arguments: &Arguments, report: &mut Report) {
    for workload in [Workload::TpcB, Workload::Insert, Workload::Select] {
        for &clients in &arguments.clients {
            let cell = Cell { sides, workload, clients, seconds: arguments.seconds };
            report.add(cell.compare(arguments));
        }
    }
}

/// One workload with one number of clients.
struct Cell<'a> {
    sides: &'a Sides,
    workload: Workload,
    clients: u32,
    seconds: u32,
}

impl Cell<'_> {
    fn compare(&self, arguments: &Arguments) -> Finding {
        let name = format!("{}-{}-clients", self.workload.name(), self.clients);
        // Whatever is not cached yet on either side comes into the cache.
        for side in [Side::Varve, Side::Stock] {
            self.run(side);
        }
        let mut apart = Vec::new();
        let agreed = (0..arguments.attempts).any(|_| {
            let [one, two] = [(); 2].map(|()| self.run(Side::Stock).tps);
            apart.push(100.0 * difference(one, two));
            difference(one, two) <= TOLERANCE
        });
        let last = apart.last().copied().unwrap_or_default();
        if !agreed {
            let reason = format!("two equal runs on stock PostgreSQL differed by {last:.0} %");
            return Finding::NoResult { name, reason };
        }
        let (mut varve, mut stock) = (Numbers::default(), Numbers::default());
        let mut flushed = Flushes::default();
        for _ in 0..arguments.rounds {
            stock.add(self.run(Side::Stock));
            let before = Flushes::so_far(self.sides);
            varve.add(self.run(Side::Varve));
            flushed = Flushes::so_far(self.sides).since(&before);
        }
        let transactions = varve.tps.last().copied().unwrap_or_default() * f64::from(self.seconds);
        let mut note = format!("A/A {last:.0} %; ms: {varve}, on stock {stock}");
        if self.workload != Workload::Select {
            note.push_str(&format!("; flushed for {transactions:.0} commits: {flushed}"));
        }
        Finding::Measured(Measurement {
            name,
            unit: "tps",
            varve: median(&varve.tps),
            stock: Some(median(&stock.tps)),
            note,
        })
    }

    fn run(&self, side: Side) -> Run {
        self.sides.execute(side, "CHECKPOINT");
        let run = pgbench::bench(
            &self.sides.connstr(side),
            self.workload,
            self.clients,
            Length::Seconds(self.seconds),
        );
        eprintln!("  {side:?}: {} with {} clients: {:.0} tps", self.workload.name(), self.clients, run.tps);
        run
    }
}

/// Of all runs on a side.
#[derive(Default)]
struct Numbers {
    tps: Vec<f64>,
    latencies: Vec<f64>,
}

impl Numbers {
    fn add(&mut self, run: Run) {
        self.tps.push(run.tps);
        self.latencies.extend(run.latencies);
    }
}

impl std::fmt::Display for Numbers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [p50, p99] = [0.5, 0.99].map(|part| percentile(&self.latencies, part));
        write!(f, "p50 {p50:.2}, p99 {p99:.2}")
    }
}

/// Calls of fdatasync for WAL on each safekeeper: proof that what was acknowledged was made durable.
#[derive(Default)]
struct Flushes(Vec<f64>);

impl Flushes {
    fn so_far(sides: &Sides) -> Flushes {
        let of = |id| sides.cluster.metric(&format!("safekeeper-{id}"), "safekeeper_wal_flush_seconds_count");
        Flushes((1..=SAFEKEEPERS).map(of).collect())
    }

    fn since(&self, before: &Flushes) -> Flushes {
        Flushes(self.0.iter().zip(&before.0).map(|(now, before)| now - before).collect())
    }
}

impl std::fmt::Display for Flushes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let each: Vec<String> = self.0.iter().map(|count| format!("{count:.0}")).collect();
        write!(f, "{} times on the safekeepers", each.join(", "))
    }
}

/// The insert position of WAL.
pub fn insert_lsn(sides: &Sides, side: Side) -> types::Lsn {
    block_on(async {
        let row = sides.connect(side).await.query_one("SELECT pg_current_wal_insert_lsn()::text", &[]).await;
        row.expect("a position").get::<_, String>(0).parse().expect("an LSN")
    })
}

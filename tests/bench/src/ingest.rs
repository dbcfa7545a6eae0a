//! How fast WAL becomes page versions: the pageserver catches up with WAL that was written while it stood still.
//! Beside it, PostgreSQL's crash recovery over WAL of the same statements.

use std::time::{Duration, Instant};

use harness::lsn;
use nix::sys::signal::Signal;
use types::Lsn;

use crate::arguments::Arguments;
use crate::pgbench::{self, Length, Workload};
use crate::report::{Finding, Measurement, Report};
use crate::sides::{Side, Sides};
use crate::transactions::insert_lsn;

pub const CLIENTS: u32 = 16;
const PATIENCE: Duration = Duration::from_secs(300);
pub const MEGABYTE: f64 = 1e6;

pub fn measure(sides: &Sides, arguments: &Arguments, report: &mut Report) {
    prepare(sides);
    // Long enough for the rate to be that of the work, short enough that no writer has to slow down for it.
    let transactions = 400 * arguments.seconds;
    let rows = 100_000 * arguments.seconds;
    let bulk = format!(
        "INSERT INTO events (at, note) SELECT now(), repeat('x', 100) FROM generate_series(1, {rows})"
    );
    type Work<'a> = &'a dyn Fn(Side);
    let works: [(&str, Work<'_>); 2] = [
        ("ingest-pgbench", &|side| {
            pgbench::bench(&sides.connstr(side), Workload::TpcB, CLIENTS, Length::Transactions(transactions));
        }),
        ("ingest-bulk-insert", &|side| sides.execute(side, &bulk)),
    ];
    for (name, work) in works {
        let (varve, megabytes) = catch_up(sides, work);
        let stock = recover(sides, work);
        let note = format!("{megabytes:.0} MB of WAL");
        report.add(Finding::Measured(Measurement {
            name: name.to_owned(),
            unit: "MB/s",
            varve,
            stock: Some(stock),
            note,
        }));
    }
    sides.execute(Side::Stock, "ALTER SYSTEM RESET ALL; SELECT pg_reload_conf()");
}

/// WAL of the same kind on both sides: without page images on stock, too. All that is read is cached.
pub fn prepare(sides: &Sides) {
    sides.execute(
        Side::Stock,
        "ALTER SYSTEM SET full_page_writes = off; ALTER SYSTEM SET max_wal_size = '64GB'; SELECT pg_reload_conf()",
    );
    for side in [Side::Varve, Side::Stock] {
        for table in ["accounts", "branches", "tellers", "history"] {
            sides.execute(side, &format!("VACUUM pgbench_{table}; SELECT count(*) FROM pgbench_{table}"));
        }
        pgbench::bench(&sides.connstr(side), Workload::TpcB, CLIENTS, Length::Transactions(100));
    }
}

/// MB/s, and how many MB there were.
fn catch_up(sides: &Sides, work: &dyn Fn(Side)) -> (f64, f64) {
    let start = insert_lsn(sides, Side::Varve);
    wait_for_pageserver(sides, start);
    sides.cluster.signal("pageserver", Signal::SIGSTOP);
    let resumed = Resume(sides);
    work(Side::Varve);
    let end = insert_lsn(sides, Side::Varve);
    let begun = Instant::now();
    drop(resumed);
    wait_for_pageserver(sides, end);
    let megabytes = (end - start) as f64 / MEGABYTE;
    (megabytes / begun.elapsed().as_secs_f64(), megabytes)
}

/// The pageserver goes on, also when the work failed.
struct Resume<'a>(&'a Sides);

impl Drop for Resume<'_> {
    fn drop(&mut self) {
        self.0.cluster.signal("pageserver", Signal::SIGCONT);
    }
}

pub fn wait_for_pageserver(sides: &Sides, position: Lsn) {
    wait_for_pageserver_within(sides, position, PATIENCE);
}

pub fn wait_for_pageserver_within(sides: &Sides, position: Lsn, patience: Duration) {
    let begun = Instant::now();
    while lsn(&sides.cluster.pageserver_timeline("main")["last_record_lsn"]) < position {
        assert!(begun.elapsed() < patience, "the pageserver does not reach {position}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// MB/s of redo, as PostgreSQL itself says it.
fn recover(sides: &Sides, work: &dyn Fn(Side)) -> f64 {
    sides.execute(Side::Stock, "CHECKPOINT");
    work(Side::Stock);
    sides.stock.crash();
    let log_before = sides.stock.log().len();
    sides.stock.run();
    let log = sides.stock.log();
    let said = &log[log_before..];
    sides.stock.wait_for_receivers();
    redo_rate(said).unwrap_or_else(|| panic!("the server does not say how long its recovery took:\n{said}"))
}

fn redo_rate(log: &str) -> Option<f64> {
    let after = |text: &str| {
        let rest = log.split_once(text)?.1;
        rest.split([' ', '\n']).next().map(str::to_owned)
    };
    let start: Lsn = after("redo starts at ")?.parse().ok()?;
    let end: Lsn = after("redo done at ")?.parse().ok()?;
    let seconds: f64 = after("elapsed: ")?.parse().ok()?;
    (seconds > 0.0).then(|| (end - start) as f64 / MEGABYTE / seconds)
}

#[cfg(test)]
mod tests {
    use super::redo_rate;

    #[test]
    fn the_rate_of_a_recovery_is_read_from_the_log() {
        let log = "LOG:  redo starts at 0/1000000\nLOG:  invalid record length\nLOG:  redo done at 0/2312D00 system usage: CPU: user: 0.10 s, system: 0.02 s, elapsed: 0.20 s\n";
        assert_eq!(redo_rate(log), Some(f64::from(0x131_2D00) / 1e6 / 0.2));
        assert_eq!(redo_rate("LOG:  database system is ready"), None);
    }
}

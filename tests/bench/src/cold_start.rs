//! From the command that starts a server to psql's first row: with an empty directory, and with the cache that a clean stop left.

use std::process::Command;
use std::time::Instant;

use harness::{pg_program, program, run};

use crate::arguments::Arguments;
use crate::report::{Finding, Measurement, Report};
use crate::sides::{Side, Sides};
use crate::statistics::median;

pub fn measure(sides: &Sides, arguments: &Arguments, report: &mut Report) {
    let (mut cold, mut warm, mut stock) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..arguments.repetitions {
        sides.stock.command("stop");
        let begun = Instant::now();
        sides.stock.run();
        stock.push(first_row(sides, Side::Stock, begun));

        for (times, how) in [(&mut cold, Some("--cold")), (&mut warm, None)] {
            sides.cluster.varve(&["endpoint", "stop", "main"]);
            let begun = Instant::now();
            // Not as the harness has it, which never goes on with a cache.
            let mut start = Command::new(program("varve"));
            start
                .arg("--data-dir")
                .arg(sides.cluster.directory())
                .args(["endpoint", "start", "main"])
                .args(how);
            run(&mut start);
            times.push(first_row(sides, Side::Varve, begun));
        }
    }
    for (name, times) in [("cold-start", cold), ("warm-start", warm)] {
        let slowest = times.iter().copied().fold(0.0, f64::max);
        report.add(Finding::Measured(Measurement {
            name: name.to_owned(),
            unit: "ms",
            varve: median(&times),
            stock: Some(median(&stock)),
            note: format!("medians of {}, the slowest start on Varve {slowest:.0} ms", times.len()),
        }));
    }
}

fn first_row(sides: &Sides, side: Side, begun: Instant) -> f64 {
    let query = "SELECT bbalance FROM pgbench_branches LIMIT 1";
    let mut psql = Command::new(pg_program("psql"));
    let row = run(psql.args(["--no-psqlrc", "--tuples-only", "--command", query]).arg(sides.connstr(side)));
    assert!(row.trim().parse::<i64>().is_ok(), "psql printed {row:?}");
    begun.elapsed().as_secs_f64() * 1000.0
}

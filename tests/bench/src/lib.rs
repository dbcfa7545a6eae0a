//! The benchmark: Varve beside stock PostgreSQL with three synchronous receivers of its WAL, on one machine, in
//! one run. A ratio of two numbers of one run is a result; a number alone is a remark about the machine.
//!
//! ```text
//! arguments   what can be chosen            statistics  medians, and when two numbers count as equal
//! sides       the two servers               report      what was found: lines, Markdown, plots
//! servers     stock PostgreSQL, receivers   machine     what it was measured on
//! pgbench     runs of pgbench               settings    in which settings the servers differ
//! transactions, commit, ingest, redo, get_page, storage, neighbour, branches, cold_start  the measurements
//! ```

mod arguments;
mod branches;
mod cold_start;
mod commit;
mod get_page;
mod ingest;
mod machine;
mod neighbour;
mod pgbench;
mod plots;
mod redo;
mod report;
mod servers;
mod settings;
mod sides;
mod statistics;
mod storage;
mod transactions;

pub use arguments::{Arguments, Part};
pub use report::{Finding, Measurement, Report};

/// Measures all that was asked for, prints a line for each number, and writes the documents if asked to.
pub fn run(arguments: &Arguments) -> Report {
    let machine = machine::describe();
    eprintln!("{machine}");
    let sides = sides::Sides::start(arguments);
    let mut report = Report::new(machine, settings::differences(&sides));
    eprintln!("{}", report.settings());
    for part in arguments.parts() {
        match part {
            Part::Transactions => transactions::measure(&sides, arguments, &mut report),
            Part::Commit => commit::measure(&sides, arguments, &mut report),
            Part::Ingest => ingest::measure(&sides, arguments, &mut report),
            Part::Redo => redo::measure(&sides, arguments, &mut report),
            Part::GetPage => get_page::measure(&sides, arguments, &mut report),
            Part::Storage => storage::measure(&sides, arguments, &mut report),
            Part::Neighbour => neighbour::measure(&sides, arguments, &mut report),
            Part::Branches => branches::measure(&sides, arguments, &mut report),
            Part::ColdStart => cold_start::measure(&sides, arguments, &mut report),
        }
    }
    if let Some(directory) = &arguments.write {
        report
            .write(directory)
            .unwrap_or_else(|error| panic!("cannot write {}: {error}", directory.display()));
    }
    report
}

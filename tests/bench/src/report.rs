//! What was found: a line for each number as it comes, and documents at the end.

use std::fmt::{self, Write as _};
use std::io;
use std::path::Path;

use crate::machine::Machine;
use crate::plots;
use crate::settings::Difference;

#[derive(Clone, Debug)]
pub struct Measurement {
    pub name: String,
    pub unit: &'static str,
    pub varve: f64,
    /// Absent where stock PostgreSQL has nothing of the kind.
    pub stock: Option<f64>,
    /// What else was seen: how often something was flushed, how far runs were apart.
    pub note: String,
}

#[derive(Clone, Debug)]
pub enum Finding {
    Measured(Measurement),
    /// The machine was not quiet.
    NoResult {
        name: String,
        reason: String,
    },
}

pub struct Report {
    machine: Machine,
    differences: Vec<Difference>,
    pub findings: Vec<Finding>,
}

impl Report {
    pub fn new(machine: Machine, differences: Vec<Difference>) -> Report {
        Report { machine, differences, findings: Vec::new() }
    }

    pub fn add(&mut self, finding: Finding) {
        eprintln!("{finding}");
        self.findings.push(finding);
    }

    /// Both servers' settings, as far as they differ.
    pub fn settings(&self) -> String {
        let mut text = String::from("settings that differ (varve / stock):\n");
        for Difference { name, varve, stock } in &self.differences {
            let _ = writeln!(text, "  {name}: {varve:?} / {stock:?}");
        }
        text
    }

    pub fn measured(&self, name: &str) -> Option<&Measurement> {
        self.findings.iter().find_map(|finding| match finding {
            Finding::Measured(measurement) if measurement.name == name => Some(measurement),
            Finding::Measured(_) | Finding::NoResult { .. } => None,
        })
    }

    /// Those whose names begin with a word.
    pub fn findings_of(&self, word: &str) -> impl Iterator<Item = &Measurement> {
        self.findings.iter().filter_map(move |finding| match finding {
            Finding::Measured(measurement) if measurement.name.split('-').next() == Some(word) => {
                Some(measurement)
            }
            Finding::Measured(_) | Finding::NoResult { .. } => None,
        })
    }

    /// `benchmarks.md`, and the pictures that it shows.
    pub fn write(&self, directory: &Path) -> io::Result<()> {
        let pictures = directory.join("pictures");
        std::fs::create_dir_all(&pictures)?;
        let drawn = plots::draw(self, &pictures);
        std::fs::write(directory.join("benchmarks.md"), self.markdown(&drawn))
    }

    fn markdown(&self, pictures: &[String]) -> String {
        let mut text = String::from(PREFACE);
        let _ = writeln!(text, "\n{}.\n", self.machine);
        for picture in pictures {
            let _ = writeln!(text, "![{picture}](pictures/{picture})\n");
        }
        text.push_str(
            "| what | Varve | stock | unit | ratio | seen beside it |\n|---|--:|--:|---|--:|---|\n",
        );
        for finding in &self.findings {
            let _ = match finding {
                Finding::Measured(Measurement { name, unit, varve, stock, note }) => {
                    let stock_text = stock.map_or("–".to_owned(), round);
                    let ratio = stock.map_or("–".to_owned(), |stock| format!("{:.2}", varve / stock));
                    writeln!(
                        text,
                        "| {name} | {} | {stock_text} | {unit} | {ratio} | {note} |",
                        round(*varve)
                    )
                }
                Finding::NoResult { name, reason } => {
                    writeln!(text, "| {name} | – | – | | no result | {reason} |")
                }
            };
        }
        text.push_str(
            "\nSettings in which the two servers differed:\n\n| setting | Varve | stock |\n|---|---|---|\n",
        );
        for Difference { name, varve, stock } in &self.differences {
            let _ = writeln!(text, "| `{name}` | {} | {} |", cell(varve), cell(stock));
        }
        text
    }
}

/// Pages that are written by the benchmark say so.
const PREFACE: &str = "# Benchmarks

`make bench` measures Varve beside stock PostgreSQL of the same package on the same machine, in the same run, and
`make bench WRITE=docs` writes this page. Both sides make a commit wait until its WAL is flushed in two of three other
places: on Varve three safekeepers, on stock PostgreSQL three `pg_receivewal --synchronous` under
`synchronous_standby_names = 'ANY 2 (…)'`. All of it shares one machine, its processors and its one disk: the ratios
compare software, and the numbers themselves say little about real deployments.

How it is measured: the sides take turns, and each number is the median of a side's runs. Before that, stock PostgreSQL
runs twice in a row; if these two runs differ by more than 10 %, three times over, there is no result. A checkpoint
comes before each run.
In `tpcb`, `insert` and `select` (pgbench's own, one-row INSERT, pgbench `--select-only`) more is better; all data
fits into memory on both sides. `commit-p50` is the time of a one-row INSERT of a single client, in turns with the same
statement under `synchronous_commit = off`, with fdatasync alone on the same disk, and with round trips over loopback.
`ingest` compares the pageserver, taking in WAL that piled up while it was stopped,
with PostgreSQL's crash recovery over WAL of the same transactions. `redo` compares page redo alone, on one core, with
PostgreSQL's crash recovery of the very same WAL, both by the CPU time that they take; and `redo-chain` is the time for
100 records of one page. `getpage` asks the page service for single pages at
random places as of an LSN in the past: pages that are one image, and pages that 10 and 100 later records have changed
(of the newest version of a page that changed often the pageserver keeps an image, so only the past takes that many).
The pageserver was restarted before, so all of it lies in layer files. `storage` says what TPC-B costs, with layers so small that there is much to merge: bytes
of layers written for a byte of WAL, bytes kept for a byte of data with all history, MB of layers a second that compaction
goes through, and requests to object storage. `neighbour` is the time for one page while another tenant writes as fast as it
can, beside the same while stock PostgreSQL does the same work: what is more than that is the pageserver's doing.
`branch` compares with `CREATE DATABASE … TEMPLATE` of the same
database; `branch-of-more` is a branch when nine copies of the database are there too, which must take no longer. `cold-start` is the time from the command that
starts a server to psql's first row: `varve endpoint start --cold`, which begins with an empty directory, beside `pg_ctl start`.
`warm-start` is the same with the cache that the stop before it left.
";

fn cell(text: &str) -> String {
    if text.is_empty() { "(empty)".to_owned() } else { format!("`{text}`") }
}

/// Three digits that matter, no more.
fn round(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Finding::Measured(Measurement { name, unit, varve, stock: Some(stock), note }) => write!(
                f,
                "bench: {name}: varve {} {unit}, stock {} {unit}, ratio {:.2}{}",
                round(*varve),
                round(*stock),
                varve / stock,
                in_parentheses(note)
            ),
            Finding::Measured(Measurement { name, unit, varve, stock: None, note }) => {
                write!(f, "bench: {name}: varve {} {unit}{}", round(*varve), in_parentheses(note))
            }
            Finding::NoResult { name, reason } => write!(f, "bench: {name}: no result, {reason}"),
        }
    }
}

fn in_parentheses(note: &str) -> String {
    if note.is_empty() { String::new() } else { format!(" ({note})") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_have_the_promised_form() {
        let measurement = Measurement {
            name: "x".into(),
            unit: "tps",
            varve: 150.4,
            stock: Some(100.0),
            note: String::new(),
        };
        let line = |measurement: &Measurement| Finding::Measured(measurement.clone()).to_string();
        assert_eq!(line(&measurement), "bench: x: varve 150 tps, stock 100 tps, ratio 1.50");
        let alone = Measurement { stock: None, varve: 0.123, note: "why".into(), ..measurement };
        assert_eq!(line(&alone), "bench: x: varve 0.12 tps (why)");
    }
}

//! Runs of pgbench.

use std::process::Command;

use harness::{pg_program, run};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Workload {
    /// pgbench's own: three updates, a select, an insert
    TpcB,
    /// one row, one transaction
    Insert,
    /// one row by its key
    Select,
}

impl Workload {
    pub fn name(self) -> &'static str {
        match self {
            Workload::TpcB => "tpcb",
            Workload::Insert => "insert",
            Workload::Select => "select",
        }
    }
}

/// The files that pgbench writes transactions to begin with this.
const LOG: &str = "transactions";
/// One row, one transaction.
pub const INSERT: &str = "INSERT INTO events (at, note) VALUES (now(), 'a row like many others');\n";

pub fn initialize(connstr: &str, scale: u32) {
    run(Command::new(pg_program("pgbench"))
        .args(["--initialize", "--quiet", "--scale"])
        .args([&scale.to_string(), connstr]));
}

/// How long a run is.
#[derive(Clone, Copy, Debug)]
pub enum Length {
    Seconds(u32),
    /// Of each client.
    Transactions(u32),
}

/// What a run found.
pub struct Run {
    /// Transactions a second, without the time to connect.
    pub tps: f64,
    /// Of each transaction, in milliseconds.
    pub latencies: Vec<f64>,
}

pub fn bench(connstr: &str, workload: Workload, clients: u32, length: Length) -> Run {
    let directory = tempfile::tempdir().expect("a directory");
    let script = directory.path().join("insert.sql");
    std::fs::write(&script, INSERT).expect("a script");
    let mut command = Command::new(pg_program("pgbench"));
    command.args(["--no-vacuum", "--protocol=prepared", "--log", "--log-prefix"]);
    command.arg(directory.path().join(LOG));
    command.args(["--jobs", &clients.min(2).to_string(), "--client", &clients.to_string()]);
    match length {
        Length::Seconds(seconds) => command.args(["--time", &seconds.to_string()]),
        Length::Transactions(count) => command.args(["--transactions", &count.to_string()]),
    };
    match workload {
        Workload::TpcB => {}
        Workload::Insert => {
            command.arg("--file").arg(script);
        }
        Workload::Select => {
            command.arg("--select-only");
        }
    }
    let output = run(command.arg(connstr));
    let tps = parse(&output);
    let tps = tps
        .unwrap_or_else(|| panic!("pgbench does not say how fast it was, or transactions failed:\n{output}"));
    let mut latencies = Vec::new();
    for entry in std::fs::read_dir(directory.path()).expect("the directory") {
        let path = entry.expect("a file").path();
        if path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(LOG)) {
            latencies.extend(parse_log(&std::fs::read_to_string(path).expect("a log")));
        }
    }
    Run { tps, latencies }
}

/// Each line is the client, the number of the transaction, microseconds, …; see pgbench's documentation.
fn parse_log(log: &str) -> impl Iterator<Item = f64> {
    log.lines().map(|line| {
        let micros = line.split(' ').nth(2).and_then(|field| field.parse::<f64>().ok());
        micros.unwrap_or_else(|| panic!("pgbench wrote {line:?}")) / 1000.0
    })
}

fn parse(output: &str) -> Option<f64> {
    let value = |name: &str| {
        let line = output.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_ascii_whitespace().next()?.parse::<f64>().ok()
    };
    let failed = value("number of failed transactions: ")?;
    value("tps = ").filter(|tps| failed == 0.0 && *tps > 0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const OUTPUT: &str = "number of transactions actually processed: 100\nnumber of failed transactions: 0 (0.000%)\nlatency average = 1.3 ms\ntps = 1826.62 (without initial connection time)\n";

    #[test]
    fn the_rate_is_read() {
        assert_eq!(parse(OUTPUT), Some(1826.62));
    }

    #[test]
    fn times_are_read() {
        let log = "0 1 13370 0 1700000000 5\n1 1 250 0 1700000000 7\n";
        assert_eq!(parse_log(log).collect::<Vec<f64>>(), [13.37, 0.25]);
    }

    #[test]
    fn a_run_with_failures_is_no_result() {
        assert_eq!(parse(&OUTPUT.replace("transactions: 0", "transactions: 2")), None);
        assert_eq!(parse(&OUTPUT.replace("1826.62", "0.00")), None);
        assert_eq!(parse("nothing"), None);
    }
}

//! Runs of pgbench.

use std::io::Write as _;
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

const INSERT: &str = "INSERT INTO events (at, note) VALUES (now(), 'a row like many others');\n";

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

/// Transactions a second, without the time to connect.
pub fn tps(connstr: &str, workload: Workload, clients: u32, length: Length) -> f64 {
    let mut script = tempfile::NamedTempFile::new().expect("a file");
    script.write_all(INSERT.as_bytes()).expect("a script");
    let mut command = Command::new(pg_program("pgbench"));
    let threads = clients.min(2).to_string();
    command.args([
        "--no-vacuum",
        "--protocol=prepared",
        "--jobs",
        &threads,
        "--client",
        &clients.to_string(),
    ]);
    match length {
        Length::Seconds(seconds) => command.args(["--time", &seconds.to_string()]),
        Length::Transactions(count) => command.args(["--transactions", &count.to_string()]),
    };
    match workload {
        Workload::TpcB => {}
        Workload::Insert => {
            command.arg("--file").arg(script.path());
        }
        Workload::Select => {
            command.arg("--select-only");
        }
    }
    let output = run(command.arg(connstr));
    parse(&output)
        .unwrap_or_else(|| panic!("pgbench does not say how fast it was, or transactions failed:\n{output}"))
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
    use super::parse;

    const OUTPUT: &str = "number of transactions actually processed: 100\nnumber of failed transactions: 0 (0.000%)\nlatency average = 1.3 ms\ntps = 1826.62 (without initial connection time)\n";

    #[test]
    fn the_rate_is_read() {
        assert_eq!(parse(OUTPUT), Some(1826.62));
    }

    #[test]
    fn a_run_with_failures_is_no_result() {
        assert_eq!(parse(&OUTPUT.replace("transactions: 0", "transactions: 2")), None);
        assert_eq!(parse(&OUTPUT.replace("1826.62", "0.00")), None);
        assert_eq!(parse("nothing"), None);
    }
}

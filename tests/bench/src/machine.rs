//! What it was measured on.

use std::fmt;
use std::process::Command;

use harness::pg_program;

pub struct Machine {
    cpu: String,
    cores: usize,
    memory_gib: f64,
    kernel: String,
    filesystem: String,
    postgres: String,
    date: String,
}

pub fn describe() -> Machine {
    let cpuinfo = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let meminfo = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let kilobytes: f64 = field(&meminfo, "MemTotal")
        .and_then(|value| value.split_ascii_whitespace().next()?.parse().ok())
        .unwrap_or_default();
    Machine {
        cpu: field(&cpuinfo, "model name").unwrap_or("an unknown processor").to_owned(),
        cores: std::thread::available_parallelism().map_or(1, |cores| cores.get()),
        memory_gib: kilobytes / f64::from(1 << 20),
        kernel: output("uname", &["-sr"]),
        filesystem: output("stat", &["--file-system", "--format=%T", "/tmp"]),
        postgres: output(&pg_program("postgres").display().to_string(), &["--version"]),
        date: output("date", &["--utc", "--iso-8601"]),
    }
}

fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines().find(|line| line.starts_with(name))?.split_once(':').map(|(_, value)| value.trim())
}

fn output(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned()).unwrap_or_default()
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Machine { cpu, cores, memory_gib, kernel, filesystem, postgres, date } = self;
        write!(
            f,
            "{date}: {cpu}, {cores} cores, {memory_gib:.1} GiB of memory; {kernel}; data on {filesystem}; {postgres}"
        )
    }
}

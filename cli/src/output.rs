//! What the user sees: tables for people, one JSON document for programs. Progress goes to standard
//! error, so that standard output can be piped.
//!
//! A reader who has seen enough (`varve status | head -1`) is no failure: what it does not want to read is dropped.
//! Colours are written always and taken out again where nobody can see them; JSON has none to begin with.

pub mod table;

use std::io::{self, ErrorKind, Write};

use anstream::ColorChoice;
use anyhow::Context;
use serde::Serialize;

#[derive(Clone, Copy)]
pub struct Output {
    pub json: bool,
}

impl Output {
    /// The result of a command: `text` for people, `value` for programs.
    pub fn result(&self, value: &impl Serialize, text: impl FnOnce() -> String) -> anyhow::Result<()> {
        if self.json {
            return write_raw(format!("{}\n", serde_json::to_string_pretty(value)?).as_bytes());
        }
        let text = text();
        if text.is_empty() {
            return Ok(());
        }
        tolerate_closed(writeln!(anstream::stdout(), "{}", text.trim_end()))
    }

    /// A step of something that takes a while.
    pub fn progress(&self, step: impl AsRef<str>) {
        if !self.json {
            say(step.as_ref());
        }
    }
}

/// For both streams, from here on: `--color`, else what the environment and the terminal say.
pub fn choose_colors(choice: clap::ColorChoice) {
    match choice {
        clap::ColorChoice::Auto => ColorChoice::Auto,
        clap::ColorChoice::Always => ColorChoice::AlwaysAnsi,
        clap::ColorChoice::Never => ColorChoice::Never,
    }
    .write_global();
}

/// Bytes as they are, to standard output.
pub fn write_raw(bytes: &[u8]) -> anyhow::Result<()> {
    let mut stdout = io::stdout().lock();
    tolerate_closed(stdout.write_all(bytes).and_then(|()| stdout.flush()))
}

/// A line to standard error. That nobody reads it is no reason to stop.
pub fn say(line: &str) {
    let _ = writeln!(anstream::stderr(), "{line}");
}

fn tolerate_closed(outcome: io::Result<()>) -> anyhow::Result<()> {
    match outcome {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        outcome => outcome.context("cannot write to standard output"),
    }
}

/// `1.5 GiB`
pub fn bytes(count: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut value = count as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    if unit == 0 { format!("{count} B") } else { format!("{value:.1} {}", UNITS[unit]) }
}

/// `there are: a, b`, to go behind what there is not.
pub fn alternatives<T: AsRef<str>>(known: impl IntoIterator<Item = T>) -> String {
    let known: Vec<T> = known.into_iter().collect();
    let known: Vec<&str> = known.iter().map(AsRef::as_ref).collect();
    if known.is_empty() { "there are none".to_owned() } else { format!("there are: {}", known.join(", ")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_readable() {
        assert_eq!(bytes(0), "0 B");
        assert_eq!(bytes(1023), "1023 B");
        assert_eq!(bytes(1536), "1.5 KiB");
        assert_eq!(bytes(3 << 30), "3.0 GiB");
    }

    #[test]
    fn what_there_is_is_named() {
        assert_eq!(alternatives(["a", "b"]), "there are: a, b");
        assert_eq!(alternatives(Vec::<String>::new()), "there are none");
    }

    #[test]
    fn only_a_closed_pipe_is_tolerated() {
        let failed = |kind: ErrorKind| tolerate_closed(Err(kind.into()));
        assert!(failed(ErrorKind::BrokenPipe).is_ok());
        let full = failed(ErrorKind::StorageFull).unwrap_err().to_string();
        assert!(full.contains("standard output"), "{full}");
    }
}

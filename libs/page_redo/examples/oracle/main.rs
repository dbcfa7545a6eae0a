//! The judge of page redo: PostgreSQL itself.
//!
//! A stock server that ran with `wal_consistency_checking = all` wrote into each record what the pages look
//! like afterwards. This program reads all WAL of such a server, applies each change to a map of pages, and
//! compares with those images under PostgreSQL's masks, as recovery would. At the end it compares all pages,
//! SLRUs, sizes of relations, relation maps and counters with those of the stopped server. Any difference is
//! a failure.
//!
//! ```text
//! oracle --base DIR --stopped DIR [--show N] [--only RMGR] [--save DIR] [--samples FILE] [--tally FILE]
//! oracle --total TALLY [--total TALLY]...
//! ```
//! `--base` is the cluster right after initdb, `--stopped` the same cluster after a clean shutdown, with all
//! WAL in its pg_wal. `--show` prints the first N differences (`--only` of one
//! resource manager), `--save` keeps their pages as files.
//! `--tally` writes the counts of the report; `--total` prints the report of several such files.
//! `--samples` writes a few changes of each kind with the pages before and after, for tests/samples.rs.
#![allow(clippy::print_stdout)]

mod at_rest;
mod cluster;
mod compare;
mod names;
mod positions;
mod replay;
mod report;
mod samples;
mod store;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, bail};

use crate::report::Report;

pub struct Options {
    base: PathBuf,
    stopped: PathBuf,
    show: usize,
    only: Option<String>,
    save: Option<PathBuf>,
    samples: Option<PathBuf>,
    tally: Option<PathBuf>,
}

enum Task {
    Replay(Options),
    Total(Vec<PathBuf>),
}

fn task() -> anyhow::Result<Task> {
    let (mut base, mut stopped, mut show, mut only, mut save, mut samples, mut tally) =
        (None, None, 10, None, None, None, None);
    let mut tallies = Vec::new();
    let mut arguments = std::env::args().skip(1);
    while let Some(name) = arguments.next() {
        let value = arguments.next().with_context(|| format!("{name} needs a value"))?;
        match name.as_str() {
            "--base" => base = Some(PathBuf::from(value)),
            "--stopped" => stopped = Some(PathBuf::from(value)),
            "--show" => show = value.parse()?,
            "--samples" => samples = Some(PathBuf::from(value)),
            "--only" => only = Some(value),
            "--save" => save = Some(PathBuf::from(value)),
            "--tally" => tally = Some(PathBuf::from(value)),
            "--total" => tallies.push(PathBuf::from(value)),
            other => bail!("unknown option {other}"),
        }
    }
    if !tallies.is_empty() {
        return Ok(Task::Total(tallies));
    }
    let base = base.context("--base is missing")?;
    let stopped = stopped.context("--stopped is missing")?;
    Ok(Task::Replay(Options { base, stopped, show, only, save, samples, tally }))
}

fn replay(options: &Options) -> anyhow::Result<Report> {
    let mut replay = replay::Replay::new(options)?;
    replay.run()?;
    replay.compare_at_rest()?;
    replay.write_samples()?;
    if let Some(path) = &options.tally {
        std::fs::write(path, replay.report.tally())?;
    }
    Ok(replay.report)
}

fn total(tallies: &[PathBuf]) -> anyhow::Result<Report> {
    // The tallies say which it is.
    let mut report = Report::new(types::PgVersion::V15);
    for path in tallies {
        report.add(&std::fs::read_to_string(path)?).with_context(|| path.display().to_string())?;
    }
    Ok(report)
}

fn main() -> anyhow::Result<ExitCode> {
    let report = match task()? {
        Task::Replay(options) => replay(&options)?,
        Task::Total(tallies) => total(&tallies)?,
    };
    Ok(if report.print() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

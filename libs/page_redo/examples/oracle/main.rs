//! The judge of page redo: PostgreSQL itself.
//!
//! A stock server that ran with `wal_consistency_checking = all` wrote into each record what the pages look
//! like afterwards. This program reads all WAL of such a server, applies each change to a map of pages, and
//! compares with those images under PostgreSQL's masks, as recovery would. At the end it compares its
//! pages and SLRUs with the files of the stopped server. Any difference is a failure.
//!
//! ```text
//! oracle --base DIR --stopped DIR [--show N] [--only RMGR] [--save DIR] [--samples FILE]
//! ```
//! `--base` is the cluster right after initdb, `--stopped` the same cluster after a clean shutdown, with all
//! WAL in its pg_wal. `--show` prints the first N differences (`--only` of one
//! resource manager), `--save` keeps their pages as files.
//! `--samples` writes a few changes of each kind with the pages before and after, for tests/samples.rs.
#![allow(clippy::print_stdout)]

mod cluster;
mod compare;
mod names;
mod replay;
mod report;
mod samples;
mod store;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, bail};

pub struct Options {
    base: PathBuf,
    stopped: PathBuf,
    show: usize,
    only: Option<String>,
    save: Option<PathBuf>,
    samples: Option<PathBuf>,
}

fn options() -> anyhow::Result<Options> {
    let (mut base, mut stopped, mut show, mut only, mut save, mut samples) =
        (None, None, 10, None, None, None);
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
            other => bail!("unknown option {other}"),
        }
    }
    let base = base.context("--base is missing")?;
    let stopped = stopped.context("--stopped is missing")?;
    Ok(Options { base, stopped, show, only, save, samples })
}

fn main() -> anyhow::Result<ExitCode> {
    let options = options()?;
    let mut replay = replay::Replay::new(&options)?;
    replay.run()?;
    replay.compare_files()?;
    replay.write_samples()?;
    Ok(if replay.report.print() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

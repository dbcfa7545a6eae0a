//! The judge of page redo: PostgreSQL itself.
//!
//! A stock server that ran with `wal_consistency_checking = all` wrote into each record what the pages look
//! like afterwards. This program reads all WAL of such a server, applies each change to a map of pages, and
//! compares with those images under PostgreSQL's masks, as recovery would. At the end it compares its
//! pages and SLRUs with the files of the stopped server. Any difference is a failure.
//!
//! ```text
//! oracle --base DIR --stopped DIR [--show N] [--save DIR]
//! ```
//! `--base` is the cluster right after initdb, `--stopped` the same cluster after a clean shutdown, with all
//! WAL in its pg_wal. `--show` prints the first N differences, `--save` keeps their pages as files.
#![allow(clippy::print_stdout)]

mod cluster;
mod compare;
mod names;
mod replay;
mod report;
mod store;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, bail};

pub struct Options {
    base: PathBuf,
    stopped: PathBuf,
    show: usize,
    save: Option<PathBuf>,
}

fn options() -> anyhow::Result<Options> {
    let (mut base, mut stopped, mut show, mut save) = (None, None, 10, None);
    let mut arguments = std::env::args().skip(1);
    while let Some(name) = arguments.next() {
        let value = arguments.next().with_context(|| format!("{name} needs a value"))?;
        match name.as_str() {
            "--base" => base = Some(PathBuf::from(value)),
            "--stopped" => stopped = Some(PathBuf::from(value)),
            "--show" => show = value.parse()?,
            "--save" => save = Some(PathBuf::from(value)),
            other => bail!("unknown option {other}"),
        }
    }
    Ok(Options {
        base: base.context("--base is missing")?,
        stopped: stopped.context("--stopped is missing")?,
        show,
        save,
    })
}

fn main() -> anyhow::Result<ExitCode> {
    let options = options()?;
    let mut replay = replay::Replay::new(&options)?;
    replay.run()?;
    replay.compare_files()?;
    Ok(if replay.report.print() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

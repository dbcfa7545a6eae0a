//! `logs`: what the parts have to say, and which of them have said anything.
//!
//! A log is read as the bytes that it is: what it says is not ours, and `grep` wants it unchanged. Only when several
//! are printed at once, the name of each stands before its lines.

mod follow;
mod tail;

use std::fs::{DirEntry, File};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom};
use std::path::PathBuf;

use anyhow::{Context, bail};
use serde_json::json;

use crate::arguments::{Lines, LogsArguments};
use crate::endpoints::Endpoint;
use crate::local_env::LocalEnv;
use crate::output::table::{Look, table};
use crate::output::{Output, alternatives, bytes, write_raw};
use crate::storage::Daemon;

/// Of every log, when it is going to be followed.
const LINES_BEFORE_FOLLOWING: u64 = 10;

/// How the log of an endpoint's compute_ctl is called in the run directory.
const ENDPOINT_PREFIX: &str = "endpoint-";

#[derive(Clone, Debug, PartialEq, Eq)]
struct Log {
    name: String,
    file: PathBuf,
}

pub async fn logs(env: &LocalEnv, arguments: &LogsArguments, output: Output) -> anyhow::Result<()> {
    let all = all_logs(env)?;
    if arguments.names.is_empty() {
        return list(&all, output);
    }
    let mut chosen: Vec<Log> = Vec::new();
    for name in &arguments.names {
        let log = find(&all, name)?;
        if !chosen.contains(log) {
            chosen.push(log.clone());
        }
    }
    let labels = labels(&chosen);
    if arguments.follow {
        let lines = arguments.lines.unwrap_or(Lines::Last(LINES_BEFORE_FOLLOWING));
        return follow::follow(chosen, labels, lines).await;
    }
    print(&chosen, &labels, arguments.lines.unwrap_or(Lines::All), output)
}

/// Those that a part of this cluster writes, in the order in which parts are started; then those that an endpoint
/// left behind that is deleted.
fn all_logs(env: &LocalEnv) -> anyhow::Result<Vec<Log>> {
    let run = env.run_directory();
    let daemons = Daemon::all(env).into_iter().map(|daemon| daemon.name());
    let mut logs: Vec<Log> =
        daemons.map(|name| Log { file: run.join(format!("{name}.log")), name }).collect();
    let endpoints = Endpoint::names(env)?;
    for name in &endpoints {
        let file = run.join(format!("{ENDPOINT_PREFIX}{name}.log"));
        logs.push(Log { name: name.clone(), file });
        let file = env.compute_directory(name).join("postgres.log");
        logs.push(Log { name: format!("{name}/postgres"), file });
    }
    let deleted = |entry: DirEntry| {
        let file = entry.file_name();
        let name = file.to_str()?.strip_prefix(ENDPOINT_PREFIX)?.strip_suffix(".log")?;
        (!endpoints.iter().any(|known| known == name))
            .then(|| Log { name: name.to_owned(), file: entry.path() })
    };
    let entries = std::fs::read_dir(&run).with_context(|| format!("cannot read {}", run.display()))?;
    let mut left: Vec<Log> = entries.filter_map(|entry| deleted(entry.ok()?)).collect();
    left.sort_by(|one, other| one.name.cmp(&other.name));
    logs.extend(left);
    Ok(logs)
}

/// By its name, or as `varve status` names endpoints; a daemon goes before an endpoint that is called like it.
fn find<'a>(all: &'a [Log], name: &str) -> anyhow::Result<&'a Log> {
    let file = format!("{}.log", name.replace(' ', "-"));
    let by_name = all.iter().find(|log| log.name == name);
    match by_name.or_else(|| all.iter().find(|log| log.file.ends_with(&file))) {
        Some(log) => Ok(log),
        None => bail!("there is no log of {name:?}; {}", alternatives(all.iter().map(|log| &log.name))),
    }
}

fn list(all: &[Log], output: Output) -> anyhow::Result<()> {
    let size = |log: &Log| std::fs::metadata(&log.file).ok().map(|metadata| metadata.len());
    let values: Vec<_> =
        all.iter().map(|log| json!({ "name": log.name, "file": log.file, "bytes": size(log) })).collect();
    output.result(&values, || {
        table(
            &["NAME", "SIZE", "FILE"],
            all.iter().map(|log| {
                let size = size(log).map_or_else(|| "-".to_owned(), bytes);
                vec![log.name.clone(), size, log.file.display().to_string()]
            }),
        )
    })
}

/// What stands before the lines of each log: nothing if there is only one.
fn labels(logs: &[Log]) -> Vec<String> {
    if logs.len() == 1 {
        return vec![String::new()];
    }
    let width = logs.iter().map(|log| log.name.len()).max().unwrap_or(0);
    let colours = [Look::Good, Look::Warning, Look::Heading, Look::Plain];
    let paint = anstream::AutoStream::choice(&io::stdout()) != anstream::ColorChoice::Never;
    let label = |(log, look): (&Log, Look)| {
        let text = format!("{:width$} |", log.name);
        format!("{} ", if paint { look.paint(&text) } else { text })
    };
    logs.iter().zip(colours.into_iter().cycle()).map(label).collect()
}

/// As they are now, one after the other.
fn print(logs: &[Log], labels: &[String], lines: Lines, output: Output) -> anyhow::Result<()> {
    let mut values = Vec::new();
    for (log, label) in logs.iter().zip(labels) {
        let Some(mut file) = open(log)? else { bail!("{} has not written a log yet", log.name) };
        let start = tail::start_of_last(&mut file, lines)?;
        file.seek(SeekFrom::Start(start))?;
        if output.json {
            let mut text = Vec::new();
            file.read_to_end(&mut text)?;
            let text = String::from_utf8_lossy(&text);
            let lines: Vec<&str> = text.lines().collect();
            values.push(json!({ "name": log.name, "file": log.file, "lines": lines }));
            continue;
        }
        let mut splitter = tail::Splitter::default();
        let mut print = |line: &[u8]| write_raw(&[label.as_bytes(), line].concat());
        splitter.read(&mut file, &mut print)?;
        splitter.finish(&mut print)?;
    }
    if output.json { output.result(&values, String::new) } else { Ok(()) }
}

/// None if it does not exist.
fn open(log: &Log) -> anyhow::Result<Option<File>> {
    match File::open(&log.file) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("cannot read {}", log.file.display())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::local_env::Config;

    fn names(logs: &[Log]) -> Vec<&str> {
        logs.iter().map(|log| log.name.as_str()).collect()
    }

    #[test]
    fn every_part_has_a_log_and_so_has_one_that_is_gone() {
        let place = tempfile::tempdir().unwrap();
        let env = LocalEnv::create(
            place.path(),
            Config::new(None, 3, crate::local_env::Installation::of_a_test()).unwrap(),
        )
        .unwrap();
        for name in ["broker", "dev"] {
            std::fs::create_dir_all(env.endpoint_directory(name)).unwrap();
            std::fs::write(env.endpoint_directory(name).join("endpoint.json"), "").unwrap();
        }
        for name in ["endpoint-dev", "endpoint-gone", "pageserver"] {
            std::fs::write(env.run_directory().join(format!("{name}.log")), "").unwrap();
        }
        let all = all_logs(&env).unwrap();
        let daemons = ["broker", "safekeeper-1", "safekeeper-2", "safekeeper-3", "pageserver"];
        let others = ["broker", "broker/postgres", "dev", "dev/postgres", "gone"];
        assert_eq!(names(&all), [&daemons[..], &others[..]].concat());

        assert_eq!(find(&all, "broker").unwrap(), &all[0]);
        assert_eq!(find(&all, "endpoint broker").unwrap(), &all[5]);
        assert_eq!(find(&all, "endpoint-dev").unwrap(), find(&all, "dev").unwrap());
        let error = find(&all, "nobody").unwrap_err().to_string();
        assert!(error.contains("\"nobody\"") && error.contains("dev/postgres, gone"), "{error}");
    }

    #[test]
    fn only_several_logs_have_labels() {
        let log = |name: &str| Log { name: name.to_owned(), file: PathBuf::new() };
        assert_eq!(labels(&[log("a")]), [""]);
        let both = labels(&[log("a"), log("long")]).concat();
        assert_eq!(anstream::adapter::strip_str(&both).to_string(), "a    | long | ");
    }
}

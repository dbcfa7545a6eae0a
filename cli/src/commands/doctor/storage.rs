//! Object storage: the pageserver tries out what it relies on.

use std::process::{Command, Stdio};

use super::finding::Finding;
use crate::local_env::LocalEnv;
use crate::storage::{Daemon, program};

const SUBJECT: &str = "object storage";

pub fn examine(env: &LocalEnv) -> Vec<Finding> {
    let workdir = Daemon::Pageserver.directory(env);
    let run = || -> anyhow::Result<_> {
        let mut command = Command::new(program("pageserver")?);
        command.arg("--workdir").arg(&workdir).arg("--check-storage").stdin(Stdio::null());
        Ok(command.output()?)
    };
    let finding = match run() {
        Ok(output) if output.status.success() => Finding::good(
            SUBJECT,
            "objects are written, read, replaced, listed and removed as they should be",
        ),
        Ok(output) => Finding::bad(
            SUBJECT,
            last_words(&String::from_utf8_lossy(&output.stderr)),
            "Nothing is lost while safekeepers and the pageserver have room: they try again. docs/configuration.md says how \
             object storage is named; credentials are in the environment of whoever starts the parts.",
        ),
        Err(error) => {
            Finding::bad(SUBJECT, format!("it could not be tried: {error:#}"), "reinstall varve's programs")
        }
    };
    vec![finding]
}

/// The line that says why, without time and level.
fn last_words(log: &str) -> String {
    let line = log.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("it said nothing");
    let words = line.split_once("ERROR ").map_or(line, |(_, words)| words);
    words.trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_line_is_what_counts() {
        let log = "2026-01-01T00:00:00Z  INFO a: b\n2026-01-01T00:00:00Z ERROR the store: no\n\n";
        assert_eq!(last_words(log), "the store: no");
        assert_eq!(last_words(""), "it said nothing");
    }
}

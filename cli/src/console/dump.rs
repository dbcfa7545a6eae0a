//! The schema of a database through a look, in the words of pg_dump, and how two of them differ.

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, bail};
use similar::{ChangeTag, TextDiff};
use tokio::io::AsyncReadExt;
use tokio::process::Command;

use super::looks::Look;

const PATIENCE: Duration = Duration::from_secs(60);
const MOST_BYTES: u64 = 16 << 20;
/// How long two schemas may be compared before the comparison becomes a coarse one.
const COMPARING: Duration = Duration::from_secs(5);
/// Lines that stand before and after a difference.
const CONTEXT: usize = 4;
const MOST_LINES: usize = 5000;

impl Look {
    pub async fn schema(&self, database: &str) -> anyhow::Result<String> {
        let program = self.programs.join("pg_dump");
        let mut command = Command::new(&program);
        command.args(["--schema-only", "--no-password"]);
        // Not as an argument, where a name with a `=` in it would be a connection string.
        command.env("PGDATABASE", database);
        command.env("PGHOST", &self.socket).env("PGPORT", self.port.to_string());
        command.env("PGUSER", compute_api::SOCKET_USER).env("PGAPPNAME", "varve console");
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().with_context(|| format!("cannot run {}", program.display()))?;
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        let (Some(stdout), Some(stderr)) = (stdout, stderr) else { bail!("pg_dump has no output") };
        let whole = async {
            let (mut text, mut complaint) = (Vec::new(), Vec::new());
            let (mut output, mut complaints) = (stdout.take(MOST_BYTES + 1), stderr.take(64 << 10));
            tokio::try_join!(output.read_to_end(&mut text), complaints.read_to_end(&mut complaint))?;
            if text.len() as u64 > MOST_BYTES {
                bail!("the schema of database {database:?} has more than {} MiB", MOST_BYTES >> 20);
            }
            let status = child.wait().await?;
            if !status.success() {
                let complaint = String::from_utf8_lossy(&complaint);
                bail!("pg_dump of database {database:?} failed: {}", complaint.trim());
            }
            Ok(String::from_utf8_lossy(&text).into_owned())
        };
        let text = tokio::time::timeout(PATIENCE, whole).await;
        Ok(without_noise(
            &text.with_context(|| format!("pg_dump took longer than {} s", PATIENCE.as_secs()))??,
        ))
    }
}

/// Without what differs each time, and what a schema is not about.
fn without_noise(dump: &str) -> String {
    // `\restrict` has a random word, so that nobody's object can end it.
    let is_noise = |line: &&str| {
        ["\\restrict ", "\\unrestrict ", "-- Dumped "].iter().any(|noise| line.starts_with(noise))
    };
    dump.lines().filter(|line| !is_noise(line)).flat_map(|line| [line, "\n"]).collect()
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    Same,
    Removed,
    Added,
}

/// A line, with its number in the one and in the other.
#[derive(Debug, PartialEq, Eq)]
pub struct Line {
    pub change: Change,
    pub numbers: [Option<usize>; 2],
    pub text: String,
}

pub struct Differences {
    /// Lines that belong together, with some around them.
    pub hunks: Vec<Vec<Line>>,
    pub removed: usize,
    pub added: usize,
    /// There are more than are shown.
    pub cut: bool,
}

pub fn differences(one: &str, other: &str) -> Differences {
    let diff = TextDiff::configure().timeout(COMPARING).diff_lines(one, other);
    let mut found = Differences { hunks: Vec::new(), removed: 0, added: 0, cut: false };
    let mut lines = 0;
    for group in diff.grouped_ops(CONTEXT) {
        let mut hunk = Vec::new();
        for change in group.iter().flat_map(|op| diff.iter_changes(op)) {
            let kind = match change.tag() {
                ChangeTag::Equal => Change::Same,
                ChangeTag::Delete => Change::Removed,
                ChangeTag::Insert => Change::Added,
            };
            found.removed += usize::from(kind == Change::Removed);
            found.added += usize::from(kind == Change::Added);
            lines += 1;
            if lines > MOST_LINES {
                found.cut = true;
                continue;
            }
            hunk.push(Line {
                change: kind,
                numbers: [change.old_index(), change.new_index()].map(|index| index.map(|index| index + 1)),
                text: change.value().trim_end_matches('\n').to_owned(),
            });
        }
        if !hunk.is_empty() {
            found.hunks.push(hunk);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_differs_each_time_is_left_out() {
        let dump =
            "\\restrict abc\n-- Dumped by pg_dump version 15.14\nCREATE TABLE t ();\n\\unrestrict abc\n";
        assert_eq!(without_noise(dump), "CREATE TABLE t ();\n");
    }

    #[test]
    fn differences_have_their_lines_numbered_and_some_around_them() {
        let numbers = |range: std::ops::Range<usize>| range.map(|n| format!("{n}\n")).collect::<String>();
        let one = numbers(1..40);
        let other = one.replace("20\n", "twenty\n");
        let found = differences(&one, &other);
        assert_eq!((found.removed, found.added, found.hunks.len(), found.cut), (1, 1, 1, false));
        let lines = &found.hunks[0];
        assert_eq!(lines.len(), 2 + 2 * CONTEXT);
        let removed = lines.iter().find(|line| line.change == Change::Removed).unwrap();
        assert_eq!((removed.numbers, removed.text.as_str()), ([Some(20), None], "20"));
        let added = lines.iter().find(|line| line.change == Change::Added).unwrap();
        assert_eq!((added.numbers, added.text.as_str()), ([None, Some(20)], "twenty"));
        assert!(differences(&one, &one).hunks.is_empty());
    }

    #[test]
    fn what_is_too_long_to_show_is_counted_all_the_same() {
        let many: String = (0..2 * MOST_LINES).map(|n| format!("{n}\n")).collect();
        let found = differences("", &many);
        assert!(found.cut && found.added == 2 * MOST_LINES);
        assert_eq!(found.hunks.iter().map(Vec::len).sum::<usize>(), MOST_LINES);
    }
}

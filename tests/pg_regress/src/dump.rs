//! Two dumps of all databases, of before and after a start from nothing.
//!
//! They are the same, line by line, but for sequences: WAL is ahead of a sequence by up to 32 values, so after a start it
//! may skip as many, as after a crash of stock PostgreSQL. And a tablespace is in another directory, the endpoint's own.

use std::collections::BTreeMap;

/// SEQ_LOG_VALS
const AHEAD: i64 = 32;

/// What is not as it was.
pub fn difference(before: &str, after: &str) -> Option<String> {
    let (before, after) = (Dump::parse(before), Dump::parse(after));
    if let Some((x, y)) = before.lines.iter().zip(&after.lines).find(|(x, y)| x != y) {
        return Some(format!("other contents after a start from nothing: {x:?} is now {y:?}"));
    }
    if before.lines.len() != after.lines.len() {
        let (x, y) = (before.lines.len(), after.lines.len());
        return Some(format!("a dump of {x} lines has {y} after a start from nothing"));
    }
    let is_wrong = |(name, value): &(&(usize, &str), &i64)| {
        let increment = before.increments.get(*name).copied().unwrap_or(1);
        let skipped = after.values.get(*name).map(|now| (now - **value) * increment.signum());
        !skipped.is_some_and(|skipped| (0..=AHEAD * increment.abs()).contains(&skipped))
    };
    let (name, value) = before.values.iter().find(is_wrong)?;
    Some(format!("the sequence {} was at {value} and is now at {:?}", name.1, after.values.get(name)))
}

/// Sequences by the number of their database and their name as it stands in SQL.
#[derive(Default)]
struct Dump<'a> {
    /// All but the values of sequences.
    lines: Vec<&'a str>,
    increments: BTreeMap<(usize, &'a str), i64>,
    values: BTreeMap<(usize, &'a str), i64>,
}

impl<'a> Dump<'a> {
    fn parse(text: &'a str) -> Dump<'a> {
        let mut dump = Dump::default();
        let (mut database, mut sequence) = (0, "");
        for line in text.lines() {
            let words = line.trim_start();
            if line.starts_with("\\connect ") {
                database += 1;
            } else if let Some((name, value)) = value_of_sequence(line) {
                dump.values.insert((database, name), value);
                continue;
            } else if let Some((_, name)) = words.split_once("SEQUENCE ").filter(|_| is_definition(words)) {
                sequence = name.trim_start_matches("NAME ").trim_end();
            } else if let Some(increment) = words.strip_prefix("INCREMENT BY ") {
                dump.increments.insert((database, sequence), increment.parse().unwrap_or(1));
            }
            let is_tablespace = line.starts_with("CREATE TABLESPACE ");
            dump.lines.push(if is_tablespace {
                line.split(" LOCATION ").next().unwrap_or(line)
            } else {
                line
            });
        }
        dump
    }
}

/// Its own, or that of an identity column.
fn is_definition(words: &str) -> bool {
    ["CREATE SEQUENCE ", "CREATE UNLOGGED SEQUENCE ", "SEQUENCE NAME "]
        .iter()
        .any(|start| words.starts_with(start))
}

/// `SELECT pg_catalog.setval('public.s', 33, true);`
fn value_of_sequence(line: &str) -> Option<(&str, i64)> {
    let (name, rest) = line.strip_prefix("SELECT pg_catalog.setval('")?.rsplit_once("', ")?;
    Some((name, rest.split_once(',')?.0.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contents_are_compared_and_sequences_may_skip_as_many_as_wal_is_ahead() {
        let dump = |value: i64, row: &str| {
            format!(
                "\\connect x\nCREATE SEQUENCE public.s\n    START WITH 1\n    INCREMENT BY -2\nCOPY t FROM stdin;\n{row}\n\\.\n\
                 SELECT pg_catalog.setval('public.s', {value}, true);\n"
            )
        };
        assert_eq!(difference(&dump(-1, "a"), &dump(-65, "a")), None);
        assert!(difference(&dump(-1, "a"), &dump(-66, "a")).is_some(), "too many");
        assert!(difference(&dump(-1, "a"), &dump(1, "a")).is_some(), "backwards");
        assert!(difference(&dump(1, "a"), &dump(1, "b")).is_some());
        assert!(difference(&dump(1, "a"), &dump(1, "a\nb")).is_some());
        assert!(difference(&dump(1, "a"), "\\connect x\n").is_some());
    }
}

//! The words that clients say to the WAL service, taken apart. Pure.

use safekeeper_api::replication::Until;
use types::{Lsn, Term};

/// A query of the WAL service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// A proposer comes to append WAL.
    StartWalPush {
        proto_version: u32,
        /// It wants to hear what standbys need to be kept.
        standby_feedback: bool,
    },
    /// WAL out: up to the commit LSN, or further for a recovering proposer and another safekeeper.
    StartReplication {
        start: Lsn,
        tli: Option<u32>,
        until: Until,
    },
    IdentifySystem,
    TimelineStatus,
    Show {
        setting: String,
    },
    TimelineHistory {
        tli: u32,
    },
    CreateReplicationSlot,
    ReadReplicationSlot,
    DropReplicationSlot,
}

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{reason} in {command:?}")]
pub struct ParseCommandError {
    command: String,
    reason: String,
}

impl Command {
    pub fn parse(text: &str) -> Result<Command, ParseCommandError> {
        let mut words = Words::new(text);
        parse_command(&mut words)
            .and_then(|command| words.end().map(|()| command))
            .map_err(|reason| ParseCommandError { command: text.chars().take(200).collect(), reason })
    }
}

fn parse_command(words: &mut Words<'_>) -> Result<Command, String> {
    let verb = words.next().ok_or("no command")?.to_ascii_uppercase();
    Ok(match verb.as_str() {
        "START_WAL_PUSH" => {
            let options = words.options()?;
            let mut proto_version = None;
            let mut standby_feedback = false;
            for (name, value) in options {
                match name.as_str() {
                    "proto_version" => proto_version = Some(number(&value)?),
                    "standby_feedback" => standby_feedback = boolean(&value)?,
                    other => return Err(format!("unknown option {other:?}")),
                }
            }
            let proto_version = proto_version.ok_or("proto_version is missing")?;
            Command::StartWalPush { proto_version, standby_feedback }
        }
        "START_REPLICATION" => parse_start_replication(words)?,
        "IDENTIFY_SYSTEM" => Command::IdentifySystem,
        "TIMELINE_STATUS" => Command::TimelineStatus,
        "SHOW" => {
            Command::Show { setting: words.next().ok_or("a setting's name is missing")?.to_ascii_lowercase() }
        }
        "TIMELINE_HISTORY" => {
            Command::TimelineHistory { tli: number(words.next().ok_or("a timeline number is missing")?)? }
        }
        // Refused whatever they ask for, so the rest is not looked at.
        "CREATE_REPLICATION_SLOT" => words.skip_all(Command::CreateReplicationSlot),
        "READ_REPLICATION_SLOT" => words.skip_all(Command::ReadReplicationSlot),
        "DROP_REPLICATION_SLOT" => words.skip_all(Command::DropReplicationSlot),
        _ => return Err("unknown command".into()),
    })
}

/// `START_REPLICATION [SLOT name] [PHYSICAL] lsn [TIMELINE tli] [(term='N') | (last_term='N', until='lsn')]`
fn parse_start_replication(words: &mut Words<'_>) -> Result<Command, String> {
    if words.take("SLOT") {
        words.next().ok_or("a slot's name is missing")?;
    }
    if words.take("LOGICAL") {
        return Err("logical replication is not offered: the compute itself offers it".into());
    }
    words.take("PHYSICAL");
    let start = words.next().ok_or("an LSN is missing")?;
    let start = start.parse().map_err(|error| format!("{error}"))?;
    let tli = if words.take("TIMELINE") {
        Some(number(words.next().ok_or("a timeline number is missing")?)?)
    } else {
        None
    };
    let (mut term, mut last_term, mut end) = (None, None, None);
    for (name, value) in words.options()? {
        match name.as_str() {
            "term" => term = Some(Term(number(&value)?)),
            "last_term" => last_term = Some(Term(number(&value)?)),
            "until" => end = Some(value.parse().map_err(|error| format!("{error}"))?),
            other => return Err(format!("unknown option {other:?}")),
        }
    }
    let until = match (term, last_term, end) {
        (None, None, None) => Until::Committed,
        (Some(term), None, None) => Until::Flushed(term),
        (None, Some(last_term), Some(end)) => Until::Entry { last_term, end },
        _ => return Err("last_term and until go together, and not with term".into()),
    };
    Ok(Command::StartReplication { start, tli, until })
}

fn boolean(text: &str) -> Result<bool, String> {
    text.parse().map_err(|_| format!("{text:?} is neither true nor false"))
}

fn number<N: std::str::FromStr>(text: &str) -> Result<N, String> {
    text.parse().map_err(|_| format!("{text:?} is not a number"))
}

/// Words and quoted texts, one after the other. Brackets, commas and `=` are words of their own.
struct Words<'a> {
    rest: &'a str,
}

impl<'a> Words<'a> {
    fn new(text: &'a str) -> Self {
        Self { rest: text.trim_matches(|c: char| c.is_ascii_whitespace() || c == ';') }
    }

    fn next(&mut self) -> Option<&'a str> {
        self.rest = self.rest.trim_ascii_start();
        let first = self.rest.chars().next()?;
        let (word, rest) = match first {
            '\'' | '"' => {
                let inside = &self.rest[1..];
                let end = inside.find(first)?;
                (&inside[..end], &inside[end + 1..])
            }
            '(' | ')' | ',' | '=' => self.rest.split_at(1),
            _ => {
                let end = self.rest.find(|c: char| c.is_ascii_whitespace() || "(),='\"".contains(c));
                self.rest.split_at(end.unwrap_or(self.rest.len()))
            }
        };
        self.rest = rest;
        Some(word)
    }

    /// Takes the next word if it is this keyword.
    fn take(&mut self, keyword: &str) -> bool {
        let before = self.rest;
        let found = self.next().is_some_and(|word| word.eq_ignore_ascii_case(keyword));
        if !found {
            self.rest = before;
        }
        found
    }

    /// `(name 'value', name = 'value')`, or nothing.
    fn options(&mut self) -> Result<Vec<(String, String)>, String> {
        let mut options = Vec::new();
        if !self.take("(") {
            return Ok(options);
        }
        loop {
            let name = self.next().ok_or("an option's name is missing")?.to_ascii_lowercase();
            self.take("=");
            let value = self.next().ok_or_else(|| format!("the value of {name:?} is missing"))?;
            options.push((name, value.to_owned()));
            if self.take(")") {
                return Ok(options);
            }
            if !self.take(",") {
                return Err("expected \",\" or \")\" behind an option".into());
            }
        }
    }

    fn skip_all(&mut self, command: Command) -> Command {
        self.rest = "";
        command
    }

    fn end(&self) -> Result<(), String> {
        match self.rest.trim_ascii() {
            "" => Ok(()),
            rest => Err(format!("unexpected {rest:?}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn replication(start: u64, tli: Option<u32>, term: Option<u64>) -> Result<Command, ParseCommandError> {
        let until = term.map_or(Until::Committed, |term| Until::Flushed(Term(term)));
        Ok(Command::StartReplication { start: Lsn(start), tli, until })
    }

    #[test]
    fn commands_of_stock_clients_and_of_ours() {
        assert_eq!(Command::parse("IDENTIFY_SYSTEM"), Ok(Command::IdentifySystem));
        assert_eq!(
            Command::parse("START_REPLICATION 0/3000000 TIMELINE 1"),
            replication(0x300_0000, Some(1), None)
        );
        assert_eq!(
            Command::parse("START_REPLICATION SLOT \"a b\" PHYSICAL 1/0 TIMELINE 2;"),
            replication(1 << 32, Some(2), None)
        );
        assert_eq!(
            Command::parse("start_replication physical 0/8 (term='7')"),
            replication(8, None, Some(7))
        );
        assert_eq!(Command::parse("START_REPLICATION 0/8 (term = '7')"), replication(8, None, Some(7)));
        let entry = Until::Entry { last_term: Term(7), end: Lsn(0x20) };
        assert_eq!(
            Command::parse("START_REPLICATION PHYSICAL 0/8 (last_term='7', until='0/20')"),
            Ok(Command::StartReplication { start: Lsn(8), tli: None, until: entry })
        );
        assert_eq!(
            Command::parse("START_WAL_PUSH (proto_version '1')"),
            Ok(Command::StartWalPush { proto_version: 1, standby_feedback: false })
        );
        assert_eq!(
            Command::parse("START_WAL_PUSH (proto_version '2', standby_feedback 'true')"),
            Ok(Command::StartWalPush { proto_version: 2, standby_feedback: true })
        );
        assert_eq!(
            Command::parse("SHOW wal_segment_size"),
            Ok(Command::Show { setting: "wal_segment_size".into() })
        );
        assert_eq!(
            Command::parse("CREATE_REPLICATION_SLOT \"x\" PHYSICAL (RESERVE_WAL)"),
            Ok(Command::CreateReplicationSlot)
        );
    }

    #[test]
    fn nonsense_is_refused_in_words() {
        for bad in [
            "",
            "SELECT 1",
            "START_REPLICATION",
            "START_REPLICATION x",
            "START_REPLICATION 0/8 TIMELINE",
            "START_REPLICATION 0/8 (term)",
            "START_REPLICATION 0/8 (term='x')",
            "START_REPLICATION 0/8 (term='1'",
            "START_REPLICATION 0/8 (last_term='1')",
            "START_REPLICATION 0/8 (term='1', last_term='1', until='0/10')",
            "START_REPLICATION 0/8 extra",
            "START_REPLICATION SLOT \"x LOGICAL 0/8",
            "START_REPLICATION LOGICAL 0/8",
            "START_WAL_PUSH",
            "START_WAL_PUSH (proto_version '1', more 'x')",
            "START_WAL_PUSH (proto_version '1', standby_feedback 'perhaps')",
            "SHOW",
            "É",
        ] {
            assert!(Command::parse(bad).is_err(), "{bad}");
        }
    }
}

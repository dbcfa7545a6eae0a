//! What `--help` says below its lists: examples, each of which can be pasted into a shell as it stands, and what
//! the exit status means. A test reads the examples back out of the help texts and parses them.

use std::fmt::Write;

use clap::builder::StyledStr;
use clap::builder::styling::{AnsiColor, Effects, Style, Styles};

const COLUMNS: usize = 80;

/// Headings as clap's own, and colours that can be read on white and on black.
pub const STYLES: Styles = Styles::styled()
    .header(HEADER)
    .usage(HEADER)
    .literal(LITERAL)
    .placeholder(AnsiColor::Cyan.on_default())
    .valid(AnsiColor::Green.on_default())
    .invalid(AnsiColor::Yellow.on_default())
    .error(AnsiColor::Red.on_default().effects(Effects::BOLD));

const HEADER: Style = Style::new().effects(Effects::BOLD.insert(Effects::UNDERLINE));
const LITERAL: Style = AnsiColor::Cyan.on_default().effects(Effects::BOLD);

/// Pairs of a command and what it is good for: beside it where all of them fit a terminal, else above it.
pub fn examples(pairs: &[(&str, &str)]) -> StyledStr {
    let width = pairs.iter().map(|(command, _)| command.len()).max().unwrap_or(0);
    let fits = pairs.iter().all(|(_, what)| width + what.len() + "  ".len() + "  # ".len() <= COLUMNS);
    let mut text = StyledStr::new();
    // Writing to memory does not fail.
    let _ = write!(text, "{HEADER}Examples:{HEADER:#}");
    for (command, what) in pairs {
        let _ = if fits {
            write!(text, "\n  {LITERAL}{command}{LITERAL:#}{:1$}  # {what}", "", width - command.len())
        } else {
            write!(text, "\n  # {what}\n  {LITERAL}{command}{LITERAL:#}")
        };
    }
    text
}

/// The examples of the whole, and what holds for every command.
pub fn of_varve() -> StyledStr {
    let mut text = examples(&[
        ("varve up", "start everything, with a first database"),
        ("varve status", "what runs, where, and how far it is"),
        ("psql \"$(varve connstr)\" -c 'SELECT 1'", "connect, with any client"),
        ("varve timeline branch --branch-name dev", "branch, whatever the size"),
        ("varve endpoint create dev --branch-name dev", "a server on the branch"),
        ("varve endpoint start dev", "and start it"),
        ("varve down", "stop everything; the data stays"),
    ]);
    let _ = write!(
        text,
        "\n\n{HEADER}Exit status:{HEADER:#}
  0  done. For `status`: everything runs that should
  1  failed; standard error says why. For `status`: something is down
  2  the command line is not understood
  `varve psql` ends with psql's own."
    );
    text
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use clap::{CommandFactory, Parser};

    use super::COLUMNS;
    use crate::arguments::Arguments;

    /// Every command with its path (`varve timeline list`), depth first.
    fn pages() -> Vec<(String, clap::Command)> {
        let mut root = Arguments::command();
        root.build();
        let mut pages = Vec::new();
        let mut todo = vec![("varve".to_owned(), root)];
        while let Some((path, command)) = todo.pop() {
            let below = command.get_subcommands().filter(|sub| sub.get_name() != "help");
            todo.extend(below.map(|sub| (format!("{path} {}", sub.get_name()), sub.clone())));
            pages.push((path, command));
        }
        pages
    }

    /// The lines below `Examples:`, without their comments.
    fn examples_in(help: &str) -> Vec<String> {
        let lines = help.lines().skip_while(|line| *line != "Examples:").skip(1);
        let lines = lines.take_while(|line| line.starts_with("  ")).filter(|line| !line.starts_with("  # "));
        lines.map(|line| line.split("  # ").next().unwrap_or_default().trim().to_owned()).collect()
    }

    /// Words as a shell makes them of what our examples use: both quotes, `$(…)`, `<(…)`, `&&`, redirections.
    fn varve_calls(line: &str) -> Vec<Vec<String>> {
        let (mut calls, mut words, mut word, mut quote) = (Vec::new(), Vec::new(), String::new(), None);
        let mut rest = line.chars().peekable();
        while let Some(letter) = rest.next() {
            match (letter, quote) {
                ('$', None | Some('"')) | ('<', None) if rest.peek() == Some(&'(') => {
                    rest.next();
                    let inner: String = rest.by_ref().take_while(|letter| *letter != ')').collect();
                    calls.extend(varve_calls(&inner));
                    word.push_str("substituted");
                }
                (mark, Some(open)) if mark == open => quote = None,
                ('"' | '\'', None) => quote = Some(letter),
                (' ', None) if !word.is_empty() => words.push(std::mem::take(&mut word)),
                (' ', None) => {}
                (other, _) => word.push(other),
            }
        }
        assert_eq!(quote, None, "an open quote in {line}");
        words.push(word);
        for call in words.split(|word| word == "&&") {
            let end = call.iter().position(|word| word.starts_with(['>', '|'])).unwrap_or(call.len());
            if call.first().is_some_and(|program| program == "varve") {
                calls.push(call[..end].to_vec());
            }
        }
        calls
    }

    #[test]
    fn every_example_parses() {
        let mut called = BTreeSet::new();
        for (path, mut command) in pages() {
            for line in examples_in(&command.render_long_help().to_string()) {
                let calls = varve_calls(&line);
                assert!(!calls.is_empty(), "{path}: {line:?} has nothing to do with varve");
                for call in calls {
                    if let Err(error) = Arguments::try_parse_from(&call) {
                        panic!("{path}: {line}\n{error}");
                    }
                    called.extend(call.get(1).cloned());
                }
            }
        }
        assert!(called.len() > 8, "too few examples were found to believe it: {called:?}");
    }

    #[test]
    fn an_example_that_rots_is_found() {
        let calls = varve_calls("psql \"$(varve connstr main)\" -c 'a  b' && varve status --wrong > x");
        assert_eq!(calls, [vec!["varve", "connstr", "main"], vec!["varve", "status", "--wrong"]]);
        assert!(Arguments::try_parse_from(&calls[0]).is_ok());
        assert!(Arguments::try_parse_from(&calls[1]).is_err());
        assert_eq!(examples_in("Usage\n\nExamples:\n  varve up  # x\n\nMore:\n  no"), ["varve up"]);
    }

    /// An example belongs to the command whose help it is in, or to the parts of a group.
    #[test]
    fn every_group_has_examples_of_its_own() {
        for (path, mut command) in pages() {
            if !command.has_subcommands() {
                continue;
            }
            let lines = examples_in(&command.render_help().to_string());
            assert!(lines.iter().any(|line| line.contains(&path)), "{path} --help has no example: {lines:?}");
        }
    }

    #[test]
    fn help_fits_a_terminal_and_says_what_everything_is() {
        for (path, mut command) in pages() {
            let help = command.render_help().to_string();
            for line in help.lines().skip_while(|line| *line != "Examples:") {
                assert!(line.len() <= COLUMNS, "{path}: {} columns: {line}", line.len());
            }
            assert!(command.get_about().is_some(), "{path} says nothing of itself");
            for argument in command.get_arguments().filter(|argument| !argument.is_hide_set()) {
                assert!(argument.get_help().is_some(), "{path}: {} has no help", argument.get_id());
            }
        }
    }
}

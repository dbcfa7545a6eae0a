//! Two servers' results, byte by byte.

use std::path::Path;
use std::process::Command;

use crate::suite::Outcome;

/// Longest difference of one test that is shown.
const LINES: usize = 100;

/// The tests of which the second server printed something else, or nothing.
pub fn differing(tests: &[String], first: &Outcome, second: &Outcome) -> Vec<String> {
    let is_same = |name: &String| match (first.results.get(name), second.results.get(name)) {
        (Some(first), Some(second)) => first == second,
        // What ran on neither of them is no proof of anything.
        _ => false,
    };
    tests.iter().filter(|name| !is_same(name)).cloned().collect()
}

/// What the second server printed otherwise: the hunks of a unified diff, without their line numbers.
pub fn hunks(first: &Path, second: &Path) -> Vec<String> {
    let or_nothing = |path: &Path| if path.exists() { path.to_owned() } else { "/dev/null".into() };
    let output = Command::new("diff").args(["-a", "-u"]).args([first, second].map(or_nothing)).output();
    let text = String::from_utf8_lossy(&output.expect("diff").stdout).into_owned();
    let mut hunks: Vec<String> = vec![];
    for line in text.lines() {
        match hunks.last_mut() {
            _ if line.starts_with("@@ ") => hunks.push(String::new()),
            Some(hunk) => hunk.push_str(&format!("{line}\n")),
            // The names of the files.
            None => {}
        }
    }
    hunks
}

/// Hunks as they are shown and listed.
pub fn shown(hunks: &[String]) -> String {
    let text: String = hunks.iter().map(|hunk| format!("@@\n{hunk}")).collect();
    let lines: Vec<&str> = text.lines().collect();
    let shown = lines[..lines.len().min(LINES)].join("\n");
    match lines.len().saturating_sub(LINES) {
        0 => shown,
        more => format!("{shown}\n… and {more} more lines"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(results: &[(&str, &[u8])]) -> Outcome {
        let results = results.iter().map(|(name, bytes)| ((*name).to_owned(), bytes.to_vec()));
        Outcome { results: results.collect(), ..Outcome::default() }
    }

    #[test]
    fn one_other_byte_is_a_difference() {
        let tests = ["a", "b", "c"].map(str::to_owned);
        let stock = outcome(&[("a", b"1\n"), ("b", b"2\n"), ("c", b"")]);
        assert!(differing(&tests, &stock, &stock).is_empty());
        let endpoint = outcome(&[("a", b"1\n"), ("b", b"2 \n"), ("c", b"\n")]);
        assert_eq!(differing(&tests, &stock, &endpoint), ["b", "c"]);
    }

    #[test]
    fn a_test_that_did_not_run_is_not_passed_over() {
        let tests = ["a", "b"].map(str::to_owned);
        let both = outcome(&[("a", b"")]);
        assert_eq!(differing(&tests, &both, &both), ["b"]);
    }

    #[test]
    fn hunks_are_told_apart_and_a_long_one_is_cut_off() {
        let directory = std::env::temp_dir().join(format!("varve-hunks-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let (first, second) = (directory.join("first"), directory.join("second"));
        let lines = |changed: &[usize]| -> String {
            (0..40).map(|n| format!("{}{n}\n", if changed.contains(&n) { "-- " } else { "" })).collect()
        };
        std::fs::write(&first, lines(&[])).unwrap();
        std::fs::write(&second, lines(&[5, 30])).unwrap();
        let two = hunks(&first, &second);
        let alone = hunks(&first, &directory.join("missing"));
        std::fs::remove_dir_all(&directory).unwrap();
        let context = |at: usize| format!(" {}\n {}\n {}\n", at, at + 1, at + 2);
        let hunk = |at: usize| format!("{}-{at}\n+-- {at}\n{}", context(at - 3), context(at + 1));
        assert_eq!(two, [hunk(5), hunk(30)]);
        assert_eq!(alone.concat().lines().count(), 40);
        assert!(shown(&["+x\n".repeat(1000)]).ends_with("\n… and 901 more lines"));
    }
}

//! Two servers' results, byte by byte.

use std::path::Path;
use std::process::Command;

use crate::suite::Outcome;

/// Longest difference of one test that is shown.
const LINES: usize = 100;

/// The tests that printed something else on the second server.
pub fn differing(first: &Outcome, second: &Outcome) -> Vec<String> {
    assert!(first.results.keys().eq(second.results.keys()), "not the same tests ran");
    let differs = |name: &&String| first.results[*name] != second.results[*name];
    first.results.keys().filter(differs).cloned().collect()
}

/// What the second server printed otherwise, as a unified diff.
pub fn unified_diff(first: &Path, second: &Path) -> String {
    let output = Command::new("diff").args(["-a", "-u"]).args([first, second]).output().expect("diff");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
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
        Outcome { results: results.collect(), failed: vec![] }
    }

    #[test]
    fn one_other_byte_is_a_difference() {
        let stock = outcome(&[("a", b"1\n"), ("b", b"2\n"), ("c", b"")]);
        assert!(differing(&stock, &stock).is_empty());
        let endpoint = outcome(&[("a", b"1\n"), ("b", b"2 \n"), ("c", b"\n")]);
        assert_eq!(differing(&stock, &endpoint), ["b", "c"]);
    }

    #[test]
    #[should_panic(expected = "not the same tests")]
    fn a_test_that_did_not_run_is_not_passed_over() {
        differing(&outcome(&[("a", b""), ("b", b"")]), &outcome(&[("a", b"")]));
    }

    #[test]
    fn a_long_difference_is_cut_off() {
        let directory = std::env::temp_dir().join(format!("varve-unified-diff-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let (first, second) = (directory.join("first"), directory.join("second"));
        std::fs::write(&first, "one\n").unwrap();
        std::fs::write(&second, "two\n".repeat(1000)).unwrap();
        let diff = unified_diff(&first, &second);
        std::fs::remove_dir_all(&directory).unwrap();
        assert!(diff.contains("\n-one\n+two\n"), "{diff}");
        assert!(diff.ends_with("\n… and 904 more lines"), "{diff}");
    }
}

//! Tests that the documents name: a document that rests on one must not outlive it.

use std::collections::BTreeSet;
use std::path::Path;

use crate::library;
use crate::markdown::code_spans;

/// Names of tests are sentences; settings and functions of PostgreSQL have fewer words.
const FEWEST_WORDS: usize = 5;
/// Documents with other long names, which other tests look at, or which a benchmark writes.
const OTHERS: [&str; 2] = ["docs/metrics.md", "docs/benchmarks.md"];
/// Where Rust is.
const SOURCES: [&str; 7] =
    ["cli", "compute_ctl", "libs", "pageserver", "safekeeper", "storage_broker", "tests"];

/// In all documents; names every one that is nowhere.
pub fn check_all() {
    let mut known = BTreeSet::new();
    for directory in SOURCES {
        collect(&library::root().join(directory), &mut known);
    }
    // These are compared with a live cluster's.
    known.extend(code_spans(&library::read("docs/metrics.md")));
    let (mut seen, mut missing) = (0, Vec::new());
    for path in library::all().into_iter().filter(|path| !OTHERS.contains(&path.as_str())) {
        for span in code_spans(&library::read(&path)).into_iter().filter(|span| is_sentence(span)) {
            seen += 1;
            if !known.contains(&span) {
                missing.push(format!("{path}: nothing is called {span}"));
            }
        }
    }
    assert!(seen > 20, "hardly any test is named");
    assert!(missing.is_empty(), "{}", missing.join("\n"));
}

fn is_sentence(span: &str) -> bool {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    span.chars().all(plain) && span.split('_').filter(|word| !word.is_empty()).count() >= FEWEST_WORDS
}

/// All words below a directory: some long names are settings, which stand in texts.
fn collect(directory: &Path, known: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(directory).expect("a directory of sources") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            collect(&path, known);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = std::fs::read_to_string(&path).expect("a source");
            let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
            known.extend(words.filter(|word| is_sentence(word)).map(str::to_owned));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sentences_are_told_from_settings() {
        assert!(is_sentence("a_full_disk_fails_statements_and_nothing_else"));
        assert!(!is_sentence("default_text_search_config") && !is_sentence("docs/a_b_c_d_e.md"));
    }
}

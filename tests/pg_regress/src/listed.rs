//! Differences from stock PostgreSQL that are known and have a reason: docs/compatibility.md lists each as an exact
//! hunk. In it `…` stands for what is another at each run, a process id or an LSN, up to the end of its line.
//!
//! ````text
//! ### `contrib/name`: `test` on 15 and 17
//!
//! The reason, in words.
//!
//! ```diff
//!  a line before
//! -what stock PostgreSQL prints
//! +what an endpoint prints
//! ```
//! ````

const DOCUMENT: &str = include_str!("../../../docs/compatibility.md");

#[derive(Debug, PartialEq, Eq)]
struct Difference {
    suite: String,
    test: String,
    versions: Vec<String>,
    hunk: String,
}

pub struct Listed(Vec<Difference>);

impl Listed {
    pub fn load() -> Listed {
        Listed::parse(DOCUMENT)
    }

    fn parse(document: &str) -> Listed {
        let mut differences = vec![];
        for section in document.split("\n### `").skip(1) {
            let (heading, rest) = section.split_once('\n').expect("a heading ends");
            let malformed =
                || panic!("docs/compatibility.md: {heading:?} is not `suite`: `test` on VERSIONS");
            let (suite, front) = heading.split_once("`: `").unwrap_or_else(malformed);
            let (test, versions) = front.split_once("` on ").unwrap_or_else(malformed);
            let mut parts = rest.split("```diff\n");
            let reason = parts.next().unwrap_or_default();
            assert!(!reason.trim().is_empty(), "docs/compatibility.md: {heading:?} has no reason");
            for part in parts {
                let (hunk, _) = part.split_once("```").expect("a block ends");
                differences.push(Difference {
                    suite: suite.to_owned(),
                    test: test.to_owned(),
                    versions: versions.split(" and ").map(|version| version.trim().to_owned()).collect(),
                    hunk: hunk.to_owned(),
                });
            }
        }
        Listed(differences)
    }

    /// Those of a test's hunks that are not listed.
    pub fn new_among(&self, suite: &str, test: &str, version: &str, hunks: &[String]) -> Vec<String> {
        let is_listed = |hunk: &&String| {
            self.0.iter().any(|listed| {
                (listed.suite == suite && listed.test == test && is_hunk(&listed.hunk, hunk))
                    && listed.versions.iter().any(|other| other == version)
            })
        };
        hunks.iter().filter(|hunk| !is_listed(hunk)).cloned().collect()
    }
}

fn is_hunk(listed: &str, hunk: &str) -> bool {
    let is_line = |(listed, line): (&str, &str)| match listed.split_once('…') {
        Some((front, _)) => line.starts_with(front),
        None => listed == line,
    };
    listed.lines().count() == hunk.lines().count() && listed.lines().zip(hunk.lines()).all(is_line)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = "# Compatibility\n\n## Differences\n\n### `contrib/x`: `y` on 15 and 17\n\nBecause.\n\n\
                        ```diff\n a\n-b\n+c\n```\n\n### `regress`: `z` on 17\n\nSo.\n\n```diff\n-1\n```\n";

    #[test]
    fn only_the_exact_hunk_of_that_test_and_version_is_listed() {
        let listed = Listed::parse(PAGE);
        let (hunk, other) = (" a\n-b\n+c\n".to_owned(), " a\n-b\n+d\n".to_owned());
        let new = |suite, test, version, hunks: &[String]| listed.new_among(suite, test, version, hunks);
        assert!(new("contrib/x", "y", "15", std::slice::from_ref(&hunk)).is_empty());
        assert_eq!(new("contrib/x", "y", "17", &[hunk.clone(), other.clone()]), [other]);
        for (suite, test, version) in
            [("contrib/z", "y", "15"), ("contrib/x", "z", "15"), ("contrib/x", "y", "18")]
        {
            assert_eq!(new(suite, test, version, std::slice::from_ref(&hunk)).len(), 1);
        }
        assert!(new("regress", "z", "17", &["-1\n".to_owned()]).is_empty());
    }

    #[test]
    fn what_is_another_at_each_run_is_left_open() {
        assert!(is_hunk("+pid | …\n+x\n", "+pid | 123\n+x\n"));
        for other in ["+pid | 123\n+y\n", "-pid | 123\n+x\n", "+pid | 123\n", "+pid | 123\n+x\n+x\n"] {
            assert!(!is_hunk("+pid | …\n+x\n", other), "{other:?}");
        }
    }

    #[test]
    #[should_panic(expected = "has no reason")]
    fn a_difference_without_a_reason_is_a_mistake() {
        Listed::parse("#\n\n### `regress`: `z` on 17\n\n```diff\n-1\n```\n");
    }

    #[test]
    fn the_document_can_be_read() {
        Listed::load();
    }
}

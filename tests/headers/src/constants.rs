//! Compares the constants of the pure crates with the headers.

use std::collections::BTreeSet;
use std::path::Path;

use types::PgVersion;

use crate::compiler;
use crate::expression;
use crate::names;
use crate::scanner;

/// A number of ours and what it is in C.
struct Pair {
    /// File and constant, with its place if it is one of several.
    ours: String,
    number: i128,
    theirs: String,
}

/// How many numbers were compared, or what is wrong, a line each.
pub fn check(root: &Path, version: PgVersion) -> Result<usize, String> {
    let mut problems = Vec::new();
    let pairs = pairs(root, version, &mut problems);
    let expressions: Vec<String> = pairs.iter().map(|pair| pair.theirs.clone()).collect();
    for (pair, value) in pairs.iter().zip(compiler::values(version, &expressions)?) {
        if pair.number != value {
            let Pair { ours, number, theirs } = pair;
            problems.push(format!(
                "{ours} is {number} (0x{number:x}), PostgreSQL's {theirs} is {value} (0x{value:x})"
            ));
        }
    }
    if problems.is_empty() { Ok(pairs.len()) } else { Err(problems.join("\n")) }
}

/// A file that is named after another version: this one's headers have no say in it.
fn is_of_another(path: &str, version: PgVersion) -> bool {
    let others = [PgVersion::V15, PgVersion::V17].into_iter().filter(|other| *other != version);
    others.into_iter().any(|other| path.ends_with(&format!("/v{other}.rs")))
}

/// What is to be compared: by the tables, or by the name that a header has too.
fn pairs(root: &Path, version: PgVersion, problems: &mut Vec<String>) -> Vec<Pair> {
    let (mut expressions, mut unchecked) = (names::expressions(version), names::unchecked(version));
    let sources = scanner::sources(root);
    let of_version = || sources.iter().filter(|source| !is_of_another(&source.path, version));
    let all =
        || of_version().flat_map(|source| source.constants.iter().map(move |constant| (source, constant)));
    let defined = compiler::defined(
        version,
        &all().map(|(_, constant)| constant.name.clone()).collect::<BTreeSet<_>>(),
    );
    let mut pairs = Vec::new();
    for (source, constant) in all() {
        let name = constant.qualified_name();
        let ours = format!("{}: {name}", source.path);
        let key = (source.path.clone(), name);
        let theirs = match (expressions.remove(&key), unchecked.remove(&key)) {
            (Some(_), Some(_)) => {
                problems.push(format!("{ours} stands in both tables"));
                continue;
            }
            (None, Some(_reason)) => continue,
            (Some(expression), None) => expression,
            (None, None) if defined.contains(&constant.name) => constant.name.clone(),
            (None, None) => {
                problems.push(format!("{ours} has no such name in PostgreSQL's headers, and no table in tests/headers/names has it"));
                continue;
            }
        };
        match expression::numbers(&sources, source, constant) {
            Ok(numbers) => pairs.extend(paired(&ours, &numbers, &theirs, problems)),
            Err(error) => problems.push(format!("{ours}: {error}")),
        }
    }
    for (file, name) in expressions.into_keys().chain(unchecked.into_keys()) {
        problems.push(format!("{file}: {name} stands in a table and is not in the sources"));
    }
    pairs
}

fn paired(ours: &str, numbers: &[i128], theirs: &str, problems: &mut Vec<String>) -> Vec<Pair> {
    let expressions: Vec<String> = if theirs.contains('#') {
        (0..numbers.len()).map(|place| theirs.replace('#', &place.to_string())).collect()
    } else {
        theirs.split(';').map(|expression| expression.trim().to_owned()).collect()
    };
    if expressions.len() != numbers.len() {
        problems.push(format!("{ours} has {} numbers, the table {}", numbers.len(), expressions.len()));
    }
    let pair = |(place, (number, theirs)): (usize, (&i128, String))| {
        let ours = if numbers.len() == 1 { ours.to_owned() } else { format!("{ours}, number {place}") };
        Pair { ours, number: *number, theirs }
    };
    numbers.iter().zip(expressions).enumerate().map(pair).collect()
}

/// Named so that `make test T=headers` finds it.
mod headers {
    use std::fs;
    use std::path::{Path, PathBuf};

    use types::PgVersion;

    use super::check;
    use crate::scanner;

    fn root() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
    }

    fn every_constant_is_postgresqls(version: PgVersion, least: usize) {
        let compared = check(&root(), version).unwrap_or_else(|problems| panic!("\n{problems}"));
        assert!(compared >= least, "only {compared} numbers were compared, {least} before");
    }

    // As many as there are: a scanner that finds less overlooks something.
    #[test]
    fn every_constant_is_that_of_postgres_15() {
        every_constant_is_postgresqls(PgVersion::V15, 474);
    }

    #[test]
    fn every_constant_is_that_of_postgres_17() {
        every_constant_is_postgresqls(PgVersion::V17, 485);
    }

    fn copy(from: &Path, to: &Path) {
        fs::create_dir_all(to).expect("a directory");
        for entry in fs::read_dir(from).expect("a directory of sources") {
            let entry = entry.expect("an entry");
            let to = to.join(entry.file_name());
            if entry.path().is_dir() {
                copy(&entry.path(), &to);
            } else {
                fs::copy(entry.path(), to).expect("a copy");
            }
        }
    }

    /// What the check says of sources in which one place was changed.
    fn problems_of(version: PgVersion, file: &str, before: &str, after: &str) -> String {
        let scratch = tempfile::tempdir().expect("a directory for sources");
        for name in scanner::CRATES {
            let sources = format!("libs/{name}/src");
            copy(&root().join(&sources), &scratch.path().join(&sources));
        }
        let path = scratch.path().join(file);
        let text = fs::read_to_string(&path).expect(file);
        assert_eq!(text.matches(before).count(), 1, "{file} has {before} once");
        fs::write(&path, text.replace(before, after)).expect("a changed source");
        check(scratch.path(), version).expect_err("a change is found")
    }

    #[test]
    fn a_wrong_constant_is_named() {
        let file = "libs/page_redo/src/rmgr/heap.rs";
        let problems =
            problems_of(PgVersion::V15, file, "XLOG_HEAP_LOCK: u8 = 0x60", "XLOG_HEAP_LOCK: u8 = 0x50");
        assert_eq!(
            problems,
            format!("{file}: XLOG_HEAP_LOCK is 80 (0x50), PostgreSQL's XLOG_HEAP_LOCK is 96 (0x60)")
        );
        let file = "libs/page_redo/src/rmgr/hash/meta.rs";
        let problems = problems_of(
            PgVersion::V15,
            file,
            "MAPP_AT: usize = HEADER_SIZE + 444",
            "MAPP_AT: usize = HEADER_SIZE + 440",
        );
        assert!(
            problems.starts_with(&format!("{file}: MAPP_AT is 464 ")) && problems.contains("hashm_mapp"),
            "{problems}"
        );
    }

    #[test]
    fn a_constant_that_nobody_classified_is_named() {
        let file = "libs/wal_decoder/src/rmgr/smgr.rs";
        let problems = problems_of(
            PgVersion::V15,
            file,
            "const TRUNCATE_VM: u32 = 0x0002;",
            "const TRUNCATE_MAP: u32 = 2;",
        );
        let lines: Vec<&str> = problems.lines().collect();
        assert!(lines.len() == 2 && lines[0].contains("TRUNCATE_MAP has no such name"), "{problems}");
        assert_eq!(lines[1], format!("{file}: TRUNCATE_VM stands in a table and is not in the sources"));
    }
}

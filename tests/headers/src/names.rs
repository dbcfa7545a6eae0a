//! The tables in `names/`: what constants of ours are in the headers of a version, and which are in none.
//!
//! A line that begins at the margin is a file; those below it are its constants, each with what is said of it.

use std::collections::BTreeMap;

use types::PgVersion;

/// By file and qualified name.
pub type Table = BTreeMap<(String, String), String>;

/// Expressions in C, with `;` between those of a constant of several numbers.
pub fn expressions(version: PgVersion) -> Table {
    let of_version = match version {
        PgVersion::V15 => include_str!("../names/v15.txt"),
        PgVersion::V17 => include_str!("../names/v17.txt"),
    };
    joined(include_str!("../names/both.txt"), of_version)
}

/// Reasons.
pub fn unchecked(version: PgVersion) -> Table {
    let of_version = match version {
        PgVersion::V15 => include_str!("../names/unchecked-v15.txt"),
        PgVersion::V17 => include_str!("../names/unchecked-v17.txt"),
    };
    joined(include_str!("../names/unchecked.txt"), of_version)
}

fn joined(both: &str, of_version: &str) -> Table {
    let mut joined = table(both);
    for (constant, said) in table(of_version) {
        let (file, name) = &constant;
        assert!(!joined.contains_key(&constant), "in two tables: {file}: {name}");
        joined.insert(constant, said);
    }
    joined
}

fn table(text: &str) -> Table {
    let mut found = Table::new();
    let mut file = String::new();
    let mut lines = text.lines().filter(|line| !line.starts_with('#') && !line.trim().is_empty());
    while let Some(line) = lines.next() {
        if !line.starts_with(' ') {
            file = line.to_owned();
            continue;
        }
        let (name, said) = line.trim().split_once(' ').unwrap_or_else(|| panic!("says nothing: {line}"));
        let mut said = said.trim().to_owned();
        while said.ends_with(';') {
            said.push_str(lines.next().expect("a list goes on").trim());
        }
        let before = found.insert((file.clone(), name.to_owned()), said);
        assert!(before.is_none(), "twice in a table: {file}: {name}");
    }
    found
}

#[test]
fn tables_are_read() {
    let read = table(
        "# x\nlibs/a.rs\n    A   sizeof(b)\n    T::B   1; 2;\n      3\n\nlibs/b.rs\n    A   ours: c d\n",
    );
    let entry = |file: &str, name: &str| read[&(file.to_owned(), name.to_owned())].as_str();
    assert_eq!((read.len(), entry("libs/a.rs", "A"), entry("libs/a.rs", "T::B")), (3, "sizeof(b)", "1; 2;3"));
    assert_eq!(entry("libs/b.rs", "A"), "ours: c d");
}

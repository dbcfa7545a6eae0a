//! Which documents there are, and where.

use std::fs;
use std::path::{Path, PathBuf};

use crate::markdown::{self, Block};

pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().expect("the tree")
}

/// The text of a file of the tree.
pub fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

pub fn blocks(path: &str) -> Vec<Block> {
    markdown::blocks(&read(path)).unwrap_or_else(|problem| panic!("{path}: {problem}"))
}

/// Documents whose commands a newcomer types.
pub fn with_commands() -> Vec<String> {
    let mut paths = vec!["README.md".to_owned(), "docker/README.md".to_owned()];
    paths.extend(markdown_files("docs"));
    paths
}

/// All others too.
pub fn all() -> Vec<String> {
    let mut paths = with_commands();
    paths
        .extend(["ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md", "pgext/README.md"].map(str::to_owned));
    paths.extend(markdown_files("docs/rfcs"));
    paths
}

fn markdown_files(directory: &str) -> Vec<String> {
    let entries = fs::read_dir(root().join(directory)).expect("a directory of documents");
    let names = entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned());
    let mut paths: Vec<String> =
        names.filter(|name| name.ends_with(".md")).map(|name| format!("{directory}/{name}")).collect();
    paths.sort();
    paths
}

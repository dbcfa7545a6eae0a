//! Unlogged relations begin every life empty: their main fork is a copy of their init fork.

use std::collections::HashSet;
use std::path::Path;

use super::{DataDir, list};
use crate::error::ComputeError;

const SUFFIX: &str = "_init";

/// What PostgreSQL does at the end of crash recovery, which a start from a shutdown checkpoint skips.
pub fn reset(data: &DataDir<'_>) -> Result<(), ComputeError> {
    for database in list(&data.root.join("base"))? {
        reset_directory(&database)?;
    }
    for tablespace in list(&data.root.join("pg_tblspc"))? {
        for database in list(&tablespace.join(data.layout.tablespace_subdirectory()))? {
            reset_directory(&database)?;
        }
    }
    Ok(())
}

fn reset_directory(directory: &Path) -> Result<(), ComputeError> {
    if !directory.is_dir() {
        return Ok(());
    }
    let files = list(directory)?;
    let named = || files.iter().filter_map(|path| Some((path, path.file_name()?.to_str()?)));
    let relations: HashSet<&str> = named().filter_map(|(_, name)| name.strip_suffix(SUFFIX)).collect();
    for (path, name) in named() {
        if !name.ends_with(SUFFIX) && relations.contains(relation_of(name)) {
            std::fs::remove_file(path).map_err(ComputeError::file("remove", path))?;
        }
    }
    for relation in relations {
        // An init fork is a few pages at most: it has one file.
        let main = directory.join(relation);
        let init = directory.join(format!("{relation}{SUFFIX}"));
        std::fs::copy(&init, &main).map_err(ComputeError::file("write", &main))?;
    }
    Ok(())
}

/// `N` of `N`, `N.1`, `N_fsm`, `N_vm`, `N_init`.
fn relation_of(name: &str) -> &str {
    name.split(['.', '_']).next().unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_relations_with_an_init_fork_are_reset() {
        let root = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| std::fs::write(root.path().join(name), text).unwrap();
        for (name, text) in [
            ("100", "old rows"),
            ("100.1", "more"),
            ("100_vm", "bits"),
            ("100_init", "empty"),
            ("1001", "logged"),
            ("1001_vm", "logged"),
        ] {
            write(name, text);
        }
        reset_directory(root.path()).unwrap();
        let mut left: Vec<_> = list(root.path()).unwrap();
        left.sort();
        let names: Vec<_> = left.iter().map(|path| path.file_name().unwrap().to_str().unwrap()).collect();
        assert_eq!(names, ["100", "1001", "1001_vm", "100_init"]);
        assert_eq!(std::fs::read_to_string(root.path().join("100")).unwrap(), "empty");
    }
}

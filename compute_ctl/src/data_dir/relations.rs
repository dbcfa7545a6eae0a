//! Sparse relation files: the right length, nothing in them.

use std::collections::HashSet;
use std::fs::OpenOptions;
use std::path::Path;

use pageserver_api::manifest::RelationLine;
use types::{BLCKSZ, RELSEG_BLOCKS};

use super::layout::relation_file_name;
use super::{DataDir, tablespaces};
use crate::error::ComputeError;

/// Gives every fork its files. A file that the base backup brought with its contents (an init fork) must
/// have just the length that the list says.
pub fn create_sparse(data: &DataDir<'_>, relations: &[RelationLine]) -> Result<(), ComputeError> {
    let mut made = HashSet::new();
    for RelationLine { rel: relation, blocks } in relations.iter().copied() {
        let directory = data.layout.database_directory(relation.spc, relation.db);
        let path = data.root.join(&directory);
        if made.insert(directory) {
            tablespaces::check_known(data, relation.spc)?;
            std::fs::create_dir_all(&path).map_err(ComputeError::file("create", &path))?;
        }
        for (segment, length) in segments(blocks) {
            let name = relation_file_name(relation, segment);
            set_length(&path.join(name), u64::from(length) * BLCKSZ as u64)?;
        }
    }
    Ok(())
}

/// Number and length in blocks of each 1 GiB file. An empty relation has one empty file.
fn segments(blocks: u32) -> impl Iterator<Item = (u32, u32)> {
    let last = blocks.saturating_sub(1) / RELSEG_BLOCKS;
    (0..=last).map(move |segment| (segment, (blocks - segment * RELSEG_BLOCKS).min(RELSEG_BLOCKS)))
}

fn set_length(path: &Path, bytes: u64) -> Result<(), ComputeError> {
    let failed = || ComputeError::file("size", path);
    let file = OpenOptions::new().write(true).create(true).truncate(false).open(path).map_err(failed())?;
    match file.metadata().map_err(failed())?.len() {
        0 => file.set_len(bytes).map_err(failed()),
        present if present == bytes => Ok(()),
        present => Err(ComputeError::Basebackup(format!(
            "{} has {present} bytes in it and {bytes} in its list of relations",
            path.display()
        ))),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    #[test]
    fn a_gibibyte_is_one_file() {
        let lengths = |blocks| segments(blocks).collect::<Vec<_>>();
        assert_eq!(lengths(0), [(0, 0)]);
        assert_eq!(lengths(RELSEG_BLOCKS), [(0, RELSEG_BLOCKS)]);
        assert_eq!(lengths(RELSEG_BLOCKS + 1), [(0, RELSEG_BLOCKS), (1, 1)]);
        assert_eq!(segments(u32::MAX).last(), Some((32767, RELSEG_BLOCKS - 1)));
    }

    #[test]
    fn files_are_sparse_and_contents_are_kept() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("16384");
        set_length(&path, 1 << 30).unwrap();
        let metadata = std::fs::metadata(&path).unwrap();
        assert_eq!((metadata.len(), metadata.blocks()), (1 << 30, 0));
        assert!(set_length(&path, 8192).is_err());
        let init = root.path().join("16385_init");
        std::fs::write(&init, vec![1; 8192]).unwrap();
        set_length(&init, 8192).unwrap();
        assert_eq!(std::fs::read(&init).unwrap(), vec![1; 8192]);
    }
}

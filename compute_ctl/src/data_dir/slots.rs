//! Replication slots that the base backup brought along.

use std::path::Path;

use pg_format::slot;
use types::Lsn;

use super::{list, remove};
use crate::error::ComputeError;

const DIRECTORY: &str = "pg_replslot";

/// From where on WAL is needed by a slot; None without slots.
pub fn oldest_restart_lsn(root: &Path) -> Result<Option<Lsn>, ComputeError> {
    let mut oldest = None;
    for directory in list(&root.join(DIRECTORY))? {
        let path = directory.join("state");
        let bytes = std::fs::read(&path).map_err(ComputeError::file("read", &path))?;
        let state = slot::decode(&bytes)
            .map_err(|error| ComputeError::Basebackup(format!("{}: {error}", path.display())))?;
        // A slot that has been invalidated needs none.
        if state.restart_lsn != Lsn::INVALID {
            oldest = Some(oldest.map_or(state.restart_lsn, |lsn: Lsn| lsn.min(state.restart_lsn)));
        }
    }
    Ok(oldest)
}

/// A replica in the past has none: nobody could get anything from it, and it would hold back what it has to clean up.
pub fn remove_all(root: &Path) -> Result<(), ComputeError> {
    for directory in [DIRECTORY, "pg_logical/snapshots", "pg_logical/mappings"] {
        for entry in list(&root.join(directory))? {
            remove(&entry)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_torn_slot_is_an_error_and_no_slot_is_none() {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(root.path().join("pg_replslot")).unwrap();
        assert_eq!(oldest_restart_lsn(root.path()).unwrap(), None);
        std::fs::create_dir_all(root.path().join("pg_replslot/sub")).unwrap();
        assert!(oldest_restart_lsn(root.path()).is_err());
        std::fs::write(root.path().join("pg_replslot/sub/state"), "torn").unwrap();
        let error = oldest_restart_lsn(root.path()).unwrap_err().to_string();
        assert!(error.contains("pg_replslot/sub/state"), "{error}");

        for directory in ["pg_logical/snapshots", "pg_logical/mappings"] {
            std::fs::create_dir_all(root.path().join(directory)).unwrap();
        }
        std::fs::write(root.path().join("pg_logical/snapshots/0-1.snap"), "").unwrap();
        remove_all(root.path()).unwrap();
        assert_eq!(oldest_restart_lsn(root.path()).unwrap(), None);
        assert!(list(&root.path().join("pg_logical/snapshots")).unwrap().is_empty());
    }
}

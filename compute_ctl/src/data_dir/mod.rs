//! The data directory: thrown away and made anew at every start, or gone on with after a clean stop ([`kept`]).
//!
//! It is a sparse cache of the timeline. Relation files have their true length and hold nothing; what is
//! whole from the start is what PostgreSQL reads without asking the storage manager: control file, the
//! WAL segment with the checkpoint, SLRUs, relation maps, two-phase files, init forks.
//!
//! All functions block and are run with the identity of the server's user.

pub mod kept;
mod layout;
mod manifest;
mod relations;
mod slots;
mod tablespaces;
mod unlogged;
mod unpack;
mod v15;
mod v17;

use std::path::{Path, PathBuf};

use pageserver_api::manifest::{BackupManifest, RelationLine};
use pg_format::ControlFile;
use rand::RngExt;

use crate::error::ComputeError;
pub use layout::DataLayout;
pub use slots::oldest_restart_lsn;
pub use unpack::{Unpacked, Wanted, unpack};

/// In a directory with this file we may delete everything.
const MARKER: &str = "varve.compute";
const MARKER_TEXT: &str = "format 1\nThis directory is a cache: compute_ctl may wipe it when it starts.\n";
/// The extension compares this file with what it is told on the command line: a server that compute_ctl
/// did not start, over files of another life, would read holes as empty pages.
const LIFE_FILE: &str = "varve.life";

pub struct DataDir<'a> {
    pub root: &'a Path,
    pub tablespaces: &'a Path,
    pub layout: DataLayout,
}

impl DataDir<'_> {
    /// Refuses a directory that is neither empty nor marked as ours.
    pub fn check_ours(&self) -> Result<(), ComputeError> {
        let marked =
            std::fs::symlink_metadata(self.root.join(MARKER)).is_ok_and(|metadata| metadata.is_file());
        let empty = || match std::fs::read_dir(self.root) {
            Ok(mut entries) => entries.next().is_none(),
            Err(error) => error.kind() == std::io::ErrorKind::NotFound,
        };
        if marked || empty() { Ok(()) } else { Err(ComputeError::NotOurs { path: self.root.to_owned() }) }
    }

    /// Empties the directory, if it is ours.
    pub fn wipe(&self) -> Result<(), ComputeError> {
        self.check_ours()?;
        let marker = self.root.join(MARKER);
        // Before anything else is there: a start that ends half-way must not block the next one.
        std::fs::write(&marker, MARKER_TEXT).map_err(ComputeError::file("write", &marker))?;
        for entry in list(self.root)?.into_iter().filter(|entry| *entry != marker) {
            remove(&entry)?;
        }
        for tablespace in list(self.tablespaces)?.into_iter().filter(|path| is_number(path)) {
            remove(&tablespace)?;
        }
        Ok(())
    }

    /// Makes the directory of a server that was stopped in order ready for the next start.
    pub fn go_on(&self) -> Result<(), ComputeError> {
        self.check_ours()?;
        kept::clear(self.root)
    }

    /// Turns what was unpacked into a directory that PostgreSQL can be started in.
    pub fn complete(
        &self,
        manifest: &BackupManifest,
        relations: &[RelationLine],
    ) -> Result<(), ComputeError> {
        for directory in self.layout.directories() {
            let path = self.root.join(directory);
            std::fs::create_dir_all(&path).map_err(ComputeError::file("create", &path))?;
        }
        tablespaces::create(self, manifest)?;
        relations::create_sparse(self, relations)?;
        unlogged::reset(self)
    }

    /// With this file PostgreSQL replays WAL for as long as it lives.
    pub fn make_standby(&self) -> Result<(), ComputeError> {
        slots::remove_all(self.root)?;
        let path = self.root.join("standby.signal");
        std::fs::write(&path, "").map_err(ComputeError::file("write", &path))
    }

    /// Writes a new life id and returns it.
    pub fn begin_life(&self) -> Result<String, ComputeError> {
        let id = hex::encode(rand::rng().random::<[u8; 16]>());
        let path = self.root.join(LIFE_FILE);
        std::fs::write(&path, &id).map_err(ComputeError::file("write", &path))?;
        Ok(id)
    }
}

/// What the server last wrote about itself, or the base backup brought along.
pub fn control_file(root: &Path) -> Result<ControlFile, ComputeError> {
    let path = root.join("global/pg_control");
    let bytes = std::fs::read(&path).map_err(ComputeError::file("read", &path))?;
    ControlFile::decode(&bytes)
        .map_err(|error| ComputeError::Basebackup(format!("{}: {error}", path.display())))
}

fn list(directory: &Path) -> Result<Vec<PathBuf>, ComputeError> {
    let failed = || ComputeError::file("read", directory);
    let entries = std::fs::read_dir(directory).map_err(failed())?;
    entries.map(|entry| Ok(entry.map_err(failed())?.path())).collect()
}

/// Tablespaces are named by their OIDs; anything else beside them is not of our making.
fn is_number(path: &Path) -> bool {
    path.file_name()
        .and_then(|name| name.to_str())
        .is_some_and(|name| name.bytes().all(|b| b.is_ascii_digit()))
}

/// Removes a file, a link (never what it points to) or a directory with all that is in it.
fn remove(path: &Path) -> Result<(), ComputeError> {
    let metadata = std::fs::symlink_metadata(path).map_err(ComputeError::file("look at", path))?;
    let removed = if metadata.is_dir() { std::fs::remove_dir_all(path) } else { std::fs::remove_file(path) };
    removed.map_err(ComputeError::file("remove", path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_ours_is_wiped() {
        let root = tempfile::tempdir().unwrap();
        let outside = root.path().join("outside");
        let (pgdata, tablespaces) = (root.path().join("pgdata"), root.path().join("varve_tblspc"));
        for directory in [&outside, &pgdata, &tablespaces] {
            std::fs::create_dir(directory).unwrap();
        }
        std::fs::write(outside.join("precious"), "x").unwrap();
        let data = DataDir { root: &pgdata, tablespaces: &tablespaces, layout: DataLayout::V15 };

        data.wipe().unwrap();
        std::os::unix::fs::symlink(&outside, pgdata.join("link")).unwrap();
        std::fs::create_dir_all(pgdata.join("base/5")).unwrap();
        data.wipe().unwrap();
        assert_eq!(list(&pgdata).unwrap(), [pgdata.join(MARKER)]);
        assert!(outside.join("precious").exists());

        let theirs = DataDir { root: &outside, ..data };
        assert!(matches!(theirs.wipe(), Err(ComputeError::NotOurs { .. })));
        assert!(outside.join("precious").exists());
    }
}

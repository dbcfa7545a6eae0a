//! The control file on disk. It is always written as a whole, under a temporary name, fsynced and renamed: readers see
//! the old file or the new one. Its format is in the `safekeeper_api` crate.

use std::path::{Path, PathBuf};

use durable_fs::{DurableFs, DurableFsError};
use safekeeper_api::control_file::FILE_NAME;
pub use safekeeper_api::control_file::{AtRest, ControlFile};
use safekeeper_api::framed::{FrameError, Framed};

#[derive(Debug, thiserror::Error)]
pub enum ControlFileError {
    #[error("cannot read {}: {source}", path.display())]
    Read { path: PathBuf, source: std::io::Error },
    #[error("{}: {source}", path.display())]
    Content { path: PathBuf, source: FrameError },
}

/// Name of the file in a timeline's directory.
pub fn path_in(directory: &Path) -> PathBuf {
    directory.join(FILE_NAME)
}

pub fn write(control: &ControlFile, fs: &DurableFs, directory: &Path) -> Result<(), DurableFsError> {
    fs.write_atomically(&path_in(directory), &control.encode())
}

pub fn read(directory: &Path) -> Result<ControlFile, ControlFileError> {
    let path = path_in(directory);
    match std::fs::read(&path) {
        Ok(bytes) => ControlFile::decode(&bytes).map_err(|source| ControlFileError::Content { path, source }),
        Err(source) => Err(ControlFileError::Read { path, source }),
    }
}

/// None of a timeline that was not finished being made.
pub fn read_if_exists(directory: &Path) -> Result<Option<ControlFile>, ControlFileError> {
    match read(directory) {
        Err(ControlFileError::Read { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
            Ok(None)
        }
        other => other.map(Some),
    }
}

#[cfg(test)]
pub mod tests {
    use consensus::{AcceptorState, Configuration, Member, TimelineIdentity};
    use types::{Lsn, NodeId, PgVersion, TenantId, TenantTimelineId, TimelineId, WalSegmentSize};

    use super::*;

    pub fn example(start_lsn: Lsn) -> ControlFile {
        let identity = TimelineIdentity {
            ttid: TenantTimelineId::new(TenantId([1; 16]), TimelineId([2; 16])),
            pg_version: PgVersion::V15,
            system_id: 7_000_000_000_000_000_001,
            wal_seg_size: WalSegmentSize::DEFAULT,
        };
        let member = Member { id: NodeId(1), pg_connstr: "a:1".into(), http_connstr: "a:2".into() };
        let configuration = Configuration::initial(vec![member]).unwrap();
        let acceptor = AcceptorState::genesis(identity, configuration, start_lsn);
        ControlFile::new(acceptor, 1, None)
    }

    #[test]
    fn what_was_written_is_read() {
        let directory = tempfile::tempdir().unwrap();
        let file = example(Lsn(0x149_8028));
        write(&file, &DurableFs::default(), directory.path()).unwrap();
        assert_eq!(read(directory.path()).unwrap(), file);
    }
}

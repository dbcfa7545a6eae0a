//! The durable moves themselves, blocking, and [`run_blocking`] to call them from async code.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::{DurableFsError, Faults, NoFaults, Step};

type Result<T> = std::result::Result<T, DurableFsError>;

/// Ends the names under which [`DurableFs::write_atomically`] prepares a file. What a crash left under
/// such a name is rubbish: readers of a directory skip it, and the next write of that file replaces it.
pub const TEMPORARY_SUFFIX: &str = ".temporary";

/// Ends the names of directories that [`DurableFs::remove_tree`] had not emptied when it was interrupted.
pub const REMOVED_SUFFIX: &str = ".removed";

/// Cheap to clone. `DurableFs::default()` is the real thing.
#[derive(Clone)]
pub struct DurableFs {
    faults: Arc<dyn Faults>,
}

impl Default for DurableFs {
    fn default() -> Self {
        Self { faults: Arc::new(NoFaults) }
    }
}

impl DurableFs {
    pub fn with_faults(faults: Arc<dyn Faults>) -> Self {
        Self { faults }
    }

    fn step<T>(&self, step: Step, path: &Path, work: impl FnOnce() -> io::Result<T>) -> Result<T> {
        self.faults
            .before(step, path)
            .and_then(|()| work())
            .map_err(|error| DurableFsError::new(step, path, error))
    }

    /// Readers see the old bytes or the new ones, also after a crash; when this returns, the new ones are
    /// durable. Two writers of one path at a time are the caller's mistake: they share the temporary name.
    pub fn write_atomically(&self, path: &Path, bytes: &[u8]) -> Result<()> {
        let temporary = temporary_name(path);
        let file = self.step(Step::CreateFile, &temporary, || File::create(&temporary))?;
        if let Err(error) = self.write_at(&file, &temporary, bytes, 0) {
            // On a full disk the half-written file would take the very space that is missing. That it may
            // stay is no new problem: the first error is the one to tell.
            drop(fs::remove_file(&temporary));
            return Err(error);
        }
        self.step(Step::SyncFile, &temporary, || file.sync_all())?;
        drop(file);
        self.rename_durably(&temporary, path)
    }

    /// Within one directory, or between two of one file system. The bytes of `from` must be durable already.
    pub fn rename_durably(&self, from: &Path, to: &Path) -> Result<()> {
        self.step(Step::Rename, to, || fs::rename(from, to))?;
        self.sync_parent(to)?;
        if parent_of(from) == parent_of(to) { Ok(()) } else { self.sync_parent(from) }
    }

    /// Creates the directory and those above it that are missing, each durably. One that exists is fine, and is durable
    /// afterwards: whoever is making it at this moment may not have come so far.
    pub fn create_dir_durably(&self, path: &Path) -> Result<()> {
        if path.is_dir() {
            return self.sync_parent(path);
        }
        if !parent_of(path).is_dir() {
            self.create_dir_durably(parent_of(path))?;
        }
        self.step(Step::CreateDirectory, path, || match fs::create_dir(path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
            other => other,
        })?;
        self.sync_parent(path)
    }

    /// A file that is not there is fine.
    pub fn remove_file_durably(&self, path: &Path) -> Result<()> {
        self.step(Step::Remove, path, || match fs::remove_file(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other,
        })?;
        self.sync_parent(path)
    }

    /// Removes a directory with all that is in it. After a crash it is whole, or gone: what is left is under another name
    /// ([`REMOVED_SUFFIX`]), and may be removed at any time. False if there was none.
    pub fn remove_tree(&self, path: &Path) -> Result<bool> {
        let mut name = path.as_os_str().to_owned();
        name.push(REMOVED_SUFFIX);
        let removed = PathBuf::from(name);
        // What an earlier attempt has left would be in the way of the rename.
        self.remove_all_in(&removed)?;
        if !path.is_dir() {
            return Ok(false);
        }
        self.rename_durably(path, &removed)?;
        self.remove_all_in(&removed)?;
        Ok(true)
    }

    fn remove_all_in(&self, path: &Path) -> Result<()> {
        self.step(Step::Remove, path, || match fs::remove_dir_all(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other,
        })
    }

    /// Opens a file for reading and writing in place.
    pub fn open_for_writing(&self, path: &Path) -> Result<File> {
        self.step(Step::Open, path, || OpenOptions::new().read(true).write(true).open(path))
    }

    /// All of `bytes`, at `offset`. Not durable before [`DurableFs::sync_data`].
    pub fn write_at(&self, file: &File, path: &Path, bytes: &[u8], offset: u64) -> Result<()> {
        self.step(Step::Write, path, || file.write_all_at(bytes, offset))
    }

    /// Cuts or extends (with a hole). Not durable before [`DurableFs::sync_data`].
    pub fn set_length(&self, file: &File, path: &Path, length: u64) -> Result<()> {
        self.step(Step::SetLength, path, || file.set_len(length))
    }

    /// fdatasync: bytes and length, but not times.
    pub fn sync_data(&self, file: &File, path: &Path) -> Result<()> {
        self.step(Step::SyncFile, path, || file.sync_data())
    }

    /// Makes names in a directory durable.
    pub fn sync_directory(&self, path: &Path) -> Result<()> {
        self.step(Step::SyncDirectory, path, || File::open(path)?.sync_all())
    }

    /// Makes the name of `path` itself durable.
    pub fn sync_parent(&self, path: &Path) -> Result<()> {
        self.sync_directory(parent_of(path))
    }
}

/// Runs blocking file work beside the async threads. A panic in it goes on in the caller.
pub async fn run_blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(value) => value,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // Not started because the runtime is being dropped; so is this task.
            Err(_) => std::future::pending().await,
        },
    }
}

fn parent_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        Some(_) => Path::new("."),
        None => Path::new("/"),
    }
}

fn temporary_name(path: &Path) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(TEMPORARY_SUFFIX);
    name.into()
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    /// Every step from the given one on fails: the process is gone.
    struct CrashAt {
        step: usize,
        seen: AtomicUsize,
        error: io::ErrorKind,
    }

    impl CrashAt {
        fn new(step: usize, error: io::ErrorKind) -> Arc<Self> {
            Arc::new(Self { step, seen: AtomicUsize::new(0), error })
        }
    }

    impl Faults for CrashAt {
        fn before(&self, _step: Step, _path: &Path) -> io::Result<()> {
            if self.seen.fetch_add(1, Ordering::Relaxed) < self.step {
                Ok(())
            } else {
                Err(self.error.into())
            }
        }
    }

    #[test]
    fn a_crash_at_any_step_leaves_old_bytes_or_new_ones() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("control");
        let mut failures = 0;
        for step in 0.. {
            DurableFs::default().write_atomically(&path, b"old").unwrap();
            let crashing = DurableFs::with_faults(CrashAt::new(step, io::ErrorKind::Other));
            let outcome = crashing.write_atomically(&path, b"newer");
            let found = fs::read(&path).unwrap();
            match outcome {
                Ok(()) => {
                    assert_eq!(found, b"newer");
                    break;
                }
                Err(_) => assert!(found == b"old" || found == b"newer"),
            }
            failures += 1;
        }
        assert_eq!(failures, 5, "create, write, fsync, rename, fsync of the directory");
    }

    #[test]
    fn a_failed_fsync_says_that_it_is_final() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("control");
        // Steps: create, write, then the fsync.
        let crashing = DurableFs::with_faults(CrashAt::new(2, io::ErrorKind::StorageFull));
        let error = crashing.write_atomically(&path, b"bytes").unwrap_err();
        assert!(error.is_sync_failure() && !error.is_disk_full(), "{error}");

        let crashing = DurableFs::with_faults(CrashAt::new(1, io::ErrorKind::StorageFull));
        let error = crashing.write_atomically(&path, b"bytes").unwrap_err();
        assert!(!error.is_sync_failure() && error.is_disk_full(), "{error}");
    }

    #[test]
    fn directories_are_made_with_those_above_them() {
        let directory = tempfile::tempdir().unwrap();
        let deep = directory.path().join("a/b/c");
        let real = DurableFs::default();
        real.create_dir_durably(&deep).unwrap();
        real.create_dir_durably(&deep).unwrap();
        assert!(deep.is_dir());
        fs::write(directory.path().join("file"), b"").unwrap();
        assert!(real.create_dir_durably(&directory.path().join("file")).is_err());
    }

    /// Another thread has made it, and not synced the directory that it is in.
    #[test]
    fn a_directory_that_is_there_is_not_taken_for_a_durable_one() {
        let directory = tempfile::tempdir().unwrap();
        let made = directory.path().join("made");
        fs::create_dir(&made).unwrap();
        let crashing = DurableFs::with_faults(CrashAt::new(0, io::ErrorKind::Other));
        assert!(crashing.create_dir_durably(&made).unwrap_err().is_sync_failure());
    }

    #[test]
    fn removing_what_is_not_there_is_fine() {
        let directory = tempfile::tempdir().unwrap();
        DurableFs::default().remove_file_durably(&directory.path().join("absent")).unwrap();
    }
}

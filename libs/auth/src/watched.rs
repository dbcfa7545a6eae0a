//! [`Watched`]: a value that is made of files, or of the files in a directory, and made anew when they change.
//!
//! Nobody is told of a change: whoever wants the value looks, once a second at most.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use arc_swap::ArcSwap;

use crate::AuthError;

/// How long a change may go unnoticed.
const LOOK_EVERY: Duration = Duration::from_secs(1);

pub(crate) struct Watched<T> {
    current: ArcSwap<T>,
    source: Option<Source<T>>,
}

struct Source<T> {
    paths: Vec<PathBuf>,
    read: Box<dyn Fn() -> Result<T, AuthError> + Send + Sync>,
    seen: Mutex<Seen>,
}

struct Seen {
    looked: Instant,
    files: Vec<Stamp>,
}

/// What tells one version of a file from another without reading it.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Stamp {
    path: PathBuf,
    modified: Option<SystemTime>,
    length: u64,
    inode: u64,
}

impl<T> Watched<T> {
    pub fn open(path: &Path, read: fn(&Path) -> Result<T, AuthError>) -> Result<Watched<T>, AuthError>
    where
        T: 'static,
    {
        let source = path.to_owned();
        Watched::of_files(vec![path.to_owned()], move || read(&source))
    }

    /// Of several files, a change of any of which is a change.
    pub fn of_files(
        paths: Vec<PathBuf>,
        read: impl Fn() -> Result<T, AuthError> + Send + Sync + 'static,
    ) -> Result<Watched<T>, AuthError> {
        // Looked at before it is read: a change in between is seen the next time.
        let seen = Mutex::new(Seen { looked: Instant::now(), files: stamps(&paths) });
        let current = ArcSwap::from_pointee(read()?);
        Ok(Watched { current, source: Some(Source { paths, read: Box::new(read), seen }) })
    }

    /// A value of no file, which never changes.
    pub fn fixed(value: T) -> Watched<T> {
        Watched { current: ArcSwap::from_pointee(value), source: None }
    }

    pub fn get(&self) -> Arc<T> {
        if let Some(source) = &self.source {
            self.look(source);
        }
        self.current.load_full()
    }

    fn look(&self, source: &Source<T>) {
        // Somebody else is looking just now, or a panic ended the process.
        let Ok(mut seen) = source.seen.try_lock() else { return };
        if seen.looked.elapsed() < LOOK_EVERY {
            return;
        }
        seen.looked = Instant::now();
        let files = stamps(&source.paths);
        if files == seen.files {
            return;
        }
        match (source.read)() {
            Ok(value) => {
                let paths: Vec<_> = source.paths.iter().map(|path| path.display().to_string()).collect();
                tracing::info!(path = paths.join(", "), "changed, and was read again");
                self.current.store(Arc::new(value));
                seen.files = files;
            }
            // Half written, perhaps: the next look is in a second.
            Err(error) => tracing::warn!("{error}; what was read before stays in force"),
        }
    }

    /// As if a second had gone by.
    #[cfg(test)]
    pub fn look_now(&self) {
        if let Some(source) = &self.source {
            let earlier = Instant::now().checked_sub(LOOK_EVERY).expect("the machine runs for a second");
            source.seen.lock().unwrap().looked = earlier;
        }
    }
}

fn stamps(paths: &[PathBuf]) -> Vec<Stamp> {
    let files = paths.iter().flat_map(|path| files(path));
    let mut stamps: Vec<_> = files.filter_map(|file| stamp(&file)).collect();
    stamps.sort();
    stamps
}

/// The file itself, or the files of a directory.
pub(crate) fn files(path: &Path) -> Vec<PathBuf> {
    match std::fs::read_dir(path) {
        Ok(entries) => entries.filter_map(|entry| Some(entry.ok()?.path())).collect(),
        Err(_) => vec![path.to_owned()],
    }
}

fn stamp(path: &Path) -> Option<Stamp> {
    use std::os::unix::fs::MetadataExt;
    let metadata = std::fs::metadata(path).ok()?;
    Some(Stamp {
        path: path.to_owned(),
        modified: metadata.modified().ok(),
        length: metadata.len(),
        inode: metadata.ino(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(path: &Path) -> Result<String, AuthError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| AuthError::Unreadable { path: path.to_owned(), source })?;
        if text.is_empty() { Err(AuthError::NotAToken { path: path.to_owned() }) } else { Ok(text) }
    }

    #[test]
    fn a_changed_file_is_read_again_and_a_bad_one_changes_nothing() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("file");
        assert!(Watched::open(&path, read).is_err());
        std::fs::write(&path, "one").unwrap();
        let watched = Watched::open(&path, read).unwrap();
        for (written, found) in [("two", "two"), ("", "two"), ("four", "four")] {
            std::fs::write(&path, written).unwrap();
            watched.look_now();
            assert_eq!(*watched.get(), found);
        }
        std::fs::remove_file(&path).unwrap();
        watched.look_now();
        assert_eq!(*watched.get(), "four");
        assert_eq!(*Watched::fixed(1).get(), 1);
    }
}

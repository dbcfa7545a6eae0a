//! Objects as files below a directory: for one machine, for tests, for a network file system.
//!
//! A put writes a file below `.in-progress/`, fsyncs it, renames it to its place and fsyncs that directory. Several
//! processes may use one directory. Unlike in an object store, a key cannot be both an object and the "directory" of
//! other objects.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use durable_fs::{DurableFs, DurableFsError, run_blocking};

use crate::{ListMode, Listing, ObjectInfo, ObjectKey, RemoteError, RemoteStorage};

const IN_PROGRESS: &str = ".in-progress";
/// No put lasts so long without a write: what is older is what a crash left.
const ABANDONED: Duration = Duration::from_secs(3600);

#[derive(Clone, Debug)]
pub struct LocalDir {
    root: Arc<PathBuf>,
    fs: FileSystem,
    /// Among all that put into the directory; a process id says nothing where each has a container of its own.
    instance: u64,
    next_temporary: Arc<AtomicU64>,
}

#[derive(Clone)]
struct FileSystem(DurableFs);

impl std::fmt::Debug for FileSystem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("DurableFs")
    }
}

impl LocalDir {
    /// The directory is created if it is missing. Puts that a crash cut short are forgotten.
    pub async fn open(root: impl Into<PathBuf>, fs: DurableFs) -> Result<Self, RemoteError> {
        let root = root.into();
        let instance = rand::random();
        let this =
            Self { root: Arc::new(root), fs: FileSystem(fs), instance, next_temporary: Arc::default() };
        let opened = this.clone();
        run_blocking(move || {
            let scratch = opened.root.join(IN_PROGRESS);
            opened
                .fs
                .0
                .create_dir_durably(&scratch)
                .map_err(|error| not_durable("open the store of", "", error))?;
            remove_abandoned(&scratch).map_err(|error| io_error("open the store of", "", error))
        })
        .await?;
        Ok(this)
    }

    fn path(&self, key: &ObjectKey) -> PathBuf {
        self.root.join(key.as_str())
    }

    fn store(
        &self,
        key: &ObjectKey,
        write: impl FnOnce(&mut File) -> io::Result<()>,
    ) -> Result<(), RemoteError> {
        let number = self.next_temporary.fetch_add(1, Ordering::Relaxed);
        let temporary = self.root.join(IN_PROGRESS).join(format!("{}-{number}", self.instance));
        let target = self.path(key);
        let outcome = File::create_new(&temporary)
            .and_then(|mut file| write(&mut file).map(|()| file))
            .map_err(|error| io_error("put", key.as_str(), error))
            .and_then(|file| {
                let durable = || {
                    self.fs.0.sync_data(&file, &temporary)?;
                    self.fs.0.create_dir_durably(target.parent().unwrap_or(&self.root))?;
                    self.fs.0.rename_durably(&temporary, &target)
                };
                durable().map_err(|error| not_durable("put", key.as_str(), error))
            });
        if outcome.is_err() {
            // Best effort: what stays is removed when the store is opened next.
            let _ = fs::remove_file(&temporary);
        }
        outcome
    }

    fn open_object(&self, key: &ObjectKey) -> Result<(File, u64), RemoteError> {
        let file = File::open(self.path(key)).map_err(|error| get_error(key, error))?;
        let metadata = file.metadata().map_err(|error| get_error(key, error))?;
        if metadata.is_file() { Ok((file, metadata.len())) } else { Err(RemoteError::NotFound(key.clone())) }
    }

    fn list_into(&self, directory: &str, mode: ListMode, listing: &mut Listing) -> Result<(), RemoteError> {
        let error = |error| io_error("list", directory, error);
        let entries = match fs::read_dir(self.root.join(directory)) {
            Ok(entries) => entries,
            Err(cause) if is_absent(&cause) => return Ok(()),
            Err(cause) => return Err(error(cause)),
        };
        for entry in entries {
            let entry = entry.map_err(error)?;
            let name = entry.file_name();
            let text =
                if directory.is_empty() { PathBuf::from(name) } else { Path::new(directory).join(name) };
            // What is not a key was not put here by us: `.in-progress`, for one.
            let Some(key) = text.to_str().and_then(|text| ObjectKey::new(text).ok()) else { continue };
            let metadata = match entry.metadata() {
                Ok(metadata) => metadata,
                Err(cause) if is_absent(&cause) => continue,
                Err(cause) => return Err(error(cause)),
            };
            match (metadata.is_dir(), mode) {
                (true, ListMode::Recursive) => self.list_into(key.as_str(), mode, listing)?,
                (true, ListMode::Children) => listing.directories.push(key),
                (false, _) => listing.objects.push(ObjectInfo { key, size: metadata.len() }),
            }
        }
        Ok(())
    }
}

#[async_trait]
impl RemoteStorage for LocalDir {
    async fn put(&self, key: &ObjectKey, body: Bytes) -> Result<(), RemoteError> {
        let (this, key) = (self.clone(), key.clone());
        run_blocking(move || this.store(&key, |file| file.write_all(&body))).await
    }

    async fn put_file(&self, key: &ObjectKey, path: &Path) -> Result<(), RemoteError> {
        let (this, key, path) = (self.clone(), key.clone(), path.to_owned());
        run_blocking(move || this.store(&key, |file| io::copy(&mut File::open(&path)?, file).map(drop))).await
    }

    async fn get(&self, key: &ObjectKey) -> Result<Bytes, RemoteError> {
        let (this, key) = (self.clone(), key.clone());
        run_blocking(move || {
            let (mut file, size) = this.open_object(&key)?;
            let mut body = Vec::with_capacity(usize::try_from(size).unwrap_or(0));
            file.read_to_end(&mut body).map_err(|error| get_error(&key, error))?;
            Ok(body.into())
        })
        .await
    }

    async fn get_range(&self, key: &ObjectKey, range: Range<u64>) -> Result<Bytes, RemoteError> {
        let (this, key) = (self.clone(), key.clone());
        run_blocking(move || {
            let (file, size) = this.open_object(&key)?;
            let Range { start, end } = range;
            if start > end || end > size {
                return Err(RemoteError::BadRange { key, size, start, end });
            }
            let mut body = vec![0; (end - start) as usize];
            file.read_exact_at(&mut body, start).map_err(|error| get_error(&key, error))?;
            Ok(body.into())
        })
        .await
    }

    async fn get_to_file(&self, key: &ObjectKey, path: &Path) -> Result<u64, RemoteError> {
        let (this, key, path) = (self.clone(), key.clone(), path.to_owned());
        run_blocking(move || {
            let (mut source, _) = this.open_object(&key)?;
            File::create(&path)
                .and_then(|mut file| io::copy(&mut source, &mut file))
                .map_err(|error| get_error(&key, error))
        })
        .await
    }

    async fn head(&self, key: &ObjectKey) -> Result<Option<u64>, RemoteError> {
        let (this, key) = (self.clone(), key.clone());
        run_blocking(move || match fs::metadata(this.path(&key)) {
            Ok(metadata) => Ok(metadata.is_file().then_some(metadata.len())),
            Err(error) if is_absent(&error) => Ok(None),
            Err(error) => Err(io_error("look up", key.as_str(), error)),
        })
        .await
    }

    async fn list(&self, prefix: Option<&ObjectKey>, mode: ListMode) -> Result<Listing, RemoteError> {
        let (this, prefix) = (self.clone(), prefix.cloned());
        run_blocking(move || {
            let mut listing = Listing::default();
            this.list_into(prefix.as_ref().map_or("", ObjectKey::as_str), mode, &mut listing)?;
            listing.objects.sort_by(|a, b| a.key.cmp(&b.key));
            listing.directories.sort();
            Ok(listing)
        })
        .await
    }

    async fn delete(&self, key: &ObjectKey) -> Result<(), RemoteError> {
        let (this, key) = (self.clone(), key.clone());
        run_blocking(move || {
            let path = this.path(&key);
            match fs::metadata(&path) {
                Ok(metadata) if metadata.is_file() => {}
                Ok(_) => return Ok(()),
                Err(error) if is_absent(&error) => return Ok(()),
                Err(error) => return Err(io_error("delete", key.as_str(), error)),
            }
            this.fs.0.remove_file_durably(&path).map_err(|error| not_durable("delete", key.as_str(), error))
        })
        .await
    }
}

fn remove_abandoned(directory: &Path) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let remove = || {
            let age = entry.metadata()?.modified()?.elapsed().unwrap_or_default();
            if age > ABANDONED { fs::remove_file(entry.path()) } else { Ok(()) }
        };
        // Another process may have just finished it.
        remove().or_else(|error| if is_absent(&error) { Ok(()) } else { Err(error) })?;
    }
    Ok(())
}

/// A key below another object's key does not exist either.
fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

fn get_error(key: &ObjectKey, error: io::Error) -> RemoteError {
    if is_absent(&error) { RemoteError::NotFound(key.clone()) } else { io_error("get", key.as_str(), error) }
}

fn io_error(action: &'static str, key: &str, source: io::Error) -> RemoteError {
    RemoteError::Io { action, key: key.to_owned(), source }
}

fn not_durable(action: &'static str, key: &str, source: DurableFsError) -> RemoteError {
    RemoteError::NotDurable { action, key: key.to_owned(), source }
}

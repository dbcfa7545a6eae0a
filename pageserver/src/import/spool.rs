//! Data directories of any size: the files of an archive are laid down, and read again in the order of keys, a page at a
//! time.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use types::{BLCKSZ, Fork, Key, Lsn, PgVersion, RELSEG_BLOCKS, RelTag};

use super::path::TemplateFile;
use super::{Import, ImportError, NewIdentity, file_of, is_written, whole_pages};
use crate::storage::TimelineMetadata;

/// A file of pages, laid down.
struct Spooled {
    /// Of its first page; the others follow.
    first: Key,
    rel: Option<RelTag>,
    path: PathBuf,
}

/// What a new root timeline is made of.
pub struct ImportedDirectory {
    pub metadata: TimelineMetadata,
    pub prev_record_lsn: Lsn,
    /// In the order of keys. Files are removed as they have been read.
    pub entries: Box<dyn Iterator<Item = Result<(Key, Bytes), ImportError>> + Send>,
}

/// Reads a `tar.zst` of a data directory. `scratch` is an empty directory, with room for all of it. Blocking.
pub fn import_data_directory(
    tar_zst: impl Read,
    version: PgVersion,
    identity: NewIdentity,
    scratch: &Path,
) -> Result<ImportedDirectory, ImportError> {
    let mut import = Import::default();
    let mut spooled: Vec<Spooled> = Vec::new();
    let mut archive = tar::Archive::new(zstd::stream::read::Decoder::new(tar_zst)?);
    for entry in archive.entries()? {
        let mut entry = entry?;
        let path = entry.path()?.to_string_lossy().into_owned();
        refuse(&path)?;
        let Some(file) = file_of(&entry, &path)? else { continue };
        let (first, rel) = match file {
            TemplateFile::Relation { rel, segment } => {
                import.note_relation(rel, segment, whole_pages(&path, entry.size())?);
                (Key::rel_block(rel, segment * RELSEG_BLOCKS), Some(rel))
            }
            TemplateFile::Slru { slru, segment } => {
                import.note_slru(slru, segment, whole_pages(&path, entry.size())?);
                (Key::slru_block(slru, segment, 0), None)
            }
            TemplateFile::Control
            | TemplateFile::RelMap { .. }
            | TemplateFile::DatabaseVersion { .. }
            | TemplateFile::Origins => {
                let mut contents = Vec::new();
                entry.read_to_end(&mut contents)?;
                import.file(file, &path, contents.into())?;
                continue;
            }
        };
        // Under a name of ours: what the archive says of names is not to be trusted.
        let target = scratch.join(spooled.len().to_string());
        let mut written = File::create(&target).map_err(at("create", &target))?;
        std::io::copy(&mut entry, &mut written).map_err(at("write", &target))?;
        spooled.push(Spooled { first, rel, path: target });
    }
    leave_out_unlogged(&mut import, &mut spooled);
    spooled.sort_by_key(|file| file.first);
    let imported = import.finish(version, identity)?;
    // Pages come before all else in the order of keys.
    let pages = spooled.into_iter().flat_map(pages);
    let entries = Box::new(pages.chain(imported.entries.into_iter().map(Ok)));
    Ok(ImportedDirectory { metadata: imported.metadata, prev_record_lsn: imported.prev_record_lsn, entries })
}

fn at(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> ImportError {
    let path = path.to_owned();
    move |source| ImportError::Spool { action, path, source }
}

/// What would be lost without a word.
fn refuse(path: &str) -> Result<(), ImportError> {
    let path = path.trim_start_matches("./");
    let below = |directory: &str| path.strip_prefix(directory).is_some_and(|name| !name.is_empty());
    match () {
        () if below("pg_tblspc/") => Err(ImportError::Tablespace(path.to_owned())),
        () if below("pg_twophase/") => Err(ImportError::PreparedTransaction(path.to_owned())),
        () => Ok(()),
    }
}

/// Of an unlogged relation only the fork is kept from which PostgreSQL makes it anew, as after a crash.
fn leave_out_unlogged(import: &mut Import, spooled: &mut Vec<Spooled>) {
    let relations = spooled.iter().filter_map(|file| file.rel);
    let unlogged: BTreeSet<RelTag> = relations.filter(|rel| rel.fork == Fork::Init).collect();
    let goes =
        |rel: &RelTag| rel.fork != Fork::Init && unlogged.contains(&RelTag { fork: Fork::Init, ..*rel });
    for rel in spooled.iter().filter_map(|file| file.rel).filter(&goes) {
        import.segments.remove(&rel);
    }
    spooled.retain(|file| !file.rel.as_ref().is_some_and(&goes));
}

/// The pages of a file, which is removed behind them.
fn pages(file: Spooled) -> Box<dyn Iterator<Item = Result<(Key, Bytes), ImportError>> + Send> {
    let reader = match File::open(&file.path) {
        Ok(opened) => BufReader::with_capacity(64 * BLCKSZ, opened),
        Err(error) => return Box::new(std::iter::once(Err(at("open", &file.path)(error)))),
    };
    // It stays until it is closed; what fails to be removed goes with the directory.
    drop(std::fs::remove_file(&file.path));
    let mut reader = Some(reader);
    let mut next = Some(file.first);
    Box::new(std::iter::from_fn(move || {
        loop {
            let key = next?;
            let mut page = vec![0; BLCKSZ];
            match reader.as_mut()?.read_exact(&mut page) {
                Ok(()) => next = key.next(),
                Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => return None,
                Err(error) => {
                    reader = None;
                    return Some(Err(at("read", &file.path)(error)));
                }
            }
            if is_written(&page) {
                return Some(Ok((key, Bytes::from(page))));
            }
        }
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_be_lost_is_refused() {
        for path in ["pg_tblspc/16400", "./pg_tblspc/16400/PG_15_202209061/5/16384"] {
            assert!(matches!(refuse(path), Err(ImportError::Tablespace(_))), "{path}");
        }
        assert!(matches!(refuse("pg_twophase/000002F1"), Err(ImportError::PreparedTransaction(_))));
        for path in ["pg_tblspc/", "./pg_tblspc", "pg_twophase/", "base/5/16384"] {
            assert!(refuse(path).is_ok(), "{path}");
        }
    }

    #[test]
    fn pages_come_in_order_without_those_of_zeros() {
        let scratch = tempfile::tempdir().unwrap();
        let rel = RelTag { spc: 1663, db: 5, rel: 16384, fork: Fork::Main };
        let path = scratch.path().join("0");
        let contents: Vec<u8> = [1, 0, 3].iter().flat_map(|byte| [*byte; BLCKSZ]).collect();
        std::fs::write(&path, contents).unwrap();
        let spooled = Spooled { first: Key::rel_block(rel, 7), rel: Some(rel), path: path.clone() };
        let found: Vec<(Key, u8)> =
            pages(spooled).map(|entry| entry.unwrap()).map(|(key, page)| (key, page[0])).collect();
        assert_eq!(found, [(Key::rel_block(rel, 7), 1), (Key::rel_block(rel, 9), 3)]);
        assert!(!path.exists());
    }

    #[test]
    fn of_unlogged_relations_the_init_fork_stays() {
        let of = |rel, fork| RelTag { spc: 1663, db: 5, rel, fork };
        let mut import = Import::default();
        let mut spooled = Vec::new();
        for rel in [of(1, Fork::Main), of(2, Fork::Main), of(2, Fork::Fsm), of(2, Fork::Init)] {
            import.note_relation(rel, 0, 1);
            spooled.push(Spooled { first: Key::rel_block(rel, 0), rel: Some(rel), path: PathBuf::new() });
        }
        leave_out_unlogged(&mut import, &mut spooled);
        let left: Vec<RelTag> = spooled.iter().filter_map(|file| file.rel).collect();
        assert_eq!(left, [of(1, Fork::Main), of(2, Fork::Init)]);
        assert_eq!(import.segments.into_keys().collect::<Vec<_>>(), left);
    }
}

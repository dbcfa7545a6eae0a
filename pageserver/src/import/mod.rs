//! A data directory that was stopped cleanly into the entries of a new root timeline: a template, that is initdb's output,
//! or somebody's database of any size.
//!
//! A template is read into memory, since it is some tens of MiB; what may be larger goes through files (spool.rs). The new
//! cluster gets a system identifier and a nonce of its own, begins PostgreSQL's timeline 1, and has no data checksums;
//! everything else is as it was.

mod path;
mod spool;

use std::collections::BTreeMap;
use std::io::Read;
use std::path::PathBuf;

use bytes::Bytes;
use pg_format::origins::OriginProgress;
use pg_format::wal::WalIdentity;
use pg_format::{ControlFile, DatabaseState, FormatError, synthesise_start};
use types::{BLCKSZ, Key, Lsn, PgVersion, RELSEG_BLOCKS, RelTag, SlruKind};

use crate::storage::TimelineMetadata;
use path::TemplateFile;
pub use spool::{ImportedDirectory, import_data_directory};

#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    #[error("reading the archive: {0}")]
    Read(#[from] std::io::Error),
    #[error(transparent)]
    Format(#[from] FormatError),
    #[error("the archive has no {0}")]
    Missing(&'static str),
    #[error("{path} has {length} bytes, which is not whole pages")]
    TornFile { path: String, length: u64 },
    #[error(
        "{0} is not stored as a file of its own (but as a link, or in a way that leaves out holes and is not known here): \
         make the archive without options for such"
    )]
    NotAFile(String),
    #[error("segment {segment} of relation {rel} has pages, but one before it is missing or not full")]
    Gap { rel: RelTag, segment: u32 },
    #[error("the data directory is of PostgreSQL {found}, not {expected}")]
    WrongVersion { found: PgVersion, expected: PgVersion },
    #[error("the server was not stopped cleanly")]
    NotShutDown,
    #[error("it has a tablespace of its own ({0}): move what is in it to pg_default first")]
    Tablespace(String),
    #[error("it has a prepared transaction ({0}): commit it or roll it back first")]
    PreparedTransaction(String),
    #[error("cannot {action} {}: {source}", .path.display())]
    Spool { action: &'static str, path: PathBuf, source: std::io::Error },
}

/// Unpacked bytes that a template may have.
const MOST_BYTES: u64 = 1 << 30;

/// What a new root timeline is made of.
#[derive(Debug)]
pub struct Imported {
    pub metadata: TimelineMetadata,
    pub prev_record_lsn: Lsn,
    /// In the order of keys.
    pub entries: BTreeMap<Key, Bytes>,
}

/// Reads a `tar.zst` of a data directory. Blocking, some 100 ms of work.
pub fn import_template(
    tar_zst: &[u8],
    version: PgVersion,
    identity: NewIdentity,
) -> Result<Imported, ImportError> {
    let mut import = Import::default();
    let decoder = zstd::stream::read::Decoder::new(tar_zst)?;
    let mut archive = tar::Archive::new(decoder.take(MOST_BYTES));
    for entry in archive.entries()? {
        let mut entry = entry?;
        let path = entry.path()?.to_string_lossy().into_owned();
        let Some(file) = file_of(&entry, &path)? else { continue };
        let mut contents = Vec::new();
        entry.read_to_end(&mut contents)?;
        import.file(file, &path, contents.into())?;
    }
    import.finish(version, identity)
}

/// What an entry of an archive is of a timeline. None: nothing.
fn file_of(entry: &tar::Entry<'_, impl Read>, path: &str) -> Result<Option<TemplateFile>, ImportError> {
    // POSIX archives give a file with holes such a name, and its contents a form that is not read here.
    let has_holes = path.contains("GNUSparseFile.");
    let Some(file) = path::classify(path) else {
        return if has_holes { Err(ImportError::NotAFile(path.to_owned())) } else { Ok(None) };
    };
    // GNU's own form is a kind of entry, and what is read of it has the holes filled.
    let kind = entry.header().entry_type();
    if kind.is_file() || kind.is_gnu_sparse() {
        Ok(Some(file))
    } else {
        Err(ImportError::NotAFile(path.to_owned()))
    }
}

/// What tells clusters made of one template apart.
#[derive(Clone, Copy, Debug)]
pub struct NewIdentity {
    pub system_identifier: u64,
    pub nonce: [u8; 32],
}

impl NewIdentity {
    /// As initdb makes them: seconds in the high half, so that identifiers are roughly in the order of their making.
    pub fn generate() -> Self {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        let low: u32 = rand::random();
        Self { system_identifier: now.as_secs() << 32 | u64::from(low), nonce: rand::random() }
    }
}

#[derive(Default)]
struct Import {
    entries: BTreeMap<Key, Bytes>,
    /// Blocks in each segment of each relation.
    segments: BTreeMap<RelTag, BTreeMap<u32, u32>>,
    control: Option<ControlFile>,
}

impl Import {
    fn file(&mut self, file: TemplateFile, path: &str, contents: Bytes) -> Result<(), ImportError> {
        match file {
            TemplateFile::Control => self.control = Some(ControlFile::decode(&contents)?),
            TemplateFile::RelMap { spc, db } => {
                self.entries.insert(Key::rel_map(spc, db), contents);
            }
            TemplateFile::DatabaseVersion { spc, db } => {
                self.entries.insert(Key::database(spc, db), Bytes::from_static(&[1]));
            }
            TemplateFile::Relation { rel, segment } => {
                let blocks = whole_pages(path, contents.len() as u64)?;
                self.note_relation(rel, segment, blocks);
                self.pages(contents, Key::rel_block(rel, segment * RELSEG_BLOCKS));
            }
            TemplateFile::Slru { slru, segment } => {
                let blocks = whole_pages(path, contents.len() as u64)?;
                self.note_slru(slru, segment, blocks);
                self.pages(contents, Key::slru_block(slru, segment, 0));
            }
            TemplateFile::Origins => {
                for OriginProgress { origin, remote_lsn } in pg_format::origins::decode(&contents)? {
                    let value = Bytes::copy_from_slice(&remote_lsn.0.to_le_bytes());
                    self.entries.insert(Key::replication_origin(origin), value);
                }
            }
        }
        Ok(())
    }

    fn note_relation(&mut self, rel: RelTag, segment: u32, blocks: u32) {
        self.segments.entry(rel).or_default().insert(segment, blocks);
    }

    fn note_slru(&mut self, slru: SlruKind, segment: u32, blocks: u32) {
        self.note_size(Key::slru_seg_size(slru, segment), blocks);
    }

    fn pages(&mut self, contents: Bytes, first: Key) {
        let keys = std::iter::successors(Some(first), Key::next);
        for (key, page) in keys.zip(contents.chunks_exact(BLCKSZ)).filter(|(_, page)| is_written(page)) {
            self.entries.insert(key, Bytes::copy_from_slice(page));
        }
    }

    fn note_size(&mut self, key: Key, blocks: u32) {
        self.entries.insert(key, Bytes::copy_from_slice(&blocks.to_le_bytes()));
    }

    fn finish(mut self, version: PgVersion, identity: NewIdentity) -> Result<Imported, ImportError> {
        let mut control = self.control.ok_or(ImportError::Missing("global/pg_control"))?;
        if control.version != version {
            return Err(ImportError::WrongVersion { found: control.version, expected: version });
        }
        if control.state != DatabaseState::ShutDown {
            return Err(ImportError::NotShutDown);
        }
        control.system_identifier = identity.system_identifier;
        control.mock_authentication_nonce = identity.nonce;
        // As pg_checksums --disable leaves it: computes do not run with them, and layers have their own.
        control.data_checksum_version = 0;
        // Nobody has WAL of what was before.
        control.checkpoint_copy.tli = 1;
        control.checkpoint_copy.prev_tli = 1;
        let checkpoint = control.checkpoint_copy;
        for (rel, segments) in std::mem::take(&mut self.segments) {
            self.note_size(Key::rel_size(rel), blocks_of(rel, &segments)?);
        }
        self.entries.insert(Key::control_file(), control.encode().into());
        self.entries.insert(Key::checkpoint(), Bytes::copy_from_slice(&checkpoint.encode(version)));
        let wal = WalIdentity {
            version,
            system_identifier: identity.system_identifier,
            segment_size: control.wal_segment_size,
            tli: checkpoint.tli,
        };
        // The record of a shutdown checkpoint has one length; where it ends depends on the pages it crosses.
        let end = synthesise_start(control.checkpoint, Lsn::INVALID, &checkpoint, &wal).end_lsn;
        let metadata = TimelineMetadata {
            pg_version: version,
            system_identifier: identity.system_identifier,
            wal_seg_size: control.wal_segment_size,
            tli: checkpoint.tli,
            data_checksums: control.data_checksum_version != 0,
            initdb_lsn: end,
        };
        Ok(Imported { metadata, prev_record_lsn: control.checkpoint, entries: self.entries })
    }
}

/// As `mdnblocks` counts (PostgreSQL's md.c): up to the first segment that is not full. Truncation leaves empty ones behind
/// that. Pages there would be nobody's.
fn blocks_of(rel: RelTag, segments: &BTreeMap<u32, u32>) -> Result<u32, ImportError> {
    let mut end = 0;
    let mut goes_on = true;
    for ((segment, blocks), expected) in segments.iter().zip(0..) {
        goes_on &= *segment == expected;
        match goes_on {
            true => end += blocks,
            false if *blocks > 0 => return Err(ImportError::Gap { rel, segment: *segment }),
            false => {}
        }
        goes_on &= *blocks == RELSEG_BLOCKS;
    }
    Ok(end)
}

/// Pages of zeros are not stored: that is what a page without a version is.
fn is_written(page: &[u8]) -> bool {
    page.iter().any(|byte| *byte != 0)
}

fn whole_pages(path: &str, length: u64) -> Result<u32, ImportError> {
    let blocks = length / BLCKSZ as u64;
    match u32::try_from(blocks) {
        Ok(blocks) if length.is_multiple_of(BLCKSZ as u64) => Ok(blocks),
        _ => Err(ImportError::TornFile { path: path.to_owned(), length }),
    }
}

#[cfg(test)]
mod tests {
    use types::Fork;

    use super::*;

    const REL: RelTag = RelTag { spc: 1663, db: 5, rel: 16384, fork: Fork::Main };

    fn archive_of(path: &str, kind: tar::EntryType, contents: &[u8]) -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_gnu();
        header.set_size(contents.len() as u64);
        header.set_entry_type(kind);
        header.set_mode(0o600);
        if kind.is_hard_link() {
            header.set_link_name("base/5/1259").unwrap();
        }
        builder.append_data(&mut header, path, contents).unwrap();
        builder.into_inner().unwrap()
    }

    fn first_file(archive: &[u8]) -> Result<Option<TemplateFile>, ImportError> {
        let mut archive = tar::Archive::new(archive);
        let entry = archive.entries().unwrap().next().unwrap().unwrap();
        let path = entry.path().unwrap().to_string_lossy().into_owned();
        file_of(&entry, &path)
    }

    #[test]
    fn a_relation_that_is_no_file_is_refused() {
        let relation = TemplateFile::Relation { rel: REL, segment: 0 };
        let found = |path, kind| first_file(&archive_of(path, kind, b""));
        assert_eq!(found("base/5/16384", tar::EntryType::Regular).unwrap(), Some(relation));
        assert_eq!(found("base/5", tar::EntryType::Directory).unwrap(), None);
        for (path, kind) in [
            ("base/5/16384", tar::EntryType::Link),
            ("base/5/16384", tar::EntryType::Symlink),
            ("base/5/GNUSparseFile.71/16384", tar::EntryType::Regular),
        ] {
            let refused = found(path, kind);
            assert!(matches!(refused, Err(ImportError::NotAFile(_))), "{path}: {refused:?}");
        }
    }

    /// As a file system stores one, or `tar -S`.
    #[test]
    fn a_file_with_holes_is_read_whole() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("16384");
        let file = std::fs::File::create(&path).unwrap();
        file.set_len(64 * BLCKSZ as u64).unwrap();
        std::os::unix::fs::FileExt::write_all_at(&file, &[7; BLCKSZ], 63 * BLCKSZ as u64).unwrap();
        let mut builder = tar::Builder::new(Vec::new());
        builder.append_path_with_name(&path, "base/5/16384").unwrap();
        let archive = builder.into_inner().unwrap();
        assert!(archive.len() < 32 * BLCKSZ, "it was to have holes in the archive");

        let mut archive = tar::Archive::new(&*archive);
        let mut entry = archive.entries().unwrap().next().unwrap().unwrap();
        assert!(file_of(&entry, "base/5/16384").unwrap().is_some());
        assert_eq!(entry.size(), 64 * BLCKSZ as u64);
        let mut contents = Vec::new();
        entry.read_to_end(&mut contents).unwrap();
        assert_eq!(contents.len(), 64 * BLCKSZ);
        assert_eq!(contents[63 * BLCKSZ..], [7; BLCKSZ]);
    }

    #[test]
    fn a_relation_ends_where_postgresql_says() {
        let blocks = |segments: &[(u32, u32)]| blocks_of(REL, &segments.iter().copied().collect());
        assert_eq!(blocks(&[(0, 2)]).unwrap(), 2);
        assert_eq!(blocks(&[(0, RELSEG_BLOCKS), (1, 7)]).unwrap(), RELSEG_BLOCKS + 7);
        assert_eq!(blocks(&[(0, 2), (1, 0), (2, 0)]).unwrap(), 2, "truncation has left two empty ones");
        assert_eq!(blocks(&[(0, RELSEG_BLOCKS), (1, 0)]).unwrap(), RELSEG_BLOCKS);
        for (segments, of) in [(&[(0, 2), (1, 1)][..], 1), (&[(1, 1)], 1), (&[(0, RELSEG_BLOCKS), (2, 3)], 2)]
        {
            let refused = blocks(segments);
            assert!(matches!(refused, Err(ImportError::Gap { segment, .. }) if segment == of), "{refused:?}");
        }
    }
}

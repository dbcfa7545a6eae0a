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
        if !entry.header().entry_type().is_file() {
            continue;
        }
        let path = entry.path()?.to_string_lossy().into_owned();
        let Some(file) = path::classify(&path) else { continue };
        let mut contents = Vec::new();
        entry.read_to_end(&mut contents)?;
        import.file(file, &path, contents.into())?;
    }
    import.finish(version, identity)
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
        self.raise_size(Key::rel_size(rel), segment * RELSEG_BLOCKS + blocks);
    }

    fn note_slru(&mut self, slru: SlruKind, segment: u32, blocks: u32) {
        self.raise_size(Key::slru_seg_size(slru, segment), blocks);
    }

    fn pages(&mut self, contents: Bytes, first: Key) {
        let keys = std::iter::successors(Some(first), Key::next);
        for (key, page) in keys.zip(contents.chunks_exact(BLCKSZ)).filter(|(_, page)| is_written(page)) {
            self.entries.insert(key, Bytes::copy_from_slice(page));
        }
    }

    fn raise_size(&mut self, key: Key, blocks: u32) {
        let known = self.entries.get(&key).and_then(|image| crate::ingest::size_of(image)).unwrap_or(0);
        self.entries.insert(key, Bytes::copy_from_slice(&blocks.max(known).to_le_bytes()));
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

//! The control file: what a timeline must remember over a crash, beside its WAL.
//!
//! ```text
//!  0        4         8        12          12+n
//!  "VSKC"   version   n        body        CRC-32C of all before        integers little-endian
//! ```
//! The body is JSON, for people with an editor in a bad night. It is always written as a whole, under a
//! temporary name, fsynced and renamed: readers see the old file or the new one.

use std::path::{Path, PathBuf};

use consensus::AcceptorState;
use durable_fs::{DurableFs, DurableFsError};
use serde::{Deserialize, Serialize};
use types::{Lsn, TimelineId};

const MAGIC: &[u8; 4] = b"VSKC";
const FORMAT_VERSION: u32 = 1;
const HEAD: usize = 12;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ControlFile {
    pub acceptor: AcceptorState,
    /// PostgreSQL's timeline number, which names the segments.
    pub tli: u32,
    /// The branch that this timeline continues; it has WAL before this one's start.
    pub ancestor: Option<TimelineId>,
    /// What the pageserver has in object storage. Written lazily, so it may be older than the truth.
    pub remote_consistent_lsn: Lsn,
}

#[derive(Debug, thiserror::Error)]
pub enum ControlFileError {
    #[error("cannot read {}: {source}", path.display())]
    Read { path: PathBuf, source: std::io::Error },
    #[error("{} is damaged: {reason}", path.display())]
    Damaged { path: PathBuf, reason: String },
    #[error("{} has the format version {found}, this program reads {FORMAT_VERSION}", path.display())]
    Version { path: PathBuf, found: u32 },
}

/// Name of the file in a timeline's directory.
pub fn path_in(directory: &Path) -> PathBuf {
    directory.join("control")
}

impl ControlFile {
    pub fn encode(&self) -> Vec<u8> {
        let body = serde_json::to_vec(self).expect("plain data always becomes JSON");
        let mut bytes = Vec::with_capacity(HEAD + body.len() + 4);
        bytes.extend(MAGIC);
        bytes.extend(FORMAT_VERSION.to_le_bytes());
        bytes.extend(u32::try_from(body.len()).expect("a control file is small").to_le_bytes());
        bytes.extend(body);
        bytes.extend(crc32c::crc32c(&bytes).to_le_bytes());
        bytes
    }

    pub fn write(&self, fs: &DurableFs, directory: &Path) -> Result<(), DurableFsError> {
        fs.write_atomically(&path_in(directory), &self.encode())
    }

    pub fn read(directory: &Path) -> Result<ControlFile, ControlFileError> {
        let path = path_in(directory);
        let bytes =
            std::fs::read(&path).map_err(|source| ControlFileError::Read { path: path.clone(), source })?;
        decode(&bytes).map_err(|problem| match problem {
            Problem::Damaged(reason) => ControlFileError::Damaged { path, reason },
            Problem::Version(found) => ControlFileError::Version { path, found },
        })
    }
}

enum Problem {
    Damaged(String),
    Version(u32),
}

fn decode(bytes: &[u8]) -> Result<ControlFile, Problem> {
    let damaged = |reason: &str| Problem::Damaged(reason.to_owned());
    let (content, crc) = bytes.split_last_chunk().ok_or_else(|| damaged("too short"))?;
    let body = content.get(HEAD..).ok_or_else(|| damaged("too short"))?;
    if &content[..4] != MAGIC {
        return Err(damaged("it does not begin like a control file"));
    }
    let word =
        |at: usize| u32::from_le_bytes([content[at], content[at + 1], content[at + 2], content[at + 3]]);
    // The version first: another version may have its checksum elsewhere.
    if word(4) != FORMAT_VERSION {
        return Err(Problem::Version(word(4)));
    }
    if crc32c::crc32c(content) != u32::from_le_bytes(*crc) || word(8) as usize != body.len() {
        return Err(damaged("wrong checksum"));
    }
    serde_json::from_slice(body).map_err(|error| Problem::Damaged(error.to_string()))
}

#[cfg(test)]
pub mod tests {
    use consensus::{Configuration, Member, TimelineIdentity};
    use types::{NodeId, PgVersion, TenantId, TenantTimelineId, WalSegmentSize};

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
        ControlFile { acceptor, tli: 1, ancestor: None, remote_consistent_lsn: Lsn::INVALID }
    }

    #[test]
    fn what_was_written_is_read() {
        let directory = tempfile::tempdir().unwrap();
        let file = example(Lsn(0x149_8028));
        file.write(&DurableFs::default(), directory.path()).unwrap();
        assert_eq!(ControlFile::read(directory.path()).unwrap(), file);
    }

    #[test]
    fn damage_is_noticed_wherever_it_is() {
        let directory = tempfile::tempdir().unwrap();
        let good = example(Lsn(0x149_8028)).encode();
        for at in 0..good.len() {
            let mut bytes = good.clone();
            bytes[at] ^= 0x10;
            std::fs::write(path_in(directory.path()), &bytes).unwrap();
            assert!(ControlFile::read(directory.path()).is_err(), "byte {at}");
        }
        for length in 0..good.len() {
            std::fs::write(path_in(directory.path()), &good[..length]).unwrap();
            assert!(ControlFile::read(directory.path()).is_err(), "length {length}");
        }
    }
}

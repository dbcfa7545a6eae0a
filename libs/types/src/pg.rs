//! PostgreSQL's own words: versions, relations, forks, sizes.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Bytes in a page of a relation and in a page of WAL (`BLCKSZ`, `XLOG_BLCKSZ`).
pub const BLCKSZ: usize = 8192;

/// Blocks in one file of a relation, that is 1 GiB (`RELSEG_SIZE`).
pub const RELSEG_BLOCKS: u32 = 131_072;

/// Object identifier, as in `pg_class.oid`.
pub type Oid = u32;

/// Transaction id without its epoch.
pub type TransactionId = u32;

/// A major version of PostgreSQL. What differs between them is matched on this enum, so that a new
/// major version is found by the compiler.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "u32", try_from = "u32")]
pub enum PgVersion {
    V15,
    V17,
}

impl PgVersion {
    /// All that are supported, the oldest first.
    pub const ALL: [PgVersion; 2] = [PgVersion::V15, PgVersion::V17];

    /// The major number, as in `/usr/lib/postgresql/15`.
    pub const fn major(self) -> u32 {
        match self {
            PgVersion::V15 => 15,
            PgVersion::V17 => 17,
        }
    }
}

impl fmt::Display for PgVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.major(), f)
    }
}

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("PostgreSQL {0} is not supported: expected 15 or 17")]
pub struct ParsePgVersionError(pub String);

impl TryFrom<u32> for PgVersion {
    type Error = ParsePgVersionError;

    fn try_from(major: u32) -> Result<Self, ParsePgVersionError> {
        match major {
            15 => Ok(PgVersion::V15),
            17 => Ok(PgVersion::V17),
            other => Err(ParsePgVersionError(other.to_string())),
        }
    }
}

impl From<PgVersion> for u32 {
    fn from(version: PgVersion) -> u32 {
        version.major()
    }
}

impl FromStr for PgVersion {
    type Err = ParsePgVersionError;

    fn from_str(text: &str) -> Result<Self, ParsePgVersionError> {
        let major: u32 = text.parse().map_err(|_| ParsePgVersionError(text.to_owned()))?;
        major.try_into()
    }
}

/// Bytes in a WAL segment: a power of two from 1 MiB to 1 GiB, chosen at initdb; usually 16 MiB.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(into = "u32", try_from = "u32")]
pub struct WalSegmentSize(u32);

impl WalSegmentSize {
    pub const DEFAULT: WalSegmentSize = WalSegmentSize(16 << 20);

    pub const fn new(bytes: u32) -> Option<Self> {
        if bytes.is_power_of_two() && bytes >= 1 << 20 && bytes <= 1 << 30 { Some(Self(bytes)) } else { None }
    }

    pub const fn bytes(self) -> u64 {
        self.0 as u64
    }

    /// Name of a segment file: `TTTTTTTTXXXXXXXXYYYYYYYY`, eight hex digits each of the PostgreSQL
    /// timeline and of the two halves of the segment number (`XLogFileName` in xlog_internal.h).
    pub fn file_name(self, tli: u32, segment_number: u64) -> String {
        let per_id = 0x1_0000_0000 / self.bytes();
        format!("{tli:08X}{:08X}{:08X}", segment_number / per_id, segment_number % per_id)
    }
}

impl From<WalSegmentSize> for u32 {
    fn from(size: WalSegmentSize) -> u32 {
        size.0
    }
}

impl TryFrom<u32> for WalSegmentSize {
    type Error = String;

    fn try_from(bytes: u32) -> Result<Self, String> {
        Self::new(bytes).ok_or_else(|| {
            format!("{bytes} bytes is not a WAL segment size: expected a power of two from 1 MiB to 1 GiB")
        })
    }
}

/// A fork of a relation (`ForkNumber` in relpath.h).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[repr(u8)]
pub enum Fork {
    Main = 0,
    Fsm = 1,
    Vm = 2,
    Init = 3,
}

impl Fork {
    pub const ALL: [Fork; 4] = [Fork::Main, Fork::Fsm, Fork::Vm, Fork::Init];

    pub const fn from_number(number: u8) -> Option<Fork> {
        match number {
            0 => Some(Fork::Main),
            1 => Some(Fork::Fsm),
            2 => Some(Fork::Vm),
            3 => Some(Fork::Init),
            _ => None,
        }
    }

    pub const fn number(self) -> u8 {
        self as u8
    }

    /// What follows the relation's number in its file name.
    pub const fn file_suffix(self) -> &'static str {
        match self {
            Fork::Main => "",
            Fork::Fsm => "_fsm",
            Fork::Vm => "_vm",
            Fork::Init => "_init",
        }
    }
}

/// One fork of one relation: the file that PostgreSQL would keep it in.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct RelTag {
    /// Tablespace; 1663 is pg_default, 1664 pg_global.
    pub spc: Oid,
    /// Database; 0 for relations that all databases share.
    pub db: Oid,
    /// The relation's file number (relfilenode), not its OID.
    pub rel: Oid,
    pub fork: Fork,
}

impl RelTag {
    pub const DEFAULT_TABLESPACE: Oid = 1663;
    pub const GLOBAL_TABLESPACE: Oid = 1664;

    pub const fn with_fork(self, fork: Fork) -> RelTag {
        RelTag { fork, ..self }
    }
}

impl fmt::Display for RelTag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}{}", self.spc, self.db, self.rel, self.fork.file_suffix())
    }
}

impl fmt::Debug for RelTag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segment_names_are_postgres() {
        let size = WalSegmentSize::DEFAULT;
        assert_eq!(size.file_name(1, 0), "000000010000000000000000");
        assert_eq!(size.file_name(1, 256), "000000010000000100000000");
        assert_eq!(size.file_name(2, 0x1_2345), "000000020000012300000045");
        assert_eq!(WalSegmentSize::new(3 << 20), None);
    }
}

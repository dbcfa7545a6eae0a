//! Which directories a data directory has, and where in it a relation lies.

use std::path::PathBuf;

use types::{Oid, PgVersion, RelTag};

use super::{v15, v17};

/// The layout of one major version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DataLayout {
    V15,
    V17,
}

impl DataLayout {
    pub const fn of(version: PgVersion) -> DataLayout {
        match version {
            PgVersion::V15 => DataLayout::V15,
            PgVersion::V17 => DataLayout::V17,
        }
    }

    /// Every directory that initdb makes, relative to the data directory.
    pub fn directories(self) -> &'static [&'static str] {
        match self {
            DataLayout::V15 => v15::DIRECTORIES,
            DataLayout::V17 => v17::DIRECTORIES,
        }
    }

    /// Inside a tablespace each catalogue version has a directory of its own.
    pub fn tablespace_subdirectory(self) -> &'static str {
        match self {
            DataLayout::V15 => v15::TABLESPACE_SUBDIRECTORY,
            DataLayout::V17 => v17::TABLESPACE_SUBDIRECTORY,
        }
    }

    /// The directory of a database in a tablespace, relative to the data directory.
    pub fn database_directory(self, tablespace: Oid, database: Oid) -> PathBuf {
        match tablespace {
            RelTag::GLOBAL_TABLESPACE => PathBuf::from("global"),
            RelTag::DEFAULT_TABLESPACE => PathBuf::from(format!("base/{database}")),
            other => {
                PathBuf::from(format!("pg_tblspc/{other}/{}/{database}", self.tablespace_subdirectory()))
            }
        }
    }
}

/// The name of one file of a relation: `16384`, `16384.1`, `16384_vm`.
pub fn relation_file_name(relation: RelTag, segment: u32) -> String {
    let stem = format!("{}{}", relation.rel, relation.fork.file_suffix());
    if segment == 0 { stem } else { format!("{stem}.{segment}") }
}

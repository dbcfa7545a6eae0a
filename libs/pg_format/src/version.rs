//! Picks a version's number: the one place that a new major version is entered, after its own file.

use types::PgVersion;

use crate::{v15, v17};

/// `xlp_magic` of WAL pages.
pub const fn wal_page_magic(version: PgVersion) -> u16 {
    match version {
        PgVersion::V15 => v15::WAL_PAGE_MAGIC,
        PgVersion::V17 => v17::WAL_PAGE_MAGIC,
    }
}

/// `pg_control_version` in pg_control.
pub const fn control_version(version: PgVersion) -> u32 {
    match version {
        PgVersion::V15 => v15::CONTROL_VERSION,
        PgVersion::V17 => v17::CONTROL_VERSION,
    }
}

/// `catalog_version_no` in pg_control.
pub const fn catalog_version(version: PgVersion) -> u32 {
    match version {
        PgVersion::V15 => v15::CATALOG_VERSION,
        PgVersion::V17 => v17::CATALOG_VERSION,
    }
}

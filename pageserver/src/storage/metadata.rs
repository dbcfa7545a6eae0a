//! What never changes about a timeline: the facts of the cluster that its WAL belongs to.

use serde::{Deserialize, Serialize};
use types::{Lsn, PgVersion, WalSegmentSize};

/// Taken from `pg_control` when the root timeline was made; a branch has its ancestor's, except `initdb_lsn`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TimelineMetadata {
    pub pg_version: PgVersion,
    pub system_identifier: u64,
    pub wal_seg_size: WalSegmentSize,
    /// PostgreSQL's own timeline number, which is part of the names of WAL segments.
    pub tli: u32,
    pub data_checksums: bool,
    /// Where the WAL of this very timeline starts: the end of initdb's, or the branch point.
    pub initdb_lsn: Lsn,
}

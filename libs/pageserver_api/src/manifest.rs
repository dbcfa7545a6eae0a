//! What a base backup says about itself, so that compute_ctl need not guess from its files.

use serde::{Deserialize, Serialize};
use types::{Lsn, Oid, PgVersion, RelTag, TenantId, TimelineId, WalSegmentSize};

/// Path of the [`BackupManifest`] in the tar: its first file.
pub const MANIFEST_PATH: &str = "varve/manifest.json";

/// Path of the list of relation forks: [`RelationLine`]s.
pub const RELATIONS_PATH: &str = "varve/relations";

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BackupManifest {
    pub format_version: u32,
    pub tenant_id: TenantId,
    pub timeline_id: TimelineId,
    /// The backup is the state after all records that end at or before this LSN; the shutdown checkpoint
    /// record that the backup's WAL holds starts here.
    pub lsn: Lsn,
    /// As text: JSON numbers of this size are not safe everywhere.
    pub system_identifier: String,
    pub pg_version: PgVersion,
    pub wal_seg_size: WalSegmentSize,
    /// Start of the last record before `lsn`.
    pub prev_lsn: Lsn,
    pub tli: u32,
    pub tablespaces: Vec<TablespaceEntry>,
}

impl BackupManifest {
    pub const FORMAT_VERSION: u32 = 1;
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TablespaceEntry {
    pub oid: Oid,
    pub location: String,
}

/// One line of [`RELATIONS_PATH`]: `spc db rel fork nblocks`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RelationLine {
    pub rel: RelTag,
    pub blocks: u32,
}

impl RelationLine {
    pub fn parse(line: &str) -> Option<RelationLine> {
        let mut words = line.split_ascii_whitespace().map(|word| word.parse::<u32>().ok());
        let mut next = || words.next().flatten();
        let (spc, db, rel, fork, blocks) = (next()?, next()?, next()?, next()?, next()?);
        let fork = types::Fork::from_number(u8::try_from(fork).ok()?)?;
        words.next().is_none().then_some(RelationLine { rel: RelTag { spc, db, rel, fork }, blocks })
    }
}

impl std::fmt::Display for RelationLine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let RelTag { spc, db, rel, fork } = self.rel;
        write!(f, "{spc} {db} {rel} {} {}", fork.number(), self.blocks)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn relation_lines_round_trip() {
        let rel = RelTag { spc: 1663, db: 5, rel: 16384, fork: types::Fork::Vm };
        let line = RelationLine { rel, blocks: 7 };
        assert_eq!(line.to_string(), "1663 5 16384 2 7");
        assert_eq!(RelationLine::parse(&line.to_string()), Some(line));
        for bad in ["", "1663 5 16384 2", "1663 5 16384 4 7", "1663 5 16384 2 7 8", "1663 5 x 2 7"] {
            assert_eq!(RelationLine::parse(bad), None, "{bad}");
        }
    }
}

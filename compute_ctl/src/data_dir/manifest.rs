//! What the base backup says about itself: `varve/manifest.json` and `varve/relations`.

use serde::Deserialize;
use types::{Fork, Lsn, Oid, PgVersion, RelTag, TenantId, TimelineId};

use crate::error::ComputeError;

pub const MANIFEST_FORMAT_VERSION: u32 = 1;

/// The first entry of every base backup. Fields that this program does not know are the business of
/// others (a newer pageserver adds them); a change of meaning raises the format version.
#[derive(Clone, Debug, Deserialize)]
pub struct Manifest {
    pub format_version: u32,
    pub tenant_id: TenantId,
    pub timeline_id: TimelineId,
    pub lsn: Lsn,
    pub pg_version: PgVersion,
    #[serde(default)]
    pub tablespaces: Vec<Tablespace>,
}

#[derive(Clone, Debug, Deserialize)]
pub struct Tablespace {
    pub oid: Oid,
    /// Where the user wanted it. On a stateless compute it lies beside the data directory.
    pub location: String,
}

impl Manifest {
    pub fn parse(json: &[u8]) -> Result<Manifest, ComputeError> {
        let manifest: Manifest = serde_json::from_slice(json)
            .map_err(|error| ComputeError::Basebackup(format!("its manifest is not readable: {error}")))?;
        if manifest.format_version != MANIFEST_FORMAT_VERSION {
            return Err(ComputeError::Basebackup(format!(
                "it has format version {}; this program reads {MANIFEST_FORMAT_VERSION}",
                manifest.format_version
            )));
        }
        Ok(manifest)
    }
}

/// The length of one fork of one relation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RelationLength {
    pub relation: RelTag,
    pub blocks: u32,
}

/// One line for each fork: `tablespace database relation fork blocks`, in numbers.
pub fn parse_relations(text: &str) -> Result<Vec<RelationLength>, ComputeError> {
    text.lines().map(|line| parse_relation(line).ok_or_else(|| bad_line(line))).collect()
}

fn parse_relation(line: &str) -> Option<RelationLength> {
    let numbers = line.split(' ').map(|word| word.parse().ok()).collect::<Option<Vec<u32>>>()?;
    let [spc, db, rel, fork, blocks] = numbers.try_into().ok()?;
    let fork = Fork::from_number(u8::try_from(fork).ok()?)?;
    Some(RelationLength { relation: RelTag { spc, db, rel, fork }, blocks })
}

fn bad_line(line: &str) -> ComputeError {
    ComputeError::Basebackup(format!("{line:?} in its list of relations is not readable"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn relations_are_five_numbers() {
        let parsed = parse_relations("1663 5 16384 0 3\n1664 0 1262 2 1\n").unwrap();
        assert_eq!((parsed.len(), parsed[1].relation.fork, parsed[1].blocks), (2, Fork::Vm, 1));
        for bad in ["1663 5 16384 0", "1663 5 16384 0 3 4", "1663 5 16384 9 3", "1663 5 x 0 3", ""] {
            assert!(parse_relation(bad).is_none(), "{bad:?}");
        }
    }

    #[test]
    fn a_manifest_of_another_format_is_refused() {
        let json = r#"{"format_version":2,"tenant_id":"0123456789abcdef0123456789abcdef",
            "timeline_id":"0123456789abcdef0123456789abcdef","lsn":"0/1","pg_version":15}"#;
        assert!(Manifest::parse(json.as_bytes()).unwrap_err().to_string().contains("format version 2"));
        let manifest = Manifest::parse(json.replace(":2,", ":1,").as_bytes()).unwrap();
        assert!(manifest.tablespaces.is_empty());
    }
}

//! What the base backup says about itself: reading it, with errors that name what is wrong.

use pageserver_api::manifest::{BackupManifest, RelationLine};
use serde::Deserialize;

use crate::error::ComputeError;

pub fn parse_manifest(json: &[u8]) -> Result<BackupManifest, ComputeError> {
    // The version first: a later format has fields that this one would call unknown.
    #[derive(Deserialize)]
    struct Version {
        format_version: u32,
    }
    let unreadable = |error| ComputeError::Basebackup(format!("its manifest is not readable: {error}"));
    let Version { format_version: found } = serde_json::from_slice(json).map_err(unreadable)?;
    if found != BackupManifest::FORMAT_VERSION {
        let known = BackupManifest::FORMAT_VERSION;
        return Err(ComputeError::Basebackup(format!(
            "it has format version {found}; this program reads {known}"
        )));
    }
    serde_json::from_slice(json).map_err(unreadable)
}

pub fn parse_relations(text: &str) -> Result<Vec<RelationLine>, ComputeError> {
    let unreadable =
        |line| ComputeError::Basebackup(format!("{line:?} in its list of relations is not readable"));
    text.lines().map(|line| RelationLine::parse(line).ok_or_else(|| unreadable(line))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_understood_is_named() {
        let later = parse_manifest(br#"{"format_version":2,"news":[]}"#).unwrap_err().to_string();
        assert!(later.contains("format version 2"), "{later}");
        let torn = parse_manifest(br#"{"format_version":1}"#).unwrap_err().to_string();
        assert!(torn.contains("tenant_id"), "{torn}");
        let line = parse_relations("1663 5 1259 0 2\n1663 5 1259 zero 2\n").unwrap_err().to_string();
        assert!(line.contains("zero"), "{line}");
    }
}

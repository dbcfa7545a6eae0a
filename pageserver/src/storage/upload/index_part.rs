//! `index_part.json`: what makes the layers in remote storage a timeline.
//!
//! A layer that no index names does not exist. So a timeline's state in remote storage changes in one step, by the
//! put of one object, and whatever was put before that and did not come so far is rubbish.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use types::{Generation, Lsn, TenantTimelineId, TimelineId};

use crate::storage::layers::DiskLayer;
use crate::storage::{StorageError, TimelineMetadata};

pub(in crate::storage) const INDEX_STEM: &str = "index_part.json";
const FORMAT_VERSION: u32 = 1;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::storage) struct IndexPart {
    pub(in crate::storage) format_version: u32,
    /// CRC-32C, in hex, of this very document with this field empty, as `serde_json` writes it without spaces.
    pub(in crate::storage) checksum: String,
    pub(in crate::storage) timeline: TenantTimelineId,
    /// Of the pageserver that wrote this.
    pub(in crate::storage) generation: Generation,
    pub(in crate::storage) metadata: TimelineMetadata,
    pub(in crate::storage) ancestor_timeline_id: Option<TimelineId>,
    pub(in crate::storage) ancestor_lsn: Option<Lsn>,
    /// The layers below hold all that happened up to here.
    pub(in crate::storage) disk_consistent_lsn: Lsn,
    /// Start of the record that ends there; zero if it is not known.
    pub(in crate::storage) prev_record_lsn: Lsn,
    /// Below it only branches' beginnings can be read, and what is leased.
    #[serde(default, skip_serializing_if = "is_invalid")]
    pub(in crate::storage) gc_cutoff: Lsn,
    /// What somebody had leased below it: whoever reads there still is given the time to say so after a start.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(in crate::storage) leased: Vec<Lsn>,
    /// By their names without generation.
    pub(in crate::storage) layers: BTreeMap<String, IndexLayer>,
}

/// As the cutoff is before anything was collected. It is not written then: indexes from before there was one have their
/// checksums.
fn is_invalid(lsn: &Lsn) -> bool {
    !lsn.is_valid()
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::storage) struct IndexLayer {
    pub(in crate::storage) file_size: u64,
    pub(in crate::storage) generation: Generation,
    /// How many values and changes it has. Layers of versions that did not write it down go without.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in crate::storage) entries: Option<u64>,
}

impl IndexLayer {
    pub(in crate::storage) fn of(layer: &DiskLayer) -> Self {
        Self { file_size: layer.file_size, generation: layer.file_name.generation, entries: layer.entries }
    }
}

impl IndexPart {
    pub(in crate::storage) fn new(
        timeline: TenantTimelineId,
        generation: Generation,
        metadata: TimelineMetadata,
        ancestor: Option<(TimelineId, Lsn)>,
    ) -> Self {
        Self {
            format_version: FORMAT_VERSION,
            checksum: String::new(),
            timeline,
            generation,
            ancestor_timeline_id: ancestor.map(|(id, _)| id),
            ancestor_lsn: ancestor.map(|(_, lsn)| lsn),
            disk_consistent_lsn: metadata.initdb_lsn,
            metadata,
            prev_record_lsn: Lsn::INVALID,
            gc_cutoff: Lsn::INVALID,
            leased: Vec::new(),
            layers: BTreeMap::new(),
        }
    }

    pub(in crate::storage) fn ancestor(&self) -> Option<(TimelineId, Lsn)> {
        self.ancestor_timeline_id.zip(self.ancestor_lsn)
    }

    fn computed_checksum(&self) -> String {
        let unsigned = Self { checksum: String::new(), ..self.clone() };
        let text = serde_json::to_vec(&unsigned).expect("strings and numbers make JSON");
        format!("{:08x}", crc32c::crc32c(&text))
    }

    pub(in crate::storage) fn encode(&self) -> Bytes {
        let signed = Self { checksum: self.computed_checksum(), ..self.clone() };
        serde_json::to_vec_pretty(&signed).expect("strings and numbers make JSON").into()
    }

    pub(in crate::storage) fn decode(
        key: &str,
        bytes: &[u8],
        timeline: TenantTimelineId,
    ) -> Result<IndexPart, StorageError> {
        let damaged = |reason: String| StorageError::DamagedObject { key: key.to_owned(), reason };
        #[derive(Deserialize)]
        struct Version {
            format_version: u32,
        }
        let Version { format_version } = serde_json::from_slice(bytes).map_err(|e| damaged(e.to_string()))?;
        if format_version != FORMAT_VERSION {
            return Err(damaged(format!(
                "format version {format_version}; this program reads {FORMAT_VERSION}"
            )));
        }
        let part: IndexPart = serde_json::from_slice(bytes).map_err(|e| damaged(e.to_string()))?;
        let computed = part.computed_checksum();
        if part.checksum != computed {
            return Err(damaged(format!("checksum is {computed}, should be {}", part.checksum)));
        }
        if part.timeline != timeline {
            return Err(damaged(format!("it belongs to timeline {}", part.timeline)));
        }
        if part.ancestor_timeline_id.is_some() != part.ancestor_lsn.is_some() {
            return Err(damaged("an ancestor without a branch point, or the other way round".to_owned()));
        }
        Ok(part)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use types::{PgVersion, TenantId, WalSegmentSize};

    fn sample() -> IndexPart {
        let metadata = TimelineMetadata {
            pg_version: PgVersion::V15,
            system_identifier: u64::MAX - 5,
            wal_seg_size: WalSegmentSize::DEFAULT,
            tli: 1,
            data_checksums: false,
            initdb_lsn: Lsn(0x16A_0000),
        };
        let id = TenantTimelineId::new(TenantId([1; 16]), TimelineId([2; 16]));
        let mut part =
            IndexPart::new(id, Generation(1), metadata, Some((TimelineId([3; 16]), Lsn(0x16A_0000))));
        part.layers.insert(
            "layer".to_owned(),
            IndexLayer { file_size: 12, generation: Generation(1), entries: Some(3) },
        );
        part
    }

    #[test]
    fn what_is_encoded_decodes() {
        let part = sample();
        let decoded = IndexPart::decode("key", &part.encode(), part.timeline).unwrap();
        assert_eq!(IndexPart { checksum: String::new(), ..decoded }, part);
    }

    #[test]
    fn a_changed_byte_is_found() {
        let part = sample();
        let bytes = part.encode();
        for position in 0..bytes.len() {
            let mut damaged = bytes.to_vec();
            damaged[position] ^= 1;
            // White space between the fields may change into other white space; nothing else may.
            if let Ok(decoded) = IndexPart::decode("key", &damaged, part.timeline) {
                assert!(bytes[position].is_ascii_whitespace(), "byte {position}");
                assert_eq!(IndexPart { checksum: String::new(), ..decoded }, part);
            }
        }
    }
}

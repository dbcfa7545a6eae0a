//! The format of a safekeeper's control file: what a timeline must remember over a crash, beside its WAL. Here, and not
//! in the safekeeper, because tools read it where no safekeeper runs.

use std::fmt;

use consensus::AcceptorState;
use serde::{Deserialize, Serialize};
use types::{Lsn, TimelineId};

use crate::framed::Framed;

/// Its name in a timeline's directory.
pub const FILE_NAME: &str = "control";

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
    /// All WAL of the timeline before it is in object storage, in whole segments that were compared with those here.
    #[serde(default)]
    pub backup_lsn: Lsn,
    /// Segments before the one that holds it are in object storage only. Written before they are removed.
    #[serde(default)]
    pub local_start_lsn: Lsn,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at_rest: Option<AtRest>,
}

/// Nothing has changed since the control file was written: the timeline is used only after it was written once more,
/// without this.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AtRest {
    /// Where the WAL ends: the end of a record. There is nothing behind it.
    pub flush_lsn: Lsn,
    /// The WAL is in object storage only, this part of its last segment too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub partial: Option<PartialSegment>,
}

/// The beginning of a segment, as an object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PartialSegment {
    pub key: String,
    /// Its length follows from where the WAL ends.
    pub crc32c: u32,
}

impl ControlFile {
    /// Of a timeline that has just been made.
    pub fn new(acceptor: AcceptorState, tli: u32, ancestor: Option<TimelineId>) -> Self {
        Self {
            acceptor,
            tli,
            ancestor,
            remote_consistent_lsn: Lsn::INVALID,
            backup_lsn: Lsn::INVALID,
            local_start_lsn: Lsn::INVALID,
            at_rest: None,
        }
    }
}

impl Framed for ControlFile {
    const MAGIC: &[u8; 4] = b"VSKC";
    const WHAT: &str = "a control file";
}

/// In words.
impl fmt::Display for ControlFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = &self.acceptor;
        let identity = &state.identity;
        writeln!(f, "timeline {}, PostgreSQL {}", identity.ttid, identity.pg_version)?;
        let megabytes = identity.wal_seg_size.bytes() >> 20;
        writeln!(f, "  system identifier {}, WAL segments of {megabytes} MiB", identity.system_id)?;
        write!(f, "  its WAL begins at {}", state.timeline_start_lsn)?;
        match self.ancestor {
            Some(ancestor) => writeln!(f, ", where it left timeline {ancestor}")?,
            None => writeln!(f, ", with the timeline itself")?,
        }
        writeln!(f, "  configuration {}", state.configuration)?;
        writeln!(f, "  the next one: {}", state.next_configuration)?;
        writeln!(f, "  follows term {}; the WAL here was written by", state.term)?;
        for line in state.history.lines() {
            writeln!(f, "    term {} from {} on", line.term, line.lsn)?;
        }
        writeln!(f, "  committed up to {} or further", state.commit_lsn)?;
        writeln!(f, "  every member has it up to {}", state.horizon_lsn)?;
        writeln!(
            f,
            "  the pageserver has it in object storage up to {} or further",
            self.remote_consistent_lsn
        )?;
        if self.backup_lsn.is_valid() {
            writeln!(f, "  its segments are in object storage up to {}", self.backup_lsn)?;
        }
        if self.local_start_lsn.is_valid() {
            writeln!(f, "  those before {} are there only", self.local_start_lsn)?;
        }
        match &self.at_rest {
            None => write!(f, "  it is in use, or its safekeeper did not end cleanly"),
            Some(AtRest { flush_lsn, partial: None }) => {
                write!(f, "  it is at rest; its WAL ends at {flush_lsn}")
            }
            Some(AtRest { flush_lsn, partial: Some(partial) }) => {
                write!(
                    f,
                    "  it is at rest; its WAL ends at {flush_lsn}, the last segment is the object {}",
                    partial.key
                )
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use consensus::{Configuration, Member, TimelineIdentity};
    use types::{NodeId, PgVersion, TenantId, TenantTimelineId, WalSegmentSize};

    use super::*;

    fn example() -> ControlFile {
        let identity = TimelineIdentity {
            ttid: TenantTimelineId::new(TenantId([1; 16]), TimelineId([2; 16])),
            pg_version: PgVersion::V15,
            system_id: 7_000_000_000_000_000_001,
            wal_seg_size: WalSegmentSize::DEFAULT,
        };
        let member = |id| Member { id: NodeId(id), pg_connstr: "a:1".into(), http_connstr: "a:2".into() };
        let configuration =
            Configuration::initial(vec![member(1), member(2)]).unwrap().joint_with(vec![member(3)]);
        let acceptor = AcceptorState::genesis(identity, configuration, Lsn(0x149_8028));
        ControlFile {
            acceptor,
            tli: 1,
            ancestor: None,
            remote_consistent_lsn: Lsn::INVALID,
            backup_lsn: Lsn(0x200_0000),
            local_start_lsn: Lsn(0x200_0000),
            at_rest: Some(AtRest {
                flush_lsn: Lsn(0x210_0000),
                partial: Some(PartialSegment { key: "wal/x.partial".into(), crc32c: 7 }),
            }),
        }
    }

    #[test]
    fn damage_is_noticed_wherever_it_is() {
        let good = example().encode();
        assert_eq!(ControlFile::decode(&good), Ok(example()));
        for at in 0..good.len() {
            let mut bytes = good.clone();
            bytes[at] ^= 0x10;
            assert!(ControlFile::decode(&bytes).is_err(), "byte {at}");
        }
        for length in 0..good.len() {
            assert!(ControlFile::decode(&good[..length]).is_err(), "length {length}");
        }
    }

    #[test]
    fn files_of_before_there_were_registers_are_read() {
        let mut value = serde_json::to_value(example()).unwrap();
        value["acceptor"].as_object_mut().unwrap().remove("next_configuration").expect("it was there");
        assert_eq!(serde_json::from_value::<ControlFile>(value).unwrap(), example());
    }

    #[test]
    fn files_of_before_there_was_offload_are_read() {
        let mut value = serde_json::to_value(example()).unwrap();
        for field in ["backup_lsn", "local_start_lsn", "at_rest"] {
            value.as_object_mut().unwrap().remove(field).expect("it was there");
        }
        let read: ControlFile = serde_json::from_value(value).unwrap();
        assert_eq!((read.backup_lsn, read.local_start_lsn, read.at_rest), (Lsn(0), Lsn(0), None));
    }

    #[test]
    fn it_can_be_told_in_words() {
        let text = example().to_string();
        for part in [
            "PostgreSQL 15",
            "2: safekeepers 1, 2 and 3 together",
            "undecided",
            "term 0 from 0/1498028 on",
            "ends at 0/2100000, the last segment is the object wal/x.partial",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
    }
}

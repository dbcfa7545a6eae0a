//! [`KeptFile`]: a file beside the database that a compute has put into WAL, as the value of [`types::Key::aux_file`].
//!
//! ```text
//!  timeline 16 | path length u16 | path | contents
//! ```
//! A file belongs to the timeline whose compute wrote it: a branch does not have its ancestor's replication slots, also
//! when it has left its ancestor and all keys are its own.

use bytes::{BufMut, Bytes, BytesMut};
use types::TimelineId;

/// Where such files may be. What a WAL record says lies elsewhere, is passed over.
const DIRECTORIES: [&str; 4] = ["pg_replslot/", "pg_logical/snapshots/", "pg_logical/mappings/", "pg_stat/"];
/// What a tar header holds.
const LONGEST_PATH: usize = 99;
const TIMELINE: usize = 16;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptFile {
    pub timeline: TimelineId,
    pub path: String,
    pub contents: Bytes,
}

impl KeptFile {
    pub fn encode(&self) -> Bytes {
        let mut bytes = BytesMut::with_capacity(TIMELINE + 2 + self.path.len() + self.contents.len());
        bytes.put_slice(self.timeline.as_bytes());
        bytes.put_u16_le(self.path.len() as u16);
        bytes.put_slice(self.path.as_bytes());
        bytes.put_slice(&self.contents);
        bytes.freeze()
    }

    /// None if these bytes are none.
    pub fn decode(bytes: &Bytes) -> Option<Self> {
        let timeline = TimelineId::from_slice(bytes.get(..TIMELINE)?)?;
        let length = bytes.get(TIMELINE..TIMELINE + 2)?;
        let start = TIMELINE + 2;
        let end = start + usize::from(u16::from_le_bytes(length.try_into().ok()?));
        let path = std::str::from_utf8(bytes.get(start..end)?).ok()?.to_owned();
        is_path(&path).then(|| Self { timeline, path, contents: bytes.slice(end..) })
    }

    /// It says what there was to decode, not how the database is.
    pub fn is_of_slots(&self) -> bool {
        !self.path.starts_with("pg_stat/")
    }
}

/// Whether a file of that name is kept.
pub fn is_path(path: &str) -> bool {
    let rest = DIRECTORIES.iter().find_map(|directory| path.strip_prefix(directory));
    let is_name = |name: &str| {
        !name.trim_matches('.').is_empty()
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
    };
    path.len() <= LONGEST_PATH && rest.is_some_and(|rest| rest.split('/').all(is_name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_come_back() {
        let file = KeptFile {
            timeline: TimelineId::generate(),
            path: "pg_replslot/sub/state".to_owned(),
            contents: Bytes::from_static(b"\0\x01"),
        };
        let bytes = file.encode();
        assert_eq!(KeptFile::decode(&bytes), Some(file));
        for end in 0..bytes.len() - 2 {
            assert_eq!(KeptFile::decode(&bytes.slice(..end)), None);
        }
    }

    #[test]
    fn nothing_else_can_be_written() {
        for path in [
            "pg_replslot/a_1/state",
            "pg_logical/snapshots/0-16B9188.snap",
            "pg_logical/mappings/map-5-4eb-0_1C36598-2e5-2e5",
            "pg_stat/pgstat.stat",
        ] {
            assert!(is_path(path), "{path}");
        }
        for path in [
            "",
            "pg_stat/",
            "pg_stat/../postgresql.conf",
            "pg_replslot/a//state",
            "pg_replslot/./state",
            "/pg_stat/x",
            "postgresql.conf",
            "base/5/1259",
            "pg_stat/a b",
        ] {
            assert!(!is_path(path), "{path}");
        }
        assert!(!is_path(&format!("pg_stat/{}", "x".repeat(LONGEST_PATH))));
    }
}

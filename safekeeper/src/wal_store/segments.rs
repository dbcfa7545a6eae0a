//! Where the segments of a timeline are.

use std::io;
use std::path::{Path, PathBuf};

use durable_fs::{DurableFs, DurableFsError};
use pg_format::wal::WalIdentity;
use types::{Lsn, WalSegmentSize};

use crate::wal_store::prehistory;

/// Directory, PostgreSQL timeline and segment size: together they say which file holds an LSN.
#[derive(Clone, Debug)]
pub struct Segments {
    directory: PathBuf,
    tli: u32,
    size: WalSegmentSize,
    synthetic: Option<(WalIdentity, Lsn)>,
}

impl Segments {
    pub fn new(directory: PathBuf, tli: u32, size: WalSegmentSize) -> Self {
        Self { directory, tli, size, synthetic: None }
    }

    /// The timeline has no ancestor and starts at `start`: bytes before it follow from a rule (prehistory.rs), and
    /// the segment needs no file before WAL is written to it.
    pub fn starting_at(self, identity: WalIdentity, start: Lsn) -> Self {
        Self { synthetic: Some((identity, start)), ..self }
    }

    /// The bytes before the timeline's start in this segment, if no file is needed for them.
    pub fn synthetic(&self, number: u64) -> Option<Vec<u8>> {
        let (identity, start) = self.synthetic.as_ref()?;
        (self.number(*start) == number).then(|| prehistory::synthesise(identity, *start))
    }

    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Bytes in a segment.
    pub fn size(&self) -> u64 {
        self.size.bytes()
    }

    pub fn file_name(&self, number: u64) -> String {
        self.size.file_name(self.tli, number)
    }

    pub fn path(&self, number: u64) -> PathBuf {
        self.directory.join(self.file_name(number))
    }

    /// Writes a segment of which only the beginning is known yet, durably, in place of any that is there. The rest is a
    /// hole: the store fills it when it writes there.
    pub fn write_beginning(&self, fs: &DurableFs, number: u64, wal: &[u8]) -> Result<(), DurableFsError> {
        let path = self.path(number);
        fs.write_atomically(&path, wal)?;
        let file = fs.open_for_writing(&path)?;
        fs.set_length(&file, &path, self.size())?;
        fs.sync_data(&file, &path)
    }

    /// Number of the segment that holds the byte at `lsn`.
    pub fn number(&self, lsn: Lsn) -> u64 {
        lsn.segment_number(self.size())
    }

    /// First LSN of a segment.
    pub fn start(&self, number: u64) -> Lsn {
        Lsn(number * self.size())
    }

    /// First LSN of the segment that holds the byte at `lsn`.
    pub fn start_of(&self, lsn: Lsn) -> Lsn {
        self.start(self.number(lsn))
    }

    pub fn offset(&self, lsn: Lsn) -> u64 {
        lsn.segment_offset(self.size())
    }

    /// Bytes from `lsn` to the end of its segment.
    pub fn rest(&self, lsn: Lsn) -> u64 {
        self.size() - self.offset(lsn)
    }

    /// Numbers of the segments that exist, in order. Other names in the directory are none of ours.
    pub fn existing(&self) -> io::Result<Vec<u64>> {
        let mut numbers = Vec::new();
        for entry in std::fs::read_dir(&self.directory)? {
            numbers.extend(entry?.file_name().to_str().and_then(|name| self.parse_name(name)));
        }
        numbers.sort_unstable();
        Ok(numbers)
    }

    fn parse_name(&self, name: &str) -> Option<u64> {
        let (tli, rest) = name.split_at_checked(8)?;
        let (high, low) = rest.split_at_checked(8)?;
        let number = |digits| u64::from_str_radix(digits, 16).ok();
        let segment = number(high)?.checked_mul(0x1_0000_0000 / self.size())?.checked_add(number(low)?)?;
        // Only names that we would give ourselves: no lower case, no signs, no number out of its range.
        (number(tli)? == u64::from(self.tli) && self.size.file_name(self.tli, segment) == name)
            .then_some(segment)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_they_are_written() {
        let segments = Segments::new("/x".into(), 1, WalSegmentSize::DEFAULT);
        for number in [0, 1, 255, 256, 0x1234_5678] {
            let path = segments.path(number);
            assert_eq!(segments.parse_name(path.file_name().unwrap().to_str().unwrap()), Some(number));
        }
        for other in [
            "",
            "control",
            "000000020000000000000001",
            "00000001000000000000000g",
            "00000001000000000000FFFF",
            "000000010000000000000001.temporary",
        ] {
            assert_eq!(segments.parse_name(other), None, "{other}");
        }
    }
}

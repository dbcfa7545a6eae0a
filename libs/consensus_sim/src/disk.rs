//! An acceptor's disk: WAL in sectors, and a control file that is replaced as a whole. WAL lies in segments, which are
//! removed one by one.

use std::collections::BTreeSet;
use std::fmt;

use consensus::AcceptorState;
use rand::RngExt;
use rand::rngs::StdRng;
use types::Lsn;

use crate::records;

/// Small, so that a record of some ten bytes often lies in several.
const SECTOR: usize = 16;

/// Where WAL begins in every world: in the midst of a segment.
pub const START: Lsn = Lsn(0x100);
/// Small, so that a world has some.
pub const SEGMENT: u64 = 192;
/// What is read of a file that is not there.
const NOTHING: u8 = 0xEE;

/// What the control file says beside the acceptor's state, as the safekeeper's does.
#[derive(Clone, Debug, Default)]
pub struct Kept {
    pub remote_consistent_lsn: Lsn,
    pub backup_lsn: Lsn,
    pub local_start_lsn: Lsn,
    pub at_rest: Option<AtRest>,
}

#[derive(Clone, Debug)]
pub struct AtRest {
    pub flush_lsn: Lsn,
    pub partial: Option<Partial>,
}

/// The beginning of a segment, as an object of this acceptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Partial {
    pub number: u64,
    pub crc32c: u32,
}

/// WAL that the control file speaks of is not there.
#[derive(Clone, Copy, Debug)]
pub struct Lost {
    segment: u64,
    expected: Lsn,
}

impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "segment {} is not there, though WAL up to {} was", self.segment, self.expected)
    }
}

#[derive(Clone, Debug)]
pub struct Disk {
    /// As programs see it. From [`START`] on.
    wal: Vec<u8>,
    /// As it surely is after a power cut.
    durable: Vec<u8>,
    /// Sectors that were written and not synced since.
    dirty: BTreeSet<usize>,
    /// Segments that were removed.
    removed: BTreeSet<u64>,
    /// The control file.
    state: AcceptorState,
    kept: Kept,
    /// The last whole record that is durable ends here.
    record_end: usize,
}

impl Disk {
    pub fn new(state: AcceptorState) -> Self {
        Self {
            wal: Vec::new(),
            durable: Vec::new(),
            dirty: BTreeSet::new(),
            removed: BTreeSet::new(),
            state,
            kept: Kept::default(),
            record_end: 0,
        }
    }

    pub fn state(&self) -> &AcceptorState {
        &self.state
    }

    pub fn kept(&self) -> &Kept {
        &self.kept
    }

    pub fn persist(&mut self, state: AcceptorState, kept: Kept) {
        (self.state, self.kept) = (state, kept);
    }

    pub fn write_lsn(&self) -> Lsn {
        START + self.wal.len() as u64
    }

    pub fn durable_lsn(&self) -> Lsn {
        START + self.durable.len() as u64
    }

    pub fn record_end(&self) -> Lsn {
        START + self.record_end as u64
    }

    /// How far whole records are durable, here or, of a timeline at rest, in object storage. What is behind them may be
    /// torn.
    pub fn end(&self) -> Lsn {
        self.kept.at_rest.as_ref().map_or(self.record_end(), |rest| rest.flush_lsn)
    }

    /// Durable WAL within one segment, if that is here.
    pub fn read(&self, from: Lsn, to: Lsn) -> Option<&[u8]> {
        let is_here = !self.removed.contains(&from.segment_number(SEGMENT));
        self.durable.get((from - START) as usize..(to - START) as usize).filter(|_| is_here)
    }

    /// Numbers of the segments that are here.
    pub fn segments(&self) -> Vec<u64> {
        let all = START.segment_number(SEGMENT)..self.write_lsn().0.div_ceil(SEGMENT);
        all.filter(|number| !self.wal.is_empty() && !self.removed.contains(number)).collect()
    }

    /// Of its last segment too, if that is removed, there is nothing then.
    pub fn remove_segment(&mut self, number: u64) {
        let end = self.wal.len();
        let [begin, behind] =
            [number, number + 1].map(|number| (Lsn(number * SEGMENT).max(START) - START) as usize);
        for bytes in [&mut self.wal, &mut self.durable] {
            let behind = behind.min(bytes.len());
            bytes[begin..behind].fill(NOTHING);
        }
        self.removed.insert(number);
        if end < behind {
            self.truncate(START + begin as u64);
        }
    }

    /// In place of a segment that may be there: its beginning, durable when done.
    pub fn write_beginning(&mut self, number: u64, wal: &[u8]) {
        let begin = (Lsn(number * SEGMENT).max(START) - START) as usize;
        for bytes in [&mut self.wal, &mut self.durable] {
            bytes.resize(begin, NOTHING);
            bytes.extend_from_slice(wal);
        }
        self.removed.remove(&number);
        self.record_end = self.wal.len();
    }

    pub fn append(&mut self, wal: &[u8]) {
        let begin = self.wal.len();
        self.wal.extend_from_slice(wal);
        self.dirty.extend(begin / SECTOR..self.wal.len().div_ceil(SECTOR));
    }

    /// All of it is durable. Returns the end of the last whole record.
    pub fn sync(&mut self) -> Lsn {
        self.durable.resize(self.wal.len(), 0);
        for sector in std::mem::take(&mut self.dirty) {
            self.copy(sector, usize::MAX);
        }
        self.record_end = records::last_end(&self.durable, START, self.record_end);
        self.record_end()
    }

    /// The first `bytes` of a sector reach the platter.
    fn copy(&mut self, sector: usize, bytes: usize) {
        let begin = sector * SECTOR;
        let end = (begin + SECTOR.min(bytes)).min(self.wal.len());
        if self.durable.len() < end {
            self.durable.resize(end, 0);
        }
        if begin < end {
            self.durable[begin..end].copy_from_slice(&self.wal[begin..end]);
        }
    }

    /// Durable when done.
    pub fn truncate(&mut self, to: Lsn) {
        let length = (to - START) as usize;
        self.wal.truncate(length);
        self.durable.truncate(length);
        self.dirty.retain(|sector| sector * SECTOR < length);
        self.record_end = self.record_end.min(length);
    }

    /// The power goes: of what was not synced each sector is there or is not, and the last may be torn. The rest of
    /// the file is zeros as far as any later sector made it longer.
    pub fn power_cut(&mut self, random: &mut StdRng) {
        let dirty = std::mem::take(&mut self.dirty);
        let last = dirty.last().copied();
        for sector in dirty {
            match random.random_range(0..4) {
                0 | 1 => self.copy(sector, usize::MAX),
                2 if Some(sector) == last => self.copy(sector, random.random_range(0..SECTOR)),
                _ => {}
            }
        }
        self.wal = self.durable.clone();
    }

    /// What the daemon does before it serves a timeline: looks whether all segments are there that should be, cuts the
    /// tail behind the last whole record, and makes sure that what it has found is durable. `known_good` is the end of a
    /// record that was durable. Returns the bytes cut.
    pub fn recover(&mut self, known_good: Lsn) -> Result<usize, Lost> {
        let first = self.kept.local_start_lsn.max(START).segment_number(SEGMENT);
        let missing = (first..known_good.0.div_ceil(SEGMENT)).find(|number| self.removed.contains(number));
        let lost = |segment| Lost { segment, expected: known_good };
        if let Some(number) = missing {
            return Err(lost(number));
        }
        if self.write_lsn() < known_good {
            return Err(lost(self.write_lsn().segment_number(SEGMENT)));
        }
        let length = self.wal.len();
        self.record_end = records::last_end(&self.wal, START, (known_good - START) as usize);
        self.truncate(self.record_end());
        self.sync();
        Ok(length - self.record_end)
    }

    /// A full disk: what was written of a batch is taken back. Returns the end of the last whole record.
    pub fn cut_to_durable(&mut self) -> Lsn {
        self.truncate(self.record_end());
        self.dirty.clear();
        self.wal.clone_from(&self.durable);
        self.record_end()
    }
}

//! An acceptor's disk: WAL in sectors, and a control file that is replaced as a whole.

use std::collections::BTreeSet;

use consensus::AcceptorState;
use rand::RngExt;
use rand::rngs::StdRng;
use types::Lsn;

use crate::records;

/// Small, so that a record of some ten bytes often lies in several.
const SECTOR: usize = 16;

/// Where WAL begins in every world.
pub const START: Lsn = Lsn(0x100);

#[derive(Clone, Debug)]
pub struct Disk {
    /// As programs see it. From [`START`] on.
    wal: Vec<u8>,
    /// As it surely is after a power cut.
    durable: Vec<u8>,
    /// Sectors that were written and not synced since.
    dirty: BTreeSet<usize>,
    /// The control file.
    state: AcceptorState,
    /// The last whole record that is durable ends here.
    record_end: usize,
}

impl Disk {
    pub fn new(state: AcceptorState) -> Self {
        Self { wal: Vec::new(), durable: Vec::new(), dirty: BTreeSet::new(), state, record_end: 0 }
    }

    pub fn state(&self) -> &AcceptorState {
        &self.state
    }

    pub fn persist(&mut self, state: AcceptorState) {
        self.state = state;
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

    /// WAL up to `lsn`, which must be there.
    pub fn wal_up_to(&self, lsn: Lsn) -> &[u8] {
        &self.wal[..(lsn - START) as usize]
    }

    /// None if whole records are not durable that far. What is behind them may be torn.
    pub fn durable_up_to(&self, lsn: Lsn) -> Option<&[u8]> {
        self.durable[..self.record_end].get(..(lsn - START) as usize)
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

    /// What the daemon does before it serves a timeline: cuts the tail behind the last whole record, and makes
    /// sure that what it has found is durable. Returns the bytes cut.
    pub fn recover(&mut self) -> usize {
        let length = self.wal.len();
        self.record_end = records::last_end(&self.wal, START, self.record_end.min(length));
        self.truncate(self.record_end());
        self.sync();
        length - self.record_end
    }

    /// A full disk: what was written of a batch is taken back. Returns the end of the last whole record.
    pub fn cut_to_durable(&mut self) -> Lsn {
        self.truncate(self.record_end());
        self.dirty.clear();
        self.wal.clone_from(&self.durable);
        self.record_end()
    }
}

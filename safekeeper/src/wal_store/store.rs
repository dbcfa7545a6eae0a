//! [`WalStore`]: the one writer of a timeline's segments.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use bytes::Bytes;
use durable_fs::DurableFs;
use types::{Lsn, PgVersion, WalSegmentSize};

use crate::wal_store::records::RecordTracker;
use crate::wal_store::recovery;
use crate::wal_store::{Segments, WalStoreError};

type Result<T> = std::result::Result<T, WalStoreError>;

pub struct WalStore {
    fs: DurableFs,
    segments: Segments,
    version: PgVersion,
    segment_size: WalSegmentSize,
    /// No WAL of this timeline is before it, and no truncation goes below.
    start_lsn: Lsn,
    write_lsn: Lsn,
    flush_lsn: Lsn,
    records: RecordTracker,
    /// The segment that was written to last, kept open.
    open: Option<OpenSegment>,
    /// An append failed half-way: what the files and the tracker hold behind the flush LSN is unknown.
    interrupted: bool,
}

struct OpenSegment {
    number: u64,
    path: PathBuf,
    file: File,
    dirty: bool,
}

impl WalStore {
    /// Opens what is on disk. `known_good` is a record boundary up to which WAL was durable. What lies behind
    /// the last whole record is the torn end of an append: it is cut off, durably, before this returns.
    pub fn open(
        fs: DurableFs,
        segments: Segments,
        version: PgVersion,
        segment_size: WalSegmentSize,
        start_lsn: Lsn,
        known_good: Lsn,
    ) -> Result<Self> {
        check_present(&segments, start_lsn, known_good)?;
        let end = recovery::find_end(&segments, known_good, version, segment_size)?;
        let mut store = Self {
            fs,
            segments,
            version,
            segment_size,
            start_lsn,
            write_lsn: end,
            flush_lsn: end,
            records: RecordTracker::new(end, version, segment_size),
            open: None,
            interrupted: false,
        };
        store.cut_behind(end)?;
        // What was read may sit in the page cache only, written by a process that died before its fsync.
        store.sync_from(known_good)?;
        Ok(store)
    }

    pub fn write_lsn(&self) -> Lsn {
        self.write_lsn
    }

    /// End of the last whole record that is durable.
    pub fn flush_lsn(&self) -> Lsn {
        self.flush_lsn
    }

    /// Adds bytes that begin at the write LSN. Nothing is durable before [`WalStore::flush`]. After an error
    /// only [`WalStore::truncate`] makes the store usable again.
    pub fn append(&mut self, lsn: Lsn, bytes: &Bytes) -> Result<()> {
        if self.interrupted {
            return Err(WalStoreError::Interrupted);
        }
        if lsn != self.write_lsn {
            return Err(WalStoreError::NotContiguous { expected: self.write_lsn, got: lsn });
        }
        self.interrupted = true;
        self.records.feed(bytes).map_err(|source| WalStoreError::NotWal { lsn, source })?;
        self.write(bytes)?;
        self.interrupted = false;
        Ok(())
    }

    fn write(&mut self, mut bytes: &[u8]) -> Result<()> {
        while !bytes.is_empty() {
            let at = self.write_lsn;
            let length = bytes.len().min(self.segments.rest(at) as usize);
            let (now, later) = bytes.split_at(length);
            let offset = self.segments.offset(at);
            self.switch_to(self.segments.number(at))?;
            if let Some(open) = &mut self.open {
                open.dirty = true;
                self.fs.write_at(&open.file, &open.path, now, offset)?;
            }
            self.write_lsn += length as u64;
            bytes = later;
        }
        Ok(())
    }

    /// Makes everything written durable. The flush LSN is then the end of the last whole record.
    pub fn flush(&mut self) -> Result<Lsn> {
        self.sync_open()?;
        if !self.interrupted {
            self.flush_lsn = self.records.boundary();
        }
        Ok(self.flush_lsn)
    }

    /// Cuts the WAL so that it ends at `lsn`, a record boundary. Durable when this returns. If the process
    /// dies in the middle, the next start finds an end between `lsn` and the old one, and the old history.
    pub fn truncate(&mut self, lsn: Lsn) -> Result<()> {
        if lsn < self.start_lsn || lsn > self.flush_lsn {
            return Err(WalStoreError::TruncateOutside { lsn, start: self.start_lsn, end: self.flush_lsn });
        }
        if lsn != self.write_lsn || self.interrupted {
            self.interrupted = true;
            self.cut_behind(lsn)?;
            self.write_lsn = lsn;
            self.flush_lsn = lsn;
        }
        self.expect_new_writer();
        self.interrupted = false;
        Ok(())
    }

    /// The next record begins at the write LSN, and need not name our last one as the one before it.
    pub fn expect_new_writer(&mut self) {
        self.records = RecordTracker::new(self.write_lsn, self.version, self.segment_size);
    }

    /// Removes later segments, the last one first, and fills the rest of the one that holds `lsn` with zeros.
    fn cut_behind(&mut self, lsn: Lsn) -> Result<()> {
        self.sync_open()?;
        self.open = None;
        let existing = self
            .segments
            .existing()
            .map_err(|source| WalStoreError::Read { path: self.segments.directory().to_owned(), source })?;
        for number in existing.into_iter().rev().take_while(|number| self.segments.start(*number) >= lsn) {
            self.fs.remove_file_durably(&self.segments.path(number))?;
        }
        if self.segments.offset(lsn) == 0 {
            return Ok(());
        }
        let path = self.segments.path(self.segments.number(lsn));
        let file = self.fs.open_for_writing(&path)?;
        let (offset, mut rest) = (self.segments.offset(lsn), vec![0; self.segments.rest(lsn) as usize]);
        file.read_exact_at(&mut rest, offset)
            .map_err(|source| WalStoreError::Read { path: path.clone(), source })?;
        if rest.iter().any(|byte| *byte != 0) {
            rest.fill(0);
            self.fs.write_at(&file, &path, &rest, offset)?;
            self.fs.sync_data(&file, &path)?;
        }
        Ok(())
    }

    fn sync_from(&self, lsn: Lsn) -> Result<()> {
        let mut at = self.segments.start_of(lsn);
        while at < self.write_lsn {
            let path = self.segments.path(self.segments.number(at));
            let file = self.fs.open_for_writing(&path)?;
            self.fs.sync_data(&file, &path)?;
            at += self.segments.size();
        }
        Ok(self.fs.sync_directory(self.segments.directory())?)
    }

    fn sync_open(&mut self) -> Result<()> {
        if let Some(open) = &mut self.open
            && open.dirty
        {
            self.fs.sync_data(&open.file, &open.path)?;
            open.dirty = false;
        }
        Ok(())
    }

    /// Makes the segment the open one; a new one is created full of zeros, whole and durably.
    fn switch_to(&mut self, number: u64) -> Result<()> {
        if self.open.as_ref().is_some_and(|open| open.number == number) {
            return Ok(());
        }
        self.sync_open()?;
        self.open = None;
        let path = self.segments.path(number);
        if !path.exists() {
            self.fs.write_atomically(&path, &vec![0; self.segments.size() as usize])?;
        }
        let file = self.fs.open_for_writing(&path)?;
        self.open = Some(OpenSegment { number, path, file, dirty: false });
        Ok(())
    }
}

/// Every segment that holds bytes between the two positions must be there in full.
fn check_present(segments: &Segments, start_lsn: Lsn, known_good: Lsn) -> Result<()> {
    let mut at = segments.start_of(start_lsn);
    while at < known_good {
        let path = segments.path(segments.number(at));
        let whole = match std::fs::metadata(&path) {
            Ok(metadata) => metadata.len() == segments.size(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => false,
            Err(source) => return Err(WalStoreError::Read { path, source }),
        };
        if !whole {
            return Err(WalStoreError::Lost { expected: known_good, path });
        }
        at += segments.size();
    }
    Ok(())
}

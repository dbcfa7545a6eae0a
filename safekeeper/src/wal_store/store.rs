//! [`WalStore`]: the one writer of a timeline's segments.

use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use bytes::{Bytes, BytesMut};
use durable_fs::DurableFs;
use types::{Lsn, PgVersion, WalSegmentSize};

use crate::wal_store::records::RecordTracker;
use crate::wal_store::recovery;
use crate::wal_store::{Segments, WalStoreError};

/// Appended WAL that waits in memory to be written, at most.
const PENDING_BYTES: usize = 1 << 20;

type Result<T> = std::result::Result<T, WalStoreError>;

pub struct WalStore {
    fs: DurableFs,
    segments: Segments,
    version: PgVersion,
    segment_size: WalSegmentSize,
    begin: Begin,
    /// What was appended and is in no file yet: small pieces come one after the other, and are written as one.
    pending: BytesMut,
    /// Where that begins.
    written_lsn: Lsn,
    write_lsn: Lsn,
    flush_lsn: Lsn,
    records: RecordTracker,
    /// The segment that was written to last, kept open.
    open: Option<OpenSegment>,
    /// An append failed half-way: what the files and the tracker hold behind the flush LSN is unknown.
    interrupted: bool,
}

/// Where a timeline's WAL begins.
#[derive(Clone, Copy, Debug)]
pub struct Begin {
    /// No WAL of the timeline is before it, and no truncation goes below.
    pub start_lsn: Lsn,
    /// Segments before the one that holds it are not here any more.
    pub local_start_lsn: Lsn,
}

impl Begin {
    fn local(self) -> Lsn {
        self.start_lsn.max(self.local_start_lsn)
    }
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
        begin: Begin,
        known_good: Lsn,
    ) -> Result<Self> {
        check_present(&segments, begin, known_good)?;
        let find_end = || recovery::find_end(&segments, known_good, version, segment_size);
        let (mut end, mut durable) = (find_end()?, known_good);
        // What was read may have left the page cache before it was written again: the bytes that were are looked at.
        while durable < end {
            write_again(&fs, &segments, known_good, end)?;
            durable = end;
            end = find_end()?;
        }
        let mut store = Self {
            fs,
            segments,
            version,
            segment_size,
            begin,
            pending: BytesMut::new(),
            written_lsn: end,
            write_lsn: end,
            flush_lsn: end,
            records: RecordTracker::new(end, version, segment_size),
            open: None,
            interrupted: false,
        };
        store.cut_behind(end)?;
        store.fs.sync_directory(store.segments.directory())?;
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
        self.pending.extend_from_slice(bytes);
        self.write_lsn += bytes.len() as u64;
        self.interrupted = false;
        if self.pending.len() < PENDING_BYTES { Ok(()) } else { self.write_out() }
    }

    /// Writes what was appended to the files.
    pub fn write_out(&mut self) -> Result<()> {
        let mut pending = std::mem::take(&mut self.pending);
        let outcome = self.write(&pending);
        self.interrupted |= outcome.is_err();
        // Its memory is used again.
        pending.clear();
        self.pending = pending;
        outcome
    }

    fn write(&mut self, mut bytes: &[u8]) -> Result<()> {
        while !bytes.is_empty() {
            let at = self.written_lsn;
            let length = bytes.len().min(self.segments.rest(at) as usize);
            let (now, later) = bytes.split_at(length);
            let offset = self.segments.offset(at);
            self.switch_to(self.segments.number(at))?;
            if let Some(open) = &mut self.open {
                open.dirty = true;
                self.fs.write_at(&open.file, &open.path, now, offset)?;
            }
            self.written_lsn += length as u64;
            bytes = later;
        }
        Ok(())
    }

    /// Makes everything appended durable. The flush LSN is then the end of the last whole record.
    pub fn flush(&mut self) -> Result<Lsn> {
        if !self.interrupted {
            self.write_out()?;
        }
        self.sync_open()?;
        if !self.interrupted {
            self.flush_lsn = self.records.boundary();
        }
        Ok(self.flush_lsn)
    }

    /// Cuts the WAL so that it ends at `lsn`, a record boundary. Durable when this returns. If the process
    /// dies in the middle, the next start finds an end between `lsn` and the old one, and the old history.
    pub fn truncate(&mut self, lsn: Lsn) -> Result<()> {
        if lsn < self.begin.local() || lsn > self.flush_lsn {
            let (start, end) = (self.begin.local(), self.flush_lsn);
            return Err(WalStoreError::TruncateOutside { lsn, start, end });
        }
        if lsn != self.write_lsn || self.interrupted {
            self.interrupted = true;
            self.pending.clear();
            // Before: where there is no room to write zeros, it may fail half-way.
            self.flush_lsn = lsn;
            self.cut_behind(lsn)?;
            self.written_lsn = lsn;
            self.write_lsn = lsn;
        }
        self.expect_new_writer();
        self.interrupted = false;
        Ok(())
    }

    /// Removes the segments that end at `lsn` or before, the first one first.
    pub fn remove_before(&mut self, lsn: Lsn) -> Result<()> {
        let existing = self
            .segments
            .existing()
            .map_err(|source| WalStoreError::Read { path: self.segments.directory().to_owned(), source })?;
        for number in existing.into_iter().take_while(|number| self.segments.start(number + 1) <= lsn) {
            self.fs.remove_file_durably(&self.segments.path(number))?;
        }
        self.begin.local_start_lsn = self.begin.local_start_lsn.max(lsn);
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
        let number = self.segments.number(lsn);
        let path = self.segments.path(number);
        if lsn == self.begin.start_lsn && !path.exists() && self.segments.synthetic(number).is_some() {
            return Ok(());
        }
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

    fn sync_open(&mut self) -> Result<()> {
        if let Some(open) = &mut self.open
            && open.dirty
        {
            self.fs.sync_data(&open.file, &open.path)?;
            open.dirty = false;
        }
        Ok(())
    }

    /// Makes the segment the open one, durably of full length.
    fn switch_to(&mut self, number: u64) -> Result<()> {
        if self.open.as_ref().is_some_and(|open| open.number == number) {
            return Ok(());
        }
        self.sync_open()?;
        self.open = None;
        let path = self.segments.path(number);
        if !path.exists() {
            let mut bytes = self.segments.synthetic(number).unwrap_or_default();
            bytes.resize(self.segments.size() as usize, 0);
            self.fs.write_atomically(&path, &bytes)?;
        }
        let file = self.fs.open_for_writing(&path)?;
        self.fill_holes(number, &path, &file)?;
        self.open = Some(OpenSegment { number, path, file, dirty: false });
        Ok(())
    }

    /// A segment that was made with its timeline takes no more space than what it begins with, until now.
    fn fill_holes(&self, number: u64, path: &Path, file: &File) -> Result<()> {
        let metadata =
            file.metadata().map_err(|source| WalStoreError::Read { path: path.to_owned(), source })?;
        if metadata.blocks() * 512 >= self.segments.size() {
            return Ok(());
        }
        let used = self.written_lsn.saturating_distance(self.segments.start(number));
        let rest = self.segments.size().saturating_sub(used);
        self.fs.write_at(file, path, &vec![0; rest as usize], used)?;
        Ok(self.fs.sync_data(file, path)?)
    }
}

/// Makes durable what was found in the files. It may be in the page cache only: written by a process that died before its
/// fsync, or whose fsync failed. After that the kernel takes the pages for clean, so that an fsync alone would write
/// nothing, and succeed. A timeline that was brought to rest is durable up to its end, and has nothing written again.
fn write_again(fs: &DurableFs, segments: &Segments, from: Lsn, to: Lsn) -> Result<()> {
    let mut at = from;
    while at < to {
        let path = segments.path(segments.number(at));
        let file = fs.open_for_writing(&path)?;
        let end = to.min(at + segments.rest(at));
        while at < end {
            let mut bytes = vec![0; (end - at).min(PENDING_BYTES as u64) as usize];
            let offset = segments.offset(at);
            file.read_exact_at(&mut bytes, offset)
                .map_err(|source| WalStoreError::Read { path: path.clone(), source })?;
            fs.write_at(&file, &path, &bytes, offset)?;
            at += bytes.len() as u64;
        }
        fs.sync_data(&file, &path)?;
    }
    Ok(())
}

/// Every segment that holds bytes between the two positions must be there in full.
fn check_present(segments: &Segments, begin: Begin, known_good: Lsn) -> Result<()> {
    let start = begin.local();
    // With nothing written, there may be no file.
    let nothing = known_good <= begin.start_lsn && segments.synthetic(segments.number(start)).is_some();
    let mut at = segments.start_of(start);
    while at < known_good && !nothing {
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

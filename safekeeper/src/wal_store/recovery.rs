//! The end of WAL after a crash: read forward from a place that is known to be good until a record is
//! not whole or not right.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use bytes::{Bytes, BytesMut};
use pg_format::wal::{PageHeader, SHORT_PAGE_HEADER_SIZE};
use types::{BLCKSZ, Lsn, PgVersion, WalSegmentSize};

use crate::wal_store::records::RecordTracker;
use crate::wal_store::{Segments, WalStoreError};

/// Read at a time.
const CHUNK: u64 = 128 * 1024;

/// End of the last whole record at or after `from`, which must be a record boundary.
pub fn find_end(
    segments: &Segments,
    from: Lsn,
    version: PgVersion,
    segment_size: WalSegmentSize,
) -> Result<Lsn, WalStoreError> {
    let mut end = from;
    loop {
        let mut tracker = RecordTracker::new(end, version, segment_size);
        let next = scan(segments, end, &mut tracker)?;
        if next == end {
            return Ok(end);
        }
        // Where one compute's WAL ends and another's begins, the first record need not name the last one
        // as the one before it. A fresh start is as strict as the appending side was.
        end = next;
    }
}

/// Feeds the tracker from `from` to the first bytes that it refuses, or to the end of the last segment.
fn scan(segments: &Segments, from: Lsn, tracker: &mut RecordTracker) -> Result<Lsn, WalStoreError> {
    let mut at = from;
    'segments: while let Some(file) = open(segments, at)? {
        let segment_end = at + segments.rest(at);
        while at < segment_end {
            let length = CHUNK.min(segment_end - at);
            let Some(bytes) = read(segments, &file, at, length)? else { break 'segments };
            at += length;
            if let Err(reason) = tracker.feed(&bytes) {
                tracing::debug!(end = %tracker.boundary(), %reason, "WAL ends here");
                break 'segments;
            }
        }
    }
    // XLOG_SWITCH is whole only with all the empty pages up to the end of its segment. Zeros would do for
    // the decoder, but not for staying equal to the other safekeepers: each of the pages has a header.
    let (end, before) = (tracker.boundary(), tracker.previous_boundary());
    let padding_counts = end > from && segments.offset(end) == 0;
    Ok(if padding_counts && !all_pages_have_headers(segments, before, end)? { before } else { end })
}

fn open(segments: &Segments, lsn: Lsn) -> Result<Option<File>, WalStoreError> {
    let path = segments.path(segments.number(lsn));
    match File::open(&path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(WalStoreError::Read { path, source }),
    }
}

/// None when the file is too short.
fn read(segments: &Segments, file: &File, at: Lsn, length: u64) -> Result<Option<Bytes>, WalStoreError> {
    let mut bytes = BytesMut::zeroed(length as usize);
    match file.read_exact_at(&mut bytes, segments.offset(at)) {
        Ok(()) => Ok(Some(bytes.freeze())),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
        Err(source) => Err(WalStoreError::Read { path: segments.path(segments.number(at)), source }),
    }
}

/// Looks at the page addresses from the first page that begins at or after `from`, up to `end`, the end of a segment.
fn all_pages_have_headers(segments: &Segments, from: Lsn, end: Lsn) -> Result<bool, WalStoreError> {
    let page = BLCKSZ as u64;
    let mut at = Lsn(from.0.next_multiple_of(page)).max(Lsn(end.0 - segments.size()));
    let Some(file) = open(segments, at)? else { return Ok(at == end) };
    while at < end {
        let Some(bytes) = read(segments, &file, at, SHORT_PAGE_HEADER_SIZE as u64)? else { return Ok(false) };
        if bytes.first_chunk().map(|header| PageHeader::decode(header).page_address) != Some(at) {
            return Ok(false);
        }
        at += page;
    }
    Ok(true)
}

//! Where whole records end in a stream of WAL.

use bytes::Bytes;
use types::{Lsn, PgVersion, WalSegmentSize};
use wal_decoder::{DecodeError, WalStreamDecoder};

/// Follows a stream of WAL from a record boundary on, and checks every record's CRC on the way.
pub struct RecordTracker {
    decoder: WalStreamDecoder,
    /// Ends of the last two whole records: the boundary now, and the one before it.
    boundary: Lsn,
    previous_boundary: Lsn,
}

impl RecordTracker {
    /// `start` must be a record boundary.
    pub fn new(start: Lsn, version: PgVersion, segment_size: WalSegmentSize) -> Self {
        let decoder = WalStreamDecoder::new(start, version, segment_size);
        Self { decoder, boundary: start, previous_boundary: start }
    }

    /// Takes in the bytes that follow. After an error the tracker is of no use; its boundary still holds.
    pub fn feed(&mut self, bytes: &Bytes) -> Result<(), DecodeError> {
        self.decoder.feed(bytes);
        while let Some(record) = self.decoder.next_record()? {
            self.previous_boundary = self.boundary;
            self.boundary = record.end_lsn;
        }
        Ok(())
    }

    /// End of the last whole record.
    pub fn boundary(&self) -> Lsn {
        self.boundary
    }

    /// End of the record before that.
    pub fn previous_boundary(&self) -> Lsn {
        self.previous_boundary
    }
}

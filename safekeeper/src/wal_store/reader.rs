//! Reading WAL that is on disk, for streaming it out. Any number of readers beside the one writer.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use types::Lsn;

use crate::wal_store::{Segments, WalStoreError};

/// A place in the WAL that moves forward. The caller knows how far it may read; bytes behind that are
/// zeros, or about to change.
pub struct WalReader {
    segments: Segments,
    at: Lsn,
    /// The segment read last, kept open.
    open: Option<(u64, Arc<File>)>,
}

impl WalReader {
    pub fn new(segments: Segments, start: Lsn) -> Self {
        Self { segments, at: start, open: None }
    }

    /// Where the next read begins.
    pub fn position(&self) -> Lsn {
        self.at
    }

    /// Up to `most` bytes before `end`, not beyond the end of a segment. Empty only at `end`. Not to be
    /// cancelled in the middle by anyone who wants to go on reading: the place would be lost.
    pub async fn read(&mut self, end: Lsn, most: usize) -> Result<Bytes, WalStoreError> {
        let length =
            end.saturating_distance(self.at).min(self.segments.rest(self.at)).min(most as u64) as usize;
        if length == 0 {
            return Ok(Bytes::new());
        }
        let number = self.segments.number(self.at);
        let path = self.segments.path(number);
        let offset = self.segments.offset(self.at);
        let known = self.open.take().filter(|(open, _)| *open == number).map(|(_, file)| file);
        let work = move || -> std::io::Result<(Arc<File>, Bytes)> {
            let file = match known {
                Some(file) => file,
                None => Arc::new(File::open(&path)?),
            };
            let mut bytes = BytesMut::zeroed(length);
            file.read_exact_at(&mut bytes, offset)?;
            Ok((file, bytes.freeze()))
        };
        let (file, bytes) = durable_fs::run_blocking(work)
            .await
            .map_err(|source| WalStoreError::Read { path: self.segments.path(number), source })?;
        self.open = Some((number, file));
        self.at += length as u64;
        Ok(bytes)
    }
}

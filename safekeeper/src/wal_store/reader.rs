//! Reading WAL that is durable, for streaming it out: from the segments here, or from object storage where those were
//! removed. Any number of readers beside the one writer.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use types::Lsn;

use crate::wal_store::{RemoteSegments, Segments, WalStoreError};

/// Read from object storage at a time, and kept until it is passed on.
const REMOTE_PIECE: u64 = 1 << 20;

/// A place in the WAL that moves forward. The caller knows how far it may read; bytes behind that are
/// zeros, or about to change.
pub struct WalReader {
    segments: Segments,
    remote: Option<RemoteSegments>,
    at: Lsn,
    held: Held,
}

/// What is kept for the next read.
enum Held {
    Nothing,
    /// An open segment.
    Segment(u64, Arc<File>),
    /// WAL from object storage, from there on.
    Piece(Lsn, Bytes),
}

/// What a segment here has.
enum Local {
    Bytes(Arc<File>, Bytes),
    Synthetic(Bytes),
    Missing(io::Error),
}

impl WalReader {
    pub fn new(segments: Segments, remote: Option<RemoteSegments>, start: Lsn) -> Self {
        Self { segments, remote, at: start, held: Held::Nothing }
    }

    /// Where the next read begins.
    pub fn position(&self) -> Lsn {
        self.at
    }

    /// Up to `most` bytes before `end`, not beyond the end of a segment. Empty only at `end`. Not to be
    /// cancelled in the middle by anyone who wants to go on reading: the place would be lost.
    pub async fn read(&mut self, end: Lsn, most: usize) -> Result<Bytes, WalStoreError> {
        let length = end.saturating_distance(self.at).min(self.segments.rest(self.at)).min(most as u64);
        if length == 0 {
            return Ok(Bytes::new());
        }
        let number = self.segments.number(self.at);
        let bytes = match self.read_local(number, length as usize).await {
            Ok(Local::Bytes(file, bytes)) => {
                self.held = Held::Segment(number, file);
                bytes
            }
            Ok(Local::Synthetic(bytes)) => bytes,
            Ok(Local::Missing(error)) => self.read_remote(number, length, error).await?,
            Err(source) => return Err(WalStoreError::Read { path: self.segments.path(number), source }),
        };
        self.at += bytes.len() as u64;
        Ok(bytes)
    }

    async fn read_local(&mut self, number: u64, length: usize) -> io::Result<Local> {
        let known = match std::mem::replace(&mut self.held, Held::Nothing) {
            Held::Segment(open, file) if open == number => Some(file),
            Held::Segment(..) | Held::Nothing => None,
            piece @ Held::Piece(..) => {
                self.held = piece;
                None
            }
        };
        let (segments, offset) = (self.segments.clone(), self.segments.offset(self.at));
        durable_fs::run_blocking(move || {
            let file = match known.map_or_else(|| File::open(segments.path(number)).map(Arc::new), Ok) {
                Ok(file) => file,
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    let inside = |bytes: &Vec<u8>| bytes.len() >= offset as usize + length;
                    return Ok(match segments.synthetic(number).filter(inside) {
                        Some(bytes) => {
                            Local::Synthetic(Bytes::from(bytes).slice(offset as usize..).slice(..length))
                        }
                        None => Local::Missing(error),
                    });
                }
                Err(error) => return Err(error),
            };
            let mut bytes = BytesMut::zeroed(length);
            file.read_exact_at(&mut bytes, offset)?;
            Ok(Local::Bytes(file, bytes.freeze()))
        })
        .await
    }

    /// The segment was removed here once it was in object storage; if it never was, `missing` is the whole truth.
    async fn read_remote(
        &mut self,
        number: u64,
        length: u64,
        missing: io::Error,
    ) -> Result<Bytes, WalStoreError> {
        let Some(remote) = &self.remote else {
            return Err(WalStoreError::Read { path: self.segments.path(number), source: missing });
        };
        if let Held::Piece(start, piece) = &self.held
            && (*start..*start + piece.len() as u64).contains(&self.at)
        {
            let rest = piece.slice((self.at - *start) as usize..);
            return Ok(rest.slice(..rest.len().min(length as usize)));
        }
        let ask = self.segments.rest(self.at).min(REMOTE_PIECE.max(length));
        let offset = self.segments.offset(self.at);
        let piece = remote.read(number, offset, ask).await.map_err(|source| WalStoreError::Remote {
            lsn: self.at,
            path: self.segments.path(number),
            source: Box::new(source),
        })?;
        let bytes = piece.slice(..piece.len().min(length as usize));
        self.held = Held::Piece(self.at, piece);
        Ok(bytes)
    }
}

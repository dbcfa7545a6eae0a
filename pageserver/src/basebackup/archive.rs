//! Tar entries (GNU format) as a stream of bounded pieces.

use std::future::Future;
use std::io::Write;

use bytes::Bytes;

use super::BackupError;

/// Where a backup goes, piece by piece.
pub trait ChunkSink: Send {
    fn send(&mut self, chunk: Bytes) -> impl Future<Output = Result<(), BackupError>> + Send;
}

/// Bytes after which a piece is sent.
const CHUNK: usize = 64 << 10;
const TAR_BLOCK: usize = 512;

enum Encoder {
    Plain(Vec<u8>),
    Zstd(Box<zstd::stream::write::Encoder<'static, Vec<u8>>>),
}

pub(super) struct Archive<S> {
    sink: S,
    encoder: Encoder,
    /// Modification time of all entries: a constant, so that equal states are equal archives.
    time: u64,
}

impl<S: ChunkSink> Archive<S> {
    pub(super) fn new(sink: S, compress: bool) -> Result<Self, BackupError> {
        let encoder = if compress {
            let encoder =
                zstd::stream::write::Encoder::new(Vec::new(), 1).map_err(BackupError::Compression)?;
            Encoder::Zstd(Box::new(encoder))
        } else {
            Encoder::Plain(Vec::new())
        };
        Ok(Self { sink, encoder, time: 946_684_800 })
    }

    pub(super) async fn directory(&mut self, path: &str) -> Result<(), BackupError> {
        self.header(path, tar::EntryType::Directory, 0o700, 0).await
    }

    pub(super) async fn file(&mut self, path: &str, contents: &[u8]) -> Result<(), BackupError> {
        self.begin_file(path, contents.len() as u64).await?;
        self.write(contents).await?;
        self.end_file(contents.len() as u64).await
    }

    /// A file whose contents are written next, exactly `size` bytes, then [`Archive::end_file`].
    pub(super) async fn begin_file(&mut self, path: &str, size: u64) -> Result<(), BackupError> {
        self.header(path, tar::EntryType::Regular, 0o600, size).await
    }

    pub(super) async fn end_file(&mut self, size: u64) -> Result<(), BackupError> {
        let rest = (size % TAR_BLOCK as u64) as usize;
        if rest == 0 { Ok(()) } else { self.write(&[0; TAR_BLOCK][rest..]).await }
    }

    async fn header(
        &mut self,
        path: &str,
        kind: tar::EntryType,
        mode: u32,
        size: u64,
    ) -> Result<(), BackupError> {
        let mut header = tar::Header::new_gnu();
        // Our own paths: short and relative.
        header.set_path(path).map_err(|error| BackupError::Sink(Box::new(error)))?;
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_size(size);
        header.set_mtime(self.time);
        header.set_cksum();
        let bytes = *header.as_bytes();
        self.write(&bytes).await
    }

    pub(super) async fn write(&mut self, bytes: &[u8]) -> Result<(), BackupError> {
        let full = match &mut self.encoder {
            Encoder::Plain(buffer) => {
                buffer.extend_from_slice(bytes);
                buffer
            }
            Encoder::Zstd(encoder) => {
                encoder.write_all(bytes).map_err(BackupError::Compression)?;
                encoder.get_mut()
            }
        };
        if full.len() >= CHUNK {
            let chunk = std::mem::take(full);
            self.sink.send(chunk.into()).await?;
        }
        Ok(())
    }

    pub(super) async fn finish(mut self) -> Result<(), BackupError> {
        self.write(&[0; 2 * TAR_BLOCK]).await?;
        let rest = match self.encoder {
            Encoder::Plain(buffer) => buffer,
            Encoder::Zstd(encoder) => encoder.finish().map_err(BackupError::Compression)?,
        };
        self.sink.send(rest.into()).await
    }
}

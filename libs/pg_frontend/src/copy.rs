//! The two halves of a connection that has become a stream.

use bytes::Bytes;
use postgres_protocol::message::frontend;

use crate::error::PgError;
use crate::wire::{MessageReader, MessageWriter};

/// Both directions of a COPY BOTH stream; split it to use them from different tasks.
pub struct CopyBoth {
    reader: CopyReader,
    writer: CopyWriter,
}

impl CopyBoth {
    pub(crate) fn new(reader: CopyReader, writer: CopyWriter) -> Self {
        Self { reader, writer }
    }

    pub fn split(self) -> (CopyReader, CopyWriter) {
        (self.reader, self.writer)
    }
}

/// What the server sends: the payloads of its CopyData messages.
pub struct CopyReader {
    reader: MessageReader,
    /// Held open during a COPY OUT, in which the client has nothing to say.
    _writer: Option<MessageWriter>,
    ended: bool,
}

impl CopyReader {
    pub(crate) fn new(reader: MessageReader) -> Self {
        Self { reader, _writer: None, ended: false }
    }

    pub(crate) fn with_writer(reader: MessageReader, writer: MessageWriter) -> Self {
        Self { reader, _writer: Some(writer), ended: false }
    }

    /// The next payload, or `None` when the server has ended the stream in good order. A connection that
    /// just breaks is [`PgError::Closed`]. May be cancelled and called again: nothing is lost.
    pub async fn next(&mut self) -> Result<Option<Bytes>, PgError> {
        if self.ended {
            return Ok(None);
        }
        let message = self.reader.next().await?;
        match message.tag {
            b'd' => Ok(Some(message.body)),
            // A walsender that shuts down says CommandComplete with no CopyDone before it.
            b'c' | b'C' | b'Z' => {
                self.ended = true;
                Ok(None)
            }
            b'E' => Err(message.into_server_error()),
            _ => Err(message.unexpected("copy data")),
        }
    }
}

/// What the client sends. Dropping it closes the client's direction of the connection; under TLS only the reader's drop
/// closes both.
pub struct CopyWriter {
    writer: MessageWriter,
}

impl CopyWriter {
    pub(crate) fn new(writer: MessageWriter) -> Self {
        Self { writer }
    }

    /// Sends one message now. If cancelled, the message may leave later but never in part.
    pub async fn send(&mut self, payload: &[u8]) -> Result<(), PgError> {
        self.feed(payload).await?;
        self.flush().await
    }

    /// Adds one message to the buffer, which is sent by [`CopyWriter::flush`] or when it is full.
    pub async fn feed(&mut self, payload: &[u8]) -> Result<(), PgError> {
        self.writer.feed_copy_data(payload).await
    }

    pub async fn flush(&mut self) -> Result<(), PgError> {
        self.writer.flush().await
    }

    /// Says that no more will come (CopyDone). The server then ends the stream from its side.
    pub async fn finish(&mut self) -> Result<(), PgError> {
        frontend::copy_done(&mut self.writer.buffer);
        self.writer.flush().await
    }
}

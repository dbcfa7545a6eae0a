//! Bytes → messages from the client.
//!
//! ```text
//!  start-up packet            every later message
//!  0        4                 0     1        5
//!  length   body              tag   length   body          integers big-endian, length counts itself
//! ```
//! The length is checked against a limit before anything is read for it, so a hostile client cannot make
//! us allocate more than the limit.

use std::io::ErrorKind;

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt};

use crate::ConnectionError;

/// What a client may send after start-up.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum FrontendMessage {
    Query(String),
    Password(Bytes),
    CopyData(Bytes),
    CopyDone,
    CopyFail(String),
    /// Ends a run of extended-protocol messages.
    Sync,
    /// Parse, Bind, Describe, Execute, Close, Flush, function call: known, not offered.
    Unsupported(u8),
    Terminate,
}

const READ_CHUNK: usize = 32 * 1024;

pub(crate) struct MessageReader<R> {
    stream: R,
    buffer: BytesMut,
    /// Largest message accepted, its length word included. Small until the client has shown its token.
    pub(crate) limit: usize,
}

impl<R: AsyncRead + Unpin + Send> MessageReader<R> {
    pub(crate) fn new(stream: R, limit: usize) -> Self {
        Self { stream, buffer: BytesMut::new(), limit }
    }

    /// Nothing has come beyond what was taken.
    pub(crate) fn is_empty(&self) -> bool {
        self.buffer.is_empty()
    }

    /// The body of a start-up packet. None when the client just closed the connection.
    pub(crate) async fn next_startup(&mut self) -> Result<Option<Bytes>, ConnectionError> {
        loop {
            if let Some(frame) = self.take_frame(0)? {
                return Ok(Some(frame));
            }
            if !self.fill().await? {
                return Ok(None);
            }
        }
    }

    /// The next message; None when the client closed the connection between two messages. Safe to cancel:
    /// what was read stays in the buffer.
    pub(crate) async fn next(&mut self) -> Result<Option<FrontendMessage>, ConnectionError> {
        loop {
            if let Some(message) = self.take_message()? {
                return Ok(Some(message));
            }
            if !self.fill().await? {
                return Ok(None);
            }
        }
    }

    /// A message that is in the buffer already.
    pub(crate) fn take_message(&mut self) -> Result<Option<FrontendMessage>, ConnectionError> {
        let Some(tag) = self.buffer.first().copied() else { return Ok(None) };
        self.take_frame(1)?.map(|body| parse(tag, body)).transpose()
    }

    /// Takes a whole frame with `header` bytes before its length word, and returns its body.
    fn take_frame(&mut self, header: usize) -> Result<Option<Bytes>, ConnectionError> {
        let Some(word) = self.buffer.get(header..header + 4) else { return Ok(None) };
        let length = u32::from_be_bytes([word[0], word[1], word[2], word[3]]) as usize;
        if length < 4 {
            return Err(ConnectionError::Protocol(format!("a message says that it is {length} bytes long")));
        }
        if length > self.limit {
            return Err(ConnectionError::MessageTooLarge { length, limit: self.limit });
        }
        if self.buffer.len() < header + length {
            self.buffer.reserve(header + length - self.buffer.len());
            return Ok(None);
        }
        let mut frame = self.buffer.split_to(header + length).freeze();
        frame.advance(header + 4);
        Ok(Some(frame))
    }

    /// Reads some more. False at the end of the stream between two messages.
    async fn fill(&mut self) -> Result<bool, ConnectionError> {
        self.buffer.reserve(READ_CHUNK);
        let read = match self.stream.read_buf(&mut self.buffer).await {
            // TLS without a good-bye. Messages have lengths and streams have ends: nothing is cut off unseen.
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => 0,
            read => read?,
        };
        match read {
            0 if self.buffer.is_empty() => Ok(false),
            0 => Err(ConnectionError::Truncated),
            _ => Ok(true),
        }
    }
}

fn parse(tag: u8, body: Bytes) -> Result<FrontendMessage, ConnectionError> {
    Ok(match tag {
        b'Q' => FrontendMessage::Query(text(&body)?),
        b'p' => FrontendMessage::Password(until_nul(&body)?),
        b'd' => FrontendMessage::CopyData(body),
        b'c' => FrontendMessage::CopyDone,
        b'f' => FrontendMessage::CopyFail(text(&body)?),
        b'S' => FrontendMessage::Sync,
        b'X' => FrontendMessage::Terminate,
        b'P' | b'B' | b'D' | b'E' | b'C' | b'H' | b'F' => FrontendMessage::Unsupported(tag),
        other => return Err(ConnectionError::Protocol(format!("unknown message type 0x{other:02x}"))),
    })
}

fn until_nul(body: &Bytes) -> Result<Bytes, ConnectionError> {
    match body.iter().position(|byte| *byte == 0) {
        Some(end) if end + 1 == body.len() => Ok(body.slice(..end)),
        Some(_) | None => Err(ConnectionError::Protocol("a text is not ended by its one zero byte".into())),
    }
}

fn text(body: &Bytes) -> Result<String, ConnectionError> {
    let bytes = until_nul(body)?;
    String::from_utf8(bytes.into()).map_err(|_| ConnectionError::Protocol("a text is not valid UTF-8".into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn read_all(bytes: &[u8], limit: usize) -> Result<Vec<FrontendMessage>, ConnectionError> {
        let mut reader = MessageReader::new(bytes, limit);
        let mut messages = Vec::new();
        while let Some(message) = reader.next().await? {
            messages.push(message);
        }
        Ok(messages)
    }

    #[tokio::test]
    async fn messages_are_taken_apart() {
        let bytes = b"Q\0\0\0\x0dSELECT 1\0d\0\0\0\x06abc\0\0\0\x04X\0\0\0\x04";
        let expected = [
            FrontendMessage::Query("SELECT 1".into()),
            FrontendMessage::CopyData(Bytes::from_static(b"ab")),
            FrontendMessage::CopyDone,
            FrontendMessage::Terminate,
        ];
        assert_eq!(read_all(bytes, 100).await.unwrap(), expected);
    }

    #[tokio::test]
    async fn hostile_bytes_are_errors() {
        let protocol = |bytes: &'static [u8]| async move {
            matches!(read_all(bytes, 100).await, Err(ConnectionError::Protocol(_)))
        };
        assert!(protocol(b"Q\0\0\0\x03").await, "length shorter than itself");
        assert!(protocol(b"Q\0\0\0\x06ab").await, "no zero byte");
        assert!(protocol(b"Q\0\0\0\x07\xff\xfe\0").await, "not UTF-8");
        assert!(protocol(b"Q\0\0\0\x07\0a\0").await, "zero byte inside");
        assert!(protocol(b"!\0\0\0\x04").await, "unknown type");
        let long = read_all(b"d\x7f\xff\xff\xff", 100).await;
        assert!(matches!(long, Err(ConnectionError::MessageTooLarge { limit: 100, .. })));
        assert!(matches!(read_all(b"d\0\0\0\x09ab", 100).await, Err(ConnectionError::Truncated)));
    }
}

//! Messages as they lie on the wire, cut out of and put into buffers.
//!
//! ```text
//! backend message:  tag u8 | length u32 (counts itself, not the tag) | body
//! ```
//! Reading and writing are safe to cancel between any two polls: what has arrived stays in the reader's
//! buffer, and a message that was put into the writer's buffer leaves with the next flush, whole.

use std::collections::BTreeMap;
use std::io::ErrorKind;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::error::{PgError, ServerError};

/// A longer message is a broken or a hostile server. Ours send at most 64 MiB of payload in one.
pub const MAX_MESSAGE_BYTES: usize = (64 << 20) + 1024;

/// PostgreSQL 17 has fifteen.
const MAX_PARAMETERS: usize = 256;

const READ_CHUNK: usize = 64 << 10;
/// From this much on, buffered output is sent without waiting for a flush.
const WRITE_HIGH_WATER: usize = 256 << 10;

/// One message of the server.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Message {
    pub tag: u8,
    pub body: Bytes,
}

impl Message {
    /// The body of an ErrorResponse as an error.
    pub fn into_server_error(self) -> PgError {
        match parse_error_fields(self.body) {
            Ok(error) => PgError::Server(Box::new(error)),
            Err(error) => error,
        }
    }

    pub fn unexpected(&self, wanted: &str) -> PgError {
        PgError::Protocol(format!("message {:?} where {wanted} was expected", char::from(self.tag)))
    }
}

pub(crate) struct MessageReader {
    input: Box<dyn AsyncRead + Send + Unpin>,
    buffer: BytesMut,
    /// What the server said of itself (ParameterStatus), by name. A server has a dozen of them.
    parameters: BTreeMap<String, String>,
}

impl MessageReader {
    pub fn new(input: Box<dyn AsyncRead + Send + Unpin>) -> Self {
        Self { input, buffer: BytesMut::with_capacity(READ_CHUNK), parameters: BTreeMap::new() }
    }

    pub fn parameter(&self, name: &str) -> Option<&str> {
        self.parameters.get(name).map(String::as_str)
    }

    /// The next message that is part of the conversation. Notices, parameter changes and notifications
    /// may come at any time; notices are logged, parameters kept, and the last are of no use to anybody here.
    pub async fn next(&mut self) -> Result<Message, PgError> {
        loop {
            while let Some(message) = cut_message(&mut self.buffer)? {
                match message.tag {
                    b'N' => log_notice(message.body),
                    b'S' => self.keep_parameter(message.body)?,
                    b'A' => {}
                    _ => return Ok(message),
                }
            }
            self.fill().await?;
        }
    }

    fn keep_parameter(&mut self, mut body: Bytes) -> Result<(), PgError> {
        let (name, value) = (take_cstring(&mut body)?, take_cstring(&mut body)?);
        if self.parameters.len() >= MAX_PARAMETERS && !self.parameters.contains_key(&name) {
            return Err(PgError::Protocol(format!("more than {MAX_PARAMETERS} parameters")));
        }
        self.parameters.insert(name, value);
        Ok(())
    }

    async fn fill(&mut self) -> Result<(), PgError> {
        self.buffer.reserve(READ_CHUNK);
        let read = match self.input.read_buf(&mut self.buffer).await {
            // TLS without a good-bye is a connection that just breaks.
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => 0,
            read => read?,
        };
        match read {
            0 => Err(PgError::Closed),
            _ => Ok(()),
        }
    }
}

pub(crate) struct MessageWriter {
    output: Box<dyn AsyncWrite + Send + Unpin>,
    pub buffer: BytesMut,
}

impl MessageWriter {
    pub fn new(output: Box<dyn AsyncWrite + Send + Unpin>) -> Self {
        Self { output, buffer: BytesMut::new() }
    }

    /// Puts one CopyData message into the buffer; sends only when much has gathered.
    pub async fn feed_copy_data(&mut self, payload: &[u8]) -> Result<(), PgError> {
        if self.buffer.len() >= WRITE_HIGH_WATER {
            self.flush().await?;
        }
        let length = u32::try_from(payload.len() + 4).map_err(|_| {
            PgError::Protocol(format!("a message of {} bytes is too long to send", payload.len()))
        })?;
        self.buffer.reserve(payload.len() + 5);
        self.buffer.put_u8(b'd');
        self.buffer.put_u32(length);
        self.buffer.put_slice(payload);
        Ok(())
    }

    pub async fn flush(&mut self) -> Result<(), PgError> {
        while self.buffer.has_remaining() {
            if self.output.write_buf(&mut self.buffer).await? == 0 {
                return Err(PgError::Closed);
            }
        }
        Ok(self.output.flush().await?)
    }
}

/// Cuts one whole message off the front of the buffer, if there is one.
fn cut_message(buffer: &mut BytesMut) -> Result<Option<Message>, PgError> {
    let Some(header) = buffer.first_chunk::<5>() else { return Ok(None) };
    let [tag, length @ ..] = *header;
    let length = u32::from_be_bytes(length) as usize;
    if !(4..=MAX_MESSAGE_BYTES).contains(&length) {
        return Err(PgError::Protocol(format!("message {:?} claims {length} bytes", char::from(tag))));
    }
    if buffer.len() < length + 1 {
        buffer.reserve(length + 1 - buffer.len());
        return Ok(None);
    }
    let mut message = buffer.split_to(length + 1);
    message.advance(5);
    Ok(Some(Message { tag, body: message.freeze() }))
}

/// A zero-terminated string off the front of a message body.
pub(crate) fn take_cstring(body: &mut Bytes) -> Result<String, PgError> {
    let end = body
        .iter()
        .position(|byte| *byte == 0)
        .ok_or_else(|| PgError::Protocol("a string without its end".into()))?;
    let text = String::from_utf8_lossy(&body[..end]).into_owned();
    body.advance(end + 1);
    Ok(text)
}

/// Fields of an ErrorResponse or NoticeResponse: (code u8, cstring)*, 0.
fn parse_error_fields(mut body: Bytes) -> Result<ServerError, PgError> {
    let mut error = ServerError::default();
    while let Some(code) = body.try_get_u8().ok().filter(|code| *code != 0) {
        let text = take_cstring(&mut body)?;
        match code {
            b'S' => error.severity = text,
            b'C' => error.sqlstate = text,
            b'M' => error.message = text,
            b'D' => error.detail = Some(text),
            b'H' => error.hint = Some(text),
            _ => {}
        }
    }
    Ok(error)
}

fn log_notice(body: Bytes) {
    match parse_error_fields(body) {
        Ok(notice) => tracing::debug!(severity = notice.severity, "server says: {notice}"),
        Err(error) => tracing::debug!("unreadable notice: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cuts_whole_messages_only() {
        let wire = [b'd', 0, 0, 0, 6, 1, 2, b'Z', 0, 0, 0, 5, b'I'];
        let mut buffer = BytesMut::new();
        let mut seen = Vec::new();
        for byte in wire {
            buffer.put_u8(byte);
            seen.extend(cut_message(&mut buffer).unwrap().map(|m| (m.tag, m.body.to_vec())));
        }
        assert_eq!(seen, [(b'd', vec![1, 2]), (b'Z', vec![b'I'])]);
    }

    #[test]
    fn refuses_impossible_lengths() {
        for length in [0u32, 3, u32::MAX] {
            let mut buffer = BytesMut::from(&b"d"[..]);
            buffer.put_u32(length);
            assert!(matches!(cut_message(&mut buffer), Err(PgError::Protocol(_))), "{length}");
        }
    }

    #[test]
    fn reads_error_fields_and_refuses_torn_ones() {
        let body = Bytes::from_static(b"SFATAL\0C28P01\0Mpassword wrong\0Hask\0\0");
        let error = parse_error_fields(body).unwrap();
        assert_eq!((error.sqlstate.as_str(), error.message.as_str()), ("28P01", "password wrong"));
        assert_eq!(error.hint.as_deref(), Some("ask"));
        assert!(parse_error_fields(Bytes::from_static(b"SFATAL")).is_err());
    }
}

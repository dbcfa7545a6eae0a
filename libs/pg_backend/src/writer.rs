//! Messages to the client → bytes, gathered in a bounded buffer.

use bytes::{BufMut, BytesMut};
use tokio::io::{AsyncWrite, AsyncWriteExt};

use crate::{ConnectionError, QueryError};

/// When more than this is waiting, it is written to the socket before anything is added.
const FLUSH_AT: usize = 128 * 1024;

const TEXT_OID: u32 = 25;

pub(crate) struct MessageWriter<W> {
    stream: W,
    buffer: BytesMut,
}

impl<W: AsyncWrite + Unpin + Send> MessageWriter<W> {
    pub(crate) fn new(stream: W) -> Self {
        Self { stream, buffer: BytesMut::with_capacity(8 * 1024) }
    }

    /// Writes out what is gathered. Safe to cancel: what was not written stays.
    pub(crate) async fn flush(&mut self) -> Result<(), ConnectionError> {
        while !self.buffer.is_empty() {
            if self.stream.write_buf(&mut self.buffer).await? == 0 {
                return Err(ConnectionError::Io(std::io::ErrorKind::WriteZero.into()));
            }
        }
        self.stream.flush().await?;
        Ok(())
    }

    /// Bytes that wait to be written out.
    pub(crate) fn unsent(&self) -> usize {
        self.buffer.len()
    }

    /// Keeps the buffer bounded: called by those who send much.
    pub(crate) async fn flush_if_large(&mut self) -> Result<(), ConnectionError> {
        if self.buffer.len() >= FLUSH_AT { self.flush().await } else { Ok(()) }
    }

    /// One message: tag, length that counts itself, body.
    fn message(&mut self, tag: u8, body: impl FnOnce(&mut BytesMut)) {
        self.buffer.put_u8(tag);
        let start = self.buffer.len();
        self.buffer.put_u32(0);
        body(&mut self.buffer);
        let length = u32::try_from(self.buffer.len() - start).expect("messages are far smaller than 4 GiB");
        self.buffer[start..start + 4].copy_from_slice(&length.to_be_bytes());
    }

    /// One byte without a frame: the answer to a request for encryption.
    pub(crate) fn raw_byte(&mut self, byte: u8) {
        self.buffer.put_u8(byte);
    }

    pub(crate) fn authentication_cleartext(&mut self) {
        self.message(b'R', |body| body.put_u32(3));
    }

    pub(crate) fn authentication_ok(&mut self) {
        self.message(b'R', |body| body.put_u32(0));
    }

    pub(crate) fn parameter_status(&mut self, name: &str, value: &str) {
        self.message(b'S', |body| {
            put_text(body, name);
            put_text(body, value);
        });
    }

    /// We speak 3.0: a client that asked for a newer minor version or for extensions is told so.
    pub(crate) fn negotiate_protocol_version(&mut self, unknown_extensions: &[String]) {
        self.message(b'v', |body| {
            body.put_u32(0);
            body.put_u32(u32::try_from(unknown_extensions.len()).expect("bounded by the start-up packet"));
            for name in unknown_extensions {
                put_text(body, name);
            }
        });
    }

    pub(crate) fn ready_for_query(&mut self) {
        self.message(b'Z', |body| body.put_u8(b'I'));
    }

    /// Columns of type text, in text format.
    pub(crate) fn row_description(&mut self, columns: &[&str]) {
        self.message(b'T', |body| {
            body.put_u16(u16::try_from(columns.len()).expect("a handful of columns"));
            for name in columns {
                put_text(body, name);
                body.put_u32(0); // table
                body.put_u16(0); // column of the table
                body.put_u32(TEXT_OID);
                body.put_i16(-1); // variable length
                body.put_i32(-1); // no modifier
                body.put_u16(0); // text format
            }
        });
    }

    pub(crate) fn data_row(&mut self, values: &[Option<&str>]) {
        self.message(b'D', |body| {
            body.put_u16(u16::try_from(values.len()).expect("a handful of columns"));
            for value in values {
                match value {
                    Some(value) => {
                        body.put_u32(u32::try_from(value.len()).expect("small text values"));
                        body.put_slice(value.as_bytes());
                    }
                    None => body.put_i32(-1),
                }
            }
        });
    }

    pub(crate) fn command_complete(&mut self, tag: &str) {
        self.message(b'C', |body| put_text(body, tag));
    }

    pub(crate) fn empty_query(&mut self) {
        self.message(b'I', |_| ());
    }

    /// Starts COPY: binary as a whole, no columns, as a walsender does.
    pub(crate) fn copy_both_response(&mut self) {
        self.message(b'W', put_copy_format);
    }

    pub(crate) fn copy_out_response(&mut self) {
        self.message(b'H', put_copy_format);
    }

    pub(crate) fn copy_data(&mut self, data: &[u8]) {
        self.message(b'd', |body| body.put_slice(data));
    }

    pub(crate) fn copy_done(&mut self) {
        self.message(b'c', |_| ());
    }

    pub(crate) fn error_response(&mut self, error: &QueryError) {
        self.message(b'E', |body| {
            let mut field = |code: u8, value: &str| {
                body.put_u8(code);
                put_text(body, value);
            };
            field(b'S', error.severity.word());
            field(b'V', error.severity.word());
            field(b'C', error.sqlstate);
            field(b'M', &error.message);
            if let Some(detail) = &error.detail {
                field(b'D', detail);
            }
            if let Some(hint) = &error.hint {
                field(b'H', hint);
            }
            body.put_u8(0);
        });
    }
}

fn put_copy_format(body: &mut BytesMut) {
    body.put_u8(0);
    body.put_u16(0);
}

/// A text ended by a zero byte. Zero bytes inside would end it early, so they are left out.
fn put_text(body: &mut BytesMut, text: &str) {
    for part in text.as_bytes().split(|byte| *byte == 0) {
        body.put_slice(part);
    }
    body.put_u8(0);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_count_their_length_word() {
        let mut writer = MessageWriter::new(Vec::new());
        writer.copy_data(b"ab");
        writer.data_row(&[Some("x"), None]);
        let expected = b"d\0\0\0\x06abD\0\0\0\x0f\0\x02\0\0\0\x01x\xff\xff\xff\xff";
        assert_eq!(writer.buffer.as_ref(), expected);
    }

    #[test]
    fn zero_bytes_cannot_break_a_text() {
        let mut writer = MessageWriter::new(Vec::new());
        writer.command_complete("A\0B");
        assert_eq!(writer.buffer.as_ref(), b"C\0\0\0\x07AB\0");
    }
}

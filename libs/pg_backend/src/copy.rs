//! COPY streams: after [`Session::copy_both`] both sides send CopyData until each has sent CopyDone.

use bytes::Bytes;

use crate::encryption::{Reader, Writer};
use crate::reader::FrontendMessage;
use crate::{ConnectionError, Session};

/// Both directions of a COPY BOTH.
pub struct CopyBoth<'a> {
    reader: CopyReader<'a>,
    writer: CopyWriter<'a>,
}

impl<'a> CopyBoth<'a> {
    pub(crate) fn of(session: &'a mut Session) -> Self {
        let Session { reader, writer, copy, client_left, .. } = session;
        Self {
            reader: CopyReader { messages: reader, client_done: &mut copy.client_done, client_left },
            writer: CopyWriter { messages: writer, server_done: &mut copy.server_done },
        }
    }

    /// The two directions, to be used from two branches of one task.
    pub fn split(self) -> (CopyReader<'a>, CopyWriter<'a>) {
        (self.reader, self.writer)
    }
}

/// What the client sends.
pub struct CopyReader<'a> {
    messages: &'a mut Reader,
    client_done: &'a mut bool,
    client_left: &'a mut bool,
}

impl CopyReader<'_> {
    /// The payload of the next CopyData; None when the client has ended the stream (CopyDone, CopyFail,
    /// Terminate or a closed connection). Safe to cancel.
    pub async fn next(&mut self) -> Result<Option<Bytes>, ConnectionError> {
        while !*self.client_done {
            let message = self.messages.next().await?;
            if let Some(data) = self.take_in(message)? {
                return Ok(Some(data));
            }
        }
        Ok(None)
    }

    /// The next CopyData if it has arrived already. None also at the end of the stream.
    pub fn try_next(&mut self) -> Result<Option<Bytes>, ConnectionError> {
        while !*self.client_done {
            let Some(message) = self.messages.take_message()? else { break };
            if let Some(data) = self.take_in(Some(message))? {
                return Ok(Some(data));
            }
        }
        Ok(None)
    }

    fn take_in(&mut self, message: Option<FrontendMessage>) -> Result<Option<Bytes>, ConnectionError> {
        match message {
            Some(FrontendMessage::CopyData(data)) => return Ok(Some(data)),
            Some(FrontendMessage::CopyDone) => *self.client_done = true,
            Some(FrontendMessage::CopyFail(reason)) => {
                tracing::debug!(reason, "client ended its COPY stream with a failure");
                *self.client_done = true;
            }
            // PostgreSQL accepts these inside COPY and ignores them.
            Some(FrontendMessage::Sync | FrontendMessage::Unsupported(b'H')) => {}
            None | Some(FrontendMessage::Terminate) => {
                *self.client_done = true;
                *self.client_left = true;
            }
            Some(
                FrontendMessage::Query(_) | FrontendMessage::Password(_) | FrontendMessage::Unsupported(_),
            ) => return Err(ConnectionError::Protocol("expected CopyData, CopyDone or CopyFail".into())),
        }
        Ok(None)
    }
}

/// What we send.
pub struct CopyWriter<'a> {
    messages: &'a mut Writer,
    server_done: &'a mut bool,
}

impl CopyWriter<'_> {
    /// Adds one CopyData message to the buffer; waits for the socket only when the buffer is full, so the
    /// memory of a slow client stays bounded. Nothing is surely on its way before [`CopyWriter::flush`].
    pub async fn send(&mut self, payload: Bytes) -> Result<(), ConnectionError> {
        self.messages.copy_data(&payload);
        self.messages.flush_if_large().await
    }

    /// Adds one CopyData message to the buffer, whatever it holds already: for those who look at [`CopyWriter::unsent`].
    pub fn put(&mut self, payload: Bytes) {
        self.messages.copy_data(&payload);
    }

    /// Bytes in the buffer.
    pub fn unsent(&self) -> usize {
        self.messages.unsent()
    }

    /// Sends what the buffer holds. Safe to cancel.
    pub async fn flush(&mut self) -> Result<(), ConnectionError> {
        self.messages.flush().await
    }

    /// Ends our direction with CopyDone.
    pub async fn finish(self) -> Result<(), ConnectionError> {
        self.messages.copy_done();
        *self.server_done = true;
        self.messages.flush().await
    }
}

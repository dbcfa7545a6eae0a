//! One connection between commands.

use bytes::{Buf, Bytes};
use postgres_protocol::message::frontend;

use crate::authentication::authenticate;
use crate::connect::ConnectParams;
use crate::copy::{CopyBoth, CopyReader, CopyWriter};
use crate::error::PgError;
use crate::wire::{MessageReader, MessageWriter};

/// The columns of one row in text form; `None` is NULL.
pub type Row = Vec<Option<String>>;

/// A connection that waits for its next command. A command that turns the connection into a stream takes
/// the client with it; there is no way back, the connection ends with the stream.
pub struct PgClient {
    reader: MessageReader,
    writer: MessageWriter,
}

impl PgClient {
    pub async fn connect(params: &ConnectParams) -> Result<PgClient, PgError> {
        tokio::time::timeout(params.connect_timeout, Self::start(params)).await.unwrap_or_else(|_| {
            Err(PgError::ConnectTimeout {
                address: params.address.to_string(),
                seconds: params.connect_timeout.as_secs(),
            })
        })
    }

    async fn start(params: &ConnectParams) -> Result<PgClient, PgError> {
        let (mut reader, mut writer) = params.open().await?;
        let parameters = params.startup_parameters();
        let pairs = parameters.iter().map(|(name, value)| (*name, value.as_str()));
        frontend::startup_message(pairs, &mut writer.buffer)?;
        writer.flush().await?;
        authenticate(&mut reader, &mut writer, params.password.as_deref()).await?;
        let mut client = PgClient { reader, writer };
        client.until_ready().await?;
        Ok(client)
    }

    /// What the server said of itself by that name.
    pub fn parameter(&self, name: &str) -> Option<&str> {
        self.reader.parameter(name)
    }

    /// Runs SQL or a replication command and gathers the rows of all its statements.
    /// After an error of the server the connection goes on.
    pub async fn simple_query(&mut self, query: &str) -> Result<Vec<Row>, PgError> {
        self.send_query(query).await?;
        let mut rows = Vec::new();
        let mut failure = None;
        loop {
            let message = match self.reader.next().await {
                Ok(message) => message,
                // What it said last is why it closed the connection.
                Err(error @ (PgError::Closed | PgError::Io(_))) => return Err(failure.unwrap_or(error)),
                Err(error) => return Err(error),
            };
            match message.tag {
                b'D' => rows.push(parse_row(message.body)?),
                // Row description, command complete, empty query.
                b'T' | b'C' | b'I' => {}
                b'E' => failure = Some(message.into_server_error()),
                b'Z' => return failure.map_or(Ok(rows), Err),
                _ => return Err(message.unexpected("the result of a query")),
            }
        }
    }

    /// Runs a command that answers with COPY BOTH (`START_REPLICATION`, `pagestream_v3`, …).
    pub async fn copy_both(mut self, query: &str) -> Result<CopyBoth, PgError> {
        self.begin_copy(query, b'W').await?;
        Ok(CopyBoth::new(CopyReader::new(self.reader), CopyWriter::new(self.writer)))
    }

    /// Runs a command that answers with COPY OUT (`basebackup`, `COPY … TO STDOUT`).
    pub async fn copy_out(mut self, query: &str) -> Result<CopyReader, PgError> {
        self.begin_copy(query, b'H').await?;
        // The writing half stays open with the reader: some servers take a half-closed socket for a
        // client that has gone.
        Ok(CopyReader::with_writer(self.reader, self.writer))
    }

    async fn begin_copy(&mut self, query: &str, response: u8) -> Result<(), PgError> {
        self.send_query(query).await?;
        let message = self.reader.next().await?;
        match message.tag {
            tag if tag == response => Ok(()),
            b'E' => Err(message.into_server_error()),
            _ => Err(message.unexpected(if response == b'W' { "COPY BOTH" } else { "COPY OUT" })),
        }
    }

    async fn send_query(&mut self, query: &str) -> Result<(), PgError> {
        frontend::query(query, &mut self.writer.buffer)?;
        self.writer.flush().await
    }

    async fn until_ready(&mut self) -> Result<(), PgError> {
        loop {
            let message = self.reader.next().await?;
            match message.tag {
                // The key for a CancelRequest: a stream is ended by closing it.
                b'K' => {}
                b'Z' => return Ok(()),
                b'E' => return Err(message.into_server_error()),
                _ => return Err(message.unexpected("the end of start-up")),
            }
        }
    }
}

/// DataRow: column count u16, then per column length i32 (-1 is NULL) and bytes.
fn parse_row(mut body: Bytes) -> Result<Row, PgError> {
    let torn = || PgError::Protocol("a torn row".into());
    let columns = body.try_get_u16().map_err(|_| torn())?;
    (0..columns)
        .map(|_| {
            let length = body.try_get_i32().map_err(|_| torn())?;
            let Ok(length) = usize::try_from(length) else { return Ok(None) };
            if body.len() < length {
                return Err(torn());
            }
            Ok(Some(String::from_utf8_lossy(&body.split_to(length)).into_owned()))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_have_nulls_and_are_never_torn() {
        let whole = b"\0\x02\xff\xff\xff\xff\0\0\0\x02ab";
        assert_eq!(parse_row(Bytes::from_static(whole)).unwrap(), [None, Some("ab".to_owned())]);
        for length in 0..whole.len() {
            assert!(parse_row(Bytes::copy_from_slice(&whole[..length])).is_err(), "{length}");
        }
    }
}

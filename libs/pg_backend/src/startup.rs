//! From the first byte of a connection to a client that has shown a token.

use std::collections::HashMap;

use auth::{Identity, Verifier};
use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite};

use crate::error::sqlstate;
use crate::options;
use crate::reader::{FrontendMessage, MessageReader};
use crate::writer::MessageWriter;
use crate::{ConnectionError, QueryError};

pub(crate) const CANCEL_REQUEST: u32 = 80_877_102;
pub(crate) const SSL_REQUEST: u32 = 80_877_103;
pub(crate) const GSS_REQUEST: u32 = 80_877_104;
/// A client asks for each kind of encryption at most once.
pub(crate) const MOST_ENCRYPTION_REQUESTS: usize = 2;

/// What the client said about itself.
#[derive(Debug, Default)]
pub(crate) struct Startup {
    pub parameters: HashMap<String, String>,
    /// From `-c name=value` in the parameter `options`.
    pub settings: HashMap<String, String>,
    /// Protocol extensions it asked for (`_pq_.*`); we have none.
    unknown_extensions: Vec<String>,
    newer_minor_version: bool,
}

/// Reads up to the start-up packet. None when the client left, or came only to cancel something.
pub(crate) async fn read_startup<R, W>(
    reader: &mut MessageReader<R>,
    writer: &mut MessageWriter<W>,
) -> Result<Option<Startup>, QueryError>
where
    R: AsyncRead + Unpin + Send,
    W: AsyncWrite + Unpin + Send,
{
    for _ in 0..=MOST_ENCRYPTION_REQUESTS {
        let Some(mut packet) = reader.next_startup().await? else { return Ok(None) };
        if packet.remaining() < 4 {
            return Err(ConnectionError::Protocol("start-up packet without a version".into()).into());
        }
        match packet.get_u32() {
            CANCEL_REQUEST => return Ok(None),
            SSL_REQUEST | GSS_REQUEST => {
                writer.raw_byte(b'N');
                writer.flush().await?;
            }
            version if version >> 16 == 3 => return Ok(Some(parse_startup(version & 0xffff, &packet)?)),
            version => {
                let message = format!(
                    "protocol version {}.{} is not supported: 3.0 is",
                    version >> 16,
                    version & 0xffff
                );
                return Err(QueryError::fatal(sqlstate::FEATURE_NOT_SUPPORTED, message));
            }
        }
    }
    Err(ConnectionError::Protocol("too many requests for encryption".into()).into())
}

/// Pairs of texts, each ended by a zero byte; one more zero byte ends the list.
fn parse_startup(minor: u32, body: &Bytes) -> Result<Startup, QueryError> {
    let malformed =
        |what: &str| QueryError::from(ConnectionError::Protocol(format!("start-up packet: {what}")));
    let mut texts = body.split(|byte| *byte == 0).map(std::str::from_utf8);
    let mut startup = Startup { newer_minor_version: minor > 0, ..Startup::default() };
    loop {
        let name = texts.next().ok_or_else(|| malformed("no end"))?.map_err(|_| malformed("not UTF-8"))?;
        if name.is_empty() {
            break;
        }
        let value = texts.next().ok_or_else(|| malformed("no value"))?.map_err(|_| malformed("not UTF-8"))?;
        if name.starts_with("_pq_.") {
            startup.unknown_extensions.push(name.to_owned());
        } else {
            startup.parameters.insert(name.to_owned(), value.to_owned());
        }
    }
    if let Some(text) = startup.parameters.get("options") {
        startup.settings = options::parse(text).map_err(|reason| {
            QueryError::fatal(sqlstate::INVALID_PARAMETER_VALUE, format!("options: {reason}"))
        })?;
    }
    Ok(startup)
}

/// Asks for a token, and says whose it is. None when the client left instead of answering (psql does, to ask its
/// user).
pub(crate) async fn authenticate<R, W>(
    reader: &mut MessageReader<R>,
    writer: &mut MessageWriter<W>,
    startup: &Startup,
    verifier: &Verifier,
) -> Result<Option<Identity>, QueryError>
where
    R: AsyncRead + Unpin + Send,
    W: AsyncWrite + Unpin + Send,
{
    if startup.newer_minor_version || !startup.unknown_extensions.is_empty() {
        writer.negotiate_protocol_version(&startup.unknown_extensions);
    }
    writer.authentication_cleartext();
    writer.flush().await?;
    match reader.next().await? {
        Some(FrontendMessage::Password(password)) => verifier
            .verify(&password)
            .map(Some)
            .map_err(|refusal| QueryError::fatal(sqlstate::INVALID_PASSWORD, refusal.to_string())),
        None | Some(FrontendMessage::Terminate) => Ok(None),
        Some(_) => Err(ConnectionError::Protocol("expected the password".into()).into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_and_settings() {
        let body = Bytes::from_static(b"user\0me\0options\0-c tenant_id=ab\0_pq_.x\x001\0\0");
        let startup = parse_startup(2, &body).unwrap();
        assert_eq!(startup.parameters["user"], "me");
        assert_eq!(startup.settings["tenant_id"], "ab");
        assert_eq!(startup.unknown_extensions, ["_pq_.x"]);
        assert!(startup.newer_minor_version);
    }

    #[test]
    fn malformed_packets_are_errors() {
        for bad in [&b"user"[..], b"user\0me", b"\xff\0me\0\0", b"options\0nonsense\0\0"] {
            assert!(parse_startup(0, &Bytes::copy_from_slice(bad)).is_err(), "{bad:?}");
        }
        assert!(parse_startup(0, &Bytes::from_static(b"\0")).unwrap().parameters.is_empty());
    }
}

//! Being let in: trust, clear-text password, SCRAM-SHA-256. MD5 is refused by name.

use bytes::{Buf, Bytes};
use postgres_protocol::authentication::sasl::{ChannelBinding, SCRAM_SHA_256, ScramSha256};
use postgres_protocol::message::frontend;

use crate::error::PgError;
use crate::wire::{MessageReader, MessageWriter, take_cstring};

// Codes of the Authentication message.
const OK: u32 = 0;
const CLEARTEXT_PASSWORD: u32 = 3;
const MD5_PASSWORD: u32 = 5;
const SASL: u32 = 10;
const SASL_CONTINUE: u32 = 11;
const SASL_FINAL: u32 = 12;

/// Answers the server's questions until it says that the client may come in.
pub(crate) async fn authenticate(
    reader: &mut MessageReader,
    writer: &mut MessageWriter,
    password: Option<&str>,
) -> Result<(), PgError> {
    loop {
        let (code, body) = authentication_message(reader).await?;
        match code {
            OK => return Ok(()),
            CLEARTEXT_PASSWORD => {
                frontend::password_message(required(password)?.as_bytes(), &mut writer.buffer)?;
                writer.flush().await?;
            }
            SASL => scram(reader, writer, body, required(password)?).await?,
            MD5_PASSWORD => {
                return Err(PgError::Authentication("the server asks for an MD5 password; use SCRAM".into()));
            }
            other => return Err(PgError::Authentication(format!("method {other} is not supported"))),
        }
    }
}

fn required(password: Option<&str>) -> Result<&str, PgError> {
    password
        .ok_or_else(|| PgError::Authentication("the server asks for a password and none was given".into()))
}

async fn authentication_message(reader: &mut MessageReader) -> Result<(u32, Bytes), PgError> {
    let mut message = reader.next().await?;
    match message.tag {
        b'R' => {
            let code = message
                .body
                .try_get_u32()
                .map_err(|_| PgError::Protocol("an authentication message without a code".into()))?;
            Ok((code, message.body))
        }
        b'E' => Err(message.into_server_error()),
        _ => Err(message.unexpected("an authentication message")),
    }
}

async fn scram(
    reader: &mut MessageReader,
    writer: &mut MessageWriter,
    mut mechanisms: Bytes,
    password: &str,
) -> Result<(), PgError> {
    let mut offered = Vec::new();
    loop {
        let mechanism = take_cstring(&mut mechanisms)?;
        if mechanism.is_empty() {
            break;
        }
        offered.push(mechanism);
    }
    if !offered.iter().any(|mechanism| mechanism == SCRAM_SHA_256) {
        return Err(PgError::Authentication(format!("the server offers only {}", offered.join(", "))));
    }
    let mut exchange = ScramSha256::new(password.as_bytes(), ChannelBinding::unsupported());
    frontend::sasl_initial_response(SCRAM_SHA_256, exchange.message(), &mut writer.buffer)?;
    writer.flush().await?;

    let challenge = expect(reader, SASL_CONTINUE).await?;
    exchange.update(&challenge)?;
    frontend::sasl_response(exchange.message(), &mut writer.buffer)?;
    writer.flush().await?;

    let proof = expect(reader, SASL_FINAL).await?;
    // The server proves that it knows the password too.
    exchange.finish(&proof).map_err(|error| PgError::Authentication(error.to_string()))
}

async fn expect(reader: &mut MessageReader, wanted: u32) -> Result<Bytes, PgError> {
    match authentication_message(reader).await? {
        (code, body) if code == wanted => Ok(body),
        (code, _) => {
            Err(PgError::Protocol(format!("authentication message {code} where {wanted} was expected")))
        }
    }
}

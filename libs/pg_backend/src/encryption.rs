//! The first bytes of a connection: whether it is to be TLS, and the handshake.
//!
//! A client asks for TLS by a packet of its own and begins after the answer `S`, or begins at once (PostgreSQL 17's
//! `sslnegotiation=direct`). Where there is a certificate, nothing else is spoken; where there is none, no TLS.

use auth::{Certificate, begins_with_tls};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use crate::error::sqlstate;
use crate::reader::MessageReader;
use crate::startup::{CANCEL_REQUEST, GSS_REQUEST, MOST_ENCRYPTION_REQUESTS, SSL_REQUEST};
use crate::writer::MessageWriter;
use crate::{ConnectionError, QueryError};

pub(crate) type Reader = MessageReader<Box<dyn AsyncRead + Send + Sync + Unpin>>;
pub(crate) type Writer = MessageWriter<Box<dyn AsyncWrite + Send + Sync + Unpin>>;

/// Largest message before the token was shown; PostgreSQL has the same limit for start-up packets.
const MAX_STARTUP_BYTES: usize = 10_000;
/// What a client has to have agreed to that begins with TLS at once: else what it means might be another protocol.
const PROTOCOL: &[u8] = b"postgresql";

/// Both directions, in the way that is spoken here. None when the client left, or was sent away.
pub(crate) async fn agree(
    mut stream: TcpStream,
    certificate: Option<&Certificate>,
) -> Result<Option<(Reader, Writer)>, ConnectionError> {
    let Some(certificate) = certificate else {
        let (reader, writer) = stream.into_split();
        return Ok(Some(halves(reader, writer)));
    };
    if begins_with_tls(&stream).await? {
        let stream = certificate.accept(stream).await?;
        if stream.get_ref().1.alpn_protocol() != Some(PROTOCOL) {
            let what = "a connection that begins with TLS has to name the protocol \"postgresql\" (ALPN)";
            return Err(ConnectionError::Protocol(what.into()));
        }
        let (reader, writer) = tokio::io::split(stream);
        return Ok(Some(halves(reader, writer)));
    }
    if !asks_for_tls(&mut stream).await? {
        return Ok(None);
    }
    let (reader, writer) = tokio::io::split(certificate.accept(stream).await?);
    Ok(Some(halves(reader, writer)))
}

/// Hears the client until it asks for TLS, and answers that. False if it left, or wants to go on without.
async fn asks_for_tls(stream: &mut TcpStream) -> Result<bool, ConnectionError> {
    let (reader, writer) = stream.split();
    let (mut reader, mut writer) =
        (MessageReader::new(reader, MAX_STARTUP_BYTES), MessageWriter::new(writer));
    for _ in 0..=MOST_ENCRYPTION_REQUESTS {
        let Some(packet) = reader.next_startup().await? else { return Ok(false) };
        match packet.first_chunk().map(|code| u32::from_be_bytes(*code)) {
            Some(SSL_REQUEST) if reader.is_empty() => {
                writer.raw_byte(b'S');
                writer.flush().await?;
                return Ok(true);
            }
            // Whoever can add to a connection, but not read it, might have put it there.
            Some(SSL_REQUEST) => {
                let what = "something followed the request for TLS without waiting for the answer";
                return Err(ConnectionError::Protocol(what.into()));
            }
            Some(GSS_REQUEST) => {
                writer.raw_byte(b'N');
                writer.flush().await?;
            }
            Some(CANCEL_REQUEST) => return Ok(false),
            Some(_) | None => {
                tracing::info!("connection refused: the client speaks no TLS");
                writer.error_response(&plain_text());
                writer.flush().await?;
                return Ok(false);
            }
        }
    }
    Err(ConnectionError::Protocol("too many requests for encryption".into()))
}

fn plain_text() -> QueryError {
    QueryError::fatal(sqlstate::INVALID_AUTHORIZATION, "this port speaks TLS only").with_hint(
        "Parts of the cluster do with the authority in tls_ca_file, clients with sslmode=verify-full and sslrootcert.",
    )
}

fn halves(
    reader: impl AsyncRead + Send + Sync + Unpin + 'static,
    writer: impl AsyncWrite + Send + Sync + Unpin + 'static,
) -> (Reader, Writer) {
    (MessageReader::new(Box::new(reader), MAX_STARTUP_BYTES), MessageWriter::new(Box::new(writer)))
}

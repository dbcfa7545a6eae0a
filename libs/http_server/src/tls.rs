//! The handshake of a client of a port that speaks TLS, and what one is told that does not.

use std::io;

use auth::{Certificate, ServerStream, begins_with_tls};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// What is read, and thrown away, of a request in plain text, so that its sender gets to read the answer.
const MOST_OF_A_REQUEST: u64 = 1 << 20;

const PLAIN_TEXT: &str =
    r#"{"code":400,"msg":"this port speaks TLS only: ask with https://, and with the cluster's authority"}"#;

/// None with a client that speaks no TLS, and was told so.
pub(crate) async fn shake_hands(
    stream: TcpStream,
    certificate: &Certificate,
) -> io::Result<Option<ServerStream<TcpStream>>> {
    if begins_with_tls(&stream).await? {
        return certificate.accept_http(stream).await.map(Some);
    }
    refuse(stream).await?;
    Ok(None)
}

async fn refuse(mut stream: TcpStream) -> io::Result<()> {
    // Nobody who looks whether somebody listens here needs an answer.
    if stream.peek(&mut [0]).await? == 0 {
        return Ok(());
    }
    tracing::info!("a client was refused that speaks no TLS");
    let head = "HTTP/1.1 400 Bad Request\r\ncontent-type: application/json\r\nconnection: close\r\n";
    let answer = format!("{head}content-length: {}\r\n\r\n{PLAIN_TEXT}", PLAIN_TEXT.len());
    stream.write_all(answer.as_bytes()).await?;
    stream.shutdown().await?;
    tokio::io::copy(&mut stream.take(MOST_OF_A_REQUEST), &mut tokio::io::sink()).await?;
    Ok(())
}

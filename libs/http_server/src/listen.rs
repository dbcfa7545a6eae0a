//! [`TlsListener`]: connections whose TLS handshake is done. Each handshake is a task of its own, so that one who takes
//! their time holds up nobody.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use auth::{Certificate, ServerStream, begins_with_tls};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::task::AbortOnDropHandle;

/// From accepting a connection to the end of its handshake.
const PATIENCE: Duration = Duration::from_secs(10);
/// Handshakes at the same time. More wait to be accepted.
const MOST_HANDSHAKES: usize = 256;
/// Pause after accept failed (out of file descriptors, say), so that it does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// What is read, and thrown away, of a request in plain text, so that its sender gets to read the answer.
const MOST_OF_A_REQUEST: u64 = 1 << 20;

const PLAIN_TEXT: &str =
    r#"{"code":400,"msg":"this port speaks TLS only: ask with https://, and with the cluster's authority"}"#;

type Accepted = (ServerStream<TcpStream>, SocketAddr);

pub(crate) struct TlsListener {
    accepted: mpsc::Receiver<Accepted>,
    address: SocketAddr,
    /// Handshakes under way end with it.
    _accepting: AbortOnDropHandle<()>,
}

impl TlsListener {
    pub fn new(listener: TcpListener, certificate: Certificate) -> io::Result<TlsListener> {
        let address = listener.local_addr()?;
        let (sender, accepted) = mpsc::channel(1);
        let accepting = AbortOnDropHandle::new(tokio::spawn(accept(listener, certificate, sender)));
        Ok(TlsListener { accepted, address, _accepting: accepting })
    }
}

impl axum::serve::Listener for TlsListener {
    type Io = ServerStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> Accepted {
        match self.accepted.recv().await {
            Some(accepted) => accepted,
            // The task that accepts never ends by itself.
            None => std::future::pending().await,
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.address)
    }
}

async fn accept(listener: TcpListener, certificate: Certificate, accepted: mpsc::Sender<Accepted>) {
    let mut handshakes = JoinSet::new();
    loop {
        tokio::select! {
            Some(_) = handshakes.join_next() => {}
            connection = listener.accept(), if handshakes.len() < MOST_HANDSHAKES => match connection {
                Ok((stream, peer)) => {
                    handshakes.spawn(greet(stream, peer, certificate.clone(), accepted.clone()));
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
        }
    }
}

async fn greet(
    stream: TcpStream,
    peer: SocketAddr,
    certificate: Certificate,
    accepted: mpsc::Sender<Accepted>,
) {
    match tokio::time::timeout(PATIENCE, shake_hands(stream, certificate)).await {
        Ok(Ok(Some(stream))) => {
            // Nobody listens any more at the end.
            let _ = accepted.send((stream, peer)).await;
        }
        Ok(Ok(None)) => {}
        Ok(Err(error)) => tracing::info!(%peer, %error, "no TLS with a client"),
        Err(_) => tracing::info!(%peer, "client did not finish its TLS handshake in time"),
    }
}

async fn shake_hands(
    stream: TcpStream,
    certificate: Certificate,
) -> io::Result<Option<ServerStream<TcpStream>>> {
    stream.set_nodelay(true)?;
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

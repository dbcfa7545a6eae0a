//! One client's connection: read what it wants, wait for a server, pass bytes on both ways.

use std::io;
use std::path::PathBuf;
use std::pin::pin;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, copy, split};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::watch;

use super::Shared;
use super::activity::Noted;
use super::first_packet::{HEAD, Intent, intent};
use crate::paths::socket_name;

/// For the first packet; what PostgreSQL allows for all of the authentication.
const FIRST_PACKET: Duration = Duration::from_secs(60);
/// Of what a client says while it waits: more than the first packet may have. Beyond that it is left in its socket.
const MOST_SAID: usize = 16 * 1024;
/// For a client to hear that its server has ended, and to go.
const LINGER: Duration = Duration::from_secs(5);
/// After a server was not reached that is said to be there.
const RETRY: Duration = Duration::from_millis(20);

pub trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

/// How a client came, and is passed on.
#[derive(Clone, Debug)]
pub enum Way {
    Tcp,
    Unix { directory: PathBuf },
}

impl Way {
    async fn connect(&self, port: u16) -> io::Result<Box<dyn Stream>> {
        Ok(match self {
            Way::Tcp => {
                let stream = TcpStream::connect(("127.0.0.1", port)).await?;
                stream.set_nodelay(true)?;
                Box::new(stream)
            }
            Way::Unix { directory } => {
                Box::new(UnixStream::connect(directory.join(socket_name(port))).await?)
            }
        })
    }
}

/// Ends soon after the server does, whatever the client does then: nobody is there for it any more.
pub async fn pass_on(mut client: impl Stream, way: Way, shared: &Shared) {
    let mut said = vec![0; HEAD];
    // Who connects and says nothing, or goes again, is nobody to start a server for.
    let Ok(Ok(_)) = tokio::time::timeout(FIRST_PACKET, client.read_exact(&mut said)).await else { return };
    let Some(mut server) = server(&mut client, &mut said, &way, shared).await else { return };
    let work = async {
        server.write_all(&said).await?;
        let client = Noted { stream: client, activity: &shared.activity };
        let server = Noted { stream: server, activity: &shared.activity };
        both_ways(client, server).await
    };
    // A connection that breaks is the two sides' affair.
    if let Err(error) = work.await {
        tracing::debug!("a client's connection broke: {error}");
    }
}

async fn both_ways(client: impl Stream, server: impl Stream) -> io::Result<()> {
    let (mut from_client, mut to_client) = split(client);
    let (mut from_server, mut to_server) = split(server);
    let mut there = pin!(async {
        copy(&mut from_client, &mut to_server).await?;
        to_server.shutdown().await
    });
    let mut back = pin!(async {
        copy(&mut from_server, &mut to_client).await?;
        to_client.shutdown().await
    });
    tokio::select! {
        asked = &mut there => {
            asked?;
            back.await
        }
        answered = &mut back => {
            answered?;
            tokio::time::timeout(LINGER, there).await.unwrap_or(Ok(()))
        }
    }
}

/// A connection to the server, as soon as there is one. Waits for as long as it takes, or until the client gives up; what
/// it says meanwhile is kept for the server.
async fn server(
    client: &mut impl Stream,
    said: &mut Vec<u8>,
    way: &Way,
    shared: &Shared,
) -> Option<Box<dyn Stream>> {
    let intent = intent(said);
    if intent == Intent::Session {
        // Before it is looked whether there is a server: see `Proxy::close_if_quiet_for`.
        shared.activity.touch();
    }
    let mut server = shared.server.subscribe();
    let mut _waiting = None;
    loop {
        let port = *server.borrow_and_update();
        match (port, intent) {
            (Some(port), _) => match way.connect(port).await {
                Ok(stream) => return Some(stream),
                Err(error) => {
                    tracing::debug!(port, "the server is not reached: {error}");
                    let _ = tokio::time::timeout(RETRY, server.changed()).await;
                }
            },
            (None, Intent::NothingWithoutServer) => return None,
            (None, Intent::Session) => {
                _waiting.get_or_insert_with(|| Waiting::new(&shared.waiting));
                tokio::select! {
                    changed = server.changed() => changed.ok()?,
                    read = client.read_buf(said), if said.len() < MOST_SAID => {
                        if !matches!(read, Ok(bytes) if bytes > 0) {
                            return None;
                        }
                    }
                }
            }
        }
    }
}

/// A client that waits, for as long as this lives.
struct Waiting<'a>(&'a watch::Sender<usize>);

impl<'a> Waiting<'a> {
    fn new(clients: &'a watch::Sender<usize>) -> Waiting<'a> {
        clients.send_modify(|clients| *clients += 1);
        Waiting(clients)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.send_modify(|clients| *clients -= 1);
    }
}

//! Where clients come in.

use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;

use nix::sys::socket::{setsockopt, sockopt};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::task::JoinSet;

use super::Shared;
use super::connection::{Stream, Way, pass_on};
use crate::error::ComputeError;
use crate::paths::{ComputePaths, remove_file, socket_name};
use crate::server_user::ServerUser;

/// After a connection could not be accepted, for want of memory or of descriptors.
const RETRY: Duration = Duration::from_millis(100);
/// Of file descriptors, for everything but clients.
const RESERVE: usize = 256;

/// As PostgreSQL reads `listen_addresses`: names, addresses, or `*` for all; that some do not work is no failure.
pub async fn tcp(listen_addresses: &str, port: u16) -> Result<Vec<TcpListener>, ComputeError> {
    let mut listeners = Vec::new();
    let mut failed = None;
    for host in listen_addresses.split(',').map(str::trim).filter(|host| !host.is_empty()) {
        let addresses: Vec<SocketAddr> = match host {
            "*" => vec![([0u16; 8], port).into(), ([0u8; 4], port).into()],
            host => match tokio::net::lookup_host((host, port)).await {
                Ok(addresses) => addresses.collect(),
                Err(error) => {
                    failed = Some((host.to_owned(), error));
                    continue;
                }
            },
        };
        for address in addresses {
            match TcpListener::bind(address).await {
                Ok(listener) => listeners.push(listener),
                Err(error) => failed = failed.or(Some((address.to_string(), error))),
            }
        }
    }
    match failed {
        Some((address, source)) if listeners.is_empty() => Err(ComputeError::Listen { address, source }),
        Some(_) | None => Ok(listeners),
    }
}

/// In the directory that only the server's user gets into.
pub fn unix(paths: &ComputePaths, user: ServerUser, port: u16) -> Result<UnixListener, ComputeError> {
    let path = paths.socket.join(socket_name(port));
    remove_file(&path).map_err(ComputeError::file("replace", &path))?;
    let listener = UnixListener::bind(&path).map_err(ComputeError::file("listen on", &path))?;
    user.own(&path).map_err(ComputeError::file("give away", &path))?;
    Ok(listener)
}

/// A socket that clients connect to.
pub trait Listener: Send + 'static {
    type Client: Stream + 'static;

    fn accept_client(&self) -> impl Future<Output = io::Result<Self::Client>> + Send;

    /// How its clients are passed on.
    fn way(&self, shared: &Shared) -> Way;
}

impl Listener for TcpListener {
    type Client = TcpStream;

    async fn accept_client(&self) -> io::Result<TcpStream> {
        let (stream, _) = self.accept().await?;
        stream.set_nodelay(true)?;
        // As the server's own sockets: a client that is gone without a word is noticed some time.
        setsockopt(&stream.as_fd(), sockopt::KeepAlive, &true)?;
        Ok(stream)
    }

    fn way(&self, _: &Shared) -> Way {
        Way::Tcp
    }
}

impl Listener for UnixListener {
    type Client = UnixStream;

    async fn accept_client(&self) -> io::Result<UnixStream> {
        Ok(self.accept().await?.0)
    }

    fn way(&self, shared: &Shared) -> Way {
        Way::Unix { directory: shared.socket.clone() }
    }
}

pub async fn accept_all(listener: impl Listener, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    loop {
        let Ok(slot) = Arc::clone(&shared.slots).acquire_owned().await else { return };
        while connections.try_join_next().is_some() {}
        match listener.accept_client().await {
            Ok(client) => {
                let (way, shared) = (listener.way(&shared), Arc::clone(&shared));
                connections.spawn(async move {
                    pass_on(client, way, &shared).await;
                    drop(slot);
                });
            }
            Err(error) => {
                tracing::warn!("cannot accept a connection: {error}");
                tokio::time::sleep(RETRY).await;
            }
        }
    }
}

/// As far as the system allows; how many there are then for connections.
pub fn raise_descriptor_limit(wanted: usize) -> usize {
    let limit = telemetry::raise_open_files(u64::try_from(wanted + RESERVE).unwrap_or(u64::MAX));
    usize::try_from(limit).unwrap_or(usize::MAX).saturating_sub(RESERVE)
}

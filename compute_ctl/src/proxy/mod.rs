//! In front of a compute that is suspended while nobody uses it: clients connect here, and wait here while PostgreSQL
//! is being started.
//!
//! Only with a suspend time-out; without one PostgreSQL listens itself and nothing stands between. A connection is bytes
//! that are passed on. Nothing of them is read but the beginning of the first packet, which tells a client from a port
//! scanner and from a request to cancel.
//!
//! ```text
//! client ──▶ listen address:pg_port ──▶ 127.0.0.1:server port            as everybody, by password
//!        ──▶ socket/.s.PGSQL.pg_port ─▶ socket/.s.PGSQL.server port      as the superuser, who alone gets there
//! ```

mod activity;
mod connection;
mod first_packet;
mod listen;

use std::net::{Ipv4Addr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use compute_api::ComputeSpec;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use crate::error::ComputeError;
use crate::paths::ComputePaths;
use crate::server_user::ServerUser;

use activity::Activity;

/// Connections at a time; the next ones wait in the kernel's queue. Each takes two file descriptors.
const MOST_CONNECTIONS: usize = 8192;

/// See the head of this module. Connections end with it.
pub struct Proxy {
    shared: Arc<Shared>,
    _listeners: JoinSet<()>,
}

struct Shared {
    socket: PathBuf,
    /// The port of a server that accepts connections.
    server: watch::Sender<Option<u16>>,
    /// Clients that wait for one.
    waiting: watch::Sender<usize>,
    activity: Activity,
    slots: Arc<Semaphore>,
}

impl Proxy {
    /// Listens where the spec has PostgreSQL listen. Clients that come now wait.
    pub async fn listen(
        spec: &ComputeSpec,
        paths: &ComputePaths,
        user: ServerUser,
    ) -> Result<Proxy, ComputeError> {
        let most = listen::raise_descriptor_limit(2 * MOST_CONNECTIONS) / 2;
        let shared = Arc::new(Shared {
            socket: paths.socket.clone(),
            server: watch::Sender::new(None),
            waiting: watch::Sender::new(0),
            activity: Activity::now(),
            slots: Arc::new(Semaphore::new(most.clamp(1, MOST_CONNECTIONS))),
        });
        let mut listeners = JoinSet::new();
        for listener in listen::tcp(&spec.pg_listen_addr, spec.pg_port).await? {
            listeners.spawn(listen::accept_all(listener, Arc::clone(&shared)));
        }
        let local = listen::unix(paths, user, spec.pg_port)?;
        listeners.spawn(listen::accept_all(local, Arc::clone(&shared)));
        Ok(Proxy { shared, _listeners: listeners })
    }

    /// A port that is free now, for a server behind a proxy. If somebody else takes it first, the server does not start
    /// and the next start takes another one.
    pub fn server_port() -> std::io::Result<u16> {
        Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
    }

    /// A server accepts connections on this port.
    pub fn open(&self, server_port: u16) {
        self.shared.activity.touch();
        self.shared.server.send_replace(Some(server_port));
    }

    /// The server has ended, or is about to: from now on clients wait.
    pub fn close(&self) {
        self.shared.server.send_replace(None);
    }

    /// Closes if no byte has been passed on for `time`. Whoever comes at the same moment has either been seen by this, or
    /// sees that it is closed.
    pub fn close_if_quiet_for(&self, time: Duration) -> bool {
        let server = self.shared.server.send_replace(None);
        let is_quiet = self.quiet_for() >= time;
        if !is_quiet {
            self.shared.server.send_replace(server);
        }
        is_quiet
    }

    /// How long no byte has been passed on.
    pub fn quiet_for(&self) -> Duration {
        self.shared.activity.quiet_for()
    }

    /// Returns as soon as a client waits for a server.
    pub async fn client_waits(&self) {
        // The sender is ours: it cannot be gone.
        let _ = self.shared.waiting.subscribe().wait_for(|clients| *clients > 0).await;
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;

    use super::*;

    /// Asks for TLS, as libpq does first.
    const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 4, 210, 22, 47];

    async fn proxy(home: &std::path::Path) -> (Proxy, u16) {
        let port = Proxy::server_port().unwrap();
        let id = "0123456789abcdef0123456789abcdef";
        let spec = serde_json::json!({
            "format_version": 1, "tenant_id": id, "timeline_id": id, "endpoint_id": "e", "pg_version": 15,
            "safekeepers": [{"id": 1, "pg_connstr": "sk:5454"}], "pageserver": {"pg_connstr": "ps:64000"},
            "pg_listen_addr": "127.0.0.1", "pg_port": port, "suspend_timeout_seconds": 1
        });
        let spec = ComputeSpec::parse(spec.to_string().as_bytes()).unwrap();
        let paths = ComputePaths::new(&home.join("pgdata")).unwrap();
        std::fs::set_permissions(home, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        let user = ServerUser::find().unwrap();
        paths.prepare(user).unwrap();
        (Proxy::listen(&spec, &paths, user).await.unwrap(), port)
    }

    async fn until_waiting(proxy: &Proxy, clients: usize) {
        let mut waiting = proxy.shared.waiting.subscribe();
        let arrived = waiting.wait_for(|now| *now == clients);
        tokio::time::timeout(Duration::from_secs(10), arrived).await.expect("in time").unwrap();
    }

    #[tokio::test]
    async fn a_client_that_gives_up_is_not_waited_for() {
        let home = tempfile::tempdir().unwrap();
        let (proxy, port) = proxy(home.path()).await;
        let mut client = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        client.write_all(&SSL_REQUEST).await.unwrap();
        until_waiting(&proxy, 1).await;
        proxy.client_waits().await;
        drop(client);
        until_waiting(&proxy, 0).await;
    }

    #[tokio::test]
    async fn what_a_client_says_while_it_waits_reaches_the_server() {
        let home = tempfile::tempdir().unwrap();
        let (proxy, port) = proxy(home.path()).await;
        let mut client = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        let said: Vec<u8> = SSL_REQUEST.into_iter().chain((0..40_000u32).map(|n| n as u8)).collect();
        client.write_all(&said[..20]).await.unwrap();
        until_waiting(&proxy, 1).await;
        assert!(proxy.close_if_quiet_for(Duration::ZERO));

        let server = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        client.write_all(&said[20..]).await.unwrap();
        proxy.open(server.local_addr().unwrap().port());
        let (mut session, _) = server.accept().await.unwrap();
        let mut heard = vec![0; said.len()];
        session.read_exact(&mut heard).await.unwrap();
        assert_eq!(heard, said);
        session.write_all(b"N").await.unwrap();
        assert_eq!(client.read_u8().await.unwrap(), b'N');
        assert!(!proxy.close_if_quiet_for(Duration::from_secs(60)), "it was used just now");
        // The session goes on, whether new ones wait or not.
        proxy.close();
        client.write_all(b"more").await.unwrap();
        session.read_exact(&mut heard[..4]).await.unwrap();
        assert_eq!(&heard[..4], b"more");
    }

    /// As one whose password is wrong, and who does not hang up.
    #[tokio::test]
    async fn a_client_that_outstays_its_server_is_let_go() {
        let home = tempfile::tempdir().unwrap();
        let (proxy, port) = proxy(home.path()).await;
        let free = || proxy.shared.slots.available_permits();
        // Who listens has taken one, for the next client.
        tokio::time::sleep(Duration::from_millis(200)).await;
        let at_rest = free();
        let mut client = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        client.write_all(&SSL_REQUEST).await.unwrap();
        until_waiting(&proxy, 1).await;
        let server = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        proxy.open(server.local_addr().unwrap().port());
        let (mut session, _) = server.accept().await.unwrap();
        session.read_exact(&mut [0; SSL_REQUEST.len()]).await.unwrap();
        assert!(free() < at_rest);
        session.write_all(b"E").await.unwrap();
        drop(session);
        assert_eq!(client.read_u8().await.unwrap(), b'E', "what the server has said comes");
        assert_eq!(client.read(&mut [0; 1]).await.unwrap(), 0);
        let let_go = async {
            while free() < at_rest {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), let_go).await.expect("its place is free again");
    }
}

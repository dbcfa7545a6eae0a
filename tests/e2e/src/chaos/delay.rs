//! [`Delay`]: what is sent to a port of this host and back comes late. Packets are not late one by one (this kernel
//! cannot), connections are: the packet filter sends new ones to a proxy of ours, which holds back what passes.

use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::cut::as_root;

/// Where the proxy's own connections come from, so that they are not sent to it again.
const SOURCE: &str = "127.0.0.2";
/// Pieces that are on their way, in each direction of a connection.
const ON_THE_WAY: usize = 1024;

/// Ends when it is dropped, and with it the connections that go through it.
pub struct Delay {
    table: String,
    late: Arc<AtomicU64>,
    proxy: JoinHandle<()>,
}

impl Delay {
    pub async fn begin(port: u16, by: Duration) -> Delay {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port for the proxy");
        let to = listener.local_addr().expect("its address").port();
        let late = Arc::new(AtomicU64::new(0));
        let delay = Delay {
            table: format!("varve_delay_{}", std::process::id()),
            late: Arc::clone(&late),
            proxy: tokio::spawn(accept(listener, port, by, late)),
        };
        let rule = format!("oifname lo ip saddr != {SOURCE} tcp dport {port} redirect to :{to}");
        let chain = format!("chain out {{\ntype nat hook output priority -100\n{rule}\n}}");
        harness::run(as_root().args(["nft", &format!("table inet {} {{\n{chain}\n}}", delay.table)]));
        delay
    }

    /// Bytes that came late.
    pub fn late(&self) -> u64 {
        self.late.load(Ordering::Relaxed)
    }
}

impl Drop for Delay {
    fn drop(&mut self) {
        self.proxy.abort();
        let deleted =
            as_root().args(["nft", "delete", "table", "inet", &self.table]).stdout(Stdio::null()).status();
        if !deleted.is_ok_and(|status| status.success()) {
            eprintln!(
                "the rules of the table inet {} are still there: nft delete table inet {0}",
                self.table
            );
        }
    }
}

async fn accept(listener: TcpListener, port: u16, by: Duration, late: Arc<AtomicU64>) {
    let mut connections = tokio::task::JoinSet::new();
    while let Ok((client, _)) = listener.accept().await {
        let late = Arc::clone(&late);
        connections.spawn(async move {
            let socket = TcpSocket::new_v4().expect("a socket");
            socket.bind(format!("{SOURCE}:0").parse().expect("an address")).expect("the proxy's address");
            // Nobody there: the client's connection ends too.
            let Ok(server) = socket.connect(([127, 0, 0, 1], port).into()).await else { return };
            through(client, server, by, &late).await;
        });
    }
}

async fn through(client: TcpStream, server: TcpStream, by: Duration, late: &AtomicU64) {
    let (client_read, client_write) = client.into_split();
    let (server_read, server_write) = server.into_split();
    // When one direction ends, the connection does: nobody here closes half of one.
    tokio::select! {
        () = one_way(client_read, server_write, by, late) => {}
        () = one_way(server_read, client_write, by, late) => {}
    }
}

async fn one_way(
    mut from: tokio::net::tcp::OwnedReadHalf,
    mut to: tokio::net::tcp::OwnedWriteHalf,
    by: Duration,
    late: &AtomicU64,
) {
    let (sender, mut pieces) = mpsc::channel::<(Instant, Vec<u8>)>(ON_THE_WAY);
    let read = async {
        let mut buffer = vec![0; 64 << 10];
        while let Ok(length @ 1..) = from.read(&mut buffer).await {
            if sender.send((Instant::now() + by, buffer[..length].to_vec())).await.is_err() {
                return;
            }
        }
    };
    let write = async {
        while let Some((due, piece)) = pieces.recv().await {
            tokio::time::sleep_until(due).await;
            late.fetch_add(piece.len() as u64, Ordering::Relaxed);
            if to.write_all(&piece).await.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        () = read => {}
        () = write => {}
    }
}

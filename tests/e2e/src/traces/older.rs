//! A pageserver of before there were traces, as far as a compute can tell: a proxy before it takes from the greeting that it
//! knows of them.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use harness::{Cluster, block_on, eventually, number};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use super::collector::Collector;
use super::{APPLICATION, TRACE, fill, set_traceparent, traced};

const SAID: &[u8] = pageserver_api::TRACES_PARAMETER.as_bytes();

struct Proxy {
    /// Greetings that were changed.
    hidden: Arc<AtomicU32>,
    task: JoinHandle<()>,
}

impl Proxy {
    async fn start(port: u16, pageserver: u16) -> Proxy {
        let listener = TcpListener::bind(("127.0.0.1", port)).await.expect("the port is free");
        let hidden = Arc::<AtomicU32>::default();
        let counted = Arc::clone(&hidden);
        let task = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let counted = Arc::clone(&counted);
                tokio::spawn(async move {
                    let Ok(server) = TcpStream::connect(("127.0.0.1", pageserver)).await else { return };
                    let (client_read, client_write) = client.into_split();
                    let (server_read, server_write) = server.into_split();
                    tokio::select! {
                        () = pass(client_read, server_write, None) => {}
                        () = pass(server_read, client_write, Some(&counted)) => {}
                    }
                });
            }
        });
        Proxy { hidden, task }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Until one side ends. The greeting comes in one piece: it is written at once, and is short.
async fn pass(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin, hidden: Option<&AtomicU32>) {
    let mut buffer = vec![0; 64 << 10];
    while let Ok(length @ 1..) = from.read(&mut buffer).await {
        let piece = &mut buffer[..length];
        if let Some(hidden) = hidden
            && let Some(at) = piece.windows(SAID.len()).position(|window| window == SAID)
        {
            piece[at..at + SAID.len()].fill(b'x');
            hidden.fetch_add(1, Ordering::Relaxed);
        }
        if to.write_all(piece).await.is_err() {
            return;
        }
    }
}

/// Puts a port of its own between computes and the pageserver, and says what both are.
fn move_pageserver(cluster: &Cluster) -> (u16, u16) {
    let path = cluster.directory().join("pageserver/pageserver.toml");
    let text = fs::read_to_string(&path).expect("a file that varve has written");
    let port = |text: &str| {
        let listens = text.lines().find(|line| line.starts_with("listen_pg_addr")).expect("an address");
        listens.trim_end_matches('"').rsplit_once(':').expect("a port").1.parse::<u16>().expect("a number")
    };
    let (known, own) = (port(&text), cluster.spare_port());
    cluster.varve(&["pageserver", "stop"]);
    fs::write(&path, text.replace(&format!(":{known}\""), &format!(":{own}\""))).expect("it can be changed");
    cluster.varve(&["pageserver", "start"]);
    assert_eq!(port(&fs::read_to_string(&path).unwrap()), own, "varve has written it anew");
    (known, own)
}

#[test]
fn a_pageserver_of_before_is_told_of_no_trace() {
    let collector = Collector::start();
    let cluster = traced("traces-older", collector.url(), "1.0");
    if cluster.scheme() == "https" {
        // The greeting cannot be changed on its way.
        return;
    }
    let (known, own) = move_pageserver(&cluster);
    block_on(async {
        let proxy = Proxy::start(known, own).await;
        fill(&cluster).await;
        let client = cluster.connect("main").await;
        client.batch_execute(&set_traceparent()).await.unwrap();
        assert_eq!(number(&client, "SELECT count(*) FROM t").await, 20_000);
        assert!(proxy.hidden.load(Ordering::Relaxed) > 0, "nothing went through the proxy");
        eventually("the compute has sent its spans", Duration::from_secs(30), async || {
            collector.trace(TRACE).iter().any(|span| span.parent == APPLICATION)
        })
        .await;
        // Spans of one batch come before those that they hang on.
        tokio::time::sleep(Duration::from_secs(3)).await;
        let others: Vec<_> =
            collector.trace(TRACE).into_iter().filter(|span| span.service != "compute").collect();
        assert!(others.is_empty(), "{others:?}");
        let spans = collector.spans();
        let asked = spans.iter().rfind(|span| span.name == "base backup").expect("one of the start");
        let made: Vec<_> = spans.iter().filter(|span| span.parent == asked.id).collect();
        assert!(made.is_empty(), "{made:?}");
    });
}

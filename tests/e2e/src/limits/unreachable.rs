//! A network that drops packets without a word: who waits for a connection to the pageserver can be timed out and
//! cancelled, and goes on once there is one.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use harness::{Cluster, block_on, eventually, number};
use nix::sys::socket::{Backlog, listen};
use tokio_postgres::{Client, NoTls, error::SqlState};

const PATIENCE: Duration = Duration::from_secs(60);
/// Far less than the system takes to give an attempt up.
const SOON: Duration = Duration::from_secs(5);
const SCAN: &str = "SELECT sum(length(t)) FROM big";

/// Stands at an address and lets nobody in: with as many connections as it has room for, further attempts get no answer.
struct Deaf {
    _listener: TcpListener,
    _taken: Vec<TcpStream>,
}

impl Deaf {
    async fn at(address: &str) -> Deaf {
        let mut bound = None;
        eventually("the killed pageserver leaves its address", PATIENCE, async || {
            bound = TcpListener::bind(address).ok();
            bound.is_some()
        })
        .await;
        let listener = bound.unwrap();
        listen(&listener, Backlog::new(0).unwrap()).unwrap();
        let address: SocketAddr = address.parse().unwrap();
        let attempt = || TcpStream::connect_timeout(&address, Duration::from_millis(500)).ok();
        let taken: Vec<_> = std::iter::from_fn(attempt).take(16).collect();
        assert!(taken.len() < 16, "it still answers");
        Deaf { _listener: listener, _taken: taken }
    }
}

async fn ends_soon(what: &str, client: &Client) {
    let ended = tokio::time::timeout(SOON, client.query_one(SCAN, &[])).await;
    let error = ended.unwrap_or_else(|_| panic!("{what} hangs")).expect_err("it cannot have the page");
    assert_eq!(error.code(), Some(&SqlState::QUERY_CANCELED), "{what}: {error}");
}

#[test]
fn an_attempt_to_connect_that_gets_no_answer_can_be_ended() {
    let cluster = Cluster::up("unreachable").need_not_evict("next to nothing is written");
    block_on(async {
        let main = cluster.connect("main").await;
        let table = "CREATE TABLE big AS SELECT n, repeat('x', 400) AS t FROM generate_series(1, 5000) n";
        main.batch_execute(table).await.unwrap();
        let sum = number(&main, SCAN).await;
        drop(main);
        cluster.varve(&["endpoint", "stop", "main"]);
        // Without what is cached, as in all tests that do not ask for it.
        cluster.varve(&["endpoint", "start", "main"]);
        let main = cluster.connect("main").await;
        // All but the table's own pages is there.
        main.batch_execute(&format!("EXPLAIN {SCAN}")).await.unwrap();

        cluster.kill("pageserver");
        let deaf = Deaf::at(&cluster.page_service_address()).await;
        // Longer than the first look at the connection.
        main.batch_execute("SET statement_timeout = '2s'").await.unwrap();
        ends_soon("a statement with a time-out", &main).await;
        main.batch_execute("RESET statement_timeout").await.unwrap();
        let canceller = main.cancel_token();
        let ((), ()) = tokio::join!(ends_soon("a cancelled statement", &main), async {
            tokio::time::sleep(Duration::from_millis(1500)).await;
            canceller.cancel_query(NoTls).await.expect("a cancel request");
        });

        drop(deaf);
        cluster.varve(&["pageserver", "start"]);
        let found = tokio::time::timeout(PATIENCE, number(&main, SCAN)).await;
        assert_eq!(found.expect("it connects again"), sum);
    });
}

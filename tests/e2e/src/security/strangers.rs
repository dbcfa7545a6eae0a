//! Connections that never show a token, at every port.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use harness::block_on;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// What the parts grant, and what they may take to end an answer.
const PATIENCE: Duration = Duration::from_secs(10);
const FAREWELL: Duration = Duration::from_secs(5);

#[test]
fn a_connection_that_shows_no_token_is_ended() {
    let cluster = super::quiet("security-strangers");
    let daemons = ["broker", "pageserver", "safekeeper-1", "endpoint-main"];
    let http = daemons.map(|daemon| cluster.http_address(daemon));
    let said = [b"".as_slice(), b"GET /metrics HT", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"];
    let strangers = http.iter().flat_map(|address| said.map(|said| stranger(address, said)));
    block_on(async { join_all(strangers).await });
}

async fn stranger(address: &str, said: &[u8]) {
    let since = Instant::now();
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(said).await.unwrap();
    let silence = tokio::time::timeout(2 * (PATIENCE + FAREWELL), stream.read_to_end(&mut Vec::new())).await;
    // It may also be cut.
    let _ = silence.unwrap_or_else(|_| panic!("{address} waits for ever after {said:?}"));
    assert!(since.elapsed() >= PATIENCE, "{address} ended it after {:?}", since.elapsed());
}

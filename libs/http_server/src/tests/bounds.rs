//! Who is sent away and when, who stays, and who waits.

use std::pin::pin;
use std::time::{Duration, Instant};

use axum::body::{Body, to_bytes};
use futures_util::future::join_all;
use hyper::Request;
use hyper::client::conn::http2::{SendRequest, handshake};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::runtime::Builder;

use super::{LIMITS, Limits, Port, get_request, to_the_end};

/// Shorter than an answer drop by drop, and than a body.
const SHORT: Duration = Duration::from_millis(500);

/// Only what is about strangers.
const SHORT_FOR_STRANGERS: Limits = Limits { patience: SHORT, farewell: SHORT, ..LIMITS };

/// With the frame of settings that follows it.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

/// That the other side ends it, and not before it is time.
async fn is_sent_away(mut stream: impl AsyncRead + Unpin, since: Instant) {
    to_the_end(&mut stream).await;
    assert!(since.elapsed() >= SHORT, "after {:?}", since.elapsed());
}

#[tokio::test]
async fn who_never_finishes_a_request_is_sent_away() {
    let port = Port::open(SHORT_FOR_STRANGERS).await;
    let half_a_head = b"GET / HTTP/1.1\r\nHost: x\r\n";
    let all = [b"".as_slice(), b"G", half_a_head, b"PRI * HT", &PREFACE[..24], PREFACE];
    join_all(all.map(|said| stranger(&port, said))).await;
}

async fn stranger(port: &Port, said: &[u8]) {
    let since = Instant::now();
    let mut stream = port.connect().await;
    stream.write_all(said).await.unwrap();
    is_sent_away(stream, since).await;
}

#[tokio::test]
async fn nor_does_tls_help() {
    let port = Port::open_with_tls(SHORT_FOR_STRANGERS).await;
    let greeted = async |protocol, said: &[u8]| {
        let since = Instant::now();
        let stream = port.connect().await;
        let mut stream = port.trust().connect("127.0.0.1", stream, &[protocol]).await.unwrap();
        stream.write_all(said).await.unwrap();
        is_sent_away(stream, since).await;
    };
    tokio::join!(
        stranger(&port, b""),
        stranger(&port, &[22, 3, 1]),
        greeted("http/1.1", b""),
        greeted("h2", b""),
        greeted("h2", PREFACE),
    );
}

#[tokio::test]
async fn nor_does_it_to_be_slow_or_to_ask_for_what_anybody_may() {
    let port = Port::open(SHORT_FOR_STRANGERS).await;
    let again_and_again = async |first: &str, then: String| {
        let since = Instant::now();
        let (reader, mut writer) = port.connect().await.into_split();
        let saying = async {
            writer.write_all(first.as_bytes()).await.unwrap();
            while writer.write_all(then.as_bytes()).await.is_ok() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::join!(is_sent_away(reader, since), saying);
    };
    tokio::join!(
        again_and_again("GET /open HTTP/1.1\r\nHost: x\r\nX-Long: ", "x".into()),
        again_and_again("", get_request("/open", None, "")),
    );
}

/// At once: a request that crosses the end of a stranger's connection is lost.
#[tokio::test]
async fn who_was_refused_asks_on_another_connection() {
    let port = Port::open(LIMITS).await;
    let mut stream = port.connect().await;
    stream.write_all(get_request("/v1/status", None, "").as_bytes()).await.unwrap();
    assert!(to_the_end(&mut stream).await.starts_with("HTTP/1.1 401"));
}

#[tokio::test]
async fn a_long_head_is_refused() {
    let port = Port::open(LIMITS).await;
    let long = format!("X-Long: {}\r\n", "x".repeat(40_000));
    let mut stream = port.connect().await;
    stream.write_all(get_request("/v1/status", Some(&port.token()), &long).as_bytes()).await.unwrap();
    let mut said = [0; 12];
    stream.read_exact(&mut said).await.unwrap();
    assert_eq!(&said, b"HTTP/1.1 431");
}

#[tokio::test]
async fn what_is_under_way_outlives_all_limits() {
    let port = Port::open(Limits { idle: SHORT, ..SHORT_FOR_STRANGERS }).await;
    let drops = get_request("/drops", Some(&port.token()), "Connection: close\r\n");
    let mut plain = port.connect().await;
    plain.write_all(drops.as_bytes()).await.unwrap();
    assert!(to_the_end(&mut plain).await.ends_with("0\r\n\r\n"));

    // And so does a body that comes drop by drop.
    let authorization = port.token().bearer();
    let head = format!("POST /length HTTP/1.1\r\nHost: x\r\nAuthorization: {authorization}\r\n");
    let (mut reader, mut writer) = port.connect().await.into_split();
    let uploading = async {
        let head = format!("{head}Content-Length: 10\r\nConnection: close\r\n\r\n");
        writer.write_all(head.as_bytes()).await.unwrap();
        for _ in 0..10 {
            tokio::time::sleep(SHORT / 3).await;
            writer.write_all(b".").await.unwrap();
        }
    };
    let (answer, ()) = tokio::join!(to_the_end(&mut reader), uploading);
    assert!(answer.ends_with("10 bytes"), "{answer}");
}

#[test]
fn a_known_client_of_http_2_stays_as_long_as_it_answers() {
    let server = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let client = Builder::new_current_thread().enable_all().build().unwrap();
    let limits = Limits { connections: 1, patience: 2 * SHORT, ping: 2 * SHORT, ..SHORT_FOR_STRANGERS };
    let port = server.block_on(Port::open(limits));
    let _idle = client.block_on(async {
        let (mut requests, connection) =
            handshake(TokioExecutor::new(), TokioIo::new(port.connect().await)).await.unwrap();
        tokio::spawn(connection);
        assert_eq!(ask(&port, &mut requests, "/drops").await, "..........");
        tokio::time::sleep(5 * SHORT).await;
        assert_eq!(ask(&port, &mut requests, "/v1/status").await, "fine");
        requests
    });
    // It is connected still, but nobody attends to it any more.
    let answer = server.block_on(port.ask("/v1/status", Some(&port.token())));
    assert!(answer.ends_with("fine"), "{answer}");
}

async fn ask(port: &Port, requests: &mut SendRequest<Body>, path: &str) -> String {
    let request = Request::get(format!("http://{}{path}", port.address));
    let request = request.header("authorization", port.token().bearer()).body(Body::empty()).unwrap();
    let answer = requests.send_request(request).await.unwrap();
    let said = to_bytes(Body::new(answer.into_body()), 1000).await.unwrap();
    String::from_utf8(said.to_vec()).unwrap()
}

#[tokio::test]
async fn a_known_client_of_http_1_does_not_stay_for_nothing() {
    let port = Port::open(Limits { idle: 2 * SHORT, ..LIMITS }).await;
    for said in ["", "GET /"] {
        let mut stream = port.connect().await;
        let mut since = Instant::now();
        for _ in 0..3 {
            tokio::time::sleep(SHORT).await;
            since = Instant::now();
            stream.write_all(get_request("/v1/status", Some(&port.token()), "").as_bytes()).await.unwrap();
            read_to(&mut stream, "fine").await;
        }
        stream.write_all(said.as_bytes()).await.unwrap();
        is_sent_away(stream, since).await;
    }
}

async fn read_to(stream: &mut (impl AsyncRead + Unpin), end: &str) {
    let mut said = Vec::new();
    while !said.ends_with(end.as_bytes()) {
        assert_ne!(stream.read_buf(&mut said).await.unwrap(), 0);
    }
}

/// A request that crosses the end of its connection is lost, and there are some that nobody asks twice.
#[test]
fn our_clients_let_go_of_a_connection_before_a_server_does() {
    assert!(2 * http_client::MOST_IDLE <= LIMITS.patience.min(LIMITS.idle));
}

#[tokio::test]
async fn who_finds_no_place_waits_for_one() {
    let port = Port::open(Limits { connections: 2, ..LIMITS }).await;
    let (first, _second) = (port.connect().await, port.connect().await);
    let token = port.token();
    let mut asking = pin!(port.ask("/v1/status", Some(&token)));
    let early = tokio::time::timeout(SHORT, &mut asking).await;
    assert!(early.is_err(), "somebody was let in beyond the limit");
    drop(first);
    assert!(asking.await.ends_with("fine"));
}

#[tokio::test]
async fn a_flood_of_strangers_keeps_nobody_out_for_longer_than_they_may_stay() {
    let limits = Limits { connections: 20, ..SHORT_FOR_STRANGERS };
    for port in [Port::open(limits).await, Port::open_with_tls(limits).await] {
        let mut flood = Vec::new();
        for _ in 0..limits.connections {
            let mut stream = port.connect().await;
            stream.write_all(b"PRI").await.unwrap();
            flood.push(stream);
        }
        let answer = port.ask("/v1/status", Some(&port.token())).await;
        assert!(answer.starts_with("HTTP/1.1 "), "{answer}");
        drop(flood);
    }
}

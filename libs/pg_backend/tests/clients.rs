//! Stock clients against a toy handler: what they see is what PostgreSQL would have shown them.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use auth::{Claims, Need, Scope, SigningKey};
use bytes::Bytes;
use pg_backend::{Handler, Limits, QueryError, Session, serve};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_postgres::{NoTls, SimpleQueryMessage};
use tokio_util::sync::CancellationToken;
use types::TenantId;

/// Whose token the tests have.
const TENANT: TenantId = TenantId([1; 16]);

struct Echo;

impl Handler for Echo {
    async fn handle_query(&self, session: &mut Session, query: &str) -> Result<(), QueryError> {
        match query {
            "option" => {
                let value = session.option("tenant_id").map(str::to_owned);
                session.send_single_row(&["tenant_id"], &[value.as_deref()], "SELECT 1");
            }
            "out" => {
                let mut out = session.copy_out().await?;
                for _ in 0..1000 {
                    out.send(Bytes::from_static(&[7; 1000])).await?;
                }
            }
            "echo" => {
                let (mut reader, mut writer) = session.copy_both().await?.split();
                while let Some(data) = reader.next().await? {
                    writer.send(data).await?;
                    writer.flush().await?;
                }
            }
            "wait" => {
                session.shutdown().clone().cancelled().await;
            }
            "pages of ours" => session.check(Need::Data { tenant: TENANT, part: Scope::Pageserver })?,
            "pages of others" => {
                session.check(Need::Data { tenant: TenantId([2; 16]), part: Scope::Pageserver })?
            }
            "die" => return Err(QueryError::fatal("XX001", "cannot go on")),
            _ => return Err(QueryError::new("42601", "unknown command").with_hint("say option")),
        }
        Ok(())
    }
}

struct Server {
    address: SocketAddr,
    token: String,
    shutdown: CancellationToken,
    task: tokio::task::JoinHandle<()>,
}

async fn start(limits: Limits) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (key, shutdown) = (SigningKey::generate(), CancellationToken::new());
    let token = key.sign(&Claims::tenant(TENANT)).unwrap();
    let task = tokio::spawn(serve(listener, None, key.verifier(), Arc::new(Echo), shutdown.clone(), limits));
    Server { address, token, shutdown, task }
}

async fn connect(server: &Server, password: &str) -> Result<tokio_postgres::Client, tokio_postgres::Error> {
    let (client, connection) = tokio_postgres::Config::new()
        .host("127.0.0.1")
        .port(server.address.port())
        .user("anyone")
        .password(password)
        .options("-c tenant_id=abc")
        .connect(NoTls)
        .await?;
    tokio::spawn(connection);
    Ok(client)
}

#[tokio::test]
async fn queries_results_and_errors() {
    let server = start(Limits::default()).await;
    let client = connect(&server, &server.token).await.unwrap();
    let messages = client.simple_query("option").await.unwrap();
    let row = messages.iter().find_map(|message| match message {
        SimpleQueryMessage::Row(row) => row.get("tenant_id"),
        _ => None,
    });
    assert_eq!(row, Some("abc"));

    let error = client.simple_query("nonsense").await.unwrap_err();
    let error = error.as_db_error().unwrap();
    assert_eq!(
        (error.code().code(), error.message(), error.hint()),
        ("42601", "unknown command", Some("say option"))
    );

    // The extended protocol is refused, and the connection goes on.
    let error = client.query("option", &[]).await.unwrap_err();
    assert_eq!(error.as_db_error().unwrap().code().code(), "0A000");
    client.simple_query("option").await.unwrap();
    client.simple_query(" ; ").await.unwrap();

    let error = client.simple_query("die").await.unwrap_err();
    assert_eq!(error.as_db_error().unwrap().code().code(), "XX001");
    assert!(client.simple_query("option").await.is_err(), "the connection is closed");
}

#[tokio::test]
async fn only_a_token_opens() {
    let server = start(Limits::default()).await;
    for wrong in ["x", &server.token[1..]] {
        let error = connect(&server, wrong).await.unwrap_err();
        assert_eq!(error.as_db_error().unwrap().code().code(), "28P01");
    }
}

#[tokio::test]
async fn a_token_opens_what_its_scope_says() {
    let server = start(Limits::default()).await;
    let client = connect(&server, &server.token).await.unwrap();
    client.simple_query("pages of ours").await.unwrap();
    let error = client.simple_query("pages of others").await.unwrap_err();
    assert_eq!(error.as_db_error().unwrap().code().code(), "42501");
    client.simple_query("pages of ours").await.unwrap();
}

#[tokio::test]
async fn limits_hold() {
    let limits =
        Limits { max_connections: 1, startup_timeout: Duration::from_millis(200), ..Limits::default() };
    let server = start(limits).await;

    // One that says nothing is sent away, and its place is free again.
    let mut silent = TcpStream::connect(server.address).await.unwrap();
    let mut said = Vec::new();
    tokio::time::timeout(Duration::from_secs(5), silent.read_to_end(&mut said)).await.unwrap().unwrap();
    assert!(String::from_utf8_lossy(&said).contains("start-up took too long"));

    let client = connect(&server, &server.token).await.unwrap();
    let error = connect(&server, &server.token).await.unwrap_err();
    assert_eq!(error.as_db_error().unwrap().code().code(), "53300");
    client.simple_query("option").await.unwrap();
}

#[tokio::test]
async fn a_start_up_packet_that_claims_to_be_huge_is_refused_unread() {
    let server = start(Limits::default()).await;
    let mut hostile = TcpStream::connect(server.address).await.unwrap();
    hostile.write_all(&[0x7f, 0xff, 0xff, 0xff]).await.unwrap();
    let mut said = Vec::new();
    tokio::time::timeout(Duration::from_secs(5), hostile.read_to_end(&mut said)).await.unwrap().unwrap();
    assert!(String::from_utf8_lossy(&said).contains("over the limit"));
}

/// Written by hand, because no stock client offers COPY BOTH to a test.
#[tokio::test]
async fn copy_both_echoes_until_both_are_done() {
    let server = start(Limits::default()).await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    let mut startup = vec![0, 0, 0, 0, 0, 3, 0, 0];
    startup.extend_from_slice(b"user\0me\0\0");
    startup[3] = startup.len() as u8;
    stream.write_all(&startup).await.unwrap();
    let mut password = vec![b'p'];
    password.extend_from_slice(&(server.token.len() as u32 + 5).to_be_bytes());
    password.extend_from_slice(server.token.as_bytes());
    password.push(0);
    stream.write_all(&password).await.unwrap();
    stream.write_all(b"Q\0\0\0\x09echo\0d\0\0\0\x06hic\0\0\0\x04Q\0\0\0\x09zzzz\0X\0\0\0\x04").await.unwrap();
    let mut said = Vec::new();
    stream.read_to_end(&mut said).await.unwrap();
    let tags = tags(&said);
    let from = tags.iter().position(|tag| *tag == b'W').unwrap();
    // CopyBoth, our data back, CopyDone, CommandComplete, ReadyForQuery; then the next query's error.
    assert_eq!(&tags[from..], b"WdcCZEZ");
}

fn tags(mut bytes: &[u8]) -> Vec<u8> {
    let mut tags = Vec::new();
    while let [tag, a, b, c, d, ..] = bytes {
        tags.push(*tag);
        bytes = &bytes[1 + u32::from_be_bytes([*a, *b, *c, *d]) as usize..];
    }
    tags
}

#[tokio::test]
async fn a_stopped_server_lets_nobody_hang() {
    let server = start(Limits::default()).await;
    let busy = connect(&server, &server.token).await.unwrap();
    let idle = connect(&server, &server.token).await.unwrap();
    let waiting = tokio::spawn(async move { busy.simple_query("wait").await.map(|_| ()) });
    tokio::time::sleep(Duration::from_millis(100)).await;
    server.shutdown.cancel();
    waiting.await.unwrap().unwrap();
    tokio::time::timeout(Duration::from_secs(5), server.task).await.unwrap().unwrap();
    assert!(idle.simple_query("option").await.is_err());
}

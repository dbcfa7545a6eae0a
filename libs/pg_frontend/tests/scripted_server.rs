//! The client against a server that says exactly what each test wants said.

use std::time::Duration;

use pg_frontend::{Address, ConnectParams, PgClient, PgError};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

struct Peer(TcpStream);

impl Peer {
    async fn say(&mut self, tag: u8, body: &[u8]) {
        let length = u32::try_from(body.len() + 4).unwrap().to_be_bytes();
        self.0.write_all(&[&[tag], &length[..], body].concat()).await.unwrap();
    }

    async fn hear(&mut self) -> (u8, Vec<u8>) {
        let tag = self.0.read_u8().await.unwrap();
        (tag, self.hear_body().await)
    }

    async fn hear_body(&mut self) -> Vec<u8> {
        let length = self.0.read_u32().await.unwrap() as usize;
        let mut body = vec![0; length - 4];
        self.0.read_exact(&mut body).await.unwrap();
        body
    }

    /// Start-up with a clear-text password, and a notice where nobody asked for one.
    async fn let_in(&mut self) -> Vec<u8> {
        let startup = self.hear_body().await;
        self.say(b'R', &3u32.to_be_bytes()).await;
        assert_eq!(self.hear().await, (b'p', b"token\0".to_vec()));
        self.say(b'R', &0u32.to_be_bytes()).await;
        self.say(b'S', b"server_version\x0015.0\0").await;
        self.say(b'N', b"SNOTICE\0Mhello\0\0").await;
        self.say(b'Z', b"I").await;
        startup
    }
}

async fn listen() -> (TcpListener, ConnectParams) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = Address::parse(&listener.local_addr().unwrap().to_string()).unwrap();
    (listener, ConnectParams::new(address, "anybody").password("token"))
}

#[tokio::test]
async fn start_up_names_the_timeline_and_asks_for_replication() {
    let (listener, params) = listen().await;
    let params = params.option("timeline_id", "ab cd").physical_replication();
    let server = tokio::spawn(async move { Peer(listener.accept().await.unwrap().0).let_in().await });
    let client = PgClient::connect(&params).await.unwrap();
    assert_eq!(client.parameter("server_version"), Some("15.0"));
    assert_eq!(client.parameter("varve.traces"), None);
    let startup = server.await.unwrap();
    let text = String::from_utf8(startup[4..].to_vec()).unwrap();
    assert_eq!(startup[..4], 196_608u32.to_be_bytes());
    assert!(text.contains("options\0-c timeline_id=ab\\ cd\0"), "{text:?}");
    assert!(text.contains("replication\0true\0"), "{text:?}");
}

#[tokio::test]
async fn a_failed_query_leaves_the_connection_usable() {
    let (listener, params) = listen().await;
    let server = tokio::spawn(async move {
        let mut peer = Peer(listener.accept().await.unwrap().0);
        peer.let_in().await;
        assert_eq!(peer.hear().await, (b'Q', b"bad\0".to_vec()));
        peer.say(b'E', b"SERROR\0C42601\0Mno\0\0").await;
        peer.say(b'Z', b"I").await;
        peer.hear().await;
        peer.say(b'T', b"\0\0").await;
        peer.say(b'D', b"\0\x01\0\0\0\x015").await;
        peer.say(b'C', b"SELECT 1\0").await;
        peer.say(b'Z', b"I").await;
    });
    let mut client = PgClient::connect(&params).await.unwrap();
    assert_eq!(client.simple_query("bad").await.unwrap_err().sqlstate(), Some("42601"));
    assert_eq!(client.simple_query("good").await.unwrap(), [[Some("5".to_owned())]]);
    server.await.unwrap();
}

/// As it does with a session that has been idle for too long, or whose transaction took too long.
#[tokio::test]
async fn what_a_server_says_before_it_hangs_up_is_told() {
    let (listener, params) = listen().await;
    let server = async {
        let mut peer = Peer(listener.accept().await.unwrap().0);
        peer.let_in().await;
        peer.hear().await;
        peer.say(b'E', b"SFATAL\0C25P04\0Mtoo long\0\0").await;
    };
    let client = async {
        let mut client = PgClient::connect(&params).await.unwrap();
        let error = client.simple_query("SELECT 1").await.unwrap_err();
        assert_eq!(error.sqlstate(), Some("25P04"), "{error}");
        let error = client.simple_query("SELECT 1").await.unwrap_err();
        assert!(matches!(error, PgError::Closed | PgError::Io(_)), "{error}");
    };
    tokio::join!(server, client);
}

#[tokio::test]
async fn copy_both_carries_both_directions_and_ends_as_a_walsender_does() {
    let (listener, params) = listen().await;
    let server = tokio::spawn(async move {
        let mut peer = Peer(listener.accept().await.unwrap().0);
        peer.let_in().await;
        peer.hear().await;
        peer.say(b'W', b"\0\0\0").await;
        for _ in 0..3 {
            let (tag, body) = peer.hear().await;
            assert_eq!(tag, b'd');
            peer.say(b'd', &body).await;
        }
        peer.say(b'C', b"COPY 0\0").await;
    });
    let copy = PgClient::connect(&params).await.unwrap().copy_both("START_REPLICATION 0/0").await.unwrap();
    let (mut reader, mut writer) = copy.split();
    let large = vec![7; 1 << 20];
    for payload in [&b"first"[..], b"", &large] {
        writer.send(payload).await.unwrap();
        assert_eq!(reader.next().await.unwrap().unwrap(), payload);
    }
    assert!(reader.next().await.unwrap().is_none());
    assert!(reader.next().await.unwrap().is_none());
    server.await.unwrap();
}

#[tokio::test]
async fn a_broken_stream_is_not_the_end_of_the_data() {
    let (listener, params) = listen().await;
    let server = tokio::spawn(async move {
        let mut peer = Peer(listener.accept().await.unwrap().0);
        peer.let_in().await;
        peer.hear().await;
        peer.say(b'H', b"\0\0\0").await;
        peer.say(b'd', b"half").await;
    });
    let mut copy = PgClient::connect(&params).await.unwrap().copy_out("basebackup").await.unwrap();
    assert_eq!(copy.next().await.unwrap().unwrap(), b"half"[..]);
    server.await.unwrap();
    assert!(matches!(copy.next().await, Err(PgError::Closed | PgError::Io(_))));
}

#[tokio::test]
async fn a_silent_server_is_given_up() {
    let (_listener, params) = listen().await;
    let error = PgClient::connect(&params.connect_timeout(Duration::from_millis(50))).await.err().unwrap();
    assert!(matches!(error, PgError::ConnectTimeout { .. }), "{error}");
    assert!(error.is_retryable());
}

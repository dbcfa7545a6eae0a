//! The client against stock PostgreSQL: SCRAM, replication, COPY OUT, Unix sockets.

use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use pg_frontend::{Address, ConnectParams, PgClient, PgError};

const PROGRAMS: &str = "/usr/lib/postgresql/15/bin";

/// A server in a directory of its own; it ends with the test.
struct Server {
    root: tempfile::TempDir,
    port: u16,
    process: Child,
}

/// PostgreSQL's programs do not run as root.
fn command(program: &str) -> Command {
    let path = Path::new(PROGRAMS).join(program);
    if !nix::unistd::geteuid().is_root() {
        return Command::new(path);
    }
    let postgres = nix::unistd::User::from_name("postgres").unwrap().expect("a user postgres");
    let mut command = Command::new(path);
    command.uid(postgres.uid.as_raw()).gid(postgres.gid.as_raw()).current_dir("/");
    command
}

impl Server {
    async fn start() -> Server {
        let root = tempfile::tempdir_in("/tmp").unwrap();
        if nix::unistd::geteuid().is_root() {
            let postgres = nix::unistd::User::from_name("postgres").unwrap().expect("a user postgres");
            std::os::unix::fs::chown(root.path(), Some(postgres.uid.as_raw()), None).unwrap();
        }
        let data = root.path().join("data");
        let made = command("initdb")
            .args(["-N", "-U", "postgres", "-A", "trust", "-D"])
            .arg(&data)
            .output()
            .unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        std::fs::write(
            data.join("pg_hba.conf"),
            "local all,replication all trust\nhost all,replication all 127.0.0.1/32 scram-sha-256\n",
        )
        .unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut server = command("postgres");
        server.arg("-D").arg(&data).arg("-k").arg(root.path()).args(["-p", &port.to_string(), "-F"]);
        let process = server.args(["-h", "127.0.0.1"]).stderr(std::process::Stdio::null()).spawn().unwrap();
        let server = Server { root, port, process };
        let began = Instant::now();
        while PgClient::connect(&server.local()).await.is_err() {
            assert!(began.elapsed() < Duration::from_secs(30), "the server did not start");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        server
    }

    fn local(&self) -> ConnectParams {
        let directory: PathBuf = self.root.path().to_owned();
        ConnectParams::new(Address::Unix { directory, port: self.port }, "postgres").database("postgres")
    }

    fn remote(&self, user: &str) -> ConnectParams {
        let address = Address::parse(&format!("127.0.0.1:{}", self.port)).unwrap();
        ConnectParams::new(address, user).database("postgres")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let pid = nix::unistd::Pid::from_raw(self.process.id().cast_signed());
        let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGQUIT);
        let _ = self.process.wait();
    }
}

#[tokio::test]
async fn speaks_with_stock_postgres() {
    let server = Server::start().await;
    let mut session = PgClient::connect(&server.local()).await.unwrap();

    // Several statements, a notice, NULLs.
    let script = "DO $$ BEGIN RAISE WARNING 'news'; END $$; SELECT 1, NULL; SELECT 'x'";
    let rows = session.simple_query(script).await.unwrap();
    assert_eq!(rows, [vec![Some("1".to_owned()), None], vec![Some("x".to_owned())]]);

    let error = session.simple_query("SELECT 1/0").await.unwrap_err();
    assert_eq!(error.sqlstate(), Some("22012"));

    // SCRAM, right and wrong, and a refusal to answer with nothing.
    session.simple_query("CREATE ROLE scram LOGIN REPLICATION PASSWORD 'open, sesame'").await.unwrap();
    let mut let_in = PgClient::connect(&server.remote("scram").password("open, sesame")).await.unwrap();
    assert_eq!(let_in.simple_query("SELECT current_user").await.unwrap(), [[Some("scram".to_owned())]]);
    let refused = PgClient::connect(&server.remote("scram").password("open")).await.err().unwrap();
    assert_eq!(refused.sqlstate(), Some("28P01"));
    assert!(!refused.is_retryable());
    let unanswered = PgClient::connect(&server.remote("scram")).await.err().unwrap();
    assert!(matches!(unanswered, PgError::Authentication(_)), "{unanswered}");

    // COPY OUT of more than a buffer.
    let copy = "COPY (SELECT repeat('x', 100) FROM generate_series(1, 10000)) TO STDOUT";
    let mut reader = PgClient::connect(&server.local()).await.unwrap().copy_out(copy).await.unwrap();
    let mut bytes = 0;
    while let Some(chunk) = reader.next().await.unwrap() {
        bytes += chunk.len();
    }
    assert_eq!(bytes, 10_000 * 101);
}

#[tokio::test]
async fn streams_wal_from_stock_postgres_until_it_stops() {
    let server = Server::start().await;
    let params = server.local().application_name("walproposer").physical_replication();
    let mut client = PgClient::connect(&params).await.unwrap();
    let identity = client.simple_query("IDENTIFY_SYSTEM").await.unwrap();
    let start = identity[0][2].clone().unwrap();
    let copy = client.copy_both(&format!("START_REPLICATION PHYSICAL {start}")).await.unwrap();
    let (mut reader, mut writer) = copy.split();

    let mut session = PgClient::connect(&server.local()).await.unwrap();
    session.simple_query("CREATE TABLE t AS SELECT generate_series(1, 1000) a").await.unwrap();
    let pid = nix::unistd::Pid::from_raw(server.process.id().cast_signed());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGINT).unwrap();

    // Fast shutdown waits for us to confirm everything, then ends the stream in good order.
    let mut received = 0;
    while let Some(message) = reader.next().await.unwrap() {
        if message[0] == b'w' {
            received = u64::from_be_bytes(message[1..9].try_into().unwrap()) + message.len() as u64 - 25;
        }
        let confirmed = [received.to_be_bytes(); 3].concat();
        let reply = [&b"r"[..], &confirmed, &0u64.to_be_bytes(), &[0]].concat();
        // Once everything is confirmed it ends, and the last of what it had sent is still to be read.
        let _ = writer.send(&reply).await;
    }
    assert!(received > 0);
}

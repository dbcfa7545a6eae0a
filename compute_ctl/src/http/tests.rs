//! The HTTP API beside its document, and which errors are whose fault. What it does is tested where it is used.

use auth::{Claims, Credentials, Scope, SigningKey};
use compute_api::ComputeSpec;
use http_server::Guard;
use pg_frontend::{PgError, ServerError};
use prometheus::Registry;
use tokio::net::TcpListener;

use super::*;
use crate::error::ComputeError;
use crate::metrics::Metrics;
use crate::status::StatusBoard;

fn spec() -> ComputeSpec {
    let id = "0123456789abcdef0123456789abcdef";
    let spec = serde_json::json!({
        "format_version": 1, "tenant_id": id, "timeline_id": id, "endpoint_id": "main", "pg_version": 15,
        "safekeepers": [{"id": 1, "pg_connstr": "127.0.0.1:1"}],
        "pageserver": {"pg_connstr": "127.0.0.1:1"},
        "pg_listen_addr": "127.0.0.1", "pg_port": 1
    });
    ComputeSpec::parse(spec.to_string().as_bytes()).unwrap()
}

/// A compute that never starts: nobody takes what is wished for.
struct Idle {
    address: String,
    credentials: Credentials,
    wishes: mpsc::Receiver<Configure>,
    terminate: CancellationToken,
    served: CancellationToken,
}

impl Idle {
    async fn start() -> Idle {
        let registry = Registry::new();
        let board = StatusBoard::new(&spec(), Metrics::new(&registry, &spec()).unwrap());
        let (configure, wishes) = mpsc::channel(1);
        let (terminate, served) = (CancellationToken::new(), CancellationToken::new());
        let api = Api { status: board.subscribe(), configure, terminate: terminate.clone() };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let key = SigningKey::generate();
        let credentials = key.credentials(&Claims::new([Scope::Admin])).unwrap();
        let guard = Guard { verifier: key.verifier(), part: Scope::Admin };
        let router = http_server::described(routes(api), guard, registry);
        tokio::spawn(http_server::serve(listener, None, router, served.clone()));
        Idle { address, credentials, wishes, terminate, served }
    }
}

#[tokio::test]
async fn the_api_is_as_its_document_says() {
    let mut idle = Idle::start().await;
    let served = http_api::Served {
        daemon: "compute_ctl",
        address: idle.address.clone(),
        authorization: idle.credentials.bearer(),
    };
    assert_eq!(served.check().await, 3, "operations");
    assert!(idle.terminate.is_cancelled(), "asked in order, it stops");
    assert!(idle.wishes.try_recv().is_err(), "nonsense is nobody's wish");
    idle.served.cancel();
}

#[tokio::test]
async fn only_what_is_our_fault_is_called_so() {
    let sql = |sqlstate: &str| {
        let error = ServerError { sqlstate: sqlstate.to_owned(), ..ServerError::default() };
        ComputeError::Sql { action: "do it".to_owned(), source: PgError::Server(Box::new(error)) }
    };
    let setting = ComputeError::Setting { name: "work_mem".to_owned(), reason: "it is 7".to_owned() };
    let client = |idle: &Idle| compute_api::ComputeClient::new(&idle.address, idle.credentials.clone());
    // An unknown owner, a name in a wrong encoding, a bad setting; too many connections, a shutdown; a damaged index.
    for (error, status) in [
        (sql("42704"), 400),
        (sql("22021"), 400),
        (setting, 400),
        (sql("53300"), 503),
        (sql("57P01"), 503),
        (sql("XX002"), 500),
    ] {
        let text = error.to_string();
        let mut idle = Idle::start().await;
        let client = client(&idle);
        let asked = tokio::spawn(async move { client.configure(&ConfigureRequest::default()).await });
        let Configure { done, .. } = idle.wishes.recv().await.unwrap();
        done.send(Err(error)).unwrap();
        let refused = asked.await.unwrap().unwrap_err();
        assert_eq!(refused.status().map(|status| status.as_u16()), Some(status), "{text}");
        assert!(refused.to_string().contains(&text), "{refused}");
        idle.served.cancel();
    }
}

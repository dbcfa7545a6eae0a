//! A store that speaks S3 over HTTP, for tests: s3s has the protocol and checks signatures, the objects are in memory.
//! (s3s-fs, which has objects as files, cannot have names as long as those of layers.)

mod store;

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, MutexGuard};
use std::thread::JoinHandle;

use bytes::Bytes;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use s3s::Body;
use s3s::auth::SimpleAuth;
use s3s::service::{S3Service, S3ServiceBuilder};
use store::Store;
use tokio::sync::oneshot;

/// Whoever has others is refused.
pub const ACCESS_KEY_ID: &str = "AKIAVARVETESTS";
pub const SECRET_ACCESS_KEY: &str = "the/secret/of/the/tests";

/// A server with one bucket, in a thread of its own. It ends when this is dropped.
pub struct S3Server {
    endpoint: String,
    store: Store,
    away: Arc<AtomicBool>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl S3Server {
    pub fn start(bucket: &str) -> S3Server {
        S3Server::start_at("127.0.0.1:0", bucket)
    }

    pub fn start_at(address: &str, bucket: &str) -> S3Server {
        let store = Store::new(bucket);
        let mut builder = S3ServiceBuilder::new(store.clone());
        builder.set_auth(SimpleAuth::from_single(ACCESS_KEY_ID, SECRET_ACCESS_KEY));
        let service = builder.build();
        let listener = TcpListener::bind(address).expect("an address that is free");
        listener.set_nonblocking(true).expect("a listener for tokio");
        let endpoint = format!("http://{}", listener.local_addr().expect("an address"));
        let (stop, stopped) = oneshot::channel();
        let away = Arc::new(AtomicBool::new(false));
        let is_away = away.clone();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime").block_on(async {
                tokio::select! {
                    () = serve(listener, service, is_away) => {}
                    _ = stopped => {}
                }
            });
        });
        let (stop, thread) = (Some(stop), Some(thread));
        S3Server { endpoint, store, away, stop, thread }
    }

    /// While it is away, every answer is 503.
    pub fn set_away(&self, away: bool) {
        self.away.store(away, Ordering::SeqCst);
    }

    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// The part of every upload that is said to have come damaged.
    pub fn set_refused_part(&self, number: Option<i32>) {
        self.store.set_refused_part(number);
    }

    /// How many uploads in parts have not ended.
    pub fn unfinished_uploads(&self) -> usize {
        self.store.unfinished_uploads()
    }

    /// The bucket's, by their keys.
    pub fn objects(&self) -> MutexGuard<'_, BTreeMap<String, Bytes>> {
        self.store.objects()
    }
}

impl Drop for S3Server {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

async fn serve(listener: TcpListener, service: S3Service, away: Arc<AtomicBool>) {
    let listener = tokio::net::TcpListener::from_std(listener).expect("a listener");
    let http = auto::Builder::new(TokioExecutor::new());
    loop {
        let (socket, _) = listener.accept().await.expect("a connection");
        let (service, away) = (service.clone(), away.clone());
        let answer = hyper::service::service_fn(move |request: Request<hyper::body::Incoming>| {
            let (service, away) = (service.clone(), away.load(Ordering::SeqCst));
            async move {
                if away {
                    let mut refusal = Response::new(Body::empty());
                    *refusal.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
                    return Ok(refusal);
                }
                service.call(request.map(Body::from)).await
            }
        });
        let connection = http.serve_connection(TokioIo::new(socket), answer).into_owned();
        // Clients end connections as they like.
        tokio::spawn(async move { drop(connection.await) });
    }
}

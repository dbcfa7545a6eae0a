//! Connections to a port: how many there are, how long each may stay, and their end.
//!
//! A *stranger* is a connection on which no request with a good token has come yet. It gets [`Limits::patience`] for
//! that, TLS included, and is then ended like all of them when the service is: what is being answered is answered to its end, within
//! [`Limits::farewell`]. That is one rule for whoever says nothing, takes their time for a head, says that they speak HTTP/2 and
//! nothing more, or asks again and again for what is refused or open to all. hyper would not notice all of them: it
//! waits without a clock for the bytes that tell HTTP/1 from HTTP/2, and in HTTP/2 for the first request.
//!
//! Who is known stays, and what is under way takes as long as it takes: a subscription goes on for weeks. Between two
//! requests HTTP/1 ends after [`Limits::idle`], in whose time the next head has to be complete as well. HTTP/2 stays as long as its
//! client answers pings; TCP asks whether the machine is still there that sends a long body.
//!
//! Connections beyond [`Limits::connections`] wait to be accepted. None of this counts requests, or connections by
//! who makes them: whoever has a token can take all places, and whoever has none, every place as it becomes free.

use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use auth::Certificate;
use axum::Router;
use hyper::Request;
use hyper::body::Incoming;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::tls::shake_hands;

/// Pause after accept failed (out of file descriptors, say), so that it does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Of a request's head. hyper would keep 400 KiB for each stranger who sends one of HTTP/1.
const MOST_OF_A_HEAD: u16 = 32 << 10;
/// Requests at a time on one connection of HTTP/2.
const MOST_STREAMS: u32 = 200;

/// Tests have less time.
#[derive(Clone, Copy)]
pub(crate) struct Limits {
    pub connections: usize,
    /// From accepting a connection to the first request with a good token.
    pub patience: Duration,
    /// Of a connection that speaks HTTP/1, from one request to the head of the next. Clients let go of theirs earlier, or a
    /// request would be lost now and then that crosses the end of its connection.
    pub idle: Duration,
    /// Between two pings of HTTP/2, and for the answer to one.
    pub ping: Duration,
    /// For requests under way once their connection is to end. A client whose host went away without a word is never finished
    /// with: TCP would wait for it a quarter of an hour.
    pub farewell: Duration,
}

pub(crate) const LIMITS: Limits = Limits {
    connections: 1000,
    patience: Duration::from_secs(10),
    idle: Duration::from_secs(30),
    ping: Duration::from_secs(20),
    farewell: Duration::from_secs(5),
};

/// Whether a connection is a stranger's no more. Each request carries that of its connection among its extensions; what
/// guards the routes sets it.
#[derive(Clone, Default)]
pub struct Known(Arc<AtomicBool>);

impl Known {
    /// Here is a request of somebody who may ask.
    pub fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Serves until `shutdown` is cancelled, then lets requests under way finish, for some seconds. With a certificate it
/// speaks TLS, and nothing else. The router is one with a guard that tells who is [`Known`]: [`router`](crate::router),
/// [`described`](crate::described), or one's own.
pub async fn serve(
    listener: TcpListener,
    certificate: Option<Certificate>,
    router: Router,
    shutdown: CancellationToken,
) {
    serve_within(LIMITS, listener, certificate, router, shutdown).await;
}

pub(crate) async fn serve_within(
    limits: Limits,
    listener: TcpListener,
    certificate: Option<Certificate>,
    router: Router,
    shutdown: CancellationToken,
) {
    let mut http = Builder::new(TokioExecutor::new());
    http.http1()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.idle)
        .max_buf_size(MOST_OF_A_HEAD.into());
    http.http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(limits.ping)
        .keep_alive_timeout(limits.ping)
        .max_concurrent_streams(MOST_STREAMS)
        .max_header_list_size(MOST_OF_A_HEAD.into());
    // With its state the router builds its routes now, and not for each request.
    let routes = TowerToHyperService::new(router.with_state(()));
    let places = Arc::new(Semaphore::new(limits.connections));
    let server = Arc::new(Server { limits, certificate, http, routes, shutdown: shutdown.clone() });
    let connections = TaskTracker::new();
    while let Some((place, stream, peer)) = shutdown.run_until_cancelled(accept(&listener, &places)).await {
        let server = server.clone();
        connections.spawn(async move {
            server.connection(stream, peer).await;
            drop(place);
        });
    }
    drop(listener);
    connections.close();
    connections.wait().await;
}

/// The next connection, once there is a place for it.
async fn accept(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> (OwnedSemaphorePermit, TcpStream, SocketAddr) {
    let place = places.clone().acquire_owned().await.expect("nobody closes the semaphore");
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => return (place, stream, peer),
            Err(error) => tracing::warn!(%error, "cannot accept a connection"),
        }
        tokio::time::sleep(ACCEPT_PAUSE).await;
    }
}

struct Server {
    limits: Limits,
    certificate: Option<Certificate>,
    http: Builder<TokioExecutor>,
    routes: TowerToHyperService<Router>,
    shutdown: CancellationToken,
}

impl Server {
    async fn connection(&self, stream: TcpStream, peer: SocketAddr) {
        if let Err(error) = tcp::prepare(&stream) {
            tracing::debug!(%peer, %error, "cannot set up a connection");
        }
        let known = Known::default();
        let stranger = async {
            tokio::time::sleep(self.limits.patience).await;
            if known.is_set() {
                std::future::pending().await
            }
            tracing::info!(%peer, "a connection ends on which nobody has shown in time that they may ask");
        };
        let mut end = pin!(async {
            tokio::select! {
                () = self.shutdown.cancelled() => {}
                () = stranger => {}
            }
        });
        let Some(certificate) = &self.certificate else {
            return self.answer(stream, peer, &known, end).await;
        };
        let shaken = tokio::select! {
            shaken = shake_hands(stream, certificate) => shaken,
            () = &mut end => return,
        };
        match shaken {
            Ok(Some(stream)) => self.answer(stream, peer, &known, end).await,
            Ok(None) => {}
            Err(error) => tracing::info!(%peer, %error, "no TLS with a client"),
        }
    }

    async fn answer<S>(&self, stream: S, peer: SocketAddr, known: &Known, end: impl Future<Output = ()>)
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let service = service_fn(|mut request: Request<Incoming>| {
            request.extensions_mut().insert(known.clone());
            self.routes.call(request)
        });
        let mut connection = pin!(self.http.serve_connection(TokioIo::new(stream), service));
        tokio::select! {
            // In this order: what has come while this process was stopped is read before its sender counts as silent.
            biased;
            _ = &mut connection => return,
            () = end => connection.as_mut().graceful_shutdown(),
        }
        let farewell = self.limits.farewell;
        let last = async {
            tokio::time::sleep(farewell).await;
            // The token has come after all.
            if known.is_set() && !self.shutdown.is_cancelled() {
                self.shutdown.cancelled().await;
                tokio::time::sleep(farewell).await;
            }
        };
        tokio::select! {
            _ = connection => {}
            () = last => {
                tracing::info!(%peer, "a connection was cut that was still busy {farewell:?} after its end was asked for");
            }
        }
    }
}

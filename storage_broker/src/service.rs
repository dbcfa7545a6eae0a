//! gRPC and HTTP around the registry, on one port.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll};

use axum::routing::get;
use axum::{Json, Router};
use futures_util::{Stream, StreamExt};
use proto::broker as pb;
use proto::broker::broker_server::{Broker, BrokerServer};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;
use tonic::{Request, Response, Status, Streaming};

use auth::{Scope, Verifier};
use broker_api::ttid_from_proto;
use http_server::Guard;

use crate::metrics::Metrics;
use crate::registry::{PublisherId, Registry, SubscriberId};

/// The whole service behind the guard: `/metrics`, `/status` and the gRPC methods.
pub fn router(
    verifier: Verifier,
    registry: prometheus::Registry,
    shutdown: CancellationToken,
) -> prometheus::Result<Router> {
    let metrics = Metrics::new(&registry)?;
    let shared = Arc::new(Shared { state: Mutex::default(), metrics, shutdown });
    let grpc = Routes::new(BrokerServer::new(BrokerService(shared.clone()))).into_axum_router();
    let app = grpc.route("/status", get(move || async move { Json(shared.status()) }));
    Ok(http_server::router(app, Guard { verifier, part: Scope::Broker }, registry))
}

struct Shared {
    /// Held for one operation on maps, never across an await.
    state: Mutex<State>,
    metrics: Metrics,
    shutdown: CancellationToken,
}

#[derive(Default)]
struct State {
    registry: Registry,
    /// Says "there is something to take"; room for one message, since one is enough.
    bells: HashMap<SubscriberId, mpsc::Sender<()>>,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("a panic ends the process, so the lock cannot be poisoned")
    }

    fn publish(&self, publisher: PublisherId, info: broker_api::SafekeeperTimelineInfo) {
        let mut state = self.state();
        let published = state.registry.publish(publisher, info);
        for id in &published.wake {
            if let Some(bell) = state.bells.get(id) {
                // A full channel already says that there is something.
                let _ = bell.try_send(());
            }
        }
        self.metrics.published.inc();
        self.metrics.superseded.inc_by(published.superseded);
    }

    fn status(&self) -> serde_json::Value {
        serde_json::json!({
            "timelines": self.state().registry.timelines(),
            "publishers": self.metrics.publishers.get(),
            "subscribers": self.metrics.subscribers.get(),
        })
    }
}

struct BrokerService(Arc<Shared>);

#[tonic::async_trait]
impl Broker for BrokerService {
    async fn publish(
        &self,
        request: Request<Streaming<pb::SafekeeperTimelineInfo>>,
    ) -> Result<Response<pb::PublishResponse>, Status> {
        let publisher = Publisher::new(self.0.clone());
        let mut positions = request.into_inner();
        loop {
            tokio::select! {
                _ = self.0.shutdown.cancelled() => return Err(Status::unavailable("the broker stops")),
                message = positions.next() => match message {
                    None => return Ok(Response::new(pb::PublishResponse {})),
                    Some(Err(status)) => return Err(status),
                    Some(Ok(message)) => {
                        let info = message.try_into().map_err(|error| {
                            Status::invalid_argument(format!("cannot take {error}"))
                        })?;
                        self.0.publish(publisher.id, info);
                    }
                },
            }
        }
    }

    type SubscribeStream = PositionStream;

    async fn subscribe(
        &self,
        request: Request<pb::SubscribeRequest>,
    ) -> Result<Response<PositionStream>, Status> {
        let timeline = match request.into_inner().tenant_timeline_id {
            None => None,
            Some(id) => Some(ttid_from_proto(&id).ok_or_else(|| {
                Status::invalid_argument("tenant_id and timeline_id must have 16 bytes each")
            })?),
        };
        let (messages, stream) = mpsc::channel(16);
        let subscriber = Subscriber::new(self.0.clone(), timeline);
        tokio::spawn(forward(subscriber, messages));
        Ok(Response::new(PositionStream(ReceiverStream::new(stream))))
    }
}

/// An open publish stream: what it said is forgotten when it ends, however it ends.
struct Publisher {
    shared: Arc<Shared>,
    id: PublisherId,
}

impl Publisher {
    fn new(shared: Arc<Shared>) -> Publisher {
        shared.metrics.publishers.inc();
        let id = shared.state().registry.add_publisher();
        Publisher { shared, id }
    }
}

impl Drop for Publisher {
    fn drop(&mut self) {
        self.shared.metrics.publishers.dec();
        self.shared.state().registry.remove_publisher(self.id);
    }
}

/// An open subscription.
struct Subscriber {
    shared: Arc<Shared>,
    id: SubscriberId,
    bell: mpsc::Receiver<()>,
}

impl Subscriber {
    fn new(shared: Arc<Shared>, timeline: Option<types::TenantTimelineId>) -> Subscriber {
        let (ring, bell) = mpsc::channel(1);
        shared.metrics.subscribers.inc();
        let id = {
            let mut state = shared.state();
            let id = state.registry.add_subscriber(timeline);
            // What is known already is to be sent at once.
            let _ = ring.try_send(());
            state.bells.insert(id, ring);
            id
        };
        Subscriber { shared, id, bell }
    }
}

impl Drop for Subscriber {
    fn drop(&mut self) {
        self.shared.metrics.subscribers.dec();
        let mut state = self.shared.state();
        state.bells.remove(&self.id);
        state.registry.remove_subscriber(self.id);
    }
}

type PositionMessage = Result<pb::SafekeeperTimelineInfo, Status>;

async fn forward(mut subscriber: Subscriber, messages: mpsc::Sender<PositionMessage>) {
    let shutdown = subscriber.shared.shutdown.clone();
    loop {
        tokio::select! {
            _ = shutdown.cancelled() => return,
            _ = messages.closed() => return,
            rung = subscriber.bell.recv() => if rung.is_none() { return },
        }
        let unseen = subscriber.shared.state().registry.take(subscriber.id);
        for info in unseen {
            // Waits here while the subscriber is slow; meanwhile newer positions replace older ones.
            tokio::select! {
                _ = shutdown.cancelled() => return,
                sent = messages.send(Ok(info.into())) => if sent.is_err() { return },
            }
        }
    }
}

/// The server side of a subscription, as tonic wants it.
pub struct PositionStream(ReceiverStream<PositionMessage>);

impl Stream for PositionStream {
    type Item = PositionMessage;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<PositionMessage>> {
        self.0.poll_next_unpin(context)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use auth::{Claims, SigningKey};
    use broker_api::{BrokerClient, SafekeeperTimelineInfo};
    use tokio::net::TcpListener;
    use types::{Lsn, NodeId, TenantId, TenantTimelineId, Term, TimelineId};

    use super::*;

    fn info(flush_lsn: u64) -> SafekeeperTimelineInfo {
        SafekeeperTimelineInfo {
            safekeeper_id: NodeId(1),
            ttid: TenantTimelineId::new(TenantId([1; 16]), TimelineId([2; 16])),
            generation: 1,
            term: Term(1),
            last_log_term: Term(1),
            flush_lsn: Lsn(flush_lsn),
            commit_lsn: Lsn(1),
            remote_consistent_lsn: Lsn(0),
            timeline_start_lsn: Lsn(0),
            pg_connstr: "127.0.0.1:1".into(),
            http_connstr: "127.0.0.1:2".into(),
            gone: false,
        }
    }

    #[tokio::test]
    async fn positions_travel_and_strangers_do_not_get_in() {
        let (key, shutdown) = (SigningKey::generate(), CancellationToken::new());
        let of = |scope| key.credentials(&Claims::new([scope])).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let registry = prometheus::Registry::new();
        let app = router(key.verifier(), registry, shutdown.clone()).unwrap();
        let server = tokio::spawn(http_server::serve(listener, None, app, shutdown.clone()));

        let unknown = SigningKey::generate().credentials(&Claims::new([Scope::Broker])).unwrap();
        for wrong in [unknown, of(Scope::Tenant), of(Scope::Monitor), of(Scope::Safekeeper)] {
            let stranger = BrokerClient::connect_lazy(&endpoint, wrong).unwrap();
            // tonic reads the status of an answer that is no gRPC when it reads the stream.
            let refused = match stranger.subscribe(None).await {
                Ok(mut refused) => matches!(refused.next().await, Some(Err(_))),
                Err(_) => true,
            };
            assert!(refused, "a wrong token must be refused");
        }

        let client = BrokerClient::connect_lazy(&endpoint, of(Scope::Broker)).unwrap();
        let mut subscription = client.subscribe(Some(info(0).ttid)).await.unwrap();
        let (sender, receiver) = mpsc::channel(4);
        let publisher = client.clone();
        let publishing = tokio::spawn(async move { publisher.publish(ReceiverStream::new(receiver)).await });
        for lsn in [7, 8] {
            sender.send(info(lsn)).await.unwrap();
            let heard = tokio::time::timeout(Duration::from_secs(10), subscription.next()).await.unwrap();
            assert_eq!(heard.unwrap().unwrap(), info(lsn));
        }
        drop(sender);
        publishing.await.unwrap().unwrap();
        shutdown.cancel();
        assert!(subscription.next().await.is_none_or(|message| message.is_err()));
        drop((subscription, client));
        server.await.unwrap();
    }
}

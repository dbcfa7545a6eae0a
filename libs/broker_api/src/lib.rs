//! The contract of the storage broker: what a position message says, and a thin client.
//!
//! A client is made without connecting. A call connects when it has to; when it fails, the caller
//! waits a little and calls again: the broker keeps nothing that would need to be made up for.

mod info;

use std::time::Duration;

use futures_util::{Stream, StreamExt};
use proto::broker as pb;
use proto::broker::broker_client::BrokerClient as GrpcClient;
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};

use auth::Credentials;
pub use info::{MalformedInfo, SafekeeperTimelineInfo, ttid_from_proto};
use types::TenantTimelineId;

#[derive(Debug, thiserror::Error)]
pub enum BrokerError {
    #[error("{endpoint:?} is not the address of a broker: expected http://HOST:PORT")]
    Endpoint { endpoint: String },
    #[error("storage broker: {}", .0.message())]
    Rpc(#[from] Box<Status>),
    #[error("storage broker sent a message that makes no sense: {0}")]
    Malformed(#[from] MalformedInfo),
}

/// A connection to the broker, made when first needed. Cheap to clone.
#[derive(Clone)]
pub struct BrokerClient {
    grpc: GrpcClient<InterceptedService<Channel, PresentToken>>,
}

#[derive(Clone)]
struct PresentToken(Credentials);

impl Interceptor for PresentToken {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        // Read anew for each call: it may have been replaced.
        let header = self.0.bearer().parse().map_err(|_| Status::internal("the token is not one"))?;
        request.metadata_mut().insert("authorization", header);
        Ok(request)
    }
}

impl BrokerClient {
    /// `endpoint` as `http://HOST:PORT`. Must be called inside a tokio runtime.
    pub fn connect_lazy(endpoint: &str, credentials: Credentials) -> Result<BrokerClient, BrokerError> {
        let invalid = || BrokerError::Endpoint { endpoint: endpoint.to_owned() };
        let channel = Endpoint::from_shared(endpoint.to_owned())
            .map_err(|_| invalid())?
            .connect_timeout(Duration::from_secs(5))
            .http2_keep_alive_interval(Duration::from_secs(5))
            .keep_alive_timeout(Duration::from_secs(5))
            .keep_alive_while_idle(true)
            .connect_lazy();
        Ok(BrokerClient { grpc: GrpcClient::with_interceptor(channel, PresentToken(credentials)) })
    }

    /// Sends positions until `positions` or the connection ends.
    pub async fn publish<S>(&self, positions: S) -> Result<(), BrokerError>
    where
        S: Stream<Item = SafekeeperTimelineInfo> + Send + 'static,
    {
        let messages = positions.map(pb::SafekeeperTimelineInfo::from);
        self.grpc.clone().publish(messages).await.map_err(Box::new)?;
        Ok(())
    }

    /// Positions of one timeline, or of all: the newest that the broker knows first, then each change.
    pub async fn subscribe(&self, timeline: Option<TenantTimelineId>) -> Result<Subscription, BrokerError> {
        let request = pb::SubscribeRequest { tenant_timeline_id: timeline.map(Into::into) };
        let stream = self.grpc.clone().subscribe(request).await.map_err(Box::new)?.into_inner();
        Ok(Subscription { stream })
    }
}

/// An open subscription. Messages may be lost when the reader is slow; later ones say the same again.
pub struct Subscription {
    stream: tonic::Streaming<pb::SafekeeperTimelineInfo>,
}

impl Subscription {
    /// None when the broker ended the stream.
    pub async fn next(&mut self) -> Option<Result<SafekeeperTimelineInfo, BrokerError>> {
        let message = self.stream.next().await?;
        Some(
            message
                .map_err(|status| BrokerError::Rpc(Box::new(status)))
                .and_then(|info| Ok(info.try_into()?)),
        )
    }
}

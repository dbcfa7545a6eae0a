//! The contract of the storage broker: what a position message says, and a thin client.
//!
//! A client is made without connecting. A call connects when it has to; when it fails, the caller
//! waits a little and calls again: the broker keeps nothing that would need to be made up for.

mod connector;
mod info;

use std::time::Duration;

use futures_util::{Stream, StreamExt};
use proto::broker as pb;
use proto::broker::broker_client::BrokerClient as GrpcClient;
use tonic::codegen::http::Uri;
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};

use auth::Credentials;
use connector::Connector;
pub use info::{MalformedInfo, SafekeeperTimelineInfo, ttid_from_proto};
use types::TenantTimelineId;

#[derive(Debug, thiserror::Error)]
pub enum BrokerError {
    #[error("{endpoint:?} is not the address of a broker: expected {expected}://HOST:PORT{why}")]
    Endpoint { endpoint: String, expected: &'static str, why: &'static str },
    #[error("storage broker: {}", .0.message())]
    Rpc(#[from] Box<Status>),
    #[error("storage broker sent a message that makes no sense: {0}")]
    Malformed(#[from] MalformedInfo),
    #[error("storage broker does not answer within {0:?}")]
    Silent(Duration),
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
    /// `endpoint` as `http://HOST:PORT`; as `https://HOST:PORT` if the credentials say whom to believe, and only then. Must
    /// be called inside a tokio runtime.
    pub fn connect_lazy(endpoint: &str, credentials: Credentials) -> Result<BrokerClient, BrokerError> {
        let (expected, why) = match (credentials.trust(), endpoint.starts_with("https://")) {
            (Some(_), _) => ("https", ", for there is a tls_ca_file"),
            (None, true) => ("http", "; for https a tls_ca_file has to say whom to believe"),
            (None, false) => ("http", ""),
        };
        let invalid = || BrokerError::Endpoint { endpoint: endpoint.to_owned(), expected, why };
        let uri: Uri = endpoint.parse().map_err(|_| invalid())?;
        if uri.scheme_str() != Some(expected) || uri.host().is_none() || uri.port().is_none() {
            return Err(invalid());
        }
        let connector = Connector { trust: credentials.trust().cloned() };
        let channel = Endpoint::from(uri)
            .connect_timeout(Duration::from_secs(5))
            .http2_keep_alive_interval(Duration::from_secs(5))
            .keep_alive_timeout(Duration::from_secs(5))
            .keep_alive_while_idle(true)
            .connect_with_connector_lazy(connector);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_address_that_is_none_is_refused_at_once() {
        let refusal = |endpoint: &str| {
            let credentials = Credentials::fixed("no.bodys.token").unwrap();
            BrokerClient::connect_lazy(endpoint, credentials).err().map(|error| error.to_string())
        };
        assert_eq!(refusal("http://broker:50051"), None);
        for wrong in ["broker:50051", "http://broker", "ftp://broker:1", "not an address", ""] {
            let said = refusal(wrong).unwrap();
            assert!(said.contains("expected http://HOST:PORT"), "{said}");
        }
        let said = refusal("https://broker:50051").unwrap();
        assert!(said.ends_with("for https a tls_ca_file has to say whom to believe"), "{said}");
    }
}

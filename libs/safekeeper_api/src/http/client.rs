//! [`Client`]: one method per route.

use std::time::Duration;

use auth::ClusterToken;
use reqwest::{Method, RequestBuilder, StatusCode};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use types::TenantTimelineId;

use crate::http::{SafekeeperStatus, TimelineCreateRequest, TimelineListEntry, TimelineStatus};

const TIMEOUT: Duration = Duration::from_secs(30);

#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// No answer, or one that is not HTTP or not the JSON it should be.
    #[error("safekeeper at {address} did not answer: {source}")]
    Transport { address: String, source: reqwest::Error },
    /// The safekeeper said no.
    #[error("safekeeper at {address}: {status}: {message}")]
    Status { address: String, status: StatusCode, message: String },
}

impl HttpError {
    pub fn status(&self) -> Option<StatusCode> {
        match self {
            HttpError::Transport { .. } => None,
            HttpError::Status { status, .. } => Some(*status),
        }
    }

    /// Whether the same request may succeed later.
    pub fn is_retryable(&self) -> bool {
        self.status().is_none_or(|status| status.is_server_error())
    }
}

/// Body of an error answer, as http_server writes it.
#[derive(Deserialize)]
struct ErrorBody {
    msg: String,
}

#[derive(Clone, Debug)]
pub struct Client {
    /// `host:port`
    address: String,
    token: ClusterToken,
    http: reqwest::Client,
}

impl Client {
    pub fn new(address: &str, token: ClusterToken) -> Self {
        Self { address: address.to_owned(), token, http: reqwest::Client::new() }
    }

    pub async fn status(&self) -> Result<SafekeeperStatus, HttpError> {
        self.send(self.request(Method::GET, "status")).await
    }

    pub async fn create_timeline(
        &self,
        request: &TimelineCreateRequest,
    ) -> Result<TimelineStatus, HttpError> {
        self.send(self.request(Method::POST, "tenant/timeline").json(request)).await
    }

    pub async fn timelines(&self) -> Result<Vec<TimelineListEntry>, HttpError> {
        self.send(self.request(Method::GET, "tenant/timeline")).await
    }

    pub async fn timeline(&self, ttid: TenantTimelineId) -> Result<TimelineStatus, HttpError> {
        let path = format!("tenant/{}/timeline/{}", ttid.tenant_id, ttid.timeline_id);
        self.send(self.request(Method::GET, &path)).await
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let url = format!("http://{}/v1/{path}", self.address);
        self.http.request(method, url).header("authorization", self.token.bearer()).timeout(TIMEOUT)
    }

    async fn send<T: DeserializeOwned>(&self, request: RequestBuilder) -> Result<T, HttpError> {
        let transport = |source| HttpError::Transport { address: self.address.clone(), source };
        let response = request.send().await.map_err(transport)?;
        let status = response.status();
        if status.is_success() {
            return response.json().await.map_err(transport);
        }
        let text = response.text().await.map_err(transport)?;
        let message = message_of_body(&text).unwrap_or(text);
        Err(HttpError::Status { address: self.address.clone(), status, message })
    }
}

fn message_of_body(text: &str) -> Option<String> {
    serde_json::from_str::<ErrorBody>(text).ok().map(|body| body.msg)
}

//! Request and response types of the HTTP API, and a thin client for it.

use std::time::Duration;

use auth::ClusterToken;
use reqwest::{Method, RequestBuilder, StatusCode};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use types::{Lsn, NodeId, PgVersion, TenantId, Term, TimelineId, WalSegmentSize};

/// `GET /v1/status`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatusResponse {
    pub id: NodeId,
    pub version: String,
    pub timelines: usize,
}

/// One safekeeper of a timeline.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Member {
    pub id: NodeId,
    /// `host:port` of its WAL service.
    pub pg_connstr: String,
    /// `host:port` of its HTTP API.
    pub http_connstr: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AncestorRef {
    pub timeline_id: TimelineId,
}

/// `POST /v1/tenant/timeline`. Repeating it changes nothing; 409 if the timeline exists and differs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TimelineCreateRequest {
    pub tenant_id: TenantId,
    pub timeline_id: TimelineId,
    pub pg_version: PgVersion,
    /// `system_identifier` of pg_control, as text: JSON numbers of this size are not safe everywhere.
    pub system_id: String,
    pub wal_seg_size: WalSegmentSize,
    /// Where the timeline's own WAL begins.
    pub start_lsn: Lsn,
    /// All safekeepers of the timeline, this one included.
    pub members: Vec<Member>,
    /// Whose WAL fills the first segment before `start_lsn`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ancestor: Option<AncestorRef>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TermStart {
    pub term: Term,
    pub lsn: Lsn,
}

/// `GET /v1/tenant/{tenant_id}/timeline/{timeline_id}`, and an element of `GET /v1/tenant/timeline`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TimelineStatus {
    pub tenant_id: TenantId,
    pub timeline_id: TimelineId,
    /// Highest term that was voted for or followed.
    pub term: Term,
    /// Each term that has WAL here, with the position where it began.
    pub term_history: Vec<TermStart>,
    /// End of the last whole record that is durable here.
    pub flush_lsn: Lsn,
    /// Durable on a quorum, as far as this safekeeper knows.
    pub commit_lsn: Lsn,
    pub timeline_start_lsn: Lsn,
    /// What the pageserver has in object storage.
    pub remote_consistent_lsn: Lsn,
    pub pg_version: PgVersion,
    pub system_id: String,
    pub wal_seg_size: WalSegmentSize,
    /// Readers that stream from here.
    pub walsenders: Vec<WalSenderStatus>,
    /// Proposers that are connected.
    pub walreceivers: usize,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WalSenderStatus {
    pub peer: String,
    pub sent_lsn: Lsn,
    /// What the reader says it has flushed.
    pub flush_lsn: Lsn,
}

#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    #[error("the safekeeper at {url} does not answer: {source}")]
    Unreachable { url: String, source: reqwest::Error },
    #[error("the safekeeper refused ({status}): {message}")]
    Refused { status: StatusCode, message: String },
    #[error("the safekeeper at {url} sent an answer that is not understood: {source}")]
    Malformed { url: String, source: reqwest::Error },
}

#[derive(Deserialize)]
struct ErrorBody {
    msg: String,
}

#[derive(Clone)]
pub struct SafekeeperClient {
    http: reqwest::Client,
    base_url: String,
    token: ClusterToken,
}

impl SafekeeperClient {
    /// `address` is the safekeeper's `--listen-http`, as `host:port`.
    pub fn new(address: &str, token: ClusterToken) -> Self {
        Self { http: reqwest::Client::new(), base_url: format!("http://{address}"), token }
    }

    pub async fn status(&self) -> Result<StatusResponse, ClientError> {
        self.json(self.request(Method::GET, "/v1/status")).await
    }

    pub async fn create_timeline(&self, body: &TimelineCreateRequest) -> Result<(), ClientError> {
        let request = self.request(Method::POST, "/v1/tenant/timeline").json(body);
        self.send(request.timeout(Duration::from_secs(60))).await.map(drop)
    }

    pub async fn timelines(&self) -> Result<Vec<TimelineStatus>, ClientError> {
        self.json(self.request(Method::GET, "/v1/tenant/timeline")).await
    }

    pub async fn timeline(
        &self,
        tenant: TenantId,
        timeline: TimelineId,
    ) -> Result<TimelineStatus, ClientError> {
        self.json(self.request(Method::GET, &format!("/v1/tenant/{tenant}/timeline/{timeline}"))).await
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.http
            .request(method, format!("{}{path}", self.base_url))
            .bearer_auth(self.token.as_str())
            .timeout(Duration::from_secs(10))
    }

    async fn json<T: DeserializeOwned>(&self, request: RequestBuilder) -> Result<T, ClientError> {
        let response = self.send(request).await?;
        response.json().await.map_err(|source| ClientError::Malformed { url: self.base_url.clone(), source })
    }

    async fn send(&self, request: RequestBuilder) -> Result<reqwest::Response, ClientError> {
        let response = request
            .send()
            .await
            .map_err(|source| ClientError::Unreachable { url: self.base_url.clone(), source })?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let text = response.text().await.unwrap_or_default();
        let message = serde_json::from_str::<ErrorBody>(&text).map_or(text, |body| body.msg);
        Err(ClientError::Refused { status, message })
    }
}

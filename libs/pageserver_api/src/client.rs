//! A thin client for the pageserver's HTTP API.

use std::time::Duration;

use auth::ClusterToken;
use reqwest::{Method, RequestBuilder, StatusCode};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use types::{PgVersion, TenantId, TimelineId};

use crate::models::{
    StatusResponse, TemplateInfo, TenantCreateRequest, TenantInfo, TimelineCreateRequest, TimelineInfo,
};

#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    #[error("the pageserver at {url} does not answer: {source}")]
    Unreachable { url: String, source: reqwest::Error },
    #[error("the pageserver refused ({status}): {message}")]
    Refused { status: StatusCode, message: String },
    #[error("the pageserver at {url} sent an answer that is not understood: {source}")]
    Malformed { url: String, source: reqwest::Error },
}

impl ClientError {
    /// The status, if it was the pageserver that refused.
    pub fn status(&self) -> Option<StatusCode> {
        match self {
            ClientError::Refused { status, .. } => Some(*status),
            ClientError::Unreachable { .. } | ClientError::Malformed { .. } => None,
        }
    }
}

#[derive(Deserialize)]
struct ErrorBody {
    msg: String,
}

#[derive(Clone)]
pub struct PageserverClient {
    http: reqwest::Client,
    base_url: String,
    token: ClusterToken,
}

impl PageserverClient {
    /// `address` is the pageserver's `listen_http_addr`, as `host:port`.
    pub fn new(address: &str, token: ClusterToken) -> Self {
        Self { http: reqwest::Client::new(), base_url: format!("http://{address}"), token }
    }

    pub async fn status(&self) -> Result<StatusResponse, ClientError> {
        self.json(self.request(Method::GET, "/v1/status")).await
    }

    /// Hands over initdb's output, stopped cleanly, as a tar compressed with zstd.
    pub async fn put_template(&self, version: PgVersion, tar_zst: Vec<u8>) -> Result<(), ClientError> {
        let request = self.request(Method::PUT, &format!("/v1/template/{version}"));
        self.send(request.timeout(Duration::from_secs(120)).body(tar_zst)).await.map(drop)
    }

    /// None if the pageserver has no template of this version.
    pub async fn template(&self, version: PgVersion) -> Result<Option<TemplateInfo>, ClientError> {
        absent_is_none(self.json(self.request(Method::GET, &format!("/v1/template/{version}"))).await)
    }

    /// Idempotent.
    pub async fn create_tenant(&self, tenant: TenantId) -> Result<(), ClientError> {
        let body = TenantCreateRequest { new_tenant_id: tenant };
        self.send(self.request(Method::POST, "/v1/tenant").json(&body)).await.map(drop)
    }

    pub async fn tenants(&self) -> Result<Vec<TenantInfo>, ClientError> {
        self.json(self.request(Method::GET, "/v1/tenant")).await
    }

    /// Idempotent; 409 if the timeline exists and differs, 406 if it cannot be branched there.
    pub async fn create_timeline(
        &self,
        tenant: TenantId,
        body: &TimelineCreateRequest,
    ) -> Result<TimelineInfo, ClientError> {
        let request = self.request(Method::POST, &format!("/v1/tenant/{tenant}/timeline")).json(body);
        self.json(request.timeout(Duration::from_secs(120))).await
    }

    pub async fn timelines(&self, tenant: TenantId) -> Result<Vec<TimelineInfo>, ClientError> {
        self.json(self.request(Method::GET, &format!("/v1/tenant/{tenant}/timeline"))).await
    }

    pub async fn timeline(
        &self,
        tenant: TenantId,
        timeline: TimelineId,
    ) -> Result<TimelineInfo, ClientError> {
        self.json(self.request(Method::GET, &format!("/v1/tenant/{tenant}/timeline/{timeline}"))).await
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.http
            .request(method, format!("{}{path}", self.base_url))
            .bearer_auth(self.token.as_str())
            .timeout(Duration::from_secs(30))
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

fn absent_is_none<T>(answer: Result<T, ClientError>) -> Result<Option<T>, ClientError> {
    match answer {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.status() == Some(StatusCode::NOT_FOUND) => Ok(None),
        Err(error) => Err(error),
    }
}

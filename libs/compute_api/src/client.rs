//! A thin client for compute_ctl's HTTP API.

use std::time::Duration;

use auth::ClusterToken;
use reqwest::{Method, RequestBuilder, StatusCode};
use serde::Deserialize;

use crate::spec::{ConfigureRequest, ConfigureResponse};
use crate::status::ComputeStatus;

#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    #[error("compute_ctl at {url} does not answer: {source}")]
    Unreachable { url: String, source: reqwest::Error },
    #[error("compute_ctl refused ({status}): {message}")]
    Refused { status: StatusCode, message: String },
    #[error("compute_ctl at {url} sent an answer that is not understood: {source}")]
    Malformed { url: String, source: reqwest::Error },
}

#[derive(Deserialize)]
struct ErrorBody {
    msg: String,
}

#[derive(Clone)]
pub struct ComputeClient {
    http: reqwest::Client,
    base_url: String,
    token: ClusterToken,
}

impl ComputeClient {
    /// `address` is compute_ctl's `--listen-http`, as `host:port`.
    pub fn new(address: &str, token: ClusterToken) -> Self {
        Self { http: reqwest::Client::new(), base_url: format!("http://{address}"), token }
    }

    pub async fn status(&self) -> Result<ComputeStatus, ClientError> {
        self.send(self.request(Method::GET, "/v1/status")).await?.json().await.map_err(self.malformed())
    }

    /// Gives the compute new roles, databases and settings; returns when they are in force, and names
    /// those that are not before the next start.
    pub async fn configure(&self, request: &ConfigureRequest) -> Result<ConfigureResponse, ClientError> {
        let request = self.request(Method::POST, "/v1/configure").json(request);
        let response = self.send(request.timeout(Duration::from_secs(120))).await?;
        response.json().await.map_err(self.malformed())
    }

    /// Asks for what SIGTERM does: a fast shutdown with all WAL on a quorum. Does not wait for it.
    pub async fn terminate(&self) -> Result<(), ClientError> {
        self.send(self.request(Method::POST, "/v1/terminate")).await.map(drop)
    }

    fn malformed(&self) -> impl FnOnce(reqwest::Error) -> ClientError {
        let url = self.base_url.clone();
        move |source| ClientError::Malformed { url, source }
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.http
            .request(method, format!("{}{path}", self.base_url))
            .bearer_auth(self.token.as_str())
            .timeout(Duration::from_secs(10))
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

//! A thin client for compute_ctl's HTTP API.

use std::time::Duration;

use auth::Credentials;
use http_client::{HttpClient, HttpError, Method};

use crate::spec::{ConfigureRequest, ConfigureResponse};
use crate::status::ComputeStatus;

#[derive(Clone, Debug)]
pub struct ComputeClient(HttpClient);

impl ComputeClient {
    /// `address` is compute_ctl's `--listen-http`, as `host:port`.
    pub fn new(address: &str, credentials: Credentials) -> Self {
        Self(HttpClient::new("compute_ctl", address, credentials))
    }

    pub async fn status(&self) -> Result<ComputeStatus, HttpError> {
        self.0.json(self.0.request(Method::GET, "/v1/status")).await
    }

    /// Gives the compute new roles, databases and settings; returns when they are in force, and names
    /// those that are not before the next start.
    pub async fn configure(&self, request: &ConfigureRequest) -> Result<ConfigureResponse, HttpError> {
        let request = self.0.request(Method::POST, "/v1/configure").json(request);
        self.0.json(request.timeout(Duration::from_secs(120))).await
    }

    /// Asks for what SIGTERM does: a fast shutdown with all WAL on a quorum. Does not wait for it.
    pub async fn terminate(&self) -> Result<(), HttpError> {
        self.0.send(self.0.request(Method::POST, "/v1/terminate")).await
    }
}

//! A thin client for the pageserver's HTTP API.

use std::time::Duration;

use auth::ClusterToken;
use http_client::{HttpClient, HttpError, Method, StatusCode};
use types::{PgVersion, TenantId, TimelineId};

use crate::models::{
    StatusResponse, TemplateInfo, TenantCreateRequest, TenantInfo, TimelineCreateRequest, TimelineInfo,
};

#[derive(Clone, Debug)]
pub struct PageserverClient(HttpClient);

impl PageserverClient {
    /// `address` is the pageserver's `listen_http_addr`, as `host:port`.
    pub fn new(address: &str, token: ClusterToken) -> Self {
        Self(HttpClient::new("the pageserver", address, token))
    }

    pub async fn status(&self) -> Result<StatusResponse, HttpError> {
        self.0.json(self.0.request(Method::GET, "/v1/status")).await
    }

    /// Hands over initdb's output, stopped cleanly, as a tar compressed with zstd.
    pub async fn put_template(&self, version: PgVersion, tar_zst: Vec<u8>) -> Result<(), HttpError> {
        let request = self.0.request(Method::PUT, &format!("/v1/template/{version}"));
        self.0.send(request.timeout(Duration::from_secs(120)).body(tar_zst)).await
    }

    /// None if the pageserver has no template of this version.
    pub async fn template(&self, version: PgVersion) -> Result<Option<TemplateInfo>, HttpError> {
        absent_is_none(self.0.json(self.0.request(Method::GET, &format!("/v1/template/{version}"))).await)
    }

    /// Idempotent.
    pub async fn create_tenant(&self, tenant: TenantId) -> Result<(), HttpError> {
        let body = TenantCreateRequest { new_tenant_id: tenant };
        self.0.send(self.0.request(Method::POST, "/v1/tenant").json(&body)).await
    }

    pub async fn tenants(&self) -> Result<Vec<TenantInfo>, HttpError> {
        self.0.json(self.0.request(Method::GET, "/v1/tenant")).await
    }

    /// Idempotent; 409 if the timeline exists and differs, 406 if it cannot be branched there.
    pub async fn create_timeline(
        &self,
        tenant: TenantId,
        body: &TimelineCreateRequest,
    ) -> Result<TimelineInfo, HttpError> {
        let request = self.0.request(Method::POST, &format!("/v1/tenant/{tenant}/timeline")).json(body);
        self.0.json(request.timeout(Duration::from_secs(120))).await
    }

    pub async fn timelines(&self, tenant: TenantId) -> Result<Vec<TimelineInfo>, HttpError> {
        self.0.json(self.0.request(Method::GET, &format!("/v1/tenant/{tenant}/timeline"))).await
    }

    pub async fn timeline(&self, tenant: TenantId, timeline: TimelineId) -> Result<TimelineInfo, HttpError> {
        self.0.json(self.0.request(Method::GET, &format!("/v1/tenant/{tenant}/timeline/{timeline}"))).await
    }
}

fn absent_is_none<T>(answer: Result<T, HttpError>) -> Result<Option<T>, HttpError> {
    match answer {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.status() == Some(StatusCode::NOT_FOUND) => Ok(None),
        Err(error) => Err(error),
    }
}

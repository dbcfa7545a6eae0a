//! [`Client`]: one method per route.

use std::time::Duration;

use auth::Credentials;
use consensus::{MembershipQuestion, MembershipReply, PeerLog};
use http_client::{HttpClient, HttpError, Method};
use types::{TenantId, TenantTimelineId};

use crate::http::{
    OwnershipQuestion, OwnershipReply, SafekeeperStatus, TenantDeleteResult, TimelineCreateRequest,
    TimelineDeleteQuery, TimelineDeleteResult, TimelineListEntry, TimelineStatus,
};

/// Objects are deleted one by one.
const DELETE_TIMEOUT: Duration = Duration::from_secs(600);

#[derive(Clone, Debug)]
pub struct Client(HttpClient);

impl Client {
    /// `address` is the safekeeper's `--listen-http`, as `host:port`.
    pub fn new(address: &str, credentials: Credentials) -> Self {
        Self(HttpClient::new("the safekeeper", address, credentials))
    }

    pub async fn status(&self) -> Result<SafekeeperStatus, HttpError> {
        self.0.json(self.0.request(Method::GET, "/v1/status")).await
    }

    pub async fn create_timeline(&self, body: &TimelineCreateRequest) -> Result<TimelineStatus, HttpError> {
        self.0.json(self.0.request(Method::POST, "/v1/tenant/timeline").json(body)).await
    }

    pub async fn timelines(&self) -> Result<Vec<TimelineListEntry>, HttpError> {
        self.0.json(self.0.request(Method::GET, "/v1/tenant/timeline")).await
    }

    pub async fn delete_timeline(
        &self,
        ttid: TenantTimelineId,
        query: TimelineDeleteQuery,
    ) -> Result<TimelineDeleteResult, HttpError> {
        let path = format!("/v1/tenant/{}/timeline/{}", ttid.tenant_id, ttid.timeline_id);
        let request = self.0.request(Method::DELETE, &path).query(&query);
        self.0.json(request.timeout(DELETE_TIMEOUT)).await
    }

    pub async fn delete_tenant(&self, tenant: TenantId) -> Result<TenantDeleteResult, HttpError> {
        let request = self.0.request(Method::DELETE, &format!("/v1/tenant/{tenant}"));
        self.0.json(request.timeout(DELETE_TIMEOUT)).await
    }

    /// One step of a membership change; see [`consensus::MembershipChange`].
    pub async fn membership(
        &self,
        ttid: TenantTimelineId,
        question: &MembershipQuestion,
    ) -> Result<MembershipReply, HttpError> {
        let path = format!("/v1/tenant/{}/timeline/{}/membership", ttid.tenant_id, ttid.timeline_id);
        self.0.json(self.0.request(Method::POST, &path).json(question)).await
    }

    /// Which pageserver owns tenants; see [`consensus::Ownership`].
    pub async fn ownership(&self, question: &OwnershipQuestion) -> Result<OwnershipReply, HttpError> {
        self.0.json(self.0.request(Method::POST, "/v1/ownership").json(question)).await
    }

    /// What another safekeeper needs to know before it reads WAL from this one.
    pub async fn log(&self, ttid: TenantTimelineId) -> Result<PeerLog, HttpError> {
        let path = format!("/v1/tenant/{}/timeline/{}/log", ttid.tenant_id, ttid.timeline_id);
        self.0.json(self.0.request(Method::GET, &path)).await
    }

    pub async fn timeline(&self, ttid: TenantTimelineId) -> Result<TimelineStatus, HttpError> {
        let path = format!("/v1/tenant/{}/timeline/{}", ttid.tenant_id, ttid.timeline_id);
        self.0.json(self.0.request(Method::GET, &path)).await
    }
}

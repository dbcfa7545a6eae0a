//! A thin client for the pageserver's HTTP API.

use std::time::Duration;

use auth::Credentials;
use http_client::{Body, HttpClient, HttpError, Method, RequestBuilder, absent_is_none};
use types::{Key, Lsn, PgVersion, TenantId, TimelineId};

use crate::history::{
    GcResult, LsnByTimestamp, LsnLease, LsnLeaseRequest, ReplayResult, TenantConfig, TenantConfigRequest,
    TenantConfigResponse,
};
use crate::layers::LayerMapInfo;
use crate::models::{
    AncestorDetached, ArchivalState, CompactionResult, ReadExplanation, StatusResponse, TemplateInfo,
    TenantCreateRequest, TenantInfo, TimelineArchivalConfig, TimelineCreateRequest, TimelineInfo,
};

/// What an operator asks for may have to read or delete all that a tenant has.
const LONG: Duration = Duration::from_secs(600);

/// A database of any size.
const IMPORT: Duration = Duration::from_secs(24 * 3600);

#[derive(Clone, Debug)]
pub struct PageserverClient(HttpClient);

impl PageserverClient {
    /// `address` is the pageserver's `listen_http_addr`, as `host:port`.
    pub fn new(address: &str, credentials: Credentials) -> Self {
        Self(HttpClient::new("the pageserver", address, credentials))
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

    pub async fn tenant_config(&self, tenant: TenantId) -> Result<TenantConfigResponse, HttpError> {
        self.0.json(self.0.request(Method::GET, &format!("/v1/tenant/{tenant}/config"))).await
    }

    /// Takes the place of all that was set before.
    pub async fn set_tenant_config(&self, request: &TenantConfigRequest) -> Result<(), HttpError> {
        self.0.send(self.0.request(Method::PUT, "/v1/tenant/config").json(request)).await
    }

    /// With all that it has in remote storage. Idempotent; 404 if there never was one.
    pub async fn delete_tenant(&self, tenant: TenantId) -> Result<(), HttpError> {
        let request = self.0.request(Method::DELETE, &format!("/v1/tenant/{tenant}"));
        self.0.send(request.timeout(LONG)).await
    }

    /// The same of a timeline; 412 if it has branches.
    pub async fn delete_timeline(&self, tenant: TenantId, timeline: TimelineId) -> Result<(), HttpError> {
        let path = format!("/v1/tenant/{tenant}/timeline/{timeline}");
        self.0.send(self.0.request(Method::DELETE, &path).timeout(LONG)).await
    }

    /// Idempotent; 412 if its branches, or its ancestor, are not in the same state.
    pub async fn set_archival(
        &self,
        tenant: TenantId,
        timeline: TimelineId,
        state: ArchivalState,
    ) -> Result<(), HttpError> {
        let request = self.work(tenant, timeline, "archival_config");
        self.0.send(request.json(&TimelineArchivalConfig { state })).await
    }

    /// Takes as long as it takes to copy what the branch has from its ancestors. Idempotent; what was copied when it
    /// failed is not copied again.
    pub async fn detach_ancestor(
        &self,
        tenant: TenantId,
        timeline: TimelineId,
    ) -> Result<AncestorDetached, HttpError> {
        self.0.json(self.work(tenant, timeline, "detach_ancestor").timeout(IMPORT)).await
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

    /// Without its logical size: as fast for a large one as for a small one.
    pub async fn timeline(&self, tenant: TenantId, timeline: TimelineId) -> Result<TimelineInfo, HttpError> {
        let path = format!("/v1/tenant/{tenant}/timeline/{timeline}");
        self.0.json(self.0.request(Method::GET, &path).query(&[("with_size", false)])).await
    }

    pub async fn timeline_with_size(
        &self,
        tenant: TenantId,
        timeline: TimelineId,
    ) -> Result<TimelineInfo, HttpError> {
        self.0.json(self.0.request(Method::GET, &format!("/v1/tenant/{tenant}/timeline/{timeline}"))).await
    }

    /// `timestamp` as in RFC 3339. 406 if the history there is gone.
    pub async fn lsn_by_timestamp(
        &self,
        tenant: TenantId,
        timeline: TimelineId,
        timestamp: &str,
    ) -> Result<LsnByTimestamp, HttpError> {
        let path = format!("/v1/tenant/{tenant}/timeline/{timeline}/get_lsn_by_timestamp");
        self.0.json(self.0.request(Method::GET, &path).query(&[("timestamp", timestamp)])).await
    }

    /// The latest time of a commit up to `lsn`, as in RFC 3339; none if there is none.
    pub async fn timestamp_of_lsn(
        &self,
        tenant: TenantId,
        timeline: TimelineId,
        lsn: Lsn,
    ) -> Result<Option<String>, HttpError> {
        let path = format!("/v1/tenant/{tenant}/timeline/{timeline}/get_timestamp_of_lsn?lsn={lsn}");
        absent_is_none(self.0.json(self.0.request(Method::GET, &path)).await)
    }

    /// Whether a data directory could be imported now: 409 if the timeline exists or was deleted, 503 while another is imported.
    pub async fn check_import(&self, tenant: TenantId, timeline: TimelineId) -> Result<(), HttpError> {
        let path = format!("/v1/tenant/{tenant}/timeline/{timeline}/import_basebackup");
        self.0.send(self.0.request(Method::GET, &path)).await
    }

    /// Makes a root timeline of a data directory that was stopped cleanly, as a tar compressed with zstd.
    pub async fn import_timeline(
        &self,
        tenant: TenantId,
        timeline: TimelineId,
        version: PgVersion,
        tar_zst: impl Into<Body>,
    ) -> Result<TimelineInfo, HttpError> {
        let path = format!("/v1/tenant/{tenant}/timeline/{timeline}/import_basebackup?pg_version={version}");
        let request = self.0.request(Method::PUT, &path).timeout(IMPORT).body(tar_zst);
        self.0.json(request).await
    }

    pub async fn explain_read(
        &self,
        tenant: TenantId,
        timeline: TimelineId,
        key: Key,
        lsn: Lsn,
    ) -> Result<ReadExplanation, HttpError> {
        let path = format!("/v1/tenant/{tenant}/timeline/{timeline}/explain_read?key={key}&lsn={lsn}");
        self.0.json(self.0.request(Method::GET, &path)).await
    }

    pub async fn layers(&self, tenant: TenantId, timeline: TimelineId) -> Result<LayerMapInfo, HttpError> {
        self.0
            .json(self.0.request(Method::GET, &format!("/v1/tenant/{tenant}/timeline/{timeline}/layer")))
            .await
    }

    /// What can be read at `lsn` stays readable for a while. 406 if it is gone already.
    pub async fn lease_lsn(
        &self,
        tenant: TenantId,
        timeline: TimelineId,
        lsn: Lsn,
    ) -> Result<LsnLease, HttpError> {
        let path = format!("/v1/tenant/{tenant}/timeline/{timeline}/lsn_lease");
        self.0.json(self.0.request(Method::POST, &path).json(&LsnLeaseRequest { lsn })).await
    }

    /// All that was ingested is in remote storage when this returns.
    pub async fn checkpoint(&self, tenant: TenantId, timeline: TimelineId) -> Result<(), HttpError> {
        self.0.send(self.work(tenant, timeline, "checkpoint")).await
    }

    /// What safekeepers have put into object storage of a timeline that none of them has any more is taken in.
    pub async fn replay_offloaded_wal(
        &self,
        tenant: TenantId,
        timeline: TimelineId,
    ) -> Result<ReplayResult, HttpError> {
        self.0.json(self.work(tenant, timeline, "replay_offloaded_wal")).await
    }

    pub async fn compact(
        &self,
        tenant: TenantId,
        timeline: TimelineId,
    ) -> Result<CompactionResult, HttpError> {
        self.0.json(self.work(tenant, timeline, "compact")).await
    }

    /// Of all timelines of the tenant, with what is said instead of its configuration; the answer's cutoff is this
    /// timeline's.
    pub async fn do_gc(
        &self,
        tenant: TenantId,
        timeline: TimelineId,
        this_once: &TenantConfig,
    ) -> Result<GcResult, HttpError> {
        self.0.json(self.work(tenant, timeline, "do_gc").json(this_once)).await
    }

    fn work(&self, tenant: TenantId, timeline: TimelineId, what: &str) -> RequestBuilder {
        let path = format!("/v1/tenant/{tenant}/timeline/{timeline}/{what}");
        self.0.request(Method::PUT, &path).timeout(LONG)
    }
}

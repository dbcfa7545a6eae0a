//! JSON bodies of the HTTP API, in the shapes that users of Neon's tools know.

use serde::{Deserialize, Serialize};
use types::{Key, Lsn, NodeId, PgVersion, TenantId, TimelineId, WalSegmentSize};
use utoipa::ToSchema;

/// `GET /v1/status`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct StatusResponse {
    pub id: NodeId,
    pub version: String,
    pub tenants: usize,
    pub timelines: usize,
}

/// `GET /v1/template/{pg_version}`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TemplateInfo {
    pub pg_version: PgVersion,
    pub bytes: u64,
}

/// `POST /v1/tenant`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TenantCreateRequest {
    pub new_tenant_id: TenantId,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TenantInfo {
    pub id: TenantId,
    pub state: String,
    pub timelines: usize,
}

/// `POST /v1/tenant/{t}/timeline`: a root timeline if it names a version, a branch if it names an ancestor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TimelineCreateRequest {
    pub new_timeline_id: TimelineId,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pg_version: Option<PgVersion>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ancestor_timeline_id: Option<TimelineId>,
    /// The branch point; the ancestor's last record if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ancestor_start_lsn: Option<Lsn>,
}

impl TimelineCreateRequest {
    pub fn root(new_timeline_id: TimelineId, pg_version: PgVersion) -> Self {
        Self {
            new_timeline_id,
            pg_version: Some(pg_version),
            ancestor_timeline_id: None,
            ancestor_start_lsn: None,
        }
    }

    pub fn branch(new_timeline_id: TimelineId, ancestor: TimelineId, start_lsn: Option<Lsn>) -> Self {
        Self {
            new_timeline_id,
            pg_version: None,
            ancestor_timeline_id: Some(ancestor),
            ancestor_start_lsn: start_lsn,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub enum TimelineState {
    /// Reads are served and WAL is received.
    Active,
    /// Reads are served as far as WAL came; ingest met something that it cannot pass. The log says what.
    Broken,
}

/// `PUT /v1/tenant/{t}/timeline/{tl}/archival_config`
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TimelineArchivalConfig {
    pub state: ArchivalState,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub enum ArchivalState {
    /// Kept, and not used: no WAL is received, no computes start.
    Archived,
    Unarchived,
}

/// `PUT /v1/tenant/{t}/timeline/{tl}/detach_ancestor`
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AncestorDetached {
    /// Whom it left; none if it had no ancestor, or had left it before.
    pub ancestor_timeline_id: Option<TimelineId>,
}

/// `GET /v1/tenant/{t}/timeline/{tl}`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TimelineInfo {
    pub tenant_id: TenantId,
    pub timeline_id: TimelineId,
    pub ancestor_timeline_id: Option<TimelineId>,
    pub ancestor_lsn: Option<Lsn>,
    pub last_record_lsn: Lsn,
    pub prev_record_lsn: Lsn,
    pub disk_consistent_lsn: Lsn,
    pub remote_consistent_lsn: Lsn,
    /// Where this timeline's own WAL begins: the end of initdb's, or the branch point.
    pub initdb_lsn: Lsn,
    /// Below it only the beginnings of branches can be read; all zero if nothing was collected yet.
    pub gc_cutoff_lsn: Lsn,
    /// Bytes of all relations at the last record. None of a timeline that was just made, and where nobody asked: it
    /// takes a look at each relation.
    pub current_logical_size: Option<u64>,
    /// Bytes of this timeline's own layer files.
    pub current_physical_size: u64,
    pub pg_version: PgVersion,
    /// As text: JSON numbers of this size are not safe everywhere.
    pub system_identifier: String,
    pub wal_seg_size: WalSegmentSize,
    #[serde(default)]
    pub is_archived: bool,
    /// Which safekeeper WAL comes from, or why from none.
    pub walreceiver_status: String,
    pub state: TimelineState,
}

/// `GET /v1/tenant/{t}/timeline/{tl}/explain_read?key=KEY&lsn=LSN`: what a read goes through.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ReadExplanation {
    pub key: Key,
    pub lsn: Lsn,
    /// From new to old.
    pub layers: Vec<ExplainedLayer>,
    /// Of the image that changes are applied to; none where the first change makes the page.
    pub image_lsn: Option<Lsn>,
    /// Changes that are applied.
    pub changes: usize,
    /// Their bytes.
    pub change_bytes: usize,
}

/// A layer that a read looks into.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ExplainedLayer {
    /// The read's own, or an ancestor.
    pub timeline_id: TimelineId,
    /// Name of its file; none: it is in memory.
    pub file: Option<String>,
    /// It is looked for changes above `start_lsn - 1` and below `end_lsn`.
    pub start_lsn: Lsn,
    pub end_lsn: Lsn,
    pub images: usize,
    pub changes: usize,
}

/// `PUT /v1/tenant/{t}/timeline/{tl}/compact`: what there was to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CompactionResult {
    pub merges: usize,
    pub images: usize,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn creation_requests_have_the_known_shape() {
        let id = TimelineId([0xab; 16]);
        let root = serde_json::to_value(TimelineCreateRequest::root(id, PgVersion::V15)).unwrap();
        assert_eq!(root, serde_json::json!({"new_timeline_id": id.to_string(), "pg_version": 15}));
        let branch = format!(
            r#"{{"new_timeline_id":"{id}","ancestor_timeline_id":"{id}","ancestor_start_lsn":"0/16B9188"}}"#
        );
        let branch: TimelineCreateRequest = serde_json::from_str(&branch).unwrap();
        assert_eq!(branch, TimelineCreateRequest::branch(id, id, Some(Lsn(0x16B_9188))));
        assert!(serde_json::from_str::<TimelineCreateRequest>(r#"{"new_timeline_id":"x"}"#).is_err());
    }
}

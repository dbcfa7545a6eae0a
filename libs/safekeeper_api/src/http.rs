//! A safekeeper's HTTP API: what is asked and answered, and a client that does no more than ask.
//!
//! Unknown fields are refused in requests, and let through in answers, so that a newer safekeeper can
//! tell an older client more.

mod client;

use std::collections::BTreeMap;

use consensus::{Configuration, Member, OwnershipAnswer, OwnershipRequest, TermHistory};
use serde::{Deserialize, Serialize};
use types::{Generation, Lsn, NodeId, PgVersion, TenantId, Term, TimelineId, WalSegmentSize};
use utoipa::{IntoParams, ToSchema};

pub use client::Client;
pub use http_client::HttpError;

/// `POST /v1/tenant/timeline`. Idempotent; 409 if the timeline exists and differs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({
    "tenant_id": "9f3a61c04be2d7580a1c6e2f94b7d013", "timeline_id": "1d4c5b0e87f243c9a6b8d2e0f3517a64",
    "pg_version": 17, "system_id": "7345678901234567890", "wal_seg_size": 16_777_216, "start_lsn": "0/1511B00",
    "members": [
        {"id": 1, "pg_connstr": "127.0.0.1:5454", "http_connstr": "127.0.0.1:7676"},
        {"id": 2, "pg_connstr": "127.0.0.1:5455", "http_connstr": "127.0.0.1:7677"},
        {"id": 3, "pg_connstr": "127.0.0.1:5456", "http_connstr": "127.0.0.1:7678"}
    ]
}))]
pub struct TimelineCreateRequest {
    pub tenant_id: TenantId,
    pub timeline_id: TimelineId,
    pub pg_version: PgVersion,
    /// As text: JSON's numbers do not hold 64 bits everywhere.
    #[serde(with = "decimal")]
    #[schema(value_type = String, pattern = "^[0-9]{1,20}$", example = "7345678901234567890")]
    pub system_id: u64,
    pub wal_seg_size: WalSegmentSize,
    /// Where this timeline's own WAL begins; the end of a record.
    pub start_lsn: Lsn,
    /// The first members, of a timeline that is new everywhere.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub members: Vec<Member>,
    /// Instead of them, for a timeline that others have: what it has decided last. This safekeeper is no member yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub configuration: Option<Configuration>,
    /// The timeline this one branched off: what lies before `start_lsn` in its segment is the ancestor's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ancestor: Option<Ancestor>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Ancestor {
    pub timeline_id: TimelineId,
}

/// `GET /v1/status`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SafekeeperStatus {
    pub id: NodeId,
    pub version: String,
    pub timelines: usize,
}

/// `POST /v1/ownership`, of a pageserver about its tenants.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct OwnershipQuestion {
    pub tenants: BTreeMap<TenantId, OwnershipRequest>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct OwnershipReply {
    /// Who answers.
    pub id: NodeId,
    /// Without those that it cannot answer for just now.
    pub tenants: BTreeMap<TenantId, OwnershipAnswer>,
}

/// An element of `GET /v1/tenant/timeline`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TimelineListEntry {
    pub tenant_id: TenantId,
    pub timeline_id: TimelineId,
    pub commit_lsn: Lsn,
    pub flush_lsn: Lsn,
}

/// `GET /v1/tenant/{tenant_id}/timeline/{timeline_id}`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TimelineStatus {
    pub tenant_id: TenantId,
    pub timeline_id: TimelineId,
    pub term: Term,
    pub term_history: TermHistory,
    pub configuration: Configuration,
    /// End of the last complete record that is durable here.
    pub flush_lsn: Lsn,
    /// Everything below is durable here, the part of an unfinished record included.
    pub durable_lsn: Lsn,
    pub commit_lsn: Lsn,
    pub timeline_start_lsn: Lsn,
    pub remote_consistent_lsn: Lsn,
    /// All WAL of the timeline before it is in object storage.
    #[serde(default)]
    pub backup_lsn: Lsn,
    /// Segments before the one that holds it are there only.
    #[serde(default)]
    pub local_start_lsn: Lsn,
    /// The highest that it has granted a pageserver for the tenant, or heard of.
    #[serde(default)]
    pub pageserver_generation: Generation,
    /// Nobody has used it for a while, so it takes no memory here.
    #[serde(default)]
    pub evicted: bool,
    pub pg_version: PgVersion,
    #[serde(with = "decimal")]
    #[schema(value_type = String, pattern = "^[0-9]{1,20}$", example = "7345678901234567890")]
    pub system_id: u64,
    pub wal_seg_size: WalSegmentSize,
    pub ancestor: Option<TimelineId>,
    pub walsenders: Vec<WalSenderStatus>,
    pub walreceivers: Vec<WalReceiverStatus>,
}

/// `DELETE /v1/tenant/{tenant_id}/timeline/{timeline_id}`, by default with its WAL in object storage. Idempotent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct TimelineDeleteQuery {
    /// Other safekeepers go on with the timeline: nothing in object storage is touched.
    #[serde(default)]
    pub only_local: bool,
}

/// What a `DELETE` found here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TimelineDeleteResult {
    pub dir_existed: bool,
}

/// `DELETE /v1/tenant/{tenant_id}`, with its WAL in object storage. Idempotent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TenantDeleteResult {
    /// How many timelines were here.
    pub timelines: usize,
}

/// Somebody who reads WAL: a pageserver, a recovering proposer, pg_receivewal, a standby.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct WalSenderStatus {
    pub application_name: String,
    pub peer_addr: String,
    pub sent_lsn: Lsn,
    /// What the reader has said it has safe: a standby its flush LSN, a pageserver its remote consistent LSN.
    pub confirmed_lsn: Lsn,
}

/// A proposer that is connected.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct WalReceiverStatus {
    pub peer_addr: String,
    /// Whether it leads the term.
    pub leads: bool,
}

/// A u64 as a string of decimal digits.
mod decimal {
    use serde::{Deserialize, Deserializer, Serializer, de};

    pub fn serialize<S: Serializer>(number: &u64, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(number)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_reads_as_documented() {
        let text = r#"{
            "tenant_id": "0123456789abcdef0123456789abcdef", "timeline_id": "fedcba9876543210fedcba9876543210",
            "pg_version": 15, "system_id": "7345678901234567890", "wal_seg_size": 16777216, "start_lsn": "0/16B9188",
            "members": [{"id": 1, "pg_connstr": "127.0.0.1:5454", "http_connstr": "127.0.0.1:7676"}]
        }"#;
        let request: TimelineCreateRequest = serde_json::from_str(text).unwrap();
        assert_eq!(request.system_id, 7_345_678_901_234_567_890);
        assert_eq!(request.ancestor, None);
        let again: TimelineCreateRequest =
            serde_json::from_str(&serde_json::to_string(&request).unwrap()).unwrap();
        assert_eq!(again, request);
        let unknown = text.replacen("{", "{\"surprise\": 1,", 1);
        assert!(serde_json::from_str::<TimelineCreateRequest>(&unknown).is_err());
    }
}

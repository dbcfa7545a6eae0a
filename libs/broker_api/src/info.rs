//! [`SafekeeperTimelineInfo`]: the one message of the broker, in the system's own types.

use proto::broker as pb;
use types::{Lsn, NodeId, TenantId, TenantTimelineId, Term, TimelineId};

/// What one safekeeper says of one timeline that it keeps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SafekeeperTimelineInfo {
    pub safekeeper_id: NodeId,
    pub ttid: TenantTimelineId,
    /// Of the configuration it is in.
    pub generation: u32,
    /// Highest term the acceptor has seen.
    pub term: Term,
    /// Term of its last WAL byte.
    pub last_log_term: Term,
    /// Durable on this safekeeper.
    pub flush_lsn: Lsn,
    /// Durable on a quorum, as far as this safekeeper knows.
    pub commit_lsn: Lsn,
    /// What the pageserver has in object storage.
    pub remote_consistent_lsn: Lsn,
    pub timeline_start_lsn: Lsn,
    /// `host:port` of the WAL service.
    pub pg_connstr: String,
    /// `host:port` of the HTTP API.
    pub http_connstr: String,
    /// The safekeeper does not serve the timeline any more: what it said of it is to be forgotten.
    pub gone: bool,
}

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("a position of safekeeper {safekeeper_id} without a tenant id and a timeline id of 16 bytes each")]
pub struct MalformedInfo {
    safekeeper_id: u64,
}

impl From<SafekeeperTimelineInfo> for pb::SafekeeperTimelineInfo {
    fn from(info: SafekeeperTimelineInfo) -> Self {
        pb::SafekeeperTimelineInfo {
            safekeeper_id: info.safekeeper_id.0,
            tenant_timeline_id: Some(info.ttid.into()),
            generation: info.generation,
            term: info.term.0,
            last_log_term: info.last_log_term.0,
            flush_lsn: info.flush_lsn.0,
            commit_lsn: info.commit_lsn.0,
            remote_consistent_lsn: info.remote_consistent_lsn.0,
            timeline_start_lsn: info.timeline_start_lsn.0,
            pg_connstr: info.pg_connstr,
            http_connstr: info.http_connstr,
            gone: info.gone,
        }
    }
}

impl TryFrom<pb::SafekeeperTimelineInfo> for SafekeeperTimelineInfo {
    type Error = MalformedInfo;

    fn try_from(message: pb::SafekeeperTimelineInfo) -> Result<Self, MalformedInfo> {
        let malformed = MalformedInfo { safekeeper_id: message.safekeeper_id };
        let ttid = message.tenant_timeline_id.as_ref().and_then(ttid_from_proto).ok_or(malformed)?;
        Ok(SafekeeperTimelineInfo {
            safekeeper_id: NodeId(message.safekeeper_id),
            ttid,
            generation: message.generation,
            term: Term(message.term),
            last_log_term: Term(message.last_log_term),
            flush_lsn: Lsn(message.flush_lsn),
            commit_lsn: Lsn(message.commit_lsn),
            remote_consistent_lsn: Lsn(message.remote_consistent_lsn),
            timeline_start_lsn: Lsn(message.timeline_start_lsn),
            pg_connstr: message.pg_connstr,
            http_connstr: message.http_connstr,
            gone: message.gone,
        })
    }
}

/// None unless both ids are 16 bytes long.
pub fn ttid_from_proto(id: &pb::TenantTimelineId) -> Option<TenantTimelineId> {
    Some(TenantTimelineId {
        tenant_id: TenantId::from_slice(&id.tenant_id)?,
        timeline_id: TimelineId::from_slice(&id.timeline_id)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn survives_the_wire_and_refuses_bad_ids() {
        let info = SafekeeperTimelineInfo {
            safekeeper_id: NodeId(3),
            ttid: TenantTimelineId::new(TenantId([1; 16]), TimelineId([2; 16])),
            generation: 2,
            term: Term(4),
            last_log_term: Term(3),
            flush_lsn: Lsn(50),
            commit_lsn: Lsn(40),
            remote_consistent_lsn: Lsn(30),
            timeline_start_lsn: Lsn(20),
            pg_connstr: "a:1".into(),
            http_connstr: "b:2".into(),
            gone: true,
        };
        let message = pb::SafekeeperTimelineInfo::from(info.clone());
        assert_eq!(SafekeeperTimelineInfo::try_from(message.clone()), Ok(info));

        let short = pb::TenantTimelineId { tenant_id: vec![1; 15], timeline_id: vec![2; 16] };
        for id in [None, Some(short)] {
            let bad = pb::SafekeeperTimelineInfo { tenant_timeline_id: id, ..message.clone() };
            assert!(SafekeeperTimelineInfo::try_from(bad).is_err());
        }
    }
}

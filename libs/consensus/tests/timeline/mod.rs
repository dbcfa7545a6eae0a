//! Whose WAL the tests are about, and by whom it is kept.

use consensus::{Member, TimelineIdentity};
use types::{NodeId, PgVersion, TenantId, TenantTimelineId, TimelineId, WalSegmentSize};

pub fn identity() -> TimelineIdentity {
    TimelineIdentity {
        ttid: TenantTimelineId::new(TenantId([1; 16]), TimelineId([2; 16])),
        pg_version: PgVersion::V15,
        system_id: 7,
        wal_seg_size: WalSegmentSize::DEFAULT,
    }
}

pub fn members(ids: impl IntoIterator<Item = u64>) -> Vec<Member> {
    let member = |id| Member { id: NodeId(id), pg_connstr: String::new(), http_connstr: String::new() };
    ids.into_iter().map(member).collect()
}

//! Where safekeepers put WAL in object storage.
//!
//! ```text
//!  wal/<tenant>/<timeline>/000000010000000000000001                 a whole segment, committed to its end
//!  wal/<tenant>/<timeline>/000000010000000000000002.sk1.partial     the beginning of one, as safekeeper 1 has it
//! ```

use types::{TenantId, TenantTimelineId};

/// All segments of a tenant.
pub fn tenant_prefix(tenant: TenantId) -> String {
    format!("wal/{tenant}")
}

/// All segments of a timeline.
pub fn timeline_prefix(ttid: TenantTimelineId) -> String {
    format!("{}/{}", tenant_prefix(ttid.tenant_id), ttid.timeline_id)
}

/// A segment, by the name that PostgreSQL has for it ([`types::WalSegmentSize::file_name`]).
pub fn segment(ttid: TenantTimelineId, file_name: &str) -> String {
    format!("{}/{file_name}", timeline_prefix(ttid))
}

#[cfg(test)]
mod tests {
    use types::{TimelineId, WalSegmentSize};

    use super::*;

    #[test]
    fn a_segment_lies_below_its_timeline_and_tenant() {
        let ttid = TenantTimelineId::new(TenantId([1; 16]), TimelineId([2; 16]));
        let (tenant, timeline) = ("01".repeat(16), "02".repeat(16));
        let name = segment(ttid, &WalSegmentSize::DEFAULT.file_name(1, 0x102));
        assert_eq!(name, format!("wal/{tenant}/{timeline}/000000010000000100000002"));
    }
}

//! What to upload next: the ordering rule, as pure code.
//!
//! The rule: an index goes up only when every layer that it names has. The plan is made from one snapshot of the
//! timeline each time, so nothing is queued, and after an error or a restart the next plan picks up what is missing.

use types::Lsn;

/// The next things to put: all of `layers`, in any order, and only when all have succeeded the index.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::storage) struct Plan<L> {
    pub(in crate::storage) layers: Vec<L>,
    pub(in crate::storage) index: bool,
}

/// `layers` are those of the snapshot, each with whether it is uploaded; `durable` the snapshot's disk consistent
/// LSN and `remote` that of the last index that was put.
pub(in crate::storage) fn plan<L>(
    layers: impl IntoIterator<Item = (L, bool)>,
    durable: Lsn,
    remote: Lsn,
) -> Plan<L> {
    let missing: Vec<L> =
        layers.into_iter().filter(|(_, uploaded)| !uploaded).map(|(layer, _)| layer).collect();
    let index = durable > remote || !missing.is_empty();
    Plan { layers: missing, index }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uploads_what_is_missing_and_then_the_index() {
        let nothing = plan([("a", true)], Lsn(10), Lsn(10));
        assert_eq!(nothing, Plan { layers: vec![], index: false });
        let one = plan([("a", true), ("b", false)], Lsn(20), Lsn(10));
        assert_eq!(one, Plan { layers: vec!["b"], index: true });
        // WAL without any change to a page: no layer, but safekeepers must learn that it may go.
        assert_eq!(plan([("a", true)], Lsn(20), Lsn(10)), Plan { layers: vec![], index: true });
        // A layer that came without the LSN moving, as compaction makes them.
        assert_eq!(plan([("c", false)], Lsn(10), Lsn(10)), Plan { layers: vec!["c"], index: true });
    }
}

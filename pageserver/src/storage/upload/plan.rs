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

/// What an index says besides the layers that it names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::storage) struct Said {
    /// The disk consistent LSN.
    pub(in crate::storage) durable: Lsn,
    /// How often layers took the place of others.
    pub(in crate::storage) changes: u64,
    pub(in crate::storage) gc_cutoff: Lsn,
    /// What is leased below it, in order.
    pub(in crate::storage) leased: Vec<Lsn>,
}

/// `layers` are those of the snapshot, each with whether it is uploaded; `now` is what its index would say, `before`
/// what the last index that was put says, none if another one is wanted in any case.
pub(in crate::storage) fn plan<L>(
    layers: impl IntoIterator<Item = (L, bool)>,
    now: &Said,
    before: Option<&Said>,
) -> Plan<L> {
    let missing: Vec<L> =
        layers.into_iter().filter(|(_, uploaded)| !uploaded).map(|(layer, _)| layer).collect();
    let index = Some(now) != before || !missing.is_empty();
    Plan { layers: missing, index }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uploads_what_is_missing_and_then_the_index() {
        let said = |durable, changes| Said {
            durable: Lsn(durable),
            changes,
            gc_cutoff: Lsn(5),
            leased: vec![Lsn(2)],
        };
        let before = said(10, 0);
        let plan = |layer, now: &Said| plan([layer], now, Some(&before));
        assert_eq!(plan(("a", true), &said(10, 0)), Plan { layers: vec![], index: false });
        assert_eq!(plan(("b", false), &said(20, 0)), Plan { layers: vec!["b"], index: true });
        // WAL without any change to a page: no layer, but safekeepers must learn that it may go.
        assert_eq!(plan(("a", true), &said(20, 0)), Plan { layers: vec![], index: true });
        // A layer that came without the LSN moving, as compaction makes them.
        assert_eq!(plan(("c", false), &said(10, 1)), Plan { layers: vec!["c"], index: true });
        // One that went; a later cutoff; one lease more.
        let (later, leased) = (Lsn(6), vec![Lsn(2), Lsn(3)]);
        for now in [said(10, 1), Said { gc_cutoff: later, ..said(10, 0) }, Said { leased, ..said(10, 0) }] {
            assert_eq!(plan(("a", true), &now), Plan { layers: vec![], index: true }, "{now:?}");
        }
        let wanted = super::plan([("a", true)], &before, None);
        assert_eq!(wanted, Plan { layers: vec![], index: true });
    }
}

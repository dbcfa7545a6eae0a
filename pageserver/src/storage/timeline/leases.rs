//! LSNs that somebody reads for longer than a moment: garbage collection leaves them readable.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use types::Lsn;

use super::Timeline;
use crate::storage::StorageError;

#[derive(Debug, Default)]
pub(super) struct Leases {
    /// From somebody outside, who renews what is still needed.
    until: BTreeMap<Lsn, Instant>,
    /// The same of everything from there on: whoever reads on from an LSN to the next ones.
    from: BTreeMap<Lsn, Instant>,
    /// From ourselves, with how many need it.
    held: BTreeMap<Lsn, usize>,
}

impl Leases {
    /// Those that an index tells of. Who had them has not said yet whether they are needed still.
    pub(super) fn again(leased: &[Lsn], length: Duration) -> Leases {
        let until = Instant::now() + length;
        Leases { until: leased.iter().map(|lsn| (*lsn, until)).collect(), ..Leases::default() }
    }

    fn lease(&mut self, lsn: Lsn, reach: Reach, until: Instant) {
        let leases = match reach {
            Reach::At => &mut self.until,
            Reach::From => &mut self.from,
        };
        let end = leases.entry(lsn).or_insert(until);
        *end = until.max(*end);
    }

    fn release(&mut self, lsn: Lsn) {
        if let Some(holders) = self.held.get_mut(&lsn) {
            *holders -= 1;
            if *holders == 0 {
                self.held.remove(&lsn);
            }
        }
    }

    /// From outside, those that still count; the others are forgotten.
    fn leased(&mut self, now: Instant) -> Vec<Lsn> {
        self.until.retain(|_, until| *until > now);
        self.until.keys().copied().collect()
    }

    /// The same with our own.
    pub(super) fn pins(&mut self, now: Instant) -> Vec<Lsn> {
        let mut pins = self.leased(now);
        pins.extend(self.held.keys());
        pins
    }

    /// Where what can be read has to begin at the latest.
    pub(super) fn floor(&mut self, now: Instant) -> Option<Lsn> {
        self.from.retain(|_, until| *until > now);
        self.from.keys().next().copied()
    }
}

/// What a lease of an LSN is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// Of what can be read there.
    At,
    /// Of what can be read there and at any LSN behind.
    From,
}

/// An LSN that can be read until this is dropped.
pub struct HeldLsn {
    timeline: Arc<Timeline>,
    lsn: Lsn,
}

impl Drop for HeldLsn {
    fn drop(&mut self) {
        self.timeline.leases.lock().expect("no holder panics").release(self.lsn);
    }
}

impl Timeline {
    /// What somebody outside has leased here, in order.
    pub fn leased(&self) -> Vec<Lsn> {
        self.leases.lock().expect("no holder panics").leased(Instant::now())
    }

    /// What can be read at `lsn` stays so for at least this long. An error if it is gone already. A pageserver that starts
    /// anew knows of the leases below the cutoff, which the index has; all above can be read then anyway.
    pub fn lease_lsn(self: &Arc<Self>, lsn: Lsn, reach: Reach, length: Duration) -> Result<(), StorageError> {
        let until = Instant::now() + length;
        let holder = self.with_leases(lsn, |timeline, leases| {
            leases.lease(lsn, reach, until);
            Arc::clone(timeline)
        })?;
        holder.put_lease(lsn);
        // What is there where a branch begins is its ancestor's, as long as it has one; what comes behind is its own.
        if lsn == self.start_lsn() {
            self.leases.lock().expect("no holder panics").lease(lsn, reach, until);
            self.put_lease(lsn);
        }
        Ok(())
    }

    /// Below the cutoff nothing else may keep it readable by the time that a pageserver starts anew: an index is to tell
    /// of it soon, if none does.
    fn put_lease(&self, lsn: Lsn) {
        if lsn < self.gc_cutoff() && self.said().is_some_and(|said| !said.leased.contains(&lsn)) {
            self.view_changed.send_replace(());
        }
    }

    /// The same until what is returned is dropped.
    pub fn hold_lsn(self: &Arc<Self>, lsn: Lsn) -> Result<HeldLsn, StorageError> {
        self.with_leases(lsn, |timeline, leases| {
            *leases.held.entry(lsn).or_default() += 1;
            HeldLsn { timeline: Arc::clone(timeline), lsn }
        })
    }

    /// Of the timeline, this one or an ancestor, whose history there is at `lsn`. No cutoff moves meanwhile.
    fn with_leases<T>(
        self: &Arc<Self>,
        lsn: Lsn,
        change: impl FnOnce(&Arc<Timeline>, &mut Leases) -> T,
    ) -> Result<T, StorageError> {
        let timeline = self.ancestor_with(lsn).unwrap_or_else(|| Arc::clone(self));
        let start = timeline.start_lsn();
        if lsn < start {
            return Err(StorageError::BeforeHistory { timeline: timeline.id, lsn, start });
        }
        let mut leases = timeline.leases.lock().expect("no holder panics");
        timeline.check_kept(lsn)?;
        Ok(change(&timeline, &mut leases))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_ends_when_it_says_and_is_never_made_shorter() {
        let (mut leases, begin) = (Leases::default(), Instant::now());
        let at = |seconds| begin + Duration::from_secs(seconds);
        leases.lease(Lsn(10), Reach::At, at(100));
        leases.lease(Lsn(10), Reach::At, at(50));
        leases.lease(Lsn(20), Reach::At, at(60));
        leases.held.insert(Lsn(5), 2);
        assert_eq!(leases.pins(at(59)), [Lsn(10), Lsn(20), Lsn(5)]);
        leases.release(Lsn(5));
        assert_eq!(leases.pins(at(60)), [Lsn(10), Lsn(5)]);
        leases.release(Lsn(5));
        leases.release(Lsn(5));
        assert_eq!(leases.pins(at(100)), []);
    }

    #[test]
    fn whoever_reads_on_keeps_what_is_to_come() {
        let (mut leases, begin) = (Leases::default(), Instant::now());
        let at = |seconds| begin + Duration::from_secs(seconds);
        assert_eq!(leases.floor(at(0)), None);
        leases.lease(Lsn(10), Reach::From, at(60));
        leases.lease(Lsn(30), Reach::From, at(90));
        leases.lease(Lsn(5), Reach::At, at(90));
        assert_eq!(leases.floor(at(59)), Some(Lsn(10)));
        assert_eq!(leases.floor(at(60)), Some(Lsn(30)));
        assert_eq!(leases.floor(at(90)), None);
    }
}

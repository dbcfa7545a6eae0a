//! Which safekeeper to read a timeline's WAL from. Pure: time comes as ages.

use std::time::Duration;

use types::{Lsn, NodeId};

/// What is known of a safekeeper.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Candidate {
    pub id: NodeId,
    pub commit_lsn: Lsn,
    /// Until another attempt to connect to it makes sense.
    pub retry_in: Duration,
}

/// The connection that there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Current {
    pub id: NodeId,
    /// Since the last byte of WAL, or since the connection began.
    pub no_wal_for: Duration,
    /// Since the last message of any kind.
    pub silent_for: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Limits {
    pub silence: Duration,
    pub lagging: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Choice {
    /// Go on as it is, connected or not.
    Stay,
    /// End the connection that there is, if any, and connect to this one.
    Connect(NodeId),
    /// The connection is dead, and there is nobody else.
    Disconnect,
}

pub(super) fn choose(
    current: Option<Current>,
    candidates: &[Candidate],
    last_record_lsn: Lsn,
    limits: Limits,
) -> Choice {
    let best = |other_than: Option<NodeId>| {
        candidates
            .iter()
            .filter(|c| Some(c.id) != other_than && c.retry_in.is_zero())
            // The higher commit LSN; of equals the lower number, so that the choice is stable.
            .max_by_key(|c| (c.commit_lsn, std::cmp::Reverse(c.id)))
    };
    let Some(current) = current else {
        // With everything here, safekeepers are left alone: they may have put the timeline aside.
        let more = best(None).filter(|c| c.commit_lsn > last_record_lsn);
        return more.map_or(Choice::Stay, |c| Choice::Connect(c.id));
    };
    let other = best(Some(current.id));
    if current.silent_for >= limits.silence {
        return other.map_or(Choice::Disconnect, |c| Choice::Connect(c.id));
    }
    match other {
        // WAL that we do not have is committed, and we do not get it here.
        Some(c) if current.no_wal_for >= limits.lagging && c.commit_lsn > last_record_lsn => {
            Choice::Connect(c.id)
        }
        _ => Choice::Stay,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits { silence: Duration::from_secs(10), lagging: Duration::from_secs(3) };

    fn candidate(id: u64, commit_lsn: u64) -> Candidate {
        Candidate { id: NodeId(id), commit_lsn: Lsn(commit_lsn), retry_in: Duration::ZERO }
    }

    fn current(id: u64, no_wal_for: u64, silent_for: u64) -> Option<Current> {
        Some(Current {
            id: NodeId(id),
            no_wal_for: Duration::from_secs(no_wal_for),
            silent_for: Duration::from_secs(silent_for),
        })
    }

    #[test]
    fn the_most_advanced_is_chosen() {
        let all = [candidate(1, 100), candidate(2, 200), candidate(3, 200)];
        assert_eq!(choose(None, &all, Lsn(50), LIMITS), Choice::Connect(NodeId(2)));
        assert_eq!(choose(None, &[], Lsn(50), LIMITS), Choice::Stay);
        assert_eq!(choose(None, &all, Lsn(200), LIMITS), Choice::Stay, "nobody has more than is here");
    }

    #[test]
    fn those_that_failed_are_left_out_for_a_while() {
        let failed = Candidate { retry_in: Duration::from_secs(1), ..candidate(2, 200) };
        let all = [candidate(1, 100), failed];
        assert_eq!(choose(None, &all, Lsn(50), LIMITS), Choice::Connect(NodeId(1)));
        assert_eq!(choose(None, &all[1..], Lsn(50), LIMITS), Choice::Stay);
    }

    #[test]
    fn a_connection_that_works_is_kept() {
        let all = [candidate(1, 100), candidate(2, 200)];
        assert_eq!(choose(current(1, 2, 0), &all, Lsn(50), LIMITS), Choice::Stay, "it may just be slow");
        assert_eq!(choose(current(1, 60, 5), &all, Lsn(200), LIMITS), Choice::Stay, "there is no more WAL");
    }

    #[test]
    fn one_that_lags_or_died_is_left() {
        let all = [candidate(1, 100), candidate(2, 200)];
        assert_eq!(choose(current(1, 3, 0), &all, Lsn(100), LIMITS), Choice::Connect(NodeId(2)));
        assert_eq!(choose(current(1, 0, 10), &all, Lsn(100), LIMITS), Choice::Connect(NodeId(2)));
        assert_eq!(choose(current(1, 0, 10), &all[..1], Lsn(100), LIMITS), Choice::Disconnect);
    }
}

//! [`TermHistory`]: which term wrote the WAL from which LSN on.

use serde::{Deserialize, Serialize};
use types::{Lsn, Term};
use utoipa::ToSchema;

/// One line of a term history: the WAL from `lsn` on was written in `term`, up to the next line's `lsn`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TermStart {
    pub term: Term,
    pub lsn: Lsn,
}

/// Terms in rising order with the LSN each began at; never empty. The first line is term 0 at the start of
/// the timeline, equal on all its acceptors, so any two histories of a timeline have something in common.
///
/// Two acceptors whose histories agree up to a line hold the same bytes up to where that term ends on
/// either of them, because one term has one writer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(try_from = "Vec<TermStart>", into = "Vec<TermStart>")]
pub struct TermHistory(Vec<TermStart>);

#[derive(Clone, Copy, Debug, thiserror::Error, PartialEq, Eq)]
pub enum HistoryError {
    #[error("a term history must have at least one line")]
    Empty,
    #[error("term history goes from term {} at {} to term {} at {}", earlier.term, earlier.lsn, later.term, later.lsn)]
    OutOfOrder { earlier: TermStart, later: TermStart },
    #[error("the histories have no term in common: they begin with term {} at {} and term {} at {}", ours.term, ours.lsn, theirs.term, theirs.lsn)]
    NothingInCommon { ours: TermStart, theirs: TermStart },
}

impl TermHistory {
    /// The history of a timeline that was just created: term 0 begins at its start.
    pub fn genesis(start_lsn: Lsn) -> Self {
        Self(vec![TermStart { term: Term(0), lsn: start_lsn }])
    }

    pub fn new(lines: Vec<TermStart>) -> Result<Self, HistoryError> {
        if lines.is_empty() {
            return Err(HistoryError::Empty);
        }
        // A term may begin where the one before it began: it was elected and wrote nothing.
        match lines.windows(2).find(|pair| pair[0].term >= pair[1].term || pair[0].lsn > pair[1].lsn) {
            Some(pair) => Err(HistoryError::OutOfOrder { earlier: pair[0], later: pair[1] }),
            None => Ok(Self(lines)),
        }
    }

    pub fn lines(&self) -> &[TermStart] {
        &self.0
    }

    pub fn first(&self) -> TermStart {
        self.0[0]
    }

    pub fn last(&self) -> TermStart {
        self.0[self.0.len() - 1]
    }

    /// The part that a log with this flush LSN can speak for. A line exactly at `flush_lsn` belongs to it:
    /// that is the empty entry.
    pub fn up_to(&self, flush_lsn: Lsn) -> TermHistory {
        let kept = self.0.iter().take_while(|line| line.lsn <= flush_lsn).count();
        TermHistory(self.0[..kept.max(1)].to_vec())
    }

    /// The term of the last log entry of a log that ends at `flush_lsn`.
    pub fn last_log_term(&self, flush_lsn: Lsn) -> Term {
        self.up_to(flush_lsn).last().term
    }

    /// This history, followed by a new term that begins at `lsn`.
    pub fn followed_by(&self, term: Term, lsn: Lsn) -> Result<TermHistory, HistoryError> {
        let mut lines = self.0.clone();
        lines.push(TermStart { term, lsn });
        TermHistory::new(lines)
    }

    /// The highest LSN up to which a proposer with this history and an acceptor with the history
    /// `acceptor`, flushed to `flush_lsn`, hold the same bytes. The proposer's last term has no end yet.
    pub fn highest_common_point(&self, acceptor: &TermHistory, flush_lsn: Lsn) -> Result<Lsn, HistoryError> {
        let theirs = acceptor.up_to(flush_lsn);
        let common = self.0.iter().zip(&theirs.0).take_while(|(ours, theirs)| ours == theirs).count();
        if common == 0 {
            return Err(HistoryError::NothingInCommon { ours: self.first(), theirs: theirs.first() });
        }
        let our_end = self.0.get(common).map_or(Lsn::MAX, |line| line.lsn);
        let their_end = theirs.0.get(common).map_or(flush_lsn, |line| line.lsn);
        Ok(our_end.min(their_end))
    }
}

impl TryFrom<Vec<TermStart>> for TermHistory {
    type Error = HistoryError;

    fn try_from(lines: Vec<TermStart>) -> Result<Self, HistoryError> {
        Self::new(lines)
    }
}

impl From<TermHistory> for Vec<TermStart> {
    fn from(history: TermHistory) -> Self {
        history.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn history(lines: &[(u64, u64)]) -> TermHistory {
        TermHistory::new(
            lines.iter().map(|&(term, lsn)| TermStart { term: Term(term), lsn: Lsn(lsn) }).collect(),
        )
        .unwrap()
    }

    #[test]
    fn terms_rise_and_lsns_do_not_fall() {
        let line = |term, lsn| TermStart { term: Term(term), lsn: Lsn(lsn) };
        assert!(TermHistory::new(vec![line(0, 8), line(1, 8), line(3, 16)]).is_ok());
        assert_eq!(TermHistory::new(vec![]), Err(HistoryError::Empty));
        for bad in [[line(1, 8), line(1, 16)], [line(2, 8), line(1, 16)], [line(0, 16), line(1, 8)]] {
            assert!(TermHistory::new(bad.to_vec()).is_err());
        }
    }

    #[test]
    fn a_log_speaks_only_for_lines_it_has_reached() {
        let all = history(&[(0, 100), (1, 200), (2, 300)]);
        assert_eq!(all.last_log_term(Lsn(299)), Term(1));
        assert_eq!(all.last_log_term(Lsn(300)), Term(2));
    }

    #[test]
    fn common_point_is_the_nearer_end_of_the_last_common_term() {
        let proposer = history(&[(0, 100), (1, 200), (3, 300)]);
        // Behind in a common term.
        assert_eq!(proposer.highest_common_point(&history(&[(0, 100), (1, 200)]), Lsn(250)), Ok(Lsn(250)));
        // Wrote more of the common term than the proposer kept of it.
        assert_eq!(proposer.highest_common_point(&history(&[(0, 100), (1, 200)]), Lsn(350)), Ok(Lsn(300)));
        // A term the proposer does not know.
        assert_eq!(
            proposer.highest_common_point(&history(&[(0, 100), (1, 200), (2, 260)]), Lsn(350)),
            Ok(Lsn(260))
        );
        // Already in the proposer's own term.
        assert_eq!(proposer.highest_common_point(&proposer, Lsn(400)), Ok(Lsn(400)));
        // A line beyond the flush LSN says nothing about the log.
        assert_eq!(proposer.highest_common_point(&proposer, Lsn(210)), Ok(Lsn(210)));
        assert!(proposer.highest_common_point(&history(&[(0, 90)]), Lsn(90)).is_err());
    }
}

//! WAL from another acceptor, when no proposer brings it: none is there, or it has this one's WAL no longer.
//!
//! What comes is what the proposer of the other's last term would have sent, so the same holds for it: it is taken
//! only if this acceptor has promised nothing to a higher term, except for what is committed, which every higher term
//! has anyway.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use types::{Lsn, NodeId};
use utoipa::ToSchema;

use super::{Acceptor, Effect, Refusal};
use crate::history::TermHistory;

/// Another acceptor's log, as of one moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PeerLog {
    /// Only the part up to `flush_lsn`.
    pub history: TermHistory,
    pub flush_lsn: Lsn,
    pub commit_lsn: Lsn,
}

/// WAL that is on its way from another acceptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Pull {
    number: u64,
    end: Lsn,
}

impl Acceptor {
    /// Another's log, which this one goes on with if it is more advanced.
    pub(super) fn peer_log(
        &mut self,
        node: NodeId,
        number: u64,
        log: PeerLog,
        effects: &mut Vec<Effect>,
    ) -> Result<(), Refusal> {
        let end = if log.history.last().term >= self.state.term { log.flush_lsn } else { log.commit_lsn };
        let end = end.min(log.flush_lsn);
        if self.leader.is_some() || end < log.history.first().lsn {
            return Ok(());
        }
        let history = log.history.up_to(end);
        let last_term = history.last().term;
        if (last_term, end) <= (self.last_log_term(), self.flush_lsn) {
            return Ok(());
        }
        let common = history
            .highest_common_point(&self.state.history, self.flush_lsn)
            .map_err(Refusal::HistoryMismatch)?;
        if common < self.state.commit_lsn {
            return Err(Refusal::WouldTruncateCommitted { start: common, commit_lsn: self.state.commit_lsn });
        }
        if last_term > self.state.term {
            self.follow(last_term);
        }
        if common < self.write_lsn {
            self.truncate(common, effects);
        }
        self.state.history = history;
        self.proposer_commit_lsn = log.commit_lsn.min(end).max(self.state.commit_lsn);
        effects.push(Effect::PersistState(Box::new(self.state.clone())));
        self.advance_commit(self.proposer_commit_lsn, effects);
        if common < end {
            self.pull = Some(Pull { number, end });
            effects.push(Effect::PullWal { node, pull: number, last_term, begin: common, end });
        }
        Ok(())
    }

    pub(super) fn pulled_wal(&mut self, pull: u64, begin: Lsn, wal: Bytes, effects: &mut Vec<Effect>) {
        let Some(current) = self.pull.filter(|current| current.number == pull) else { return };
        // A piece that came twice, or one that was cut off by what happened since.
        if begin != self.write_lsn || wal.len() as u64 > current.end.saturating_distance(begin) {
            return;
        }
        self.write_lsn = begin + wal.len() as u64;
        effects.push(Effect::WriteWal { begin, wal });
    }
}

//! [`Peer`]: what the proposer knows about one acceptor.

use std::fmt;

use types::{Lsn, Term};

use crate::message::VoteResponse;

/// How far the conversation on the present connection has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    #[default]
    Offline,
    /// Greeted by us, no answer yet.
    Greeting,
    Greeted,
    /// Asked for its vote, no answer yet.
    Voting,
    Voted,
    /// Was told of the election; gets WAL.
    Streaming,
}

impl Stage {
    pub(super) fn has_greeted(self) -> bool {
        self >= Stage::Greeted
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Stage::Offline => "connecting",
            Stage::Greeting | Stage::Greeted => "greeting",
            Stage::Voting | Stage::Voted => "voting",
            Stage::Streaming => "streaming",
        })
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerStatus {
    pub stage: Stage,
    /// The end of what it has acknowledged in this term.
    pub flush_lsn: Lsn,
    /// Lacks WAL that has to come from another acceptor.
    pub recovering: bool,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Peer {
    pub stage: Stage,
    /// The highest term it was heard to be in.
    pub term: Term,
    /// Given in the present campaign. Holds over reconnections: the acceptor has it on disk.
    pub vote: Option<VoteResponse>,
    /// The highest flush LSN acknowledged in our term; zero if none. Holds over reconnections.
    pub acknowledged_lsn: Lsn,
    /// Durable on this connection, with incomplete records; for the pace of sending.
    pub durable_lsn: Lsn,
    /// The next byte to send.
    pub next_lsn: Lsn,
    pub told_commit_lsn: Lsn,
    pub pageserver_lsn: Lsn,
    /// It followed us at some time after this tick, in the present configuration.
    pub tick: u64,
    /// WAL for it, up to here, is on its way from another acceptor.
    pub fetching: Option<Lsn>,
}

impl Peer {
    pub fn disconnected(&mut self) {
        self.stage = Stage::Offline;
        self.fetching = None;
    }

    pub fn status(&self) -> PeerStatus {
        PeerStatus {
            stage: self.stage,
            flush_lsn: self.acknowledged_lsn,
            recovering: self.fetching.is_some(),
        }
    }
}

//! [`Peer`]: what the proposer knows about one acceptor.

use std::collections::BTreeMap;
use std::fmt;

use types::{Lsn, NodeId, Term};

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
    /// WAL for it that is on its way from another acceptor.
    pub fetching: Option<Fetching>,
    /// From whom it could not be fetched, and how often: in this term, and since they connected last.
    pub failed_sources: BTreeMap<NodeId, u32>,
    /// So many more campaigns have to be won without its vote: its log is the most advanced, and cannot be read.
    pub passed_over: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fetching {
    pub number: u64,
    pub source: NodeId,
    pub end: Lsn,
}

impl Peer {
    pub fn disconnected(&mut self) {
        self.stage = Stage::Offline;
        self.fetching = None;
    }

    /// How often WAL for it could not be had from `source`.
    pub fn failures(&self, source: NodeId) -> u32 {
        self.failed_sources.get(&source).copied().unwrap_or(0)
    }

    pub fn status(&self) -> PeerStatus {
        PeerStatus {
            stage: self.stage,
            flush_lsn: self.acknowledged_lsn,
            recovering: self.fetching.is_some(),
        }
    }
}

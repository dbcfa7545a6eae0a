//! What happens to an acceptor, and what it wants done.

use bytes::Bytes;
use types::{Lsn, NodeId, Term};

use super::catch_up::PeerLog;
use crate::acceptor::AcceptorState;
use crate::change::{MembershipAnswer, MembershipRequest};
use crate::history::HistoryError;
use crate::membership::{ConfigurationError, MembershipGeneration};
use crate::message::{AcceptorMessage, ProposerMessage, TimelineIdentity};

/// A proposer's connection, as the daemon numbers them. Never used twice in a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionId(pub u64);

/// An administrator's request, as the daemon numbers them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub u64);

/// Where an acceptor is, all as of one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerPosition {
    pub generation: MembershipGeneration,
    pub term: Term,
    pub last_log_term: Term,
    pub flush_lsn: Lsn,
    pub commit_lsn: Lsn,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    Message {
        from: ConnectionId,
        message: ProposerMessage,
    },
    /// No more messages are waiting (or the batch is large enough): what was written may be flushed now.
    BatchEnd,
    /// [`Effect::FlushWal`] was carried out: all WAL below `durable_lsn` is durable, and the last complete
    /// record that lies wholly below `durable_lsn` ends at `record_end` (before the first one ends: the
    /// flush LSN the log was opened or truncated with).
    Flushed {
        /// As given in the effect.
        log_version: u64,
        durable_lsn: Lsn,
        record_end: Lsn,
    },
    /// The connection is gone; nothing can be sent to it any more.
    Disconnected {
        connection: ConnectionId,
    },
    /// What another safekeeper of the timeline published about itself.
    PeerPosition {
        node: NodeId,
        position: PeerPosition,
    },
    /// The log of another acceptor, which may be more advanced than this one's. `number` is the host's and never
    /// used twice in a process.
    PeerLog {
        node: NodeId,
        number: u64,
        log: PeerLog,
    },
    /// A piece of what [`Effect::PullWal`] asked for, in order. A pull that fails may end at any point.
    PulledWal {
        pull: u64,
        begin: Lsn,
        wal: Bytes,
    },
    /// An administrator asks.
    Membership {
        from: RequestId,
        request: MembershipRequest,
    },
    /// The pageserver told how far it has ingested. Passed on to the proposer.
    PageserverPosition {
        ingested_lsn: Lsn,
    },
}

/// To be carried out in the order given. If one fails, none after it may be, and the process must stop:
/// the state machine already counts on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Write; not yet durable when done. Always begins where the WAL ends.
    WriteWal { begin: Lsn, wal: Bytes },
    /// Make all WAL durable, then say so with [`Event::Flushed`] and the same `log_version`.
    FlushWal { log_version: u64 },
    /// Cut the WAL so that it ends at `to`, durable when done. `to` is the end of a complete record.
    TruncateWal { to: Lsn },
    /// Durable when done.
    PersistState(Box<AcceptorState>),
    Reply {
        to: ConnectionId,
        message: AcceptorMessage,
        /// What must be durable before the message leaves.
        after: Durability,
    },
    /// To an administrator.
    Answer { to: RequestId, answer: MembershipAnswer, after: Durability },
    /// Read WAL of `begin..end` from acceptor `node`, as long as the entry that ends at `end` is of `last_term` there,
    /// and hand it over with [`Event::PulledWal`]. Whoever leads here meanwhile makes it useless, and so does the next
    /// pull.
    PullWal { node: NodeId, pull: u64, last_term: Term, begin: Lsn, end: Lsn },
    /// Another acceptor's log cannot be true, or this one's is not.
    Distrust { node: NodeId, refusal: Refusal },
    /// The proposer did what it must not: tell it why and close the connection.
    Refuse { to: ConnectionId, refusal: Refusal },
    /// WAL up to here may be shown to readers. Not a reason to write the control file.
    CommitAdvanced { commit_lsn: Lsn },
}

/// The order is part of the type: with effects carried out one after the other it holds by itself; who
/// overlaps them must keep to this.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// The message speaks only of what is long durable.
    Nothing,
    /// After the last [`Effect::PersistState`] (and [`Effect::TruncateWal`]) before it.
    StatePersisted,
    /// After the flush whose [`Event::Flushed`] brought it about, so always already true.
    WalFlushed,
}

/// Why a proposer was refused. Each is a reason to close its connection; none changes any state.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum Refusal {
    #[error("the proposer writes another timeline's WAL: {theirs:?}, here {ours:?}")]
    OtherTimeline { theirs: Box<TimelineIdentity>, ours: Box<TimelineIdentity> },
    #[error("unusable configuration: {0}")]
    BadConfiguration(ConfigurationError),
    #[error("this safekeeper is not a member of configuration {}", generation.0)]
    NotAMember { generation: MembershipGeneration },
    #[error("message of configuration {}, this safekeeper is in {}", theirs.0, ours.0)]
    OtherGeneration { theirs: MembershipGeneration, ours: MembershipGeneration },
    #[error("elected in term {term} with a history that ends in term {history_ends_in}")]
    HistoryOfOtherTerm { term: Term, history_ends_in: Term },
    #[error("unusable term history: {0}")]
    HistoryMismatch(HistoryError),
    #[error("the proposer would stream from {theirs}, but the logs agree up to {ours}")]
    OtherStart { theirs: Lsn, ours: Lsn },
    #[error("streaming from {start} would cut off WAL committed up to {commit_lsn}")]
    WouldTruncateCommitted { start: Lsn, commit_lsn: Lsn },
    #[error("WAL of term {term} before that term's election was heard of here (term {ours})")]
    AppendBeforeElected { term: Term, ours: Term },
    #[error("WAL that begins at {begin} does not follow what is here, up to {write_lsn}")]
    NotContiguous { begin: Lsn, write_lsn: Lsn },
}

//! How three safekeepers and one proposer agree on the WAL of a timeline.
//!
//! The words, each used for one thing only:
//! - **acceptor**: a safekeeper's part in one timeline. It keeps WAL, votes, and never talks to its peers.
//! - **proposer**: whoever wants to write WAL, that is the walproposer of a compute.
//! - **term**: the number of a proposer's reign. An acceptor follows the highest it has heard of.
//! - **term history**: which term wrote the WAL from which LSN on ([`TermHistory`]).
//! - **donor**: the voter with the most advanced log; its end X is where the new term begins.
//! - **empty entry of term T at X**: no bytes at all; an acceptor holds it when it has persisted the history
//!   that ends in (T, X) and its flush LSN is at least X. Raft's no-op.
//! - **flush LSN**: the end of the last *complete* WAL record that is durable here.
//! - **commit LSN**: what a quorum holds in the proposer's own term; it never moves back.
//! - **configuration**: who the acceptors are, with a generation ([`Configuration`], [`Quorum`]). A change of them
//!   goes through a joint configuration ([`MembershipChange`]); each is decided by the members of the one before
//!   ([`Slot`], [`Decree`]).
//! - **offload**: a segment goes to object storage, and from here when nobody needs it here ([`offload`]).
//! - **rest**: a timeline that nobody uses is a control file, and its WAL in object storage ([`rest`]).
//! - **generation** of a pageserver: the number of its ownership of a tenant, granted by safekeepers ([`Ownership`]).
//!
//! [`Acceptor`], [`Proposer`] and [`MembershipChange`] are state machines: `step(event)` gives effects, which the caller carries
//! out in order. Nothing here knows what a socket, a file, a clock, a thread or a random number is, so the
//! daemons and the tests run the very same code.
//!
//! What this crate does not do: find the ends of WAL records (the safekeeper tells it), keep WAL on disk,
//! or decide when to retry.

mod acceptor;
mod change;
mod history;
mod membership;
mod message;
pub mod offload;
mod ownership;
mod proposer;
mod register;
pub mod rest;

pub use acceptor::{
    Acceptor, AcceptorState, ConnectionId, Durability, Effect as AcceptorEffect, Event as AcceptorEvent,
    MissingWal, PeerLog, PeerPosition, Refusal, RequestId,
};
pub use change::{
    Effect as ChangeEffect, Event as ChangeEvent, MemberPosition, MembershipAnswer, MembershipChange,
    MembershipQuestion, MembershipReply, MembershipRequest,
};
pub use history::{HistoryError, TermHistory, TermStart};
pub use membership::{Configuration, ConfigurationError, Member, MembershipGeneration, Quorum};
pub use message::{
    AcceptorGreeting, AcceptorMessage, AppendRequest, AppendResponse, Elected, ProposerGreeting,
    ProposerMessage, TimelineIdentity, VoteRequest, VoteResponse,
};
pub use ownership::{Canvass, Ownership, OwnershipAnswer, OwnershipRequest, Verdict};
pub use proposer::{Effect as ProposerEffect, Event as ProposerEvent, PeerStatus, Proposer, Stage};
pub use register::{Ballot, Decree, DecreeStage, Outbid, Slot};

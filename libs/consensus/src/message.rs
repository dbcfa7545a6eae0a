//! What proposer and acceptor say to each other. How it looks on the wire is safekeeper_api's business.

use bytes::Bytes;
use types::{Lsn, NodeId, PgVersion, TenantTimelineId, Term, WalSegmentSize};

use serde::{Deserialize, Serialize};

use crate::history::TermHistory;
use crate::membership::{Configuration, MembershipGeneration};

/// Which WAL this is about. Fixed when a timeline is created; a proposer must present the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TimelineIdentity {
    pub ttid: TenantTimelineId,
    pub pg_version: PgVersion,
    /// `system_identifier` of pg_control.
    pub system_id: u64,
    pub wal_seg_size: WalSegmentSize,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProposerMessage {
    Greeting(ProposerGreeting),
    VoteRequest(VoteRequest),
    Elected(Elected),
    AppendRequest(AppendRequest),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProposerGreeting {
    pub identity: TimelineIdentity,
    pub configuration: Configuration,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VoteRequest {
    pub generation: MembershipGeneration,
    pub term: Term,
}

/// "I have won `term`; this is the history of my log; I am going to send you WAL from `start_streaming_at`."
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Elected {
    pub generation: MembershipGeneration,
    pub term: Term,
    pub start_streaming_at: Lsn,
    pub history: TermHistory,
}

/// WAL from `begin_lsn` on; with no WAL at all, only news of the positions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppendRequest {
    pub generation: MembershipGeneration,
    pub term: Term,
    pub begin_lsn: Lsn,
    /// What a quorum holds, as the proposer knows it now. May lie beyond what this acceptor has.
    pub commit_lsn: Lsn,
    /// Every acceptor holds all WAL below; above, a peer may still have to be caught up.
    pub horizon_lsn: Lsn,
    /// How often time has gone by for the proposer when it sent this.
    pub tick: u64,
    pub wal: Bytes,
}

impl AppendRequest {
    pub fn end_lsn(&self) -> Lsn {
        self.begin_lsn + self.wal.len() as u64
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AcceptorMessage {
    Greeting(AcceptorGreeting),
    VoteResponse(VoteResponse),
    AppendResponse(AppendResponse),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AcceptorGreeting {
    pub node_id: NodeId,
    pub configuration: Configuration,
    pub term: Term,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VoteResponse {
    pub generation: MembershipGeneration,
    /// The acceptor's term after it has dealt with the request.
    pub term: Term,
    pub vote_given: bool,
    pub flush_lsn: Lsn,
    pub commit_lsn: Lsn,
    /// Only the part up to `flush_lsn`.
    pub history: TermHistory,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppendResponse {
    pub generation: MembershipGeneration,
    /// A term above the proposer's means: you are fenced.
    pub term: Term,
    /// Up to here records of this term's log are durable and complete: this is what counts. Zero, as the next one, as
    /// long as the acceptor has not heard of the election.
    pub flush_lsn: Lsn,
    /// Up to here bytes are durable; the last record may be incomplete. Only for the pace of sending.
    pub durable_lsn: Lsn,
    pub commit_lsn: Lsn,
    /// How far the pageserver has ingested, as this safekeeper has heard; zero if it has not.
    pub pageserver_lsn: Lsn,
    /// The highest that the leader of the term has sent: the acceptor followed it at some time after that.
    pub tick: u64,
}

impl AcceptorMessage {
    /// The term the acceptor was in when it said this.
    pub fn term(&self) -> Term {
        match self {
            AcceptorMessage::Greeting(greeting) => greeting.term,
            AcceptorMessage::VoteResponse(response) => response.term,
            AcceptorMessage::AppendResponse(response) => response.term,
        }
    }
}

//! What happens to a proposer, and what it wants done.

use bytes::Bytes;
use types::{Lsn, NodeId, Term};

use crate::membership::Configuration;
use crate::message::{AcceptorMessage, ProposerMessage};

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A new connection to this acceptor is open; nothing was said on it yet.
    Connected {
        node: NodeId,
    },
    Disconnected {
        node: NodeId,
    },
    Message {
        node: NodeId,
        message: AcceptorMessage,
    },
    /// The greetings or the campaign take too long (some do not answer, votes were lost or split): begin a
    /// campaign with those who have greeted, in a higher term.
    CampaignAgain,
    /// PostgreSQL's next WAL. It follows what came before.
    WalReceived {
        begin: Lsn,
        wal: Bytes,
    },
    /// A piece of what [`Effect::Fetch`] asked for.
    Fetched {
        node: NodeId,
        fetch: u64,
        begin: Lsn,
        wal: Bytes,
    },
    /// The fetch for this node failed before its end. It is tried again at a later tick, from another source if there is one.
    FetchFailed {
        node: NodeId,
        fetch: u64,
    },
    /// Time goes by: say something to everybody, and try again what did not work.
    Tick,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    Send {
        node: NodeId,
        message: ProposerMessage,
    },
    /// This acceptor cannot be used as it is now: close the connection, and open another later.
    Disconnect {
        node: NodeId,
        reason: String,
    },
    /// WAL that the proposer has no longer: read it from acceptor `source` with START_REPLICATION in
    /// `term`, and hand it over with [`Event::Fetched`], all of it or until [`Event::FetchFailed`]. `fetch` is its number,
    /// and no other's: what comes of one that nobody waits for any more does no harm.
    Fetch {
        node: NodeId,
        fetch: u64,
        source: NodeId,
        term: Term,
        begin: Lsn,
        end: Lsn,
    },
    /// A quorum holds the empty entry of `term` at `start_lsn` (X): PostgreSQL may start there.
    Established {
        term: Term,
        start_lsn: Lsn,
    },
    Committed {
        commit_lsn: Lsn,
    },
    /// Another proposer rules: stop at once. Nothing is sent any more.
    Fenced {
        term: Term,
    },
    /// The members are others now. It goes on with these: open connections to those who have none, and close those
    /// to whoever is a member no more. The others stay.
    Reconfigured {
        configuration: Box<Configuration>,
    },
}

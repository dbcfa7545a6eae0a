//! The walproposer: wins the election among the safekeepers, then carries PostgreSQL's WAL to them.
//!
//! To PostgreSQL it is a synchronous standby: `write` = `flush` = what a quorum has on disk, `apply` = what
//! the pageserver has ingested. All decisions are the pure `consensus::Proposer`'s; here are its hands:
//! [`owner`] is the one task that owns it, [`safekeeper`] moves messages, [`fetch`] reads WAL of one
//! safekeeper for another, [`postgres`] reads the walsender.
//!
//! It never gives up on a safekeeper, never drops WAL that is not committed, and never applies anything.

mod fetch;
mod identity;
mod moment;
mod owner;
mod postgres;
mod safekeeper;
mod standbys;

use std::path::PathBuf;

use auth::Credentials;
use compute_api::{ComputeSpec, WalproposerStatus};
use consensus::{Configuration, ConfigurationError, Member, Proposer};
use safekeeper_api::replication::ReplicationError;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::task::AbortOnDropHandle;
use types::{Lsn, TenantTimelineId, Term};

use owner::{Command, Owner};

#[derive(Debug, thiserror::Error)]
pub enum WalproposerError {
    #[error("the spec's safekeepers: {0}")]
    Configuration(#[from] ConfigurationError),
    #[error("the spec's safekeepers: {0}")]
    Address(#[from] pg_frontend::PgError),
    #[error("a newer compute won term {term} during the election")]
    Fenced { term: Term },
    #[error("PostgreSQL's system identifier is {found}, the safekeepers keep the WAL of {expected}")]
    OtherSystem { expected: u64, found: String },
    #[error("streaming from PostgreSQL: {0}")]
    Postgres(#[from] ReplicationError),
    #[error("the walproposer's task ended")]
    Ended,
}

/// Why the walproposer stopped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Exit {
    /// A newer compute rules. Whatever is not committed by now never will be.
    Fenced { term: Term },
    /// PostgreSQL is gone, or has ended replication: after a fast shutdown, with everything committed.
    PostgresStopped { commit_lsn: Lsn },
    /// It cannot go on: what it was told does not fit what it found.
    Failed { reason: String },
}

/// Where PostgreSQL listens, and as whom to stream.
#[derive(Clone, Debug)]
pub struct PgSocket {
    pub directory: PathBuf,
    pub port: u16,
    pub user: String,
    pub slot: String,
}

/// What every part of the walproposer needs to reach the safekeepers.
#[derive(Clone, Debug)]
struct Reach {
    ttid: TenantTimelineId,
    credentials: Credentials,
}

/// The name it goes by: as `application_name` at PostgreSQL (see `synchronous_standby_names`) and at safekeepers.
const NAME: &str = "walproposer";

/// A term that was won. Dropping it ends everything.
pub struct Elected {
    term: Term,
    start_lsn: Lsn,
    commands: mpsc::Sender<Command>,
    status: watch::Receiver<WalproposerStatus>,
    owner: AbortOnDropHandle<Result<Exit, WalproposerError>>,
}

/// Returns once a quorum of safekeepers has voted for this compute and holds all WAL up to X. Tries for ever, unless this
/// compute had `last_term` before and another had one since.
pub async fn elect(
    spec: &ComputeSpec,
    credentials: &Credentials,
    last_term: Option<Term>,
) -> Result<Elected, WalproposerError> {
    let members: Vec<Member> = spec
        .safekeepers
        .iter()
        .map(|peer| Member { id: peer.id, pg_connstr: peer.pg_connstr.clone(), http_connstr: String::new() })
        .collect();
    // Who the members are now, these will tell.
    let configuration = Configuration::contacts(members)?;
    let reach = Reach { ttid: spec.ttid(), credentials: credentials.clone() };
    let identity = identity::of_timeline(&configuration, &reach, spec.pg_version).await?;
    let proposer = Proposer::new(identity, configuration.clone());
    let proposer = match last_term {
        Some(term) => proposer.succeeding(term),
        None => proposer,
    };

    let (established, election) = oneshot::channel();
    let (commands, wishes) = mpsc::channel(1);
    let (owner, status) = Owner::new(proposer, identity, configuration, reach, established);
    let owner = AbortOnDropHandle::new(tokio::spawn(owner.run(wishes)));
    match election.await {
        Ok((term, start_lsn)) => Ok(Elected { term, start_lsn, commands, status, owner }),
        // It ended before it was established, and says why.
        Err(_) => match owner.await {
            Ok(Ok(Exit::Fenced { term })) => Err(WalproposerError::Fenced { term }),
            Ok(Err(error)) => Err(error),
            Ok(Ok(Exit::PostgresStopped { .. } | Exit::Failed { .. })) | Err(_) => {
                Err(WalproposerError::Ended)
            }
        },
    }
}

impl Elected {
    pub fn term(&self) -> Term {
        self.term
    }

    /// X: where PostgreSQL starts, and the base backup is taken.
    pub fn start_lsn(&self) -> Lsn {
        self.start_lsn
    }

    /// Renewed a few times a second, for as long as the walproposer lives.
    pub fn status(&self) -> watch::Receiver<WalproposerStatus> {
        self.status.clone()
    }

    /// Carries the WAL of PostgreSQL until it is gone or this compute is fenced.
    pub async fn run(self, postgres: PgSocket) -> Exit {
        // If the owner has ended already (fenced during the start), its result says so.
        let _ = self.commands.send(Command::Stream(postgres)).await;
        match self.owner.await.unwrap_or(Err(WalproposerError::Ended)) {
            Ok(exit) => exit,
            Err(error) => Exit::Failed { reason: error.to_string() },
        }
    }
}

//! The one task that runs the compute: it alone changes its state.
//!
//! A *life* is one election, one data directory, one run of PostgreSQL. A life that ends by a crash is
//! followed by another with a new term, one that is suspended too, as soon as a client comes; one that is fenced,
//! stopped or cannot begin is the last. A replica has no election and no walproposer, and is never fenced.
//!
//! ```text
//!            ┌──── crash: back off; suspended: a client ◀──────┐
//!            ▼                                                  │
//! predecessor ended ─▶ start (election, base backup, server) ─▶ supervise ─▶ stop ─▶ exit status
//! ```

mod old_wal;
mod replica;
mod start;
mod stop;
mod supervise;
mod suspend;

use std::path::Path;
use std::time::{Duration, Instant};

use auth::{CertificateFiles, Credentials};
use compute_api::{ComputeSpec, ComputeState, ReplicaStatus, StartStep, WalproposerStatus};
use telemetry::timeline_span;
use telemetry::traces::span::is_on;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use tracing::Instrument;
use tracing::field::Empty;
use types::Term;

use self::old_wal::OldWal;
use crate::data_dir::{DataDir, DataLayout};
use crate::error::ComputeError;
use crate::http::Configure;
use crate::paths::{ComputePaths, remove_file};
use crate::postgres::{Installation, Listen, ServerProcess};
use crate::predecessor::{self, PidFile};
use crate::proxy::Proxy;
use crate::server_files::ServerFiles;
use crate::server_user::ServerUser;
use crate::spans::SpanSocket;
use crate::status::StatusBoard;
use crate::walproposer::Exit;

const FIRST_BACK_OFF: Duration = Duration::from_millis(200);
const LONGEST_BACK_OFF: Duration = Duration::from_secs(5);
/// A server that ran so long had a reason of its own to crash; the next start is not held back.
const GOOD_LIFE: Duration = Duration::from_secs(60);
/// After so many starts in a row that never ran, something is wrong that another start will not mend.
const MOST_FAILED_STARTS: u32 = 8;

/// What the process tells its caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExitStatus {
    /// All WAL is on a quorum of safekeepers.
    Stopped = 0,
    /// It could not start, or not go on.
    Failed = 1,
    /// Ended without a quorum for its last WAL; nothing of that was acknowledged.
    NoQuorum = 3,
    /// A newer compute has the timeline.
    Fenced = 4,
}

/// How one life ended.
enum LifeEnd {
    Stopped,
    Suspended,
    NoQuorum,
    Fenced { term: Term },
    Crashed { reason: String },
}

/// A server that runs, and the task beside it: it carries WAL away, or holds what a replica reads.
struct Life {
    server: ServerProcess,
    port: u16,
    companion: tokio::task::JoinHandle<Exit>,
    news: News,
    old_wal: OldWal,
    began: Instant,
}

/// What one life leaves to the next.
#[derive(Default)]
struct Legacy {
    /// The last one that this compute won.
    term: Option<Term>,
    /// A configuration that came while there was no server. It waits for the first that gets through its start.
    asked: Option<Configure>,
}

/// What the task beside the server tells.
enum News {
    Walproposer(watch::Receiver<WalproposerStatus>),
    Replica(watch::Receiver<ReplicaStatus>),
}

pub struct Compute {
    pub spec: ComputeSpec,
    pub credentials: Credentials,
    /// For a fast shutdown; without a quorum it can take for ever.
    pub stop_timeout: Duration,
    pub status: StatusBoard,
    pub configure: mpsc::Receiver<Configure>,
    pub terminate: CancellationToken,
}

/// What stays the same through all lives. To have it is to have the place to oneself.
pub struct Ground {
    paths: ComputePaths,
    user: ServerUser,
    files: ServerFiles,
    installation: Installation,
    /// Of a compute that is suspended when nobody uses it.
    proxy: Option<Proxy>,
    began: Instant,
    _pid_file: PidFile,
}

impl Ground {
    /// Checks what can be checked without changing anything, then ends a predecessor and takes its place.
    pub async fn take(
        spec: &ComputeSpec,
        pgdata: &Path,
        pgbin: &Path,
        credentials: Credentials,
        certificate: Option<CertificateFiles>,
    ) -> Result<Ground, ComputeError> {
        let began = Instant::now();
        let installation = Installation::find(pgbin, spec.pg_version)?;
        let paths = ComputePaths::new(pgdata)?;
        let user = ServerUser::find()?;
        let layout = DataLayout::of(spec.pg_version);
        DataDir { root: &paths.pgdata, tablespaces: &paths.tablespaces, layout }.check_ours()?;
        let theirs = paths.clone();
        let pid_file = blocking(move || predecessor::take_over(&theirs)).await?;
        paths.prepare(user)?;
        let files = ServerFiles { paths: paths.clone(), user, credentials, certificate };
        files.write()?;
        let proxy = match spec.suspend_timeout_seconds {
            Some(_) => Some(Proxy::listen(spec, &paths, user).await?),
            None => None,
        };
        Ok(Ground { paths, user, files, installation, proxy, began, _pid_file: pid_file })
    }

    pub fn paths(&self) -> &ComputePaths {
        &self.paths
    }

    /// The next start goes on with nothing that the last stop left.
    pub fn forget_cache(&self) -> Result<(), ComputeError> {
        remove_file(&self.paths.kept).map_err(ComputeError::file("remove", &self.paths.kept))
    }

    /// Whether clients come in over TLS, and not without it.
    fn tls(&self) -> bool {
        self.files.certificate.is_some()
    }

    /// Where the server of a life is to listen: behind the proxy, or for everybody.
    fn listen(&self, spec: &ComputeSpec) -> Result<Listen, ComputeError> {
        if self.proxy.is_none() {
            return Ok(Listen { addresses: spec.pg_listen_addr.clone(), port: spec.pg_port });
        }
        let addresses = "127.0.0.1".to_owned();
        let port = Proxy::server_port()
            .map_err(|source| ComputeError::Listen { address: addresses.clone(), source })?;
        Ok(Listen { addresses, port })
    }
}

impl Compute {
    pub async fn run(mut self, ground: Ground) -> ExitStatus {
        let _keeping = AbortOnDropHandle::new(tokio::spawn(ground.files.clone().keep_current()));
        let _spans = is_on().then(|| self.pass_on_spans(&ground)).flatten();
        let (status, end) = match self.run_lives(&ground).await {
            Ok(LifeEnd::Stopped | LifeEnd::Suspended) => (ExitStatus::Stopped, ComputeState::Stopped),
            Ok(LifeEnd::NoQuorum) => (ExitStatus::NoQuorum, ComputeState::Stopped),
            Ok(LifeEnd::Fenced { term }) => {
                let ttid = self.spec.ttid();
                tracing::error!(%ttid, %term, "fenced: a newer compute has taken the timeline over");
                (ExitStatus::Fenced, ComputeState::Fenced)
            }
            Ok(LifeEnd::Crashed { reason }) => {
                tracing::error!("gave up: {reason}");
                (ExitStatus::Failed, ComputeState::Failed)
            }
            Err(error) => {
                tracing::error!("cannot run this compute: {error}");
                (ExitStatus::Failed, ComputeState::Failed)
            }
        };
        self.status.change(|status| {
            status.state = end;
            status.postgres_pid = None;
        });
        status
    }

    /// A compute that cannot do it runs all the same.
    fn pass_on_spans(&self, ground: &Ground) -> Option<AbortOnDropHandle<()>> {
        match SpanSocket::bind(&ground.paths, ground.user, self.spec.ttid()) {
            Ok(socket) => Some(AbortOnDropHandle::new(tokio::spawn(socket.pass_on()))),
            Err(error) => {
                tracing::warn!("page requests of PostgreSQL have no spans: {error}");
                None
            }
        }
    }

    async fn run_lives(&mut self, ground: &Ground) -> Result<LifeEnd, ComputeError> {
        let mut since = self.status.step_done(StartStep::EndPredecessor, ground.began);
        let mut back_off = FIRST_BACK_OFF;
        let mut failed_starts = 0;
        let mut legacy = Legacy::default();
        loop {
            let (end, ran) = self.live(ground, &mut legacy, since).await?;
            self.status.server_ended();
            if let Some(proxy) = &ground.proxy {
                proxy.close();
            }
            let reason = match end {
                LifeEnd::Crashed { reason } => reason,
                LifeEnd::Suspended => match self.sleep(ground, &mut legacy).await {
                    Some(end) => return Ok(end),
                    None => {
                        self.status.begin_start();
                        since = Instant::now();
                        continue;
                    }
                },
                LifeEnd::Stopped | LifeEnd::NoQuorum | LifeEnd::Fenced { .. } => return Ok(end),
            };
            // Backends may outlive a killed postmaster, and the directory will be wiped under them.
            let pgdata = ground.paths.pgdata.clone();
            blocking(move || predecessor::end_servers(&pgdata)).await?;

            (failed_starts, back_off) = match ran {
                Some(ran) if ran >= GOOD_LIFE => (0, FIRST_BACK_OFF),
                Some(_) => (0, back_off),
                None => (failed_starts + 1, back_off),
            };
            if failed_starts >= MOST_FAILED_STARTS {
                return Ok(LifeEnd::Crashed { reason });
            }
            tracing::error!("starting over in {back_off:?}: {reason}");
            self.status.enter(ComputeState::Crashed, Some(reason));
            tokio::select! {
                () = tokio::time::sleep(back_off) => {}
                () = self.terminate.cancelled() => return Ok(LifeEnd::Stopped),
            }
            back_off = (back_off * 2).min(LONGEST_BACK_OFF);
            self.status.begin_start();
            since = Instant::now();
        }
    }

    /// One life, and how long it ran after its start was complete.
    async fn live(
        &mut self,
        ground: &Ground,
        legacy: &mut Legacy,
        since: Instant,
    ) -> Result<(LifeEnd, Option<Duration>), ComputeError> {
        let terminate = self.terminate.clone();
        let listen = ground.listen(&self.spec)?;
        let span = timeline_span!(
            None,
            self.spec.ttid(),
            "start compute",
            varve.endpoint_id = %self.spec.endpoint_id,
            varve.lsn = Empty,
            varve.term = Empty,
        );
        let started = tokio::select! {
            started = self.start(ground, listen, legacy, since).instrument(span) => started,
            // No connection was accepted yet, so there is nothing to save.
            () = terminate.cancelled() => return Ok((LifeEnd::Stopped, None)),
        };
        match started {
            Ok(life) => {
                let began = life.began;
                let end = self.supervise(ground, life, &mut legacy.asked).await?;
                // It answers from the end of its start on.
                let answered = self.status.server().borrow().is_some();
                Ok((end, answered.then(|| began.elapsed())))
            }
            Err(error @ (ComputeError::ServerEnded { .. } | ComputeError::ServerSilent { .. })) => {
                // An upgrade of PostgreSQL may have come between, and what rebuilds the extension be at work.
                let reason = ground.installation.check().err().unwrap_or(error).to_string();
                Ok((LifeEnd::Crashed { reason }, None))
            }
            Err(ComputeError::Fenced { term }) => Ok((LifeEnd::Fenced { term }, None)),
            Err(error) => Err(error),
        }
    }
}

/// Work that blocks, away from the runtime's threads.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))
}

//! Hot standbys: one that follows the safekeepers, or one that stands still at an LSN.
//!
//! A replica begins with the last checkpoint in WAL, as of whose redo the pageserver makes a base backup, and fetches
//! WAL from there on. A static one begins at its LSN as a primary does, and finds no WAL behind that.
//!
//! Beside the server runs a task that leases the LSN at which the replica reads, so that the pageserver keeps it
//! however far the replica lags behind, and that tells how far it is.

use std::convert::Infallible;
use std::path::Path;
use std::time::{Duration, Instant};

use auth::Credentials;
use compute_api::{ComputeMode, ComputeSpec, ReplicaStatus, StartStep};
use pageserver_api::{PageClientError, PageServiceAddress};
use pg_frontend::{Address, PgClient};
use safekeeper_api::replication::connect_params;
use tokio::sync::watch;
use types::Lsn;

use super::old_wal::OldWal;
use super::{Compute, Ground, Life, News};
use crate::basebackup::Basebackup;
use crate::catalog::Superuser;
use crate::data_dir::control_file;
use crate::error::ComputeError;
use crate::paths::ComputePaths;
use crate::postgres::{Listen, StorageTls, primary_conninfo};
use crate::walproposer::Exit;

/// It has to replay what was written since the last checkpoint.
const PATIENCE: Duration = Duration::from_secs(900);
/// How old what is known of its positions may be; and while it starts.
const GLANCE: Duration = Duration::from_millis(500);
const FIRST_GLANCE: Duration = Duration::from_millis(20);
/// Between two lines of the log about a start that takes long.
const TELL: Duration = Duration::from_secs(1);
/// A safekeeper that has sent nothing for so long may be cut off.
const STALL: Duration = Duration::from_secs(5);
/// A replica that does not catch up is open all the same.
const CATCH_UP: Duration = Duration::from_secs(60);
const SAFEKEEPER_PATIENCE: Duration = Duration::from_secs(1);
/// A lease is renewed when a third of it has passed, and sooner if that fails.
const RENEWALS: u32 = 3;
const FIRST_RENEWAL: Duration = Duration::from_secs(1);

impl Compute {
    pub(super) async fn start_replica(
        &mut self,
        ground: &Ground,
        listen: Listen,
        since: Instant,
    ) -> Result<Life, ComputeError> {
        self.wipe(ground).await?;
        let lsn = match self.spec.mode {
            ComputeMode::Static { lsn } => Some(lsn),
            ComputeMode::Primary | ComputeMode::Replica => None,
        };
        let backup = Basebackup {
            spec: &self.spec,
            credentials: &self.credentials,
            paths: &ground.paths,
            user: ground.user,
            lsn,
        };
        let unpacked = backup.fetch(&self.status, since).await?;
        let since = Instant::now();
        let start_lsn = unpacked.manifest.lsn;
        let life_id = self.prepare_data_directory(ground, unpacked).await?;
        let since = self.status.step_done(StartStep::PrepareDataDirectory, since);

        // Before the server: it reads there from the first moment on.
        let (tell, news) = watch::channel(ReplicaStatus { replayed_lsn: start_lsn, received_lsn: start_lsn });
        // What was committed when the start began is to be seen when it is done.
        let committed = match self.spec.mode {
            ComputeMode::Replica => committed_lsn(&self.spec, &self.credentials).await,
            ComputeMode::Primary | ComputeMode::Static { .. } => start_lsn,
        };
        let port = listen.port;
        let follower = Follower::new(&self.spec, &self.credentials, &ground.paths, port, tell)?;
        let companion = tokio::spawn(Follower { first_target: committed, ..follower }.run());
        let server = match self.start_server(ground, listen, start_lsn, &life_id, PATIENCE).await {
            Ok(server) => server,
            Err(error) => {
                companion.abort();
                return Err(error);
            }
        };
        let since = self.status.step_done(StartStep::StartPostgres, since);
        let mut news = news;
        tokio::select! {
            () = self.catch_up(&mut news, committed) => {
                self.status.step_done(StartStep::CatchUp, since);
            }
            () = tokio::time::sleep(CATCH_UP) => {}
            // Who supervises sees it as well, and says so.
            _ = server.ended() => {}
        }
        tracing::info!(ttid = %self.spec.ttid(), lsn = %start_lsn, mode = ?self.spec.mode, "the replica is open");
        Ok(Life {
            server,
            port,
            companion,
            news: News::Replica(news),
            old_wal: OldWal::Here,
            began: Instant::now(),
        })
    }

    async fn catch_up(&self, news: &mut watch::Receiver<ReplicaStatus>, until: Lsn) {
        let mut told: Option<Instant> = None;
        loop {
            let replayed = news.borrow_and_update().replayed_lsn;
            if replayed >= until {
                return;
            }
            if told.is_none_or(|told| told.elapsed() > TELL) {
                told = Some(Instant::now());
                let bytes = until.saturating_distance(replayed);
                self.status.waiting(format!("replaying WAL up to {until}: {bytes} bytes to go"));
            }
            // A follower that has ended is seen by who supervises.
            if news.changed().await.is_err() {
                return;
            }
        }
    }
}

/// The highest position of those safekeepers that answer.
async fn committed_lsn(spec: &ComputeSpec, credentials: &Credentials) -> Lsn {
    let asked = spec.safekeepers.iter().filter_map(|peer| {
        let address = Address::parse(&peer.pg_connstr).ok()?;
        let params = connect_params(address, spec.ttid(), credentials, "compute_ctl");
        Some(async move {
            let mut client = PgClient::connect(&params).await.ok()?;
            // systemid, timeline, xlogpos, dbname
            let rows = client.simple_query("IDENTIFY_SYSTEM").await.ok()?;
            rows.first()?.get(2)?.as_deref()?.parse::<Lsn>().ok()
        })
    });
    let mut highest = Lsn::INVALID;
    for answer in asked.map(|ask| tokio::time::timeout(SAFEKEEPER_PATIENCE, ask)) {
        highest = highest.max(answer.await.ok().flatten().unwrap_or_default());
    }
    highest
}

/// Which safekeeper WAL comes from, and since when none has come.
struct Source {
    first: usize,
    received: Lsn,
    look_at: Instant,
}

struct Follower {
    pageserver: PageServiceAddress,
    paths: ComputePaths,
    /// Of its server.
    port: u16,
    spec: ComputeSpec,
    credentials: Credentials,
    /// What it looks out for at first.
    first_target: Lsn,
    tell: watch::Sender<ReplicaStatus>,
}

/// Leases what a static replica reads while it has no server. Ends only if the pageserver no longer has that.
pub(super) async fn hold(spec: &ComputeSpec, credentials: &Credentials, paths: &ComputePaths) -> Exit {
    let ComputeMode::Static { lsn } = spec.mode else { return std::future::pending().await };
    let (tell, _news) = watch::channel(ReplicaStatus { replayed_lsn: lsn, received_lsn: lsn });
    match Follower::new(spec, credentials, paths, spec.pg_port, tell) {
        Ok(follower) => follower.run().await,
        Err(error) => Exit::Failed { reason: error.to_string() },
    }
}

impl Follower {
    fn new(
        spec: &ComputeSpec,
        credentials: &Credentials,
        paths: &ComputePaths,
        port: u16,
        tell: watch::Sender<ReplicaStatus>,
    ) -> Result<Follower, ComputeError> {
        let lsn = tell.borrow().replayed_lsn;
        let address = Address::parse(&spec.pageserver.pg_connstr)
            .map_err(|source| ComputeError::BasebackupRefused { lsn: Some(lsn), source })?;
        let pageserver =
            PageServiceAddress { address, credentials: credentials.clone(), timeline: spec.ttid() };
        let (paths, spec, credentials) = (paths.clone(), spec.clone(), credentials.clone());
        Ok(Follower { pageserver, paths, port, spec, credentials, first_target: lsn, tell })
    }

    /// Ends only if the pageserver no longer has what the replica reads. No lease waits for a session, which may wait for a
    /// lock that replay holds.
    async fn run(self) -> Exit {
        tokio::select! {
            exit = self.renew_leases() => exit,
            never = self.follow(), if self.spec.mode == ComputeMode::Replica => match never {},
        }
    }

    async fn renew_leases(&self) -> Exit {
        loop {
            let lsn = self.tell.borrow().replayed_lsn;
            let next = match self.pageserver.lease(lsn, self.spec.mode == ComputeMode::Replica).await {
                Ok(length) => length / RENEWALS,
                Err(PageClientError::Connection(error)) if is_gone(&error) => {
                    return Exit::Failed { reason: format!("{lsn} cannot be read any more: {error}") };
                }
                Err(error) => {
                    tracing::warn!(%lsn, "cannot lease what this replica reads, will try again: {error}");
                    FIRST_RENEWAL
                }
            };
            tokio::time::sleep(next).await;
        }
    }

    async fn follow(&self) -> Infallible {
        let began = Instant::now();
        let mut session = None;
        let mut source = Source { first: 0, received: Lsn::INVALID, look_at: Instant::now() + STALL };
        loop {
            self.look(&mut session).await;
            self.leave_who_stands_still(&mut source, session.as_mut()).await;
            let starting = began.elapsed() < CATCH_UP && self.tell.borrow().replayed_lsn < self.first_target;
            tokio::time::sleep(if starting { FIRST_GLANCE } else { GLANCE }).await;
        }
    }

    /// A safekeeper that is cut off from the others sends nothing and does not know that there is anything. So when no
    /// WAL has come for a while, and another safekeeper has more, the next one takes its place.
    async fn leave_who_stands_still(&self, source: &mut Source, session: Option<&mut Superuser>) {
        let received = self.tell.borrow().received_lsn;
        if std::mem::replace(&mut source.received, received) != received {
            source.look_at = Instant::now() + STALL;
            return;
        }
        let Some(session) = session.filter(|_| source.look_at <= Instant::now()) else { return };
        source.look_at = Instant::now() + STALL;
        let committed = committed_lsn(&self.spec, &self.credentials).await;
        if committed <= received {
            return;
        }
        source.first += 1;
        tracing::warn!(
            ttid = %self.spec.ttid(), lsn = %received, %committed,
            "no WAL comes, though there is more: taking another safekeeper"
        );
        let tls = StorageTls::of(&self.credentials);
        let conninfo = primary_conninfo(&self.spec, &self.paths, tls, source.first).replace('\'', "''");
        let set = format!("ALTER SYSTEM SET primary_conninfo = '{conninfo}'");
        for query in [set.as_str(), "SELECT pg_reload_conf()"] {
            if let Err(error) = session.run("follow another safekeeper", query).await {
                tracing::warn!("{error}");
            }
        }
    }

    /// The server may not be open yet, or be busy.
    async fn look(&self, session: &mut Option<Superuser>) {
        let positions = async {
            let session = match session {
                Some(session) => session,
                None => session.insert(Superuser::connect(&self.paths, self.port).await?),
            };
            let query = "SELECT pg_last_wal_replay_lsn(), coalesce(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn())";
            session.run("ask how far the replica is", query).await
        };
        let Ok(rows) = positions.await else {
            *session = None;
            return;
        };
        let lsn = |at: usize| rows.first()?.get(at)?.as_deref()?.parse::<Lsn>().ok();
        if let (Some(replayed_lsn), Some(received_lsn)) = (lsn(0), lsn(1)) {
            let now = ReplicaStatus { replayed_lsn, received_lsn };
            self.tell.send_if_modified(|status| std::mem::replace(status, now) != now);
        }
    }
}

/// The pageserver says that it has collected what is asked for.
fn is_gone(error: &pg_frontend::PgError) -> bool {
    error.sqlstate().is_some_and(|sqlstate| sqlstate.starts_with("22"))
}

/// What a hot standby needs at least as many of as its primary has: from its control file
/// (`CheckRequiredParameterValues` in xlogrecovery.c).
pub(super) fn primary_settings(pgdata: &Path) -> Result<Vec<(&'static str, u32)>, ComputeError> {
    let parameters = control_file(pgdata)?.parameters;
    let number = |value: i32| u32::try_from(value).unwrap_or(0);
    Ok(vec![
        ("max_connections", number(parameters.max_connections)),
        ("max_worker_processes", number(parameters.max_worker_processes)),
        ("max_wal_senders", number(parameters.max_wal_senders)),
        ("max_prepared_transactions", number(parameters.max_prepared_xacts)),
        ("max_locks_per_transaction", number(parameters.max_locks_per_xact)),
    ])
}

//! From nothing to a server whose WAL is carried to the safekeepers.

use std::path::Path;
use std::time::{Duration, Instant};

use compute_api::{ComputeMode, ElectedStatus, StartStep};
use telemetry::child_span;
use telemetry::traces::span::is_on;
use tracing::Instrument;
use tracing::field::display;
use types::Lsn;

use super::old_wal::OldWal;
use super::replica::primary_settings;
use super::{Compute, Ground, Legacy, Life, News, blocking};
use crate::basebackup::Basebackup;
use crate::data_dir::kept::Kept;
use crate::data_dir::{DataDir, DataLayout, Unpacked};
use crate::error::ComputeError;
use crate::paths::{ComputePaths, socket_name};
use crate::postgres::{
    Listen, ManagedSettings, POSTGRES_USER, ServerCommand, ServerProcess, StorageTls, primary_conninfo,
    write_files, write_primary,
};
use crate::walproposer::{self, Elected, PgSocket, WalproposerError};

/// A start from a shutdown checkpoint replays nothing; this is for a machine that is very busy.
const SERVER_PATIENCE: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(2);
/// The walproposer makes this slot when it connects: without it a checkpoint could remove WAL that no
/// quorum has yet. It lives and dies with the data directory.
const SLOT: &str = "walproposer";

impl Compute {
    pub(super) async fn start(
        &mut self,
        ground: &Ground,
        listen: Listen,
        legacy: &mut Legacy,
        since: Instant,
    ) -> Result<Life, ComputeError> {
        match self.spec.mode {
            ComputeMode::Primary => self.start_primary(ground, listen, legacy, since).await,
            ComputeMode::Replica | ComputeMode::Static { .. } => {
                self.start_replica(ground, listen, since).await
            }
        }
    }

    async fn start_primary(
        &mut self,
        ground: &Ground,
        listen: Listen,
        legacy: &mut Legacy,
        since: Instant,
    ) -> Result<Life, ComputeError> {
        // The remains of the last life go while the safekeepers vote, unless they may be of use.
        let paths = &ground.paths;
        let kept = Kept::take(&paths.kept, &paths.pgdata, self.spec.ttid(), self.spec.pg_version);
        let election = walproposer::elect(&self.spec, &self.credentials, legacy.term);
        let election =
            election.instrument(child_span!("election", varve.safekeepers = self.spec.safekeepers.len()));
        let wipe = async || if kept.is_none() { self.wipe(ground).await } else { Ok(()) };
        let (elected, wiped) = tokio::join!(election, wipe());
        wiped?;
        let elected = elected.map_err(|error| match error {
            WalproposerError::Fenced { term } => ComputeError::Fenced { term },
            other => ComputeError::Election(other.to_string()),
        })?;
        legacy.term = Some(elected.term());
        let start_lsn = elected.start_lsn();
        tracing::info!(ttid = %self.spec.ttid(), term = %elected.term(), lsn = %start_lsn, "elected");
        if is_on() {
            let span = tracing::Span::current();
            span.record("varve.term", display(elected.term())).record("varve.lsn", display(start_lsn));
        }
        self.status.elected(ElectedStatus { term: elected.term(), start_lsn });
        let since = self.status.step_done(StartStep::Election, since);

        let (life_id, old_wal, since) = match kept {
            Some(lsn) if lsn == start_lsn => {
                tracing::info!(ttid = %self.spec.ttid(), %lsn, "goes on with the data directory of the last stop");
                (self.go_on_with_data_directory(ground).await?, OldWal::Here, since)
            }
            Some(lsn) => {
                tracing::info!(ttid = %self.spec.ttid(), %lsn, "the last stop was elsewhere: begins with an empty cache");
                self.wipe(ground).await?;
                self.new_data_directory(ground, &elected, since).await?
            }
            None => self.new_data_directory(ground, &elected, since).await?,
        };
        let since = self.status.step_done(StartStep::PrepareDataDirectory, since);

        let port = listen.port;
        let starting = self.start_server(ground, listen, start_lsn, &life_id, SERVER_PATIENCE);
        let server = starting.instrument(child_span!("start PostgreSQL")).await?;
        let since = self.status.step_done(StartStep::StartPostgres, since);
        let life = start_walproposer(ground, port, server, elected, old_wal);
        self.status.step_done(StartStep::StartWalproposer, since);
        Ok(life)
    }

    /// Also when the last step began.
    async fn new_data_directory(
        &self,
        ground: &Ground,
        elected: &Elected,
        since: Instant,
    ) -> Result<(String, OldWal, Instant), ComputeError> {
        let backup = Basebackup {
            spec: &self.spec,
            credentials: &self.credentials,
            paths: &ground.paths,
            user: ground.user,
            lsn: Some(elected.start_lsn()),
        };
        let unpacked = backup.fetch(&self.status, since).await?;
        let since = Instant::now();
        let wal = (unpacked.manifest.wal_seg_size, unpacked.manifest.tli);
        let life_id = self.prepare_data_directory(ground, unpacked).await?;
        let old_wal = self.fetch_old_wal(ground, elected, wal).await?;
        Ok((life_id, old_wal, since))
    }

    async fn go_on_with_data_directory(&self, ground: &Ground) -> Result<String, ComputeError> {
        let layout = DataLayout::of(self.spec.pg_version);
        let (paths, user, settings) = (ground.paths.clone(), ground.user, self.spec.settings.clone());
        let (proxys, tls) = (self.proxys_socket(ground), ground.tls());
        let work = move || {
            paths.remove_sockets(proxys.as_deref())?;
            let data = DataDir { root: &paths.pgdata, tablespaces: &paths.tablespaces, layout };
            data.go_on()?;
            write_files(&paths.pgdata, &settings, tls)?;
            data.begin_life()
        };
        blocking(move || user.run(work)).await
    }

    /// The name of the socket that stays over all lives.
    fn proxys_socket(&self, ground: &Ground) -> Option<String> {
        ground.proxy.as_ref().map(|_| socket_name(self.spec.pg_port))
    }

    pub(super) async fn wipe(&self, ground: &Ground) -> Result<(), ComputeError> {
        let layout = DataLayout::of(self.spec.pg_version);
        let (paths, user) = (ground.paths.clone(), ground.user);
        let proxys = self.proxys_socket(ground);
        // Of what is wiped, nothing is to be gone on with.
        ground.forget_cache()?;
        let work = move || {
            paths.remove_sockets(proxys.as_deref())?;
            DataDir { root: &paths.pgdata, tablespaces: &paths.tablespaces, layout }.wipe()
        };
        blocking(move || user.run(work)).await
    }

    pub(super) async fn prepare_data_directory(
        &self,
        ground: &Ground,
        unpacked: Unpacked,
    ) -> Result<String, ComputeError> {
        let layout = DataLayout::of(self.spec.pg_version);
        let Ground { paths: ComputePaths { pgdata, tablespaces, .. }, user, .. } = ground;
        let (root, tablespaces, user) = (pgdata.clone(), tablespaces.clone(), *user);
        let (settings, mode, tls) = (self.spec.settings.clone(), self.spec.mode, ground.tls());
        // A static replica follows nobody.
        let conninfo = match mode {
            ComputeMode::Replica => primary_conninfo(&self.spec, &ground.paths, self.storage_tls(), 0),
            ComputeMode::Primary | ComputeMode::Static { .. } => String::new(),
        };
        let work = move || {
            let data = DataDir { root: &root, tablespaces: &tablespaces, layout };
            data.complete(&unpacked.manifest, &unpacked.relations)?;
            write_files(&root, &settings, tls)?;
            if mode != ComputeMode::Primary {
                data.make_standby()?;
                write_primary(&root, &conninfo)?;
            }
            data.begin_life()
        };
        blocking(move || user.run(work)).await
    }

    fn storage_tls(&self) -> StorageTls {
        StorageTls::of(&self.credentials)
    }

    pub(super) async fn start_server(
        &self,
        ground: &Ground,
        listen: Listen,
        start_lsn: Lsn,
        life_id: &str,
        patience: Duration,
    ) -> Result<ServerProcess, ComputeError> {
        let paths = &ground.paths;
        let least = match self.spec.mode {
            ComputeMode::Primary => Vec::new(),
            ComputeMode::Replica | ComputeMode::Static { .. } => primary_settings(&paths.pgdata)?,
        };
        let managed = ManagedSettings {
            spec: &self.spec,
            paths,
            listen,
            start_lsn,
            life_id,
            least,
            tls: ground.tls(),
            storage_tls: self.storage_tls(),
        };
        let mut arguments = vec!["-D".into(), paths.pgdata.clone().into_os_string()];
        for (name, value) in managed.arguments() {
            arguments.push("-c".into());
            arguments.push(format!("{name}={value}").into());
        }
        let command = ServerCommand {
            program: ground.installation.postgres.clone(),
            arguments,
            directory: paths.pgdata.clone(),
            log: paths.log.clone(),
            user: ground.user,
        };
        let server = ServerProcess::start(command).await?;
        self.status.change(|status| {
            status.starts += 1;
            status.postgres_pid = Some(server.pid());
        });
        tokio::select! {
            () = until_ready(&paths.pgdata) => {}
            ended = server.ended() => {
                return Err(ComputeError::ServerEnded { status: ended.to_string(), log: paths.log.clone() });
            }
            () = tokio::time::sleep(patience) => {
                let seconds = patience.as_secs();
                return Err(ComputeError::ServerSilent { seconds, log: paths.log.clone() });
            }
        }
        Ok(server)
    }
}

fn start_walproposer(
    ground: &Ground,
    port: u16,
    server: ServerProcess,
    elected: Elected,
    old_wal: OldWal,
) -> Life {
    let socket = PgSocket {
        directory: ground.paths.socket.clone(),
        port,
        user: POSTGRES_USER.to_owned(),
        slot: SLOT.to_owned(),
    };
    let news = News::Walproposer(elected.status());
    let companion = tokio::spawn(elected.run(socket));
    Life { server, port, companion, news, old_wal, began: Instant::now() }
}

/// Waits for the state in the eighth line of the server's lock file, which is what pg_ctl waits for too;
/// looking at it costs the server nothing.
async fn until_ready(pgdata: &Path) {
    let lock_file = pgdata.join("postmaster.pid");
    loop {
        let text = tokio::fs::read_to_string(&lock_file).await.unwrap_or_default();
        if text.lines().nth(7).is_some_and(|state| state.trim() == "ready") {
            return;
        }
        tokio::time::sleep(POLL).await;
    }
}

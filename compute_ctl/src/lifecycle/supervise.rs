//! While the server runs: apply the spec, take new configurations, watch for what ends a life.

use std::future::Future;
use std::pin::Pin;
use std::time::{Duration, Instant};

use compute_api::{ComputeMode, ComputeState, ConfigureRequest, ConfigureResponse, StartStep};
use nix::sys::signal::Signal;
use tokio::sync::oneshot;
use types::Term;

use super::stop::end_at_once;
use super::{Compute, Ground, Life, LifeEnd, News, blocking, suspend};
use crate::catalog::{Superuser, apply_databases, apply_roles, check_settings, reload_settings};
use crate::error::ComputeError;
use crate::http::Configure;
use crate::paths::ComputePaths;
use crate::postgres;
use crate::server_user::ServerUser;
use crate::walproposer::Exit;

/// How old the WAL positions in the status may be.
const WAL_STATUS_INTERVAL: Duration = Duration::from_millis(200);

type Work = Pin<Box<dyn Future<Output = Result<ConfigureResponse, ComputeError>> + Send>>;

/// Roles, databases and settings on their way into force.
struct Application {
    work: Work,
    purpose: Purpose,
}

enum Purpose {
    /// Part of the start, which began then.
    Start(Instant),
    Configure {
        request: ConfigureRequest,
        done: oneshot::Sender<Result<ConfigureResponse, ComputeError>>,
    },
}

impl Compute {
    pub(super) async fn supervise(
        &mut self,
        ground: &Ground,
        mut life: Life,
        asked: &mut Option<Configure>,
    ) -> Result<LifeEnd, ComputeError> {
        // A replica has the roles and databases of its timeline.
        let work: Work = match self.spec.mode {
            ComputeMode::Primary => {
                Box::pin(apply(ground.paths.clone(), life.port, self.spec.configurable()))
            }
            ComputeMode::Replica | ComputeMode::Static { .. } => {
                Box::pin(std::future::ready(Ok(ConfigureResponse::default())))
            }
        };
        let mut application = Some(Application { work, purpose: Purpose::Start(Instant::now()) });
        let mut glance = tokio::time::interval(WAL_STATUS_INTERVAL);
        let mut unused =
            std::pin::pin!(suspend::until_unused(ground, self.spec.suspend_timeout_seconds, life.port));
        loop {
            tokio::select! {
                _ = glance.tick() => self.show_news(&mut life),
                status = life.server.ended() => {
                    life.companion.abort();
                    let log = ground.paths.log.display();
                    return Ok(LifeEnd::Crashed { reason: format!("PostgreSQL ended ({status}); see {log}") });
                }
                exit = &mut life.companion => {
                    return self.companion_ended(ground, &life, exit).await;
                }
                () = self.terminate.cancelled() => return self.stop(ground, life).await,
                (result, purpose) = finished(&mut application) => {
                    if let Err(error) = self.applied(ground, life.port, result, purpose) {
                        return not_applied(ground, &life, error).await;
                    }
                    application = asked.take().map(|asked| self.begin_configure(ground, life.port, asked));
                }
                Some(configure) = self.configure.recv(), if application.is_none() => {
                    application = Some(self.begin_configure(ground, life.port, configure));
                }
                () = &mut unused, if application.is_none() => return self.suspend(ground, life).await,
            }
        }
    }

    /// Copies what the task beside the server tells into our own status, if it is news.
    pub(super) fn show_news(&self, life: &mut Life) {
        match &mut life.news {
            News::Walproposer(news) if news.has_changed().unwrap_or(false) => {
                let news = news.borrow_and_update().clone();
                self.status.change(|status| status.walproposer = Some(news));
            }
            News::Replica(news) if news.has_changed().unwrap_or(false) => {
                let news = *news.borrow_and_update();
                self.status.change(|status| status.replica = Some(news));
            }
            News::Walproposer(_) | News::Replica(_) => {}
        }
    }

    async fn companion_ended(
        &self,
        ground: &Ground,
        life: &Life,
        exit: Result<Exit, tokio::task::JoinError>,
    ) -> Result<LifeEnd, ComputeError> {
        match exit {
            Ok(Exit::Fenced { term }) => self.fenced(ground, life, term).await,
            Ok(Exit::PostgresStopped { commit_lsn }) => {
                end_at_once(ground, &life.server).await?;
                Ok(LifeEnd::Crashed {
                    reason: format!("PostgreSQL ended; a quorum has its WAL up to {commit_lsn}"),
                })
            }
            Ok(Exit::Failed { reason }) => {
                end_at_once(ground, &life.server).await?;
                Ok(LifeEnd::Crashed { reason: format!("the WAL path failed: {reason}") })
            }
            Err(error) => {
                end_at_once(ground, &life.server).await?;
                Ok(LifeEnd::Crashed { reason: format!("the WAL path failed: {error}") })
            }
        }
    }

    /// Nothing that this server still answers may be believed: no waiting, no last words.
    pub(super) async fn fenced(
        &self,
        ground: &Ground,
        life: &Life,
        term: Term,
    ) -> Result<LifeEnd, ComputeError> {
        life.server.signal(Signal::SIGQUIT);
        self.status.enter(ComputeState::Fenced, Some(format!("a newer compute won term {term}")));
        end_at_once(ground, &life.server).await?;
        Ok(LifeEnd::Fenced { term })
    }

    /// Fails if it was part of a start: who asks for a configuration is told himself.
    fn applied(
        &mut self,
        ground: &Ground,
        server_port: u16,
        result: Result<ConfigureResponse, ComputeError>,
        purpose: Purpose,
    ) -> Result<(), ComputeError> {
        match purpose {
            Purpose::Start(since) => {
                result?;
                self.status.step_done(StartStep::ApplySpec, since);
                self.status.enter(ComputeState::Running, None);
                self.status.server_opened(server_port);
                if let Some(proxy) = &ground.proxy {
                    proxy.open(server_port);
                }
                let (address, port) = (&self.spec.pg_listen_addr, self.spec.pg_port);
                tracing::info!(ttid = %self.spec.ttid(), "PostgreSQL is open at {address}:{port}");
            }
            Purpose::Configure { request, done } => {
                if result.is_ok() {
                    self.spec.roles = request.roles;
                    self.spec.databases = request.databases;
                    self.spec.settings = request.settings;
                }
                // The caller may have gone; the configuration is in force all the same.
                let _ = done.send(result);
            }
        }
        Ok(())
    }

    fn begin_configure(
        &self,
        ground: &Ground,
        port: u16,
        Configure { request, done }: Configure,
    ) -> Application {
        let (paths, user) = (ground.paths.clone(), ground.user);
        let wanted = request.clone();
        let present = self.spec.configurable();
        let is_primary = self.spec.mode == ComputeMode::Primary;
        let mut restart_needed = postgres::changed_arguments(&self.spec.settings, &request.settings);
        let work = async move {
            let mut session = Superuser::connect(&paths, port).await?;
            rewrite_settings(&paths, user, &wanted).await?;
            let taken = async {
                check_settings(&mut session).await?;
                if is_primary { apply(paths.clone(), port, wanted).await.map(drop) } else { Ok(()) }
            };
            if let Err(refused) = taken.await {
                // A setting that is refused would keep the server from taking on all others, and from its next start;
                // and those that nobody was told of are not to be in force one day.
                rewrite_settings(&paths, user, &present).await?;
                return Err(refused);
            }
            restart_needed.extend(reload_settings(&mut session).await?);
            // What a session begins with (`session_preload_libraries`) may keep out everybody, whoever would mend it too.
            if is_primary
                && let Err(error) = Superuser::connect(&paths, port).await
                && !error.is_retryable()
            {
                rewrite_settings(&paths, user, &present).await?;
                reload_settings(&mut session).await?;
                return Err(ComputeError::KeepsOut(error.to_string()));
            }
            restart_needed.sort();
            restart_needed.dedup();
            Ok(ConfigureResponse { restart_needed })
        };
        Application { work: Box::pin(work), purpose: Purpose::Configure { request, done } }
    }
}

/// A start whose spec could not be applied. If that is because the connection was lost, it is a crash, though the server may
/// not have ended yet: a backend that is killed takes all others with it before the postmaster. Nor does a server that is
/// full stay so.
async fn not_applied(ground: &Ground, life: &Life, error: ComputeError) -> Result<LifeEnd, ComputeError> {
    if !error.is_retryable() {
        return Err(error);
    }
    life.companion.abort();
    end_at_once(ground, &life.server).await?;
    let log = ground.paths.log.display();
    Ok(LifeEnd::Crashed { reason: format!("the spec could not be applied: {error}; see {log}") })
}

/// Waits for the application under way, or for ever if there is none.
async fn finished(
    application: &mut Option<Application>,
) -> (Result<ConfigureResponse, ComputeError>, Purpose) {
    match application {
        Some(running) => {
            let result = running.work.as_mut().await;
            match application.take() {
                Some(ended) => (result, ended.purpose),
                None => std::future::pending().await,
            }
        }
        None => std::future::pending().await,
    }
}

async fn rewrite_settings(
    paths: &ComputePaths,
    user: ServerUser,
    wanted: &ConfigureRequest,
) -> Result<(), ComputeError> {
    let (pgdata, settings) = (paths.pgdata.clone(), wanted.settings.clone());
    blocking(move || user.run(move || postgres::write_settings(&pgdata, &settings))).await
}

async fn apply(
    paths: ComputePaths,
    port: u16,
    wanted: ConfigureRequest,
) -> Result<ConfigureResponse, ComputeError> {
    let mut session = Superuser::connect(&paths, port).await?;
    let roles = apply_roles(&mut session, &wanted.roles).await?;
    let databases = apply_databases(&mut session, &wanted.databases).await?;
    tracing::info!(roles, databases, "changed for the spec");
    Ok(ConfigureResponse::default())
}

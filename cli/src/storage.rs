//! The storage daemons of the cluster: how each is asked whether it is ready and, where they are processes of
//! this machine, how it is started and ended.

mod pageserver_config;

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use nix::sys::signal::Signal;
use pageserver_api::PageserverClient;
use safekeeper_api::http::{Client as SafekeeperClient, HttpError, TimelineStatus};
use types::{NodeId, TenantTimelineId};

use crate::arguments::StopMode;
use crate::local_env::{LocalEnv, PartsTls};
use crate::output::Output;
use crate::process::Process;

const START_TIMEOUT: Duration = Duration::from_secs(60);
/// A pageserver flushes its open layers before it ends.
const STOP_TIMEOUT: Duration = Duration::from_secs(120);
const PORT_PATIENCE: Duration = Duration::from_secs(5);
const POLL: Duration = Duration::from_millis(25);

/// One storage process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Daemon {
    Broker,
    Safekeeper(NodeId),
    Pageserver,
}

impl Daemon {
    /// All of them, in the order in which they are started.
    pub fn all(env: &LocalEnv) -> Vec<Daemon> {
        let safekeepers = env.config.safekeeper_ids().into_iter().map(Daemon::Safekeeper);
        std::iter::once(Daemon::Broker).chain(safekeepers).chain([Daemon::Pageserver]).collect()
    }

    pub fn name(self) -> String {
        match self {
            Daemon::Broker => "broker".to_owned(),
            Daemon::Safekeeper(id) => format!("safekeeper-{id}"),
            Daemon::Pageserver => "pageserver".to_owned(),
        }
    }

    pub fn process(self, env: &LocalEnv) -> Process {
        Process::new(self.name(), env.run_directory())
    }

    /// What it listens on, in words for a table.
    pub fn ports(self, env: &LocalEnv) -> Vec<(&'static str, u16)> {
        let ports = env.config.ports();
        match self {
            Daemon::Broker => vec![("grpc", ports.broker())],
            Daemon::Safekeeper(id) => {
                vec![("pg", ports.safekeeper_pg(id.0)), ("http", ports.safekeeper_http(id.0))]
            }
            Daemon::Pageserver => vec![("pg", ports.pageserver_pg()), ("http", ports.pageserver_http())],
        }
    }

    /// Starts it if it does not run, and waits until it answers. False if it ran already.
    pub async fn start(self, env: &LocalEnv, output: Output) -> anyhow::Result<bool> {
        let process = self.process(env);
        // One that is found ending is started anew.
        if process.pid().is_some() && process.becomes_ready(START_TIMEOUT, || self.is_ready(env)).await? {
            return Ok(false);
        }
        for (what, port) in self.ports(env) {
            port_becomes_free(&format!("{} ({what})", self.name()), port).await?;
        }
        output.progress(format!("starting {}", self.name()));
        process.spawn(self.command(env)?)?;
        process.wait_ready(START_TIMEOUT, || self.is_ready(env)).await?;
        Ok(true)
    }

    pub async fn stop(self, env: &LocalEnv, mode: StopMode, output: Output) -> anyhow::Result<bool> {
        let process = self.process(env);
        if process.pid().is_some() {
            output.progress(format!("stopping {}", self.name()));
        }
        let signal = match mode {
            StopMode::Fast => Signal::SIGTERM,
            StopMode::Immediate => Signal::SIGKILL,
        };
        process.stop(signal, STOP_TIMEOUT).await
    }

    pub async fn is_ready(self, env: &LocalEnv) -> bool {
        self.check(env).await.is_ok()
    }

    /// Why it is not ready, if it is not.
    pub async fn check(self, env: &LocalEnv) -> anyhow::Result<()> {
        match self {
            Daemon::Broker => {
                let address = env.config.broker_address();
                let connected = tokio::net::TcpStream::connect(&address).await;
                connected.with_context(|| format!("cannot connect to {address}"))?;
            }
            Daemon::Safekeeper(id) => {
                safekeeper_client(env, id).status().await?;
            }
            Daemon::Pageserver => {
                pageserver_client(env).status().await?;
            }
        }
        Ok(())
    }

    /// As it is called in a sentence.
    pub fn in_words(self) -> String {
        match self {
            Daemon::Broker => "the storage broker".to_owned(),
            Daemon::Safekeeper(id) => format!("safekeeper {id}"),
            Daemon::Pageserver => "the pageserver".to_owned(),
        }
    }

    /// `host:port` of its HTTP API, and the path where it says how it is.
    pub fn status_at(self, env: &LocalEnv) -> (String, &'static str) {
        match self {
            Daemon::Broker => (env.config.broker_address(), "/status"),
            Daemon::Safekeeper(id) => (env.config.safekeeper_http_address(id), "/v1/status"),
            Daemon::Pageserver => (env.config.pageserver_http_address(), "/v1/status"),
        }
    }

    /// Where its files are.
    pub fn directory(self, env: &LocalEnv) -> PathBuf {
        match self {
            Daemon::Broker => env.directory.join("broker"),
            Daemon::Safekeeper(id) => env.directory.join(format!("safekeepers/{id}")),
            Daemon::Pageserver => env.directory.join("pageserver"),
        }
    }

    fn command(self, env: &LocalEnv) -> anyhow::Result<Command> {
        let ports = env.config.ports();
        let mut command = match self {
            Daemon::Broker => {
                let mut command = Command::new(program("storage_broker")?);
                command.arg("--listen-addr").arg(local(ports.broker()).to_string());
                command
            }
            Daemon::Safekeeper(id) => {
                let directory = self.directory(env);
                std::fs::create_dir_all(&directory)?;
                let mut command = Command::new(program("safekeeper")?);
                command.arg("--datadir").arg(directory).arg("--id").arg(id.to_string());
                command.arg("--listen-pg").arg(local(ports.safekeeper_pg(id.0)).to_string());
                command.arg("--listen-http").arg(local(ports.safekeeper_http(id.0)).to_string());
                command.arg("--broker-endpoint").arg(broker_endpoint(env));
                command.arg("--auth-token-file").arg(env.keys.token_file("safekeeper"));
                command.arg("--remote-storage").arg(toml::to_string(&remote_storage(env))?.trim_end());
                if let Some(seconds) = env.config.safekeeper_evict_after {
                    command.arg("--evict-after").arg(seconds.to_string());
                }
                command
            }
            Daemon::Pageserver => {
                let workdir = self.directory(env);
                pageserver_config::write(env, &workdir)?;
                let mut command = Command::new(program("pageserver")?);
                command.arg("--workdir").arg(workdir);
                let safekeepers = env.config.safekeeper_ids().into_iter();
                let addresses: Vec<String> =
                    safekeepers.map(|id| env.config.safekeeper_http_address(id)).collect();
                command.arg("--safekeepers").arg(addresses.join(","));
                command.args(env.config.trace_arguments());
                return Ok(command);
            }
        };
        command.args(env.config.trace_arguments());
        command.arg("--auth-public-key-path").arg(env.keys.public());
        if let Some(PartsTls { certificate, key, authority }) = env.tls_of_parts() {
            command.arg("--tls-cert-file").arg(certificate).arg("--tls-key-file").arg(key);
            // The broker connects to nobody.
            if self != Daemon::Broker {
                command.arg("--tls-ca-file").arg(authority);
            }
        }
        Ok(command)
    }
}

/// The object storage of all daemons.
fn remote_storage(env: &LocalEnv) -> toml::Table {
    env.config.remote_storage.clone().unwrap_or_else(|| {
        let directory = env.directory.join("remote_storage").display().to_string();
        toml::Table::from_iter([("local_path".to_owned(), directory.into())])
    })
}

pub fn safekeeper_client(env: &LocalEnv, id: NodeId) -> SafekeeperClient {
    SafekeeperClient::new(&env.config.safekeeper_http_address(id), env.credentials.clone())
}

/// What each safekeeper says of a timeline, or why it says nothing.
pub async fn safekeeper_statuses(
    env: &LocalEnv,
    ttid: TenantTimelineId,
) -> BTreeMap<NodeId, Result<TimelineStatus, HttpError>> {
    let mut statuses = BTreeMap::new();
    for id in env.config.safekeeper_ids() {
        statuses.insert(id, safekeeper_client(env, id).timeline(ttid).await);
    }
    statuses
}

/// Asks all safekeepers, also when one does not answer: the error names those that did not.
pub async fn on_all_safekeepers<T>(
    env: &LocalEnv,
    ask: impl AsyncFn(SafekeeperClient) -> Result<T, HttpError>,
) -> anyhow::Result<Vec<T>> {
    let (mut answers, mut errors) = (Vec::new(), Vec::new());
    for id in env.config.safekeeper_ids() {
        match ask(safekeeper_client(env, id)).await {
            Ok(answer) => answers.push(answer),
            Err(error) => errors.push(format!("safekeeper {id}: {error}")),
        }
    }
    if !errors.is_empty() {
        bail!(
            "not all safekeepers did it; `varve start` starts them, and the same command goes on: {}",
            errors.join("; ")
        );
    }
    Ok(answers)
}

pub fn pageserver_client(env: &LocalEnv) -> PageserverClient {
    PageserverClient::new(&env.config.pageserver_http_address(), env.credentials.clone())
}

fn broker_endpoint(env: &LocalEnv) -> String {
    let scheme = if env.config.tls { "https" } else { "http" };
    format!("{scheme}://{}", env.config.broker_address())
}

pub fn local(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

/// A daemon's program: beside this one.
pub fn program(name: &str) -> anyhow::Result<PathBuf> {
    let own = std::env::current_exe().context("cannot tell where this program is")?;
    let path = own.with_file_name(name);
    if !path.exists() {
        bail!("{} is missing: `make build` builds it", path.display());
    }
    Ok(path)
}

/// What was killed a moment ago may still have it: threads of a daemon, the PostgreSQL of a compute_ctl.
pub async fn port_becomes_free(what: &str, port: u16) -> anyhow::Result<()> {
    let started = Instant::now();
    loop {
        match check_port_free(what, port) {
            Err(_) if started.elapsed() < PORT_PATIENCE => tokio::time::sleep(POLL).await,
            outcome => return outcome,
        }
    }
}

pub fn check_port_free(what: &str, port: u16) -> anyhow::Result<()> {
    TcpListener::bind(local(port)).map(drop).map_err(|error| {
        anyhow::anyhow!(
            "port {port} for {what} cannot be used ({error}): `ss -ltnp sport = {port}` shows who has it; a new \
             cluster can have other ports with --port-base"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_port_that_is_just_being_given_up_is_waited_for() {
        let held = TcpListener::bind(local(0)).unwrap();
        let port = held.local_addr().unwrap().port();
        assert!(check_port_free("a test", port).is_err());
        let (free, ()) = tokio::join!(port_becomes_free("a test", port), async {
            tokio::time::sleep(POLL * 3).await;
            drop(held);
        });
        free.unwrap();
    }
}

//! *Looks*: computes that stand at one LSN of a branch and read only, made when somebody asks what was there, and ended when
//! nobody has asked for a while. They are no endpoints: they have no name, no password, and only this process gets in, by
//! the private socket.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use compute_api::{ComputeClient, ComputeMode, ComputeSpec, SettingSpec, socket_directory};
use nix::sys::signal::Signal;
use types::{Lsn, TenantTimelineId};

use super::Console;
use super::cluster::Cluster;
use super::moment::Point;
use crate::commands::endpoint::{bare_spec, compute_ctl, pick_ports, refuse_archived, remove_directory};
use crate::commands::timeline::lsn_to_read;
use crate::endpoints::Endpoints;
use crate::failure;
use crate::local_env::{LocalEnv, check_version, write_private};
use crate::output::say;
use crate::process::Process;

/// At a time; each is a PostgreSQL.
const MOST: usize = 4;
/// How long one stays that nobody looks through.
const IDLE: Duration = Duration::from_secs(60);
const START_TIMEOUT: Duration = Duration::from_secs(60);
const STOP_TIMEOUT: Duration = Duration::from_secs(20);
const STATEMENT_TIMEOUT: &str = "15s";
/// With a dot, which no endpoint's name may have.
const PREFIX: &str = "console.";

pub struct Looks {
    /// Locked while one is started or ended: who wants the same one waits for it.
    open: tokio::sync::Mutex<HashMap<(TenantTimelineId, Lsn), Arc<Look>>>,
}

pub struct Look {
    pub lsn: Lsn,
    /// Where its socket is.
    pub socket: PathBuf,
    pub port: u16,
    /// Of PostgreSQL's programs for this version.
    pub programs: PathBuf,
    process: Process,
    /// All that it has on disk.
    directories: Vec<PathBuf>,
    used: Mutex<Instant>,
}

impl Look {
    fn touch(&self) {
        *self.used.lock().expect("no holder panics") = Instant::now();
    }

    fn idle(&self) -> Duration {
        self.used.lock().expect("no holder panics").elapsed()
    }

    async fn end(&self) {
        // It has nothing to lose.
        if let Err(error) = self.process.stop(Signal::SIGTERM, STOP_TIMEOUT).await {
            say(&format!("a compute of the console may still run: {}", failure::describe(&error)));
            return;
        }
        // It has said what it had to say: a failed start is told with its last words.
        let _ = std::fs::remove_file(self.process.log_file());
        for directory in &self.directories {
            if let Err(error) = remove_directory(directory) {
                say(&failure::describe(&error));
            }
        }
    }
}

impl Looks {
    pub fn new() -> Looks {
        Looks { open: tokio::sync::Mutex::default() }
    }

    /// One at that point of the branch. It stays for as long as the caller has it, and a while.
    pub async fn at(&self, cluster: &Cluster, branch: &str, point: Point) -> anyhow::Result<Arc<Look>> {
        let ttid = cluster.branch(branch)?;
        refuse_archived(&cluster.env, ttid, &format!("branch {branch:?}")).await?;
        let lsn = lsn_to_read(&cluster.env, ttid, point.lsn, point.time).await?;
        let mut open = self.open.lock().await;
        if let Some(look) = open.get(&(ttid, lsn)).filter(|look| look.process.pid().is_some()) {
            look.touch();
            return Ok(Arc::clone(look));
        }
        if let Some(dead) = open.remove(&(ttid, lsn)) {
            dead.end().await;
        }
        if open.len() >= MOST {
            let free = open.iter().filter(|(_, look)| Arc::strong_count(look) == 1);
            let Some(oldest) = free.max_by_key(|(_, look)| look.idle()).map(|(key, _)| *key) else {
                bail!("{MOST} computes of the console are at work, which is the most: try again in a moment");
            };
            if let Some(look) = open.remove(&oldest) {
                look.end().await;
            }
        }
        let number = (1..).find(|number| open.values().all(|look| look.process.name() != name(*number)));
        let look = Arc::new(start(cluster, ttid, lsn, &name(number.unwrap_or_default())).await?);
        open.insert((ttid, lsn), Arc::clone(&look));
        Ok(look)
    }

    async fn end_idle(&self) {
        let mut open = self.open.lock().await;
        let is_idle = |look: &Arc<Look>| Arc::strong_count(look) == 1 && look.idle() > IDLE;
        let idle: Vec<_> = open.iter().filter(|(_, look)| is_idle(look)).map(|(key, _)| *key).collect();
        for key in idle {
            if let Some(look) = open.remove(&key) {
                look.end().await;
            }
        }
    }

    pub async fn end_all(&self) {
        for (_, look) in self.open.lock().await.drain() {
            look.end().await;
        }
    }
}

fn name(number: usize) -> String {
    format!("{PREFIX}{number}")
}

/// Ends those that nobody has looked through for a while. Does not return.
pub async fn watch(console: Arc<Console>) {
    loop {
        tokio::time::sleep(Duration::from_secs(5)).await;
        console.looks.end_idle().await;
    }
}

/// Those of a console that was killed.
pub async fn end_leftovers(env: &LocalEnv) -> anyhow::Result<()> {
    let Ok(files) = std::fs::read_dir(env.run_directory()) else { return Ok(()) };
    for file in files {
        let file = file?.file_name();
        let Some(name) = file.to_str().and_then(|name| name.strip_suffix(".pid")) else { continue };
        if name.starts_with(PREFIX) {
            Process::new(name, env.run_directory()).stop(Signal::SIGTERM, STOP_TIMEOUT).await?;
            for directory in [env.compute_directory(name), env.endpoint_directory(name)] {
                remove_directory(&directory)?;
            }
        }
    }
    Ok(())
}

async fn start(cluster: &Cluster, ttid: TenantTimelineId, lsn: Lsn, name: &str) -> anyhow::Result<Look> {
    let env = &cluster.env;
    let version = cluster.branches.pg_version(ttid.timeline_id);
    let programs = env.config.pg_bin_dir(version);
    check_version(&programs, version)?;
    let (port, http_port) = pick_ports(env, &Endpoints::load(env)?.readable, None, None)?;
    let setting = |name: &str, value: &str| SettingSpec { name: name.to_owned(), value: value.to_owned() };
    let spec = ComputeSpec {
        mode: ComputeMode::Static { lsn },
        pg_port: port,
        settings: vec![setting("statement_timeout", STATEMENT_TIMEOUT), setting("shared_buffers", "16MB")],
        ..bare_spec(env, ttid, "console", version)
    };
    spec.check()?;
    let (directory, home) = (env.endpoint_directory(name), env.compute_directory(name));
    // What a console that was killed may have left.
    for old in [&home, &directory] {
        remove_directory(old)?;
    }
    std::fs::create_dir_all(&home)?;
    std::fs::create_dir_all(&directory)?;
    let spec_file = directory.join("spec.json");
    write_private(&spec_file, &serde_json::to_vec_pretty(&spec)?)?;
    let address = format!("127.0.0.1:{http_port}");
    let look = Look {
        lsn,
        socket: socket_directory(&home.canonicalize()?),
        port,
        programs,
        process: Process::new(name, env.run_directory()),
        directories: vec![home.clone(), directory],
        used: Mutex::new(Instant::now()),
    };
    let client = ComputeClient::new(&address, env.credentials.clone());
    let is_ready = || async { client.status().await.is_ok_and(|status| status.state.takes_clients()) };
    look.process.spawn(compute_ctl(env, ttid.tenant_id, version, &home, &spec_file, &address)?)?;
    if let Err(error) = look.process.wait_ready(START_TIMEOUT, is_ready).await {
        look.end().await;
        return Err(error).with_context(|| format!("no compute could be started at {lsn}"));
    }
    Ok(look)
}

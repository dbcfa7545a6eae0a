//! `endpoint`: stateless PostgreSQL servers, each a compute_ctl with its own throw-away data directory.

mod spec;

use std::fs::File;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, bail};
use compute_api::{ComputeClient, ComputeMode, ComputeState, ConfigureRequest};
use nix::fcntl::Flock;
use nix::sys::signal::Signal;
use pageserver_api::history::Interval;
use serde_json::json;
use types::{Lsn, TenantId, TenantTimelineId};

use spec::{admin_role, spec};
pub use spec::{bare_spec, compute_ctl, settings, suspend_timeout_seconds};

use super::timeline::lsn_to_read;
use crate::arguments::{EndpointCommand, Moment, StopMode};
use crate::endpoints::{Endpoint, Endpoints, check_name, process, psql_line};
use crate::local_env::{LocalEnv, check_version, write_private};
use crate::output::table::{Cell, Look, table};
use crate::output::{Output, say};
use crate::storage::{check_port_free, pageserver_client, port_becomes_free};

const START_TIMEOUT: Duration = Duration::from_secs(90);
/// compute_ctl gives up by itself after 60 s without a quorum; a little longer than that.
const STOP_TIMEOUT: Duration = Duration::from_secs(75);
/// A fenced compute hears of it with the next answer of a safekeeper's, a second later at most.
const FENCED_TIMEOUT: Duration = Duration::from_secs(10);

pub struct NewEndpoint {
    pub name: String,
    pub branch: String,
    pub tenant_id: Option<TenantId>,
    pub pg_port: Option<u16>,
    pub http_port: Option<u16>,
    pub settings: Vec<(String, String)>,
    pub suspend_timeout: Option<Interval>,
    pub allow_multiple: bool,
    pub mode: ComputeMode,
}

impl NewEndpoint {
    /// On the branch `main`, with nothing special.
    pub fn named(name: &str) -> NewEndpoint {
        NewEndpoint {
            name: name.to_owned(),
            branch: super::tenant::MAIN_BRANCH.to_owned(),
            tenant_id: None,
            pg_port: None,
            http_port: None,
            settings: Vec::new(),
            suspend_timeout: None,
            allow_multiple: false,
            mode: ComputeMode::Primary,
        }
    }
}

pub const fn only_reads(command: &EndpointCommand) -> bool {
    matches!(command, EndpointCommand::List { .. })
}

/// `lock` is the cluster's, behind which `env` was read. Starts and stops, which take long, let go of it when it is noted what
/// is to run.
pub async fn run(
    env: &LocalEnv,
    lock: Option<Flock<File>>,
    command: EndpointCommand,
    output: Output,
) -> anyhow::Result<()> {
    match command {
        EndpointCommand::Create {
            endpoint,
            branch_name,
            tenant_id,
            pg_port,
            http_port,
            settings,
            suspend_timeout,
            allow_multiple,
            hot_standby,
            lsn,
            time,
        } => {
            let mode = mode(env, tenant_id, &branch_name, Wanted { hot_standby, lsn, time }).await?;
            let new = NewEndpoint {
                name: endpoint,
                branch: branch_name,
                tenant_id,
                pg_port,
                http_port,
                settings,
                suspend_timeout,
                allow_multiple,
                mode,
            };
            let made = create(env, new, output)?;
            output.result(&json!({ "endpoint": made.name, "pg_port": made.pg_port }), || {
                format!(
                    "endpoint {0:?} on port {1}; `varve endpoint start {0}` starts it",
                    made.name, made.pg_port
                )
            })
        }
        EndpointCommand::Start { endpoint, start_timeout, allow_multiple, cold } => {
            let how = Start { timeout: Duration::from_secs(start_timeout), cold };
            let connection = start_named(env, lock, &endpoint, how, allow_multiple, output).await?;
            output.result(&json!({ "endpoint": endpoint, "connstr": connection }), || {
                format!("endpoint {endpoint:?} is ready:\n\n  {}", psql_line(&connection))
            })
        }
        EndpointCommand::Promote { endpoint, start_timeout } => {
            let mut promoted = Endpoint::load(env, &endpoint)?;
            if promoted.mode != ComputeMode::Replica {
                bail!("endpoint {endpoint:?} is no read replica; `varve endpoint list` shows which ones are");
            }
            refuse_of_archived(env, &promoted).await?;
            stop_process(env, &endpoint, StopMode::Fast, output).await?;
            (promoted.mode, promoted.wanted) = (ComputeMode::Primary, true);
            promoted.save(env)?;
            give_up_fenced(env, &promoted)?;
            drop(lock);
            let connection = promoted.connection_string(env, "postgres");
            let how = Start { timeout: Duration::from_secs(start_timeout), cold: false };
            start_and_fence(env, promoted, how, output).await?;
            output.result(&json!({ "endpoint": endpoint, "connstr": connection }), || {
                format!("endpoint {endpoint:?} writes now:\n\n  {}", psql_line(&connection))
            })
        }
        EndpointCommand::Stop { endpoint, stop, destroy } => {
            let stopped = stop_named(env, lock, &endpoint, stop.mode, destroy, output).await?;
            let state = if stopped { "stopped" } else { "not running" };
            output.result(&json!({ "endpoint": endpoint, "state": state }), || {
                format!("endpoint {endpoint:?}: {state}")
            })
        }
        EndpointCommand::List { tenant_id } => list(env, tenant_id, output).await,
        EndpointCommand::Delete { endpoint } => {
            delete_named(env, &endpoint)?;
            output.result(&json!({ "deleted": endpoint }), || {
                format!("endpoint {endpoint:?} is deleted; its branch stays")
            })
        }
        EndpointCommand::Reconfigure { endpoint, settings, unset, suspend_timeout } => {
            let changes = Changes { set: settings, unset, suspend_timeout };
            reconfigure(env, Endpoint::load(env, &endpoint)?, changes, output).await
        }
    }
}

/// Starts it as `endpoint start` does. Returns how one connects.
pub async fn start_named(
    env: &LocalEnv,
    lock: Option<Flock<File>>,
    name: &str,
    how: Start,
    allow_multiple: bool,
    output: Output,
) -> anyhow::Result<String> {
    let mut wanted = Endpoint::load(env, name)?;
    refuse_second(env, &wanted, allow_multiple)?;
    refuse_of_archived(env, &wanted).await?;
    // From here on each start of the cluster tries it again, whatever keeps it from starting now.
    wanted.wanted = true;
    // What stands at an LSN has the roles that were there, whoever writes to its branch now.
    if !matches!(wanted.mode, ComputeMode::Static { .. }) {
        share_password(env, &mut wanted)?;
    }
    wanted.save(env)?;
    give_up_fenced(env, &wanted)?;
    drop(lock);
    let connection = wanted.connection_string(env, "postgres");
    start_and_fence(env, wanted, how, output).await?;
    Ok(connection)
}

/// Stops it as `endpoint stop` does. False if it did not run.
pub async fn stop_named(
    env: &LocalEnv,
    lock: Option<Flock<File>>,
    name: &str,
    mode: StopMode,
    destroy: bool,
    output: Output,
) -> anyhow::Result<bool> {
    match Endpoint::load(env, name) {
        Ok(mut endpoint) => {
            endpoint.wanted = false;
            endpoint.save(env)?;
        }
        // What goes need not be understood.
        Err(_) if destroy && Endpoint::exists(env, name) => {}
        Err(error) => return Err(error),
    }
    drop(lock);
    let stopped = stop_process(env, name, mode, output).await?;
    if destroy {
        remove(env, name)?;
    }
    Ok(stopped)
}

/// Forgets an endpoint that does not run, also one that cannot be read. The caller holds the cluster's lock.
pub fn delete_named(env: &LocalEnv, name: &str) -> anyhow::Result<()> {
    Endpoint::check_known(env, name)?;
    if process(env, name).pid().is_some() {
        bail!("endpoint {name:?} runs: `varve endpoint stop {name} --destroy` stops and deletes it");
    }
    remove(env, name)
}

pub fn create(env: &LocalEnv, new: NewEndpoint, output: Output) -> anyhow::Result<Endpoint> {
    check_name(&new.name)?;
    ConfigureRequest { settings: settings(&new.settings), ..ConfigureRequest::default() }.check()?;
    if Endpoint::exists(env, &new.name) {
        bail!("there is an endpoint {:?} already", new.name);
    }
    let branches = env.branches()?;
    let ttid = branches.find(new.tenant_id, &new.branch)?;
    let is_primary = new.mode == ComputeMode::Primary;
    if let Some(other) =
        Endpoint::writers_of(env, ttid)?.first().filter(|_| is_primary && !new.allow_multiple)
    {
        bail!(
            "branch {:?} has the endpoint {:?} already; only one at a time can write (--allow-multiple makes a second)",
            new.branch,
            other.name
        );
    }
    let (pg_port, http_port) = pick_ports(env, &Endpoint::all(env)?, new.pg_port, new.http_port)?;
    let password = new_password();
    let mut endpoint = Endpoint {
        format_version: Endpoint::new_format(),
        name: new.name,
        tenant_id: ttid.tenant_id,
        timeline_id: ttid.timeline_id,
        mode: new.mode,
        pg_version: branches.pg_version(ttid.timeline_id),
        pg_port,
        http_port,
        password_verifier: postgres_protocol::password::scram_sha_256(password.as_bytes()),
        password,
        settings: new.settings,
        suspend_timeout: None,
        wanted: false,
    };
    set_suspend_timeout(&mut endpoint, new.suspend_timeout)?;
    if !share_password(env, &mut endpoint)? {
        bail!(
            "branch {:?} has no endpoint that writes, whose password a replica shares: `varve endpoint create` makes one",
            new.branch
        );
    }
    endpoint.save(env)?;
    output.progress(format!("made endpoint {:?} on branch {:?}", endpoint.name, new.branch));
    Ok(endpoint)
}

/// How `endpoint create` says what kind of endpoint it is to be.
pub struct Wanted {
    pub hot_standby: bool,
    pub lsn: Option<Lsn>,
    pub time: Option<Moment>,
}

pub async fn mode(
    env: &LocalEnv,
    tenant_id: Option<TenantId>,
    branch: &str,
    wanted: Wanted,
) -> anyhow::Result<ComputeMode> {
    let Wanted { hot_standby, lsn, time } = wanted;
    if hot_standby {
        return Ok(ComputeMode::Replica);
    }
    if lsn.is_none() && time.is_none() {
        return Ok(ComputeMode::Primary);
    }
    let ttid = env.branches()?.find(tenant_id, branch)?;
    // It says so if what was there is gone, and holds it until the endpoint starts.
    Ok(ComputeMode::Static { lsn: lsn_to_read(env, ttid, lsn, time).await? })
}

/// Roles are part of the branch. So a replica has the password that an endpoint which writes has set there; the one that
/// it had before if there is no such endpoint any more. False if there never was one.
fn share_password(env: &LocalEnv, endpoint: &mut Endpoint) -> anyhow::Result<bool> {
    if endpoint.is_primary() {
        return Ok(true);
    }
    let writers = Endpoint::writers_of(env, endpoint.ttid())?;
    let Some(primary) = writers.into_iter().max_by_key(|other| other.is_in_use(env)) else {
        return Ok(false);
    };
    (endpoint.password, endpoint.password_verifier) = (primary.password, primary.password_verifier);
    Ok(true)
}

/// Starts an endpoint, and waits for those to end that it fences off.
async fn start_and_fence(env: &LocalEnv, wanted: Endpoint, how: Start, output: Output) -> anyhow::Result<()> {
    let fenced = if wanted.process(env).pid().is_some() { Vec::new() } else { running_beside(env, &wanted)? };
    start(env, wanted, how, output).await?;
    for other in fenced {
        output.progress(format!("endpoint {:?} is fenced off: waiting for it to end", other.name));
        // One that is suspended would hear of it when somebody wakes it.
        let client = ComputeClient::new(&other.http_address(), env.credentials.clone());
        if client.status().await.is_ok_and(|status| status.state == ComputeState::Suspended) {
            client.terminate().await?;
        }
        if !other.process(env).ends(FENCED_TIMEOUT).await {
            say(&format!("endpoint {:?} has not ended yet; it cannot commit any more", other.name));
        }
    }
    Ok(())
}

/// The first pair of ports of the cluster's range that no other endpoint has and nobody listens on.
pub fn pick_ports(
    env: &LocalEnv,
    others: &[Endpoint],
    pg_port: Option<u16>,
    http_port: Option<u16>,
) -> anyhow::Result<(u16, u16)> {
    const RANGE: u16 = 50;
    let ports = env.config.ports();
    let owner = |port: u16| others.iter().find(|other| other.pg_port == port || other.http_port == port);
    for port in [pg_port, http_port].into_iter().flatten() {
        if let Some(owner) = owner(port) {
            bail!(
                "port {port} belongs to the endpoint {:?}; without --pg-port and --http-port, free ones are taken",
                owner.name
            );
        }
    }
    let free = |port: u16| owner(port).is_none() && check_port_free("an endpoint", port).is_ok();
    let pick = |asked: Option<u16>, nth: &dyn Fn(u16) -> u16| {
        asked.or_else(|| (0..RANGE).map(nth).find(|port| free(*port))).with_context(|| {
            format!("all {RANGE} ports for endpoints are in use: --pg-port and --http-port name others")
        })
    };
    Ok((pick(pg_port, &|n| ports.endpoint_pg(n))?, pick(http_port, &|n| ports.endpoint_http(n))?))
}

fn new_password() -> String {
    const LETTERS: &[u8] = b"abcdefghijkmnopqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ23456789";
    (0..24).map(|_| char::from(LETTERS[rand::random_range(0..LETTERS.len())])).collect()
}

fn refuse_second(env: &LocalEnv, endpoint: &Endpoint, allow_multiple: bool) -> anyhow::Result<()> {
    if allow_multiple {
        return Ok(());
    }
    if let Some(other) = running_beside(env, endpoint)?.first() {
        bail!(
            "endpoint {:?} runs on the same branch and would be fenced off: stop it first, or say --allow-multiple",
            other.name
        );
    }
    Ok(())
}

/// Other endpoints that write to the branch that this one is to write to.
fn rivals(env: &LocalEnv, endpoint: &Endpoint) -> anyhow::Result<Vec<Endpoint>> {
    if !endpoint.is_primary() {
        return Ok(Vec::new());
    }
    let mut rivals = Endpoint::writers_of(env, endpoint.ttid())?;
    rivals.retain(|other| other.name != endpoint.name);
    Ok(rivals)
}

/// Those of them that run.
fn running_beside(env: &LocalEnv, endpoint: &Endpoint) -> anyhow::Result<Vec<Endpoint>> {
    let mut beside = rivals(env, endpoint)?;
    beside.retain(|other| other.process(env).pid().is_some());
    Ok(beside)
}

/// Those that this one fences off: `varve start` is not to start them, or they would fence this one in turn.
fn give_up_fenced(env: &LocalEnv, endpoint: &Endpoint) -> anyhow::Result<()> {
    for mut other in rivals(env, endpoint)?.into_iter().filter(|other| other.wanted) {
        other.wanted = false;
        other.save(env)?;
    }
    Ok(())
}

/// How an endpoint is to be started.
#[derive(Clone, Copy)]
pub struct Start {
    pub timeout: Duration,
    /// With an empty cache, although the last stop left a full one.
    pub cold: bool,
}

impl Default for Start {
    fn default() -> Start {
        Start { timeout: START_TIMEOUT, cold: false }
    }
}

/// Starts compute_ctl if it does not run, and waits for the first connection to be possible. Whether the branch is archived the
/// caller has asked: see [`refuse_of_archived`].
pub async fn start(env: &LocalEnv, endpoint: Endpoint, how: Start, output: Output) -> anyhow::Result<()> {
    let Start { timeout, cold } = how;
    let process = endpoint.process(env);
    let client = ComputeClient::new(&endpoint.http_address(), env.credentials.clone());
    let running = || async { client.status().await.is_ok_and(|status| status.state.takes_clients()) };
    // One that is found ending, as a fenced one is, is started anew.
    if process.pid().is_some() && process.becomes_ready(timeout, running).await? {
        return Ok(());
    }
    let programs = env.config.pg_bin_dir(endpoint.pg_version);
    // It says which package is missing. Whether what is there is the right one, compute_ctl asks it itself.
    if !programs.join("postgres").exists() {
        check_version(&programs, endpoint.pg_version)?;
    }
    port_becomes_free(&format!("endpoint {:?}", endpoint.name), endpoint.pg_port).await?;
    port_becomes_free(&format!("endpoint {:?} (http)", endpoint.name), endpoint.http_port).await?;
    output.progress(format!("starting endpoint {:?}", endpoint.name));
    let spec_file = env.endpoint_directory(&endpoint.name).join("spec.json");
    write_private(&spec_file, &serde_json::to_vec_pretty(&spec(env, &endpoint)?)?)?;
    let compute = env.compute_directory(&endpoint.name);
    std::fs::create_dir_all(&compute)?;
    let mut command = compute_ctl(
        env,
        endpoint.tenant_id,
        endpoint.pg_version,
        &compute,
        &spec_file,
        &endpoint.http_address(),
    )?;
    if cold {
        command.arg("--cold");
    }
    process.spawn(command)?;
    process.wait_ready(timeout, running).await
}

/// What does not end by itself is not noted as wanted: each start of the cluster would tell of it. The branch of an endpoint that
/// runs is none that could have been archived.
pub async fn refuse_of_archived(env: &LocalEnv, endpoint: &Endpoint) -> anyhow::Result<()> {
    if endpoint.process(env).pid().is_some() {
        return Ok(());
    }
    refuse_archived(env, endpoint.ttid(), &format!("the branch of endpoint {:?}", endpoint.name)).await
}

/// A pageserver that does not answer is waited for by the compute itself.
pub async fn refuse_archived(env: &LocalEnv, ttid: TenantTimelineId, what: &str) -> anyhow::Result<()> {
    let info = pageserver_client(env).timeline(ttid.tenant_id, ttid.timeline_id).await;
    if info.is_ok_and(|info| info.is_archived) {
        bail!("{what} is archived: `varve timeline unarchive` brings it back");
    }
    Ok(())
}

/// Of zero, never: none.
fn set_suspend_timeout(endpoint: &mut Endpoint, timeout: Option<Interval>) -> anyhow::Result<()> {
    endpoint.suspend_timeout = timeout.filter(|timeout| !timeout.0.is_zero());
    suspend_timeout_seconds(endpoint.suspend_timeout)?;
    Ok(())
}

/// False if it did not run.
pub async fn stop_process(
    env: &LocalEnv,
    name: &str,
    mode: StopMode,
    output: Output,
) -> anyhow::Result<bool> {
    let process = process(env, name);
    if process.pid().is_some() {
        output.progress(format!("stopping endpoint {name:?}"));
    }
    let signal = match mode {
        StopMode::Fast => Signal::SIGTERM,
        StopMode::Immediate => Signal::SIGKILL,
    };
    process.stop(signal, STOP_TIMEOUT).await
}

fn remove(env: &LocalEnv, name: &str) -> anyhow::Result<()> {
    for directory in [env.compute_directory(name), env.endpoint_directory(name)] {
        remove_directory(&directory)?;
    }
    Ok(())
}

/// With all that is in it, if it exists.
pub fn remove_directory(directory: &Path) -> anyhow::Result<()> {
    match std::fs::remove_dir_all(directory) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", directory.display()))
        }
        _ => Ok(()),
    }
}

async fn reconfigure(
    env: &LocalEnv,
    mut endpoint: Endpoint,
    changes: Changes,
    output: Output,
) -> anyhow::Result<()> {
    let timeout_before = endpoint.suspend_timeout;
    changes.apply(&mut endpoint)?;
    let request = ConfigureRequest {
        roles: vec![admin_role(&endpoint)],
        databases: vec![],
        settings: settings(&endpoint.settings),
    };
    request.check()?;
    let runs = endpoint.process(env).pid().is_some();
    let mut restart_needed = Vec::new();
    if runs {
        let client = ComputeClient::new(&endpoint.http_address(), env.credentials.clone());
        restart_needed = client.configure(&request).await?.restart_needed;
        if endpoint.suspend_timeout != timeout_before {
            restart_needed.push("suspend_timeout".to_owned());
        }
    }
    // Only now: with a setting that is refused the endpoint would not start again.
    endpoint.save(env)?;
    output.result(
        &json!({
            "endpoint": endpoint.name, "settings": endpoint.settings, "suspend_timeout": endpoint.suspend_timeout,
            "applied": runs, "restart_needed": restart_needed,
        }),
        || {
            let when = if runs { "now" } else { "at its next start" };
            let mut text = format!("endpoint {:?} has the new settings {when}", endpoint.name);
            if !restart_needed.is_empty() {
                text.push_str(&format!("; {} only after a restart", restart_needed.join(", ")));
            }
            text
        },
    )
}

/// What `endpoint reconfigure` is to do to an endpoint.
pub struct Changes {
    pub set: Vec<(String, String)>,
    pub unset: Vec<String>,
    pub suspend_timeout: Option<Interval>,
}

impl Changes {
    fn apply(self, endpoint: &mut Endpoint) -> anyhow::Result<()> {
        if self.suspend_timeout.is_some() {
            set_suspend_timeout(endpoint, self.suspend_timeout)?;
        }
        let settings = &mut endpoint.settings;
        for name in self.unset {
            let before = settings.len();
            settings.retain(|(existing, _)| !existing.eq_ignore_ascii_case(&name));
            if settings.len() == before {
                let present: Vec<&str> = settings.iter().map(|(name, _)| name.as_str()).collect();
                let present = if present.is_empty() { "none".to_owned() } else { present.join(", ") };
                bail!("the endpoint has no setting {name:?}; set are: {present}");
            }
        }
        for (name, value) in self.set {
            settings.retain(|(existing, _)| !existing.eq_ignore_ascii_case(&name));
            settings.push((name, value));
        }
        Ok(())
    }
}

/// One that cannot be read has its row, and makes the command fail when the others are shown.
async fn list(env: &LocalEnv, tenant_id: Option<TenantId>, output: Output) -> anyhow::Result<()> {
    let branches = env.branches()?;
    let mut values = Vec::new();
    let mut rows = Vec::new();
    let endpoints = Endpoints::load(env)?;
    for endpoint in endpoints.readable.iter().filter(|e| tenant_id.is_none_or(|id| e.tenant_id == id)) {
        let pid = endpoint.process(env).pid();
        let branch =
            branches.name_of(endpoint.tenant_id, endpoint.timeline_id).unwrap_or("(no name)").to_owned();
        values.push(json!({
            "endpoint": endpoint.name, "branch_name": branch, "mode": endpoint.mode, "tenant_id": endpoint.tenant_id,
            "timeline_id": endpoint.timeline_id, "pg_port": endpoint.pg_port, "http_port": endpoint.http_port, "pid": pid,
        }));
        let state = match pid {
            Some(_) => Cell::new("up", Look::Good),
            None if endpoint.wanted => Cell::new("down", Look::Bad),
            None => Cell::new("stopped", Look::Faint),
        };
        let does = match endpoint.mode {
            ComputeMode::Primary => "writes".to_owned(),
            ComputeMode::Replica => "follows".to_owned(),
            ComputeMode::Static { lsn } => format!("at {lsn}"),
        };
        let port = endpoint.pg_port.to_string();
        rows.push(vec![endpoint.name.as_str().into(), branch.into(), does.into(), state, port.into()]);
    }
    for unreadable in &endpoints.unreadable {
        let state = Cell::new("unreadable", Look::Bad);
        rows.push(vec![unreadable.name.as_str().into(), "?".into(), "?".into(), state, "?".into()]);
    }
    output.result(&values, || table(&["ENDPOINT", "BRANCH", "DOES", "STATE", "PORT"], rows))?;
    endpoints.complete().map(drop)
}

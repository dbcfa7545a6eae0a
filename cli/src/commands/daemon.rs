//! `pageserver`, `safekeeper`, `broker`: one daemon, or all of a kind.

use std::fs::File;

use anyhow::bail;
use nix::fcntl::Flock;
use serde_json::json;
use types::NodeId;

use crate::arguments::DaemonCommand;
use crate::local_env::LocalEnv;
use crate::output::{Output, table};
use crate::storage::Daemon;

pub fn all_safekeepers(env: &LocalEnv) -> Vec<Daemon> {
    (1..=env.config.num_safekeepers).map(|id| Daemon::Safekeeper(NodeId(id))).collect()
}

pub async fn run(
    env: &LocalEnv,
    kind: impl Fn(&LocalEnv) -> Vec<Daemon>,
    command: DaemonCommand,
    lock: impl FnOnce() -> anyhow::Result<Flock<File>>,
    output: Output,
) -> anyhow::Result<()> {
    match command {
        DaemonCommand::Start { id } => {
            let _lock = lock()?;
            for daemon in choose(kind(env), id)? {
                let started = daemon.start(env, output).await?;
                report(daemon, if started { "started" } else { "running already" }, output)?;
            }
        }
        DaemonCommand::Stop { id, stop } => {
            let _lock = lock()?;
            for daemon in choose(kind(env), id)? {
                let stopped = daemon.stop(env, stop.mode, output).await?;
                report(daemon, if stopped { "stopped" } else { "not running" }, output)?;
            }
        }
        DaemonCommand::Status { id } => status(env, &choose(kind(env), id)?, output)?,
    }
    Ok(())
}

fn choose(all: Vec<Daemon>, id: Option<NodeId>) -> anyhow::Result<Vec<Daemon>> {
    let Some(id) = id else { return Ok(all) };
    // The single daemons have the number 1, as in neon_local.
    let own = |daemon: &Daemon| match daemon {
        Daemon::Safekeeper(own) => *own,
        Daemon::Broker | Daemon::Pageserver => NodeId(1),
    };
    let chosen: Vec<Daemon> = all.into_iter().filter(|daemon| own(daemon) == id).collect();
    if chosen.is_empty() {
        bail!("there is none with id {id}");
    }
    Ok(chosen)
}

fn report(daemon: Daemon, what: &str, output: Output) -> anyhow::Result<()> {
    output.result(&json!({ "name": daemon.name(), "state": what }), || format!("{}: {what}", daemon.name()))
}

fn status(env: &LocalEnv, daemons: &[Daemon], output: Output) -> anyhow::Result<()> {
    let rows: Vec<_> =
        daemons.iter().map(|daemon| (daemon.name(), daemon.process(env).pid(), daemon.ports(env))).collect();
    let value: Vec<_> = rows
        .iter()
        .map(|(name, pid, ports)| {
            json!({ "name": name, "pid": pid, "ports": ports.iter().copied().collect::<std::collections::BTreeMap<_, _>>() })
        })
        .collect();
    output.result(&value, || {
        table(
            &["NAME", "STATE", "PID", "PORTS"],
            rows.iter().map(|(name, pid, ports)| {
                let ports: Vec<String> = ports.iter().map(|(what, port)| format!("{what} {port}")).collect();
                let state = if pid.is_some() { "up" } else { "down" };
                vec![name.clone(), state.into(), pid.map_or("-".into(), |p| p.to_string()), ports.join(", ")]
            }),
        )
    })?;
    if rows.iter().any(|(_, pid, _)| pid.is_none()) {
        bail!("not all of it runs");
    }
    Ok(())
}

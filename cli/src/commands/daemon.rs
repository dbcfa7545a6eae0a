//! `pageserver`, `safekeeper`, `broker`: one daemon, or all of a kind.

use std::collections::BTreeMap;
use std::process::ExitCode;

use anyhow::bail;
use serde_json::json;
use types::NodeId;

use crate::arguments::DaemonCommand;
use crate::local_env::LocalEnv;
use crate::output::table::{Cell, Look, table};
use crate::output::{Output, alternatives};
use crate::storage::Daemon;

pub fn all_safekeepers(env: &LocalEnv) -> Vec<Daemon> {
    env.config.safekeeper_ids().into_iter().map(Daemon::Safekeeper).collect()
}

pub const fn only_reads(command: &DaemonCommand) -> bool {
    matches!(command, DaemonCommand::Status { .. })
}

pub async fn run(
    env: &LocalEnv,
    kind: impl Fn(&LocalEnv) -> Vec<Daemon>,
    command: DaemonCommand,
    output: Output,
) -> anyhow::Result<ExitCode> {
    let mut reports = Vec::new();
    match command {
        DaemonCommand::Start { id } => {
            for daemon in choose(kind(env), id)? {
                let started = daemon.start(env, output).await?;
                reports.push((daemon.name(), if started { "started" } else { "running already" }));
            }
        }
        DaemonCommand::Stop { id, stop } => {
            for daemon in choose(kind(env), id)? {
                let stopped = daemon.stop(env, stop.mode, output).await?;
                reports.push((daemon.name(), if stopped { "stopped" } else { "not running" }));
            }
        }
        DaemonCommand::Status { id } => return status(env, &choose(kind(env), id)?, output),
    }
    let values: Vec<_> =
        reports.iter().map(|(name, state)| json!({ "name": name, "state": state })).collect();
    output.result(&values, || {
        reports.iter().map(|(name, state)| format!("{name}: {state}\n")).collect::<String>()
    })?;
    Ok(ExitCode::SUCCESS)
}

fn choose(all: Vec<Daemon>, id: Option<NodeId>) -> anyhow::Result<Vec<Daemon>> {
    let Some(id) = id else { return Ok(all) };
    // The single daemons have the number 1, as in neon_local.
    let own = |daemon: &Daemon| match daemon {
        Daemon::Safekeeper(own) => *own,
        Daemon::Broker | Daemon::Pageserver => NodeId(1),
    };
    let known: Vec<String> = all.iter().map(|daemon| own(daemon).to_string()).collect();
    let chosen: Vec<Daemon> = all.into_iter().filter(|daemon| own(daemon) == id).collect();
    if chosen.is_empty() {
        bail!("there is none with the id {id}; {}", alternatives(known));
    }
    Ok(chosen)
}

/// Whether they run is also the exit status.
fn status(env: &LocalEnv, daemons: &[Daemon], output: Output) -> anyhow::Result<ExitCode> {
    let rows: Vec<_> =
        daemons.iter().map(|daemon| (daemon.name(), daemon.process(env).pid(), daemon.ports(env))).collect();
    let value: Vec<_> = rows
        .iter()
        .map(|(name, pid, ports)| {
            let state = if pid.is_some() { "up" } else { "down" };
            let ports: BTreeMap<_, _> = ports.iter().copied().collect();
            json!({ "name": name, "state": state, "pid": pid, "ports": ports })
        })
        .collect();
    output.result(&value, || {
        table(
            &["NAME", "STATE", "PID", "PORTS"],
            rows.iter().map(|(name, pid, ports)| {
                let ports: Vec<String> = ports.iter().map(|(what, port)| format!("{what} {port}")).collect();
                let (state, look) = if pid.is_some() { ("up", Look::Good) } else { ("down", Look::Bad) };
                let pid = pid.map_or("-".into(), |pid| pid.to_string());
                let name = Cell::from(name.as_str());
                vec![name, Cell::new(state, look), pid.into(), ports.join(", ").into()]
            }),
        )
    })?;
    let all_run = rows.iter().all(|(_, pid, _)| pid.is_some());
    Ok(if all_run { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

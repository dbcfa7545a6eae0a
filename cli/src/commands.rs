//! One module per verb. Each gets the cluster and an [`Output`], and says what it did.

mod auth;
mod completions;
mod connect;
mod container;
mod control_files;
mod daemon;
mod doctor;
pub mod endpoint;
mod explain_read;
mod export;
mod logs;
mod man;
mod membership;
mod recover;
pub mod status;
pub mod tenant;
pub mod timeline;
pub mod top;
mod up;

use std::path::Path;
use std::process::ExitCode;

use crate::arguments::{Arguments, Command, PageserverCommand, SafekeeperCommand};
use crate::console;
use crate::local_env::LocalEnv;
use crate::output::Output;
use crate::storage::Daemon;

pub async fn run(arguments: Arguments, output: Output) -> anyhow::Result<ExitCode> {
    let directory: &Path = &arguments.data_dir;
    let open = || LocalEnv::load(directory);
    let open_here = || {
        let env = LocalEnv::load(directory)?;
        env.check_runs_here()?;
        anyhow::Ok(env)
    };
    // Commands that change something wait here for one another; those that only look do not.
    let lock = || LocalEnv::lock(directory);
    // What the one before has changed is read behind it. Before there is a cluster there is nothing to lock.
    let behind_others = |waits: bool, open: &dyn Fn() -> anyhow::Result<LocalEnv>| {
        let env = open()?;
        if !waits {
            return Ok((None, env));
        }
        let lock = lock()?;
        anyhow::Ok((Some(lock), open()?))
    };
    // The arms that `return` have a verdict of their own.
    match arguments.command {
        Command::Up(init) => {
            if LocalEnv::exists(directory) {
                open_here()?;
            }
            up::up(directory, &init, lock()?, output).await
        }
        Command::Init(init) => {
            let _lock = lock()?;
            up::init_alone(directory, &init, output)
        }
        Command::Start => {
            let (_lock, env) = behind_others(true, &open_here)?;
            up::start(&env, output).await
        }
        Command::Down(stop) | Command::Stop(stop) => {
            let (_lock, env) = behind_others(true, &open_here)?;
            up::stop(&env, stop.mode, output).await
        }
        Command::Status => return status::status(&open()?, output).await,
        Command::Top { every, rounds } => top::top(&open()?, every.0, rounds).await,
        Command::Doctor => return doctor::doctor(&open()?, output).await,
        Command::Recover => {
            let (_lock, env) = behind_others(true, &open)?;
            recover::recover(&env, output).await
        }
        Command::Console(arguments) => console::console(directory, arguments, output).await,
        Command::Connstr(connstr) => connect::connstr(&open_here()?, &connstr, output),
        Command::Psql(psql) => connect::psql(&open_here()?, &psql),
        Command::Logs(logs) => logs::logs(&open_here()?, &logs, output).await,
        Command::Tenant(command) => {
            let (_lock, env) = behind_others(!tenant::only_reads(&command), &open)?;
            tenant::run(&env, command, output).await
        }
        Command::Timeline(command) => {
            let (_lock, env) = behind_others(!timeline::only_reads(&command), &open)?;
            timeline::run(&env, command, output).await
        }
        Command::Endpoint(command) => {
            let (lock, env) = behind_others(!endpoint::only_reads(&command), &open_here)?;
            endpoint::run(&env, lock, command, output).await
        }
        Command::Pageserver(PageserverCommand::ExplainRead { block, branch_name, tenant_id }) => {
            explain_read::explain(&open()?, block, &branch_name, tenant_id, output).await
        }
        Command::Pageserver(PageserverCommand::Daemon(command)) => {
            let (_lock, env) = behind_others(!daemon::only_reads(&command), &open_here)?;
            return daemon::run(&env, |_| vec![Daemon::Pageserver], command, output).await;
        }
        Command::Broker(command) => {
            let (_lock, env) = behind_others(!daemon::only_reads(&command), &open_here)?;
            return daemon::run(&env, |_| vec![Daemon::Broker], command, output).await;
        }
        Command::Safekeeper(SafekeeperCommand::Daemon(command)) => {
            let (_lock, env) = behind_others(!daemon::only_reads(&command), &open_here)?;
            return daemon::run(&env, daemon::all_safekeepers, command, output).await;
        }
        Command::Safekeeper(SafekeeperCommand::DumpControl { id, timeline_id }) => {
            control_files::dump(&open_here()?, id, timeline_id, output)
        }
        Command::Safekeeper(SafekeeperCommand::Add { id, host }) => {
            let (_lock, mut env) = behind_others(true, &open)?;
            membership::add(&mut env, id, host, output).await
        }
        Command::Safekeeper(SafekeeperCommand::Remove { id }) => {
            let (_lock, mut env) = behind_others(true, &open)?;
            membership::remove(&mut env, id, output).await
        }
        Command::Auth(command) => {
            let (_lock, env) = behind_others(!auth::only_reads(&command), &open)?;
            auth::run(env, command, output).await
        }
        Command::Container(command) => container::run(directory, command, output).await,
        Command::Completions(arguments) => completions::completions(&arguments),
        Command::Man { directory } => man::write_pages(&directory),
    }
    .map(|()| ExitCode::SUCCESS)
}

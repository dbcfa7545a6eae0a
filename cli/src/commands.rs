//! One module per verb. Each gets the cluster and an [`Output`], and says what it did.

mod connect;
mod daemon;
mod endpoint;
mod export;
mod status;
mod tenant;
mod timeline;
mod up;

use std::path::Path;

use crate::arguments::{Arguments, Command};
use crate::local_env::LocalEnv;
use crate::output::Output;
use crate::storage::Daemon;

pub async fn run(arguments: Arguments, output: Output) -> anyhow::Result<()> {
    let directory: &Path = &arguments.data_dir;
    let open = || LocalEnv::load(directory);
    // Commands that change something wait here for one another; those that only look do not.
    let lock = || LocalEnv::lock(directory);
    match arguments.command {
        Command::Up(init) => up::up(directory, &init, lock()?, output).await,
        Command::Init(init) => {
            let _lock = lock()?;
            up::init(directory, &init, output).map(drop)
        }
        Command::Start => {
            let env = open()?;
            let _lock = lock()?;
            up::start(&env, output).await
        }
        Command::Down(stop) | Command::Stop(stop) => {
            let env = open()?;
            let _lock = lock()?;
            up::stop(&env, stop.mode, output).await
        }
        Command::Status => status::status(&open()?, output).await,
        Command::Connstr(connstr) => connect::connstr(&open()?, &connstr, output),
        Command::Psql(psql) => connect::psql(&open()?, &psql),
        Command::Logs(logs) => connect::logs(&open()?, &logs),
        Command::Tenant(command) => {
            let env = open()?;
            let _lock = lock()?;
            tenant::run(&env, command, output).await
        }
        Command::Timeline(command) => {
            let env = open()?;
            let _lock = if timeline::only_reads(&command) { None } else { Some(lock()?) };
            timeline::run(&env, command, output).await
        }
        Command::Endpoint(command) => endpoint::run(&open()?, command, lock, output).await,
        Command::Pageserver(command) => {
            daemon::run(&open()?, |_| vec![Daemon::Pageserver], command, lock, output).await
        }
        Command::Broker(command) => {
            daemon::run(&open()?, |_| vec![Daemon::Broker], command, lock, output).await
        }
        Command::Safekeeper(command) => {
            daemon::run(&open()?, daemon::all_safekeepers, command, lock, output).await
        }
    }
}

//! `connstr`, `psql`, `logs`: how a person gets at an endpoint and at what went wrong.

use std::os::unix::process::CommandExt;
use std::process::Command;

use anyhow::{Context, bail};
use serde_json::json;

use crate::arguments::{ConnstrArguments, LogsArguments, PsqlArguments};
use crate::endpoints::Endpoint;
use crate::local_env::LocalEnv;
use crate::output::Output;
use crate::process::Process;
use crate::storage::Daemon;

pub fn connstr(env: &LocalEnv, arguments: &ConnstrArguments, output: Output) -> anyhow::Result<()> {
    let connection = Endpoint::load(env, &arguments.endpoint)?.connection_string(&arguments.database);
    output.result(&json!({ "connstr": connection }), || connection.clone())
}

/// Becomes psql, so that signals and the exit code are psql's own.
pub fn psql(env: &LocalEnv, arguments: &PsqlArguments) -> anyhow::Result<()> {
    let endpoint = Endpoint::load(env, &arguments.endpoint)?;
    if endpoint.process(env).pid().is_none() {
        bail!("endpoint {0:?} does not run: `varve endpoint start {0}` starts it", endpoint.name);
    }
    let program = env.config.pg_bin_dir.join("psql");
    let error = Command::new(&program)
        .arg(endpoint.connection_string("postgres"))
        .args(&arguments.psql_arguments)
        .exec();
    Err(error).with_context(|| format!("cannot run {}", program.display()))
}

pub fn logs(env: &LocalEnv, arguments: &LogsArguments) -> anyhow::Result<()> {
    let name = &arguments.name;
    let daemons: Vec<String> = Daemon::all(env).iter().map(|daemon| daemon.name()).collect();
    let process = if daemons.contains(name) {
        Process::new(name.clone(), env.run_directory())
    } else if Endpoint::exists(env, name) {
        Endpoint::load(env, name)?.process(env)
    } else {
        let endpoints: Vec<String> = Endpoint::all(env)?.into_iter().map(|endpoint| endpoint.name).collect();
        bail!("there is no log of {name:?}; there are: {}", [daemons, endpoints].concat().join(", "));
    };
    let path = process.log_file();
    if !path.exists() {
        bail!("{name} has not written a log yet");
    }
    let mut tail = Command::new("tail");
    tail.args(["-n", if arguments.follow { "50" } else { "+1" }]);
    if arguments.follow {
        tail.arg("-F");
    }
    Err(tail.arg(&path).exec()).context("cannot run tail")
}

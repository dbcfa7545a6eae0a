//! `connstr`, `psql`: how a person gets at an endpoint.

use std::os::unix::process::CommandExt;
use std::process::Command;

use anyhow::{Context, bail};
use serde_json::json;

use crate::arguments::{ConnstrArguments, PsqlArguments};
use crate::endpoints::Endpoint;
use crate::local_env::LocalEnv;
use crate::output::Output;

pub fn connstr(env: &LocalEnv, arguments: &ConnstrArguments, output: Output) -> anyhow::Result<()> {
    let connection = Endpoint::load(env, &arguments.endpoint)?.connection_string(env, &arguments.database);
    output.result(&json!({ "connstr": connection }), || connection.clone())
}

/// Becomes psql, so that signals and the exit code are psql's own.
pub fn psql(env: &LocalEnv, arguments: &PsqlArguments) -> anyhow::Result<()> {
    let endpoint = Endpoint::load(env, &arguments.endpoint)?;
    if endpoint.process(env).pid().is_none() {
        bail!("endpoint {0:?} does not run: `{1} endpoint start {0}` starts it", endpoint.name, env.varve());
    }
    let program = env.config.pg_bin_dir(endpoint.pg_version).join("psql");
    let error = Command::new(&program)
        .arg(endpoint.connection_string_without_password(env, "postgres"))
        .env("PGPASSWORD", &endpoint.password)
        .args(&arguments.psql_arguments)
        .exec();
    Err(error).with_context(|| format!("cannot run {}", program.display()))
}

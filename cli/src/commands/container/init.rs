//! `container init`: makes a cluster out of storage daemons that run elsewhere, once. Every step may be
//! repeated, so one that died is run again and goes on.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use serde_json::json;
use types::TenantTimelineId;

use super::first_start::{Owner, first_start};
use super::first_tenant::FirstTenant;
use crate::arguments::ContainerInitArguments;
use crate::commands::{tenant, up};
use crate::local_env::{Config, Hosts, Installation, LocalEnv, check_host};
use crate::output::Output;
use crate::storage::{Daemon, pageserver_client};

const STORAGE_TIMEOUT: Duration = Duration::from_secs(120);
const POLL: Duration = Duration::from_millis(200);

pub async fn init(
    directory: &Path,
    arguments: &ContainerInitArguments,
    output: Output,
) -> anyhow::Result<()> {
    let _lock = LocalEnv::lock(directory)?;
    // Compose passes on a variable that is not set as an empty one.
    let tls_names: Vec<String> = arguments.tls_name.iter().filter(|name| !name.is_empty()).cloned().collect();
    let complete_certificate = |env: &mut LocalEnv| match tls_names[..] {
        [] => Ok(()),
        [..] => env.complete_endpoints(&tls_names),
    };
    let begun = FirstTenant::load(directory)?;
    if let Some(first) = begun.as_ref().filter(|first| first.complete) {
        // One of a version that had one token for everything gets keys here, and its computes their tokens.
        let mut env = complete_tls(LocalEnv::load(directory)?, arguments, output)?;
        for (tenant, _) in env.branches()?.tenants() {
            env.keys.tenant_token_file(tenant)?;
        }
        complete_certificate(&mut env)?;
        return report(first, "was made before; nothing is changed", output);
    }
    if arguments.keys_only {
        let mut env = open_or_create(directory, arguments, output)?;
        complete_certificate(&mut env)?;
        let auth = directory.join("auth");
        let tls = env.config.tls;
        return output.result(&json!({ "auth": auth, "tls": tls }), || {
            let hosts = if tls { ", of hosts/ to each machine its own," } else { "," };
            format!(
                "keys and tokens are in {}: private/ stays here{hosts} the rest goes to all machines",
                auth.display()
            )
        });
    }
    // Before anything is made, so that it is not made for somebody who cannot come in.
    let owner = Owner::new(arguments)?;
    let mut env = open_or_create(directory, arguments, output)?;
    complete_certificate(&mut env)?;
    for daemon in Daemon::all(&env) {
        wait_for(daemon, &env, output).await?;
    }
    let mut first = match begun {
        Some(first) => first,
        None => begin(&env).await?,
    };
    if first.complete {
        return report(&first, "was recovered, and goes on", output);
    }
    up::put_template(&env, env.config.pg_version, output).await?;
    let new = tenant::NewTenant {
        tenant_id: first.tenant_id,
        timeline_id: first.timeline_id,
        ..tenant::NewTenant::of(env.config.pg_version)
    };
    tenant::create(&env, &mut env.branches()?, new, output).await?;
    output.progress("making the first role and database");
    let ttid = TenantTimelineId::new(first.tenant_id, first.timeline_id);
    first_start(&env, &owner.spec(&env, ttid)).await?;
    first.complete = true;
    first.save(directory)?;
    report(&first, "is made", output)
}

fn report(first: &FirstTenant, what: &str, output: Output) -> anyhow::Result<()> {
    let value = json!({ "tenant_id": first.tenant_id, "timeline_id": first.timeline_id });
    output.result(&value, || format!("tenant {} with timeline {} {what}", first.tenant_id, first.timeline_id))
}

/// The keys come into being here, which the daemons wait for.
fn open_or_create(
    directory: &Path,
    arguments: &ContainerInitArguments,
    output: Output,
) -> anyhow::Result<LocalEnv> {
    let mut hosts = Hosts::new(&arguments.broker, &arguments.pageserver, &arguments.safekeepers);
    if !LocalEnv::exists(directory) {
        output.progress("making the cluster's keys and configuration");
        if arguments.tls {
            hosts.computes = computes(arguments)?;
        }
        let mut config = Config::with_hosts(hosts, Installation::choose(None, None)?)?;
        config.tls = arguments.tls;
        return LocalEnv::create(directory, config);
    }
    let env = LocalEnv::load(directory)?;
    if !env.config.hosts.as_ref().is_some_and(|known| known.has_parts_of(&hosts)) {
        bail!("the cluster in {} has other hosts: see its config.toml", directory.display());
    }
    complete_tls(env, arguments, output)
}

/// A certificate for every host that has none, if the parts are to speak TLS, or do.
fn complete_tls(
    mut env: LocalEnv,
    arguments: &ContainerInitArguments,
    output: Output,
) -> anyhow::Result<LocalEnv> {
    if !arguments.tls && !env.config.tls {
        return Ok(env);
    }
    let begins = !env.config.tls;
    let Some(hosts) = &mut env.config.hosts else {
        bail!("the parts of this cluster are processes of this machine: `varve up --tls` is for those");
    };
    let mut new = computes(arguments)?;
    new.retain(|host| !hosts.computes.contains(host));
    let changed = begins || !new.is_empty();
    hosts.computes.extend(new);
    env.certificates.complete_hosts(hosts)?;
    if !changed {
        return Ok(env);
    }
    // Last: who starts parts reads it, and has them show what is there.
    env.config.tls = true;
    env.save_config()?;
    if begins {
        output.progress("the parts speak TLS from their next start on: all of them have to be stopped once");
    }
    LocalEnv::load(&env.directory)
}

/// Compose passes on a variable that is not set as an empty one.
fn computes(arguments: &ContainerInitArguments) -> anyhow::Result<Vec<String>> {
    let given: Vec<String> = arguments.computes.iter().filter(|host| !host.is_empty()).cloned().collect();
    given.iter().try_for_each(|host| check_host(host))?;
    Ok(given)
}

async fn wait_for(daemon: Daemon, env: &LocalEnv, output: Output) -> anyhow::Result<()> {
    let started = Instant::now();
    let mut said = false;
    while let Err(error) = daemon.check(env).await {
        if started.elapsed() > STORAGE_TIMEOUT {
            return Err(error).with_context(|| format!("{} is not ready", daemon.name()));
        }
        if !said {
            output.progress(format!("waiting for {}", daemon.name()));
            said = true;
        }
        tokio::time::sleep(POLL).await;
    }
    Ok(())
}

/// Storage that has tenants when we know of none is somebody's: an empty database beside them would look as
/// if all was lost. `varve recover` makes them known.
async fn begin(env: &LocalEnv) -> anyhow::Result<FirstTenant> {
    let branches = env.branches()?;
    if let Some(tenant_id) = branches.default_tenant()
        && let Ok(timeline_id) = branches.timeline(tenant_id, tenant::MAIN_BRANCH)
    {
        let first = FirstTenant::recovered(tenant_id, timeline_id);
        first.save(&env.directory)?;
        env.keys.tenant_token_file(tenant_id)?;
        return Ok(first);
    }
    if let Some(theirs) = pageserver_client(env).tenants().await?.first() {
        bail!(
            "the pageserver has data already (tenant {}), but {} does not know it: restore that volume from its \
             backup; if there is none, `docker compose run --rm init recover`; or remove the volumes of the storage too",
            theirs.id,
            env.directory.display()
        );
    }
    let first = FirstTenant::generate();
    first.save(&env.directory)?;
    Ok(first)
}

//! What a compute is started with: the command, and its specification.

use std::num::NonZeroU32;
use std::path::Path;
use std::process::Command;

use anyhow::Context;
use compute_api::{
    ComputeMode, ComputeSpec, PageserverAddress, RoleSpec, SPEC_FORMAT_VERSION, SafekeeperAddress,
    SettingSpec,
};
use pageserver_api::history::Interval;
use types::{PgVersion, TenantId, TenantTimelineId};

use crate::endpoints::{ADMIN_ROLE, Endpoint};
use crate::local_env::{LocalEnv, PartsTls, Whose};
use crate::storage::program;

/// compute_ctl with `home` for its own.
pub fn compute_ctl(
    env: &LocalEnv,
    tenant: TenantId,
    pg_version: PgVersion,
    home: &Path,
    spec_file: &Path,
    http_address: &str,
) -> anyhow::Result<Command> {
    let mut command = Command::new(program("compute_ctl")?);
    command.arg("--pgdata").arg(home.join("pgdata"));
    command.arg("--spec").arg(spec_file);
    command.arg("--pgbin").arg(env.config.pg_bin_dir(pg_version));
    command.arg("--listen-http").arg(http_address);
    command.arg("--auth-public-key-path").arg(env.keys.public());
    command.arg("--auth-token-file").arg(env.keys.tenant_token_file(tenant)?);
    command.args(env.config.trace_arguments());
    if let Some((certificate, key)) = env.certificates.of(Whose::Endpoints) {
        command.arg("--tls-cert-file").arg(certificate).arg("--tls-key-file").arg(key);
    }
    if let Some(PartsTls { certificate, key, authority }) = env.tls_of_parts() {
        command.arg("--http-tls-cert-file").arg(certificate).arg("--http-tls-key-file").arg(key);
        command.arg("--tls-ca-file").arg(authority);
    }
    Ok(command)
}

pub fn spec(env: &LocalEnv, endpoint: &Endpoint) -> anyhow::Result<ComputeSpec> {
    let spec = ComputeSpec {
        pg_port: endpoint.pg_port,
        mode: endpoint.mode,
        suspend_timeout_seconds: suspend_timeout_seconds(endpoint.suspend_timeout)?,
        roles: vec![admin_role(endpoint)],
        settings: settings(&endpoint.settings),
        ..bare_spec(env, endpoint.ttid(), &endpoint.name, endpoint.pg_version)
    };
    spec.check()?;
    Ok(spec)
}

/// A compute of a timeline of this cluster's, without roles, databases and settings. It listens on PostgreSQL's
/// own port, on this host only.
pub fn bare_spec(env: &LocalEnv, ttid: TenantTimelineId, name: &str, pg_version: PgVersion) -> ComputeSpec {
    let address = |id| SafekeeperAddress { id, pg_connstr: env.config.safekeeper_pg_address(id) };
    ComputeSpec {
        format_version: SPEC_FORMAT_VERSION,
        tenant_id: ttid.tenant_id,
        timeline_id: ttid.timeline_id,
        endpoint_id: name.to_owned(),
        mode: ComputeMode::Primary,
        pg_version,
        safekeepers: env.config.safekeeper_ids().into_iter().map(address).collect(),
        pageserver: PageserverAddress { pg_connstr: env.config.pageserver_pg_address() },
        pg_listen_addr: "127.0.0.1".to_owned(),
        pg_port: 5432,
        suspend_timeout_seconds: None,
        roles: Vec::new(),
        databases: Vec::new(),
        settings: Vec::new(),
    }
}

pub fn suspend_timeout_seconds(timeout: Option<Interval>) -> anyhow::Result<Option<NonZeroU32>> {
    let Some(timeout) = timeout else { return Ok(None) };
    let seconds = u32::try_from(timeout.0.as_secs());
    let seconds =
        seconds.with_context(|| format!("a compute is not left unused for {timeout}: take less"))?;
    Ok(NonZeroU32::new(seconds))
}

pub fn admin_role(endpoint: &Endpoint) -> RoleSpec {
    RoleSpec {
        name: ADMIN_ROLE.to_owned(),
        encrypted_password: Some(endpoint.password_verifier.clone()),
        superuser: true,
        createdb: true,
        createrole: true,
        login: true,
    }
}

pub fn settings(pairs: &[(String, String)]) -> Vec<SettingSpec> {
    let pair = |(name, value): &(String, String)| SettingSpec { name: name.clone(), value: value.clone() };
    pairs.iter().map(pair).collect()
}

//! `auth`: tokens for people and programs outside, new keys and new certificates.

mod certificate;

use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, bail};
use auth::{Claims, Scope};
use http_client::{HttpClient, Method, StatusCode};
use serde_json::json;

use crate::arguments::AuthCommand;
use crate::endpoints::Endpoint;
use crate::local_env::LocalEnv;
use crate::output::Output;
use crate::storage::Daemon;

/// Parts look for new keys and tokens once a second, and computes hand them on to PostgreSQL as often.
const SETTLING: Duration = Duration::from_secs(4);
const PATIENCE: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(200);

pub const fn only_reads(command: &AuthCommand) -> bool {
    matches!(command, AuthCommand::Token { .. })
}

pub async fn run(env: LocalEnv, command: AuthCommand, output: Output) -> anyhow::Result<()> {
    match command {
        AuthCommand::Token { scopes, tenant_id, valid_for, subject } => {
            let of_tenant = scopes.contains(&Scope::Tenant);
            let mut claims = match tenant_id {
                Some(tenant) if scopes == [Scope::Tenant] => Claims::tenant(tenant),
                None if !of_tenant => Claims::new(scopes),
                Some(_) => bail!("--tenant-id goes with --scope tenant alone"),
                None => bail!("a token of scope tenant is of one tenant: --tenant-id says of which"),
            };
            if let Some(length) = valid_for {
                let end = SystemTime::now()
                    .checked_add(length.0)
                    .context("--valid-for ends after the end of time")?;
                claims = claims.expires(end);
            }
            let token = env.keys.signing_key()?.sign(&claims.subject(subject))?;
            output.result(&json!({ "token": token }), || token.clone())
        }
        AuthCommand::Rotate => rotate(&env, output).await,
        AuthCommand::Certificate { tls_name, parts, host } => match host {
            Some(host) => certificate::of_host(env, &host, &tls_name, output),
            None if parts => certificate::of_parts(env, output),
            None => certificate::all(env, &tls_name, output),
        },
    }
}

/// New key, new tokens, old key gone; nothing is restarted and no request is refused meanwhile.
async fn rotate(env: &LocalEnv, output: Output) -> anyhow::Result<()> {
    let new = env.keys.add()?;
    let probe = new.credentials()?.believing(env.credentials.trust().cloned());
    output.progress("waiting until all parts believe the new key");
    for (name, address, path) in parts(env)? {
        let part = HttpClient::new("it", &address, probe.clone());
        believes(&part, path).await.with_context(|| {
            format!("{name} does not believe the new key; the old one and its tokens stay in force")
        })?;
    }
    env.keys.switch_to(&new)?;
    output.progress("waiting until all parts present their new tokens");
    tokio::time::sleep(SETTLING).await;
    let retired = env.keys.retire_all_but(&new)?;
    output.result(&json!({ "retired_keys": retired }), || {
        format!(
            "all tokens were replaced; those signed before are refused from now on ({retired} key(s) retired)"
        )
    })
}

/// A part that does not run reads its keys when it starts.
async fn believes(part: &HttpClient, path: &str) -> anyhow::Result<()> {
    let started = Instant::now();
    loop {
        match part.send(part.request(Method::GET, path)).await {
            Err(error) if error.status() == Some(StatusCode::UNAUTHORIZED) => {
                if started.elapsed() > PATIENCE {
                    return Err(error.into());
                }
            }
            Ok(()) | Err(_) => return Ok(()),
        }
        tokio::time::sleep(POLL).await;
    }
}

/// Name, address of the HTTP API, and where it says how it is.
fn parts(env: &LocalEnv) -> anyhow::Result<Vec<(String, String, &'static str)>> {
    let daemon = |daemon: Daemon| {
        let (address, path) = daemon.status_at(env);
        (daemon.in_words(), address, path)
    };
    let endpoint =
        |endpoint: Endpoint| (format!("endpoint {:?}", endpoint.name), endpoint.http_address(), "/v1/status");
    let endpoints = Endpoint::all(env)?.into_iter().map(endpoint);
    Ok(Daemon::all(env).into_iter().map(daemon).chain(endpoints).collect())
}

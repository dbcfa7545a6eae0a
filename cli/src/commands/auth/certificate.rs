//! `auth certificate`: new certificates of the same authorities, so that nobody has to believe anybody else.

use anyhow::{Context, bail};
use serde_json::json;

use crate::local_env::{LocalEnv, Whose, check_host};
use crate::output::Output;

/// Of endpoints, and of the parts if they have any.
pub fn all(env: LocalEnv, names: &[String], output: Output) -> anyhow::Result<()> {
    let had_one = env.certificates.of(Whose::Endpoints).is_some();
    env.certificates.sign(Whose::Endpoints, names)?;
    let between_parts = env.config.tls;
    if between_parts {
        sign_parts(&env)?;
    }
    let authority = env.certificates.authority(Whose::Endpoints);
    let value = json!({ "authority": authority, "replaced": had_one, "between_parts": between_parts });
    output.result(&value, || {
        let when =
            if had_one { "endpoints take it on now" } else { "endpoints show it from their next start on" };
        let parts = if between_parts { taken_on(&env) } else { none_between_parts(&env) };
        format!("the certificate is made; {when}. Clients believe {}. {parts}", authority.display())
    })
}

pub fn of_parts(env: LocalEnv, output: Output) -> anyhow::Result<()> {
    if !env.config.tls {
        bail!(none_between_parts(&env));
    }
    sign_parts(&env)?;
    let authority = env.certificates.authority(Whose::Parts);
    output.result(&json!({ "authority": authority, "between_parts": true }), || taken_on(&env))
}

/// `names` are others of its, beside the one that it is known by here.
pub fn of_host(mut env: LocalEnv, host: &str, names: &[String], output: Output) -> anyhow::Result<()> {
    check_host(host)?;
    if !env.config.tls {
        bail!(none_between_parts(&env));
    }
    let Some(hosts) = &mut env.config.hosts else {
        bail!(
            "the parts of this cluster are processes of this machine, and show one certificate: --parts makes another"
        );
    };
    let is_new = !hosts.certified().contains_key(host);
    if is_new || !names.is_empty() {
        hosts.names.insert(host.to_owned(), names.to_vec());
    }
    env.certificates.sign_host(hosts, host)?;
    let (certificate, _) = env.certificates.of_host(hosts, host);
    // Only now: what is in it can have a certificate.
    env.save_config()?;
    let directory = certificate.parent().context("a file in a directory")?;
    output.result(&json!({ "host": host, "directory": directory }), || {
        format!(
            "the certificate of {host} is made, in {}: a machine of its own gets this directory, and the key goes from here",
            directory.display()
        )
    })
}

fn sign_parts(env: &LocalEnv) -> anyhow::Result<()> {
    match &env.config.hosts {
        None => env.certificates.sign(Whose::Parts, &[]),
        Some(hosts) => env.certificates.sign_hosts(hosts),
    }
}

fn taken_on(env: &LocalEnv) -> String {
    match env.config.hosts {
        None => "The parts take on one of their own.".to_owned(),
        Some(_) => format!(
            "The parts take on those of their hosts; a machine with a copy of this directory gets its own of {}.",
            env.directory.join("auth/hosts").display()
        ),
    }
}

fn none_between_parts(env: &LocalEnv) -> String {
    let varve = env.varve();
    let how = match env.config.hosts {
        None => format!("`{varve} down` and `{varve} up --tls` have them do so"),
        Some(_) => format!("`{varve} machine init --tls`, as docs/security.md has it, has them do so"),
    };
    format!("Parts speak no TLS among themselves: {how}.")
}

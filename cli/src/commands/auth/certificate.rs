//! `auth certificate`: new certificates of the same authorities, so that nobody has to believe anybody else.

use anyhow::{Context, bail};
use serde_json::json;

use crate::local_env::{LocalEnv, Whose, check_host};
use crate::output::Output;

/// Of endpoints, and of the parts if they have any. Where one is the user's own, the others are made all the same.
pub fn all(mut env: LocalEnv, names: &[String], output: Output) -> anyhow::Result<()> {
    let had_one = env.certificates.of(Whose::Endpoints).is_some();
    let between_parts = env.config.tls;
    let endpoints = env.certify_endpoints(names).map(|()| made(&env, had_one));
    let parts = match between_parts {
        true => sign_parts(&env).map(|()| taken_on(&env)),
        false => Ok(none_between_parts(&env)),
    };
    let are_made = endpoints.is_ok() && parts.is_ok();
    let said = [endpoints, parts].map(|said| said.unwrap_or_else(|error| format!("{error:#}."))).join(" ");
    if !are_made {
        bail!(said);
    }
    let authority = env.certificates.authority(Whose::Endpoints);
    let value = json!({
        "authority": authority, "names": env.config.tls_names, "replaced": had_one, "between_parts": between_parts,
    });
    output.result(&value, || said)
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

fn made(env: &LocalEnv, had_one: bool) -> String {
    let names = env.config.tls_names.iter().flatten().map(|name| format!("{name} and "));
    let when =
        if had_one { "endpoints take it on now" } else { "endpoints show it from their next start on" };
    format!(
        "The certificate for {}this machine's own names is made; {when}. Clients believe {}.",
        names.collect::<String>(),
        env.certificates.authority(Whose::Endpoints).display()
    )
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::local_env::{Config, Installation};

    #[test]
    fn one_of_the_users_own_keeps_no_other_from_being_replaced() {
        let place = tempfile::tempdir().unwrap();
        let mut config = Config::new(None, 3, Installation::of_a_test()).unwrap();
        config.tls = true;
        let mut env = LocalEnv::create(place.path(), config).unwrap();
        env.certify_endpoints(&[]).unwrap();
        let [endpoints, parts] =
            [Whose::Endpoints, Whose::Parts].map(|whose| env.certificates.of(whose).unwrap().0);
        for (own, other, says) in [
            (&endpoints, &parts, "tls/server.pem was not signed by"),
            (&parts, &endpoints, "tls/parts.pem was not signed by"),
        ] {
            let kept = std::fs::read(own).unwrap();
            std::fs::write(own, "their own").unwrap();
            let before = std::fs::read(other).unwrap();
            let env = LocalEnv::load(place.path()).unwrap();
            let said = all(env, &[], Output { json: false }).unwrap_err().to_string();
            assert!(said.contains(says) && said.contains("take"), "{said}");
            assert_eq!(std::fs::read(own).unwrap(), b"their own");
            assert_ne!(std::fs::read(other).unwrap(), before);
            std::fs::write(own, kept).unwrap();
        }
    }
}

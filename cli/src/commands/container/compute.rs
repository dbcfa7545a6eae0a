//! `container compute`: becomes compute_ctl, with a specification made of what the cluster's directory says.
//! Roles and databases are not in it: after `init` they are the user's, and ALTER ROLE is not undone here.

use std::fs::File;
use std::net::SocketAddr;
use std::os::unix::fs::symlink;
use std::os::unix::process::CommandExt;
use std::path::Path;

use anyhow::{Context, bail};
use compute_api::{ComputeMode, ComputeSpec};
use pageserver_api::history::Interval;

use super::first_tenant::FirstTenant;
use crate::commands::endpoint::{bare_spec, compute_ctl, settings, suspend_timeout_seconds};
use crate::local_env::{LocalEnv, check_host, write_private};

/// Where `container health` finds it.
pub const HTTP_ADDRESS: &str = "127.0.0.1:3080";
const STANDARD_ERROR: &str = "/dev/stderr";

/// What was asked for.
pub struct Wanted {
    pub branch_name: String,
    pub mode: ComputeMode,
    pub settings: Vec<(String, String)>,
    pub suspend_timeout: Interval,
    pub pg_port: u16,
    /// Also for Prometheus, which is somewhere else. It asks for the token like any other port.
    pub listen_http: SocketAddr,
    /// The host whose certificate it shows, with TLS.
    pub advertise: Option<String>,
}

/// Does not return but with an error: signals and the exit status are compute_ctl's own.
pub fn compute(mut env: LocalEnv, wanted: &Wanted, home: &Path) -> anyhow::Result<()> {
    if !FirstTenant::load(&env.directory)?.is_some_and(|first| first.complete) {
        bail!("the cluster is not complete yet: run `varve container init` to its end");
    }
    if env.config.tls {
        env.host = certified_host(&env, wanted.advertise.as_deref())?;
    }
    let env = &env;
    let branches = env.branches()?;
    let ttid = branches.find(None, &wanted.branch_name)?;
    let spec = ComputeSpec {
        pg_listen_addr: "*".to_owned(),
        pg_port: wanted.pg_port,
        mode: wanted.mode,
        settings: settings(&wanted.settings),
        suspend_timeout_seconds: suspend_timeout_seconds(Some(wanted.suspend_timeout))?,
        // A branch may be called what an endpoint may not.
        ..bare_spec(env, ttid, name(wanted.mode), branches.pg_version(ttid.timeline_id))
    };
    spec.check()?;
    std::fs::create_dir_all(home).with_context(|| format!("cannot make {}", home.display()))?;
    let spec_file = home.join("spec.json");
    write_private(&spec_file, &serde_json::to_vec_pretty(&spec)?)?;
    log_to_standard_error(&home.join("postgres.log"), Path::new(STANDARD_ERROR))?;
    let listen_http = wanted.listen_http.to_string();
    let error = compute_ctl(env, spec.tenant_id, spec.pg_version, home, &spec_file, &listen_http)?.exec();
    Err(error).context("cannot become compute_ctl")
}

/// By which metrics and the logs of storage tell computes of one branch apart.
fn name(mode: ComputeMode) -> &'static str {
    match mode {
        ComputeMode::Primary => "compute",
        ComputeMode::Replica => "replica",
        ComputeMode::Static { .. } => "static",
    }
}

/// Whose certificate the HTTP API shows. Without one it does not start, since nobody would believe it.
fn certified_host(env: &LocalEnv, advertise: Option<&str>) -> anyhow::Result<String> {
    let Some(host) = advertise.filter(|host| !host.is_empty()) else {
        bail!(
            "the parts of this cluster speak TLS: --advertise or VARVE_ADVERTISE has to name this host as others call it"
        );
    };
    check_host(host)?;
    let hosts = env.config.hosts.as_ref().context("parts of this cluster have no hosts of their own")?;
    let (certificate, key) = env.certificates.of_host(hosts, host);
    for file in [certificate, key] {
        if !file.exists() {
            bail!(
                "{host} has no {}: `varve auth certificate --host {host}` makes one where the private key is, and its directory \
                 has to come here",
                file.display()
            );
        }
    }
    Ok(host.to_owned())
}

/// What a container has to say, it says there. What systemd has for standard error is a socket, which PostgreSQL cannot
/// open: there its log is a file, which logrotate cuts and no start does.
fn log_to_standard_error(log: &Path, standard_error: &Path) -> anyhow::Result<()> {
    let can_be_opened = File::options().append(true).open(standard_error).is_ok();
    let is_file = log.symlink_metadata().is_ok_and(|found| found.is_file());
    if is_file && !can_be_opened {
        return Ok(());
    }
    match std::fs::remove_file(log) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(error).with_context(|| format!("cannot replace {}", log.display()));
        }
        _ => {}
    }
    if !can_be_opened {
        return Ok(());
    }
    symlink(standard_error, log).with_context(|| format!("cannot make the link {}", log.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_that_is_a_file_outlives_a_start() {
        let place = tempfile::tempdir().unwrap();
        let (log, terminal) = (place.path().join("postgres.log"), place.path().join("terminal"));
        std::fs::write(&log, "why it ended\n").unwrap();
        log_to_standard_error(&log, &terminal).unwrap();
        assert_eq!(std::fs::read_to_string(&log).unwrap(), "why it ended\n");

        std::fs::write(&terminal, "").unwrap();
        log_to_standard_error(&log, &terminal).unwrap();
        assert_eq!(std::fs::read_link(&log).unwrap(), terminal);

        // A link to what cannot be opened any more is in the way of a file.
        std::fs::remove_file(&terminal).unwrap();
        log_to_standard_error(&log, &terminal).unwrap();
        assert!(log.symlink_metadata().is_err());
    }
}

//! Endpoints as the command line knows them: `endpoint.json` in a directory of their own.

use anyhow::{Context, bail};
use compute_api::ComputeMode;
use pageserver_api::history::Interval;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::{Deserialize, Serialize};
use types::{PgVersion, TenantId, TenantTimelineId, TimelineId};

use crate::local_env::{LocalEnv, Whose, write_private};
use crate::output::alternatives;
use crate::process::Process;

const FORMAT_VERSION: u32 = 1;

/// The role that the connection string names: a superuser, whose password is in `endpoint.json`.
pub const ADMIN_ROLE: &str = "admin";

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Endpoint {
    pub format_version: u32,
    pub name: String,
    pub tenant_id: TenantId,
    pub timeline_id: TimelineId,
    /// What it does with the branch.
    #[serde(default)]
    pub mode: ComputeMode,
    pub pg_version: PgVersion,
    pub pg_port: u16,
    pub http_port: u16,
    pub password: String,
    /// What PostgreSQL keeps of the password. Made once: another salt would be another value to set.
    pub password_verifier: String,
    pub settings: Vec<(String, String)>,
    /// How long nobody must have used it for PostgreSQL to be stopped until somebody does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suspend_timeout: Option<Interval>,
    /// Whether `varve start` starts it: set by `endpoint start`, cleared by `endpoint stop`.
    pub wanted: bool,
}

impl Endpoint {
    pub const fn new_format() -> u32 {
        FORMAT_VERSION
    }

    /// One that writes and that nobody has started.
    #[cfg(test)]
    pub fn of_a_test(name: &str, on: TenantTimelineId) -> Endpoint {
        Endpoint {
            format_version: FORMAT_VERSION,
            name: name.to_owned(),
            tenant_id: on.tenant_id,
            timeline_id: on.timeline_id,
            mode: ComputeMode::Primary,
            pg_version: PgVersion::V17,
            pg_port: 1,
            http_port: 2,
            password: "secret".to_owned(),
            password_verifier: "verifier".to_owned(),
            settings: Vec::new(),
            suspend_timeout: None,
            wanted: false,
        }
    }

    pub fn load(env: &LocalEnv, name: &str) -> anyhow::Result<Endpoint> {
        let path = env.endpoint_directory(name).join("endpoint.json");
        let bytes = match std::fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                bail!("there is no endpoint {name:?}; {}", alternatives(Endpoint::names(env)?));
            }
            Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
        };
        let endpoint: Endpoint = serde_json::from_slice(&bytes)
            .with_context(|| format!("{} is not understood", path.display()))?;
        if endpoint.format_version != FORMAT_VERSION {
            bail!(
                "{} has format version {}, this varve reads {FORMAT_VERSION}",
                path.display(),
                endpoint.format_version
            );
        }
        Ok(endpoint)
    }

    pub fn exists(env: &LocalEnv, name: &str) -> bool {
        env.endpoint_directory(name).join("endpoint.json").exists()
    }

    pub fn save(&self, env: &LocalEnv) -> anyhow::Result<()> {
        let directory = env.endpoint_directory(&self.name);
        std::fs::create_dir_all(&directory)?;
        write_private(&directory.join("endpoint.json"), &serde_json::to_vec_pretty(self)?)
    }

    pub fn names(env: &LocalEnv) -> anyhow::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in std::fs::read_dir(env.directory.join("endpoints"))? {
            let name = entry?.file_name().to_string_lossy().into_owned();
            if Endpoint::exists(env, &name) {
                names.push(name);
            }
        }
        names.sort();
        Ok(names)
    }

    /// All endpoints, by name.
    pub fn all(env: &LocalEnv) -> anyhow::Result<Vec<Endpoint>> {
        Endpoint::names(env)?.iter().map(|name| Endpoint::load(env, name)).collect()
    }

    /// Those of a branch.
    pub fn all_of(env: &LocalEnv, ttid: TenantTimelineId) -> anyhow::Result<Vec<Endpoint>> {
        let mut endpoints = Endpoint::all(env)?;
        endpoints.retain(|endpoint| endpoint.ttid() == ttid);
        Ok(endpoints)
    }

    /// Those that write to a branch, of which one at a time may run.
    pub fn writers_of(env: &LocalEnv, ttid: TenantTimelineId) -> anyhow::Result<Vec<Endpoint>> {
        let mut endpoints = Endpoint::all_of(env, ttid)?;
        endpoints.retain(Endpoint::is_primary);
        Ok(endpoints)
    }

    /// The branch that it is on.
    pub const fn ttid(&self) -> TenantTimelineId {
        TenantTimelineId::new(self.tenant_id, self.timeline_id)
    }

    /// It writes.
    pub fn is_primary(&self) -> bool {
        self.mode == ComputeMode::Primary
    }

    /// It runs, or will when the cluster is started.
    pub fn is_in_use(&self, env: &LocalEnv) -> bool {
        self.wanted || self.process(env).pid().is_some()
    }

    pub fn process(&self, env: &LocalEnv) -> Process {
        Process::new(format!("endpoint-{}", self.name), env.run_directory())
    }

    pub fn http_address(&self) -> String {
        format!("127.0.0.1:{}", self.http_port)
    }

    pub fn connection_string(&self, env: &LocalEnv, database: &str) -> String {
        self.connection_string_as(env, &format!("{ADMIN_ROLE}:{}", self.password), database)
    }

    /// For the arguments of a process, which everybody on the machine can read.
    pub fn connection_string_without_password(&self, env: &LocalEnv, database: &str) -> String {
        self.connection_string_as(env, ADMIN_ROLE, database)
    }

    fn connection_string_as(&self, env: &LocalEnv, user: &str, database: &str) -> String {
        let plain = format!("postgresql://{user}@127.0.0.1:{}/{database}", self.pg_port);
        match env.certificates.of(Whose::Endpoints) {
            None => plain,
            Some(_) => {
                let authority = env.certificates.authority(Whose::Endpoints).display().to_string();
                format!("{plain}?sslmode=verify-full&sslrootcert={}", utf8_percent_encode(&authority, PLAIN))
            }
        }
    }
}

/// How a person connects, as a line for a shell.
pub fn psql_line(connection_string: &str) -> String {
    // What is quoted has no quote in it: it is percent-encoded.
    let quote = if connection_string.contains('&') { "'" } else { "" };
    format!("psql {quote}{connection_string}{quote}")
}

/// What stands for itself in the query of a URI.
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC.remove(b'/').remove(b'-').remove(b'_').remove(b'.');

/// Refuses names that would not do as a directory or as a word of a command line.
pub fn check_name(name: &str) -> anyhow::Result<()> {
    let plain = name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
    if name.is_empty() || name.len() > 63 || !plain || name.starts_with('-') {
        bail!("{name:?} is no good name for an endpoint: take 1 to 63 letters, digits, '-' or '_'");
    }
    Ok(())
}

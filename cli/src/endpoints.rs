//! Endpoints as the command line knows them: `endpoint.json` in a directory of their own.

use anyhow::{Context, anyhow, bail};
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
        Endpoint::check_known(env, name)?;
        let path = env.endpoint_directory(name).join("endpoint.json");
        let bytes = std::fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let endpoint: Endpoint = serde_json::from_slice(&bytes).map_err(|error| {
            anyhow!(
                "{} is not understood ({error}): put back a copy of it, or forget the endpoint with `varve endpoint delete \
                 {name}`, which leaves its branch",
                path.display()
            )
        })?;
        if endpoint.format_version != FORMAT_VERSION {
            bail!(
                "{} has format version {}, this varve reads {FORMAT_VERSION}",
                path.display(),
                endpoint.format_version
            );
        }
        Ok(endpoint)
    }

    /// Refuses a name that no endpoint has.
    pub fn check_known(env: &LocalEnv, name: &str) -> anyhow::Result<()> {
        if !Endpoint::exists(env, name) {
            bail!("there is no endpoint {name:?}; {}", alternatives(Endpoint::names(env)?));
        }
        Ok(())
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
        let directory = env.directory.join("endpoints");
        let entries = std::fs::read_dir(&directory);
        for entry in entries.with_context(|| format!("cannot read {}", directory.display()))? {
            let name = entry?.file_name().to_string_lossy().into_owned();
            if Endpoint::exists(env, &name) {
                names.push(name);
            }
        }
        names.sort();
        Ok(names)
    }

    /// All endpoints, by name. For who must not overlook one: [`Endpoints::load`] goes on without those that cannot be read.
    pub fn all(env: &LocalEnv) -> anyhow::Result<Vec<Endpoint>> {
        Endpoints::load(env)?.complete()
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
        process(env, &self.name)
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

/// Its compute_ctl, whatever is in its file.
pub fn process(env: &LocalEnv, name: &str) -> Process {
    Process::new(format!("endpoint-{name}"), env.run_directory())
}

/// The endpoints of a cluster, by name.
pub struct Endpoints {
    pub readable: Vec<Endpoint>,
    pub unreadable: Vec<Unreadable>,
}

/// An endpoint of which nothing is known but its name.
pub struct Unreadable {
    pub name: String,
    pub why: anyhow::Error,
}

impl Endpoints {
    pub fn load(env: &LocalEnv) -> anyhow::Result<Endpoints> {
        let mut endpoints = Endpoints { readable: Vec::new(), unreadable: Vec::new() };
        for name in Endpoint::names(env)? {
            match Endpoint::load(env, &name) {
                Ok(endpoint) => endpoints.readable.push(endpoint),
                // Who only looks has no lock: it was deleted in this moment.
                Err(_) if !Endpoint::exists(env, &name) => {}
                Err(why) => endpoints.unreadable.push(Unreadable { name, why }),
            }
        }
        Ok(endpoints)
    }

    pub const fn is_empty(&self) -> bool {
        self.readable.is_empty() && self.unreadable.is_empty()
    }

    /// All of them, or an error that names those that cannot be read.
    pub fn complete(self) -> anyhow::Result<Vec<Endpoint>> {
        let unreadable =
            self.unreadable.iter().map(|Unreadable { name, why }| format!("endpoint {name:?}: {why:#}"));
        let unreadable: Vec<String> = unreadable.collect();
        if !unreadable.is_empty() {
            bail!(unreadable.join("\n"));
        }
        Ok(self.readable)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::local_env::{Config, Installation};

    #[test]
    fn one_that_cannot_be_read_hides_no_other() {
        let place = tempfile::tempdir().unwrap();
        let config = Config::new(None, 3, Installation::of_a_test()).unwrap();
        let env = LocalEnv::create(place.path(), config).unwrap();
        let on = TenantTimelineId::new(TenantId([1; 16]), TimelineId([2; 16]));
        for name in ["a", "b", "c"] {
            Endpoint::of_a_test(name, on).save(&env).unwrap();
        }
        let file = env.endpoint_directory("b").join("endpoint.json");
        let whole = std::fs::read(&file).unwrap();
        for broken in [&whole[..whole.len() / 2], b"", b"{}"] {
            std::fs::write(&file, broken).unwrap();
            let Endpoints { readable, unreadable } = Endpoints::load(&env).unwrap();
            assert_eq!(readable.iter().map(|it| it.name.as_str()).collect::<Vec<_>>(), ["a", "c"]);
            assert_eq!(unreadable.iter().map(|it| it.name.as_str()).collect::<Vec<_>>(), ["b"]);
            // It may be on that branch, too.
            let said = Endpoint::all_of(&env, on).unwrap_err().to_string();
            for words in [
                "endpoint \"b\": ",
                "endpoints/b/endpoint.json is not understood (",
                "`varve endpoint delete b`",
            ] {
                assert!(said.contains(words), "{words}: {said}");
            }
        }
        std::fs::write(&file, whole).unwrap();
        assert_eq!(Endpoint::all_of(&env, on).unwrap().len(), 3);
    }
}

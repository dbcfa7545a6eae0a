//! [`ComputeSpec`]: everything that makes one compute different from another.

use std::num::NonZeroU32;

use serde::{Deserialize, Serialize};
use types::{Lsn, NodeId, PgVersion, TenantId, TenantTimelineId, TimelineId};
use utoipa::ToSchema;

pub const SPEC_FORMAT_VERSION: u32 = 1;

/// A compute's name becomes part of paths and labels.
const MAX_ENDPOINT_ID: usize = 63;
/// `NAMEDATALEN - 1`: PostgreSQL would cut a longer name, silently.
const MAX_NAME: usize = 63;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ComputeSpec {
    pub format_version: u32,
    pub tenant_id: TenantId,
    pub timeline_id: TimelineId,
    pub endpoint_id: String,
    #[serde(default)]
    pub mode: ComputeMode,
    pub pg_version: PgVersion,
    /// All members of the timeline: commits wait for more than half of them.
    pub safekeepers: Vec<SafekeeperAddress>,
    pub pageserver: PageserverAddress,
    /// What PostgreSQL's `listen_addresses` gets.
    pub pg_listen_addr: String,
    pub pg_port: u16,
    /// How long nobody must have used the compute for it to be suspended: PostgreSQL stops, and the next client starts it.
    /// Never without.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suspend_timeout_seconds: Option<NonZeroU32>,
    #[serde(default)]
    pub roles: Vec<RoleSpec>,
    #[serde(default)]
    pub databases: Vec<DatabaseSpec>,
    /// For postgresql.conf. What durability depends on cannot be set here.
    #[serde(default)]
    pub settings: Vec<SettingSpec>,
}

/// What a compute does with its timeline.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ComputeMode {
    /// It reads and writes; there is one at a time.
    #[default]
    Primary,
    /// A hot standby that follows the WAL which a quorum of safekeepers has. There may be many.
    Replica,
    /// It reads the timeline as of an LSN, for ever.
    Static { lsn: Lsn },
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SafekeeperAddress {
    pub id: NodeId,
    /// `host:port` of its PostgreSQL-protocol port.
    pub pg_connstr: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PageserverAddress {
    /// `host:port` of its PostgreSQL-protocol port.
    pub pg_connstr: String,
}

/// A role that must exist as described. Roles that are not named here are left alone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RoleSpec {
    #[schema(min_length = 1, max_length = 63)]
    pub name: String,
    /// A SCRAM verifier (`SCRAM-SHA-256$…`), never the password. `None` leaves the role without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(pattern = "^SCRAM-SHA-256[$][0-9]+:[A-Za-z0-9+/=]+[$][A-Za-z0-9+/=]+:[A-Za-z0-9+/=]+$")]
    pub encrypted_password: Option<String>,
    #[serde(default)]
    pub superuser: bool,
    #[serde(default)]
    pub createdb: bool,
    #[serde(default)]
    pub createrole: bool,
    #[serde(default = "yes")]
    pub login: bool,
}

fn yes() -> bool {
    true
}

/// A database that must exist with this owner. Databases that are not named here are left alone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DatabaseSpec {
    #[schema(min_length = 1, max_length = 63)]
    pub name: String,
    #[schema(min_length = 1, max_length = 63)]
    pub owner: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SettingSpec {
    #[schema(pattern = "^[A-Za-z_][A-Za-z0-9_]*([.][A-Za-z_][A-Za-z0-9_]*)?$")]
    pub name: String,
    /// One line.
    pub value: String,
}

/// Body of `POST /v1/configure`: the part of a spec that a running compute can take on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({
    "roles": [{"name": "app"}],
    "databases": [{"name": "shop", "owner": "app"}],
    "settings": [{"name": "work_mem", "value": "8MB"}]
}))]
pub struct ConfigureRequest {
    #[serde(default)]
    pub roles: Vec<RoleSpec>,
    #[serde(default)]
    pub databases: Vec<DatabaseSpec>,
    #[serde(default)]
    pub settings: Vec<SettingSpec>,
}

/// Answer of `POST /v1/configure`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ConfigureResponse {
    /// Settings that are written down but take effect only with the next start.
    pub restart_needed: Vec<String>,
}

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum SpecError {
    #[error("the spec is not readable: {0}")]
    Json(String),
    #[error("the spec has format version {found}; this program reads {SPEC_FORMAT_VERSION}")]
    FormatVersion { found: u32 },
    #[error("{what} {name:?} in the spec: {problem}")]
    Entry { what: &'static str, name: String, problem: &'static str },
    #[error("the spec names no safekeeper")]
    NoSafekeepers,
}

impl ComputeSpec {
    pub const fn ttid(&self) -> TenantTimelineId {
        TenantTimelineId::new(self.tenant_id, self.timeline_id)
    }

    /// Reads and checks a spec.
    pub fn parse(json: &[u8]) -> Result<ComputeSpec, SpecError> {
        // The version first: a later format has fields that this one would call unknown.
        #[derive(Deserialize)]
        struct Version {
            format_version: u32,
        }
        let unreadable = |error: serde_json::Error| SpecError::Json(error.to_string());
        let Version { format_version: found } = serde_json::from_slice(json).map_err(unreadable)?;
        if found != SPEC_FORMAT_VERSION {
            return Err(SpecError::FormatVersion { found });
        }
        let spec: ComputeSpec = serde_json::from_slice(json).map_err(unreadable)?;
        spec.check()?;
        Ok(spec)
    }

    /// What serde cannot see: empty lists, names that PostgreSQL or a path would not take.
    pub fn check(&self) -> Result<(), SpecError> {
        let id = &self.endpoint_id;
        let plain = id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
        if id.is_empty() || id.len() > MAX_ENDPOINT_ID || !plain {
            return entry("endpoint", id, "expected 1 to 63 letters, digits, '-' or '_'");
        }
        if self.safekeepers.is_empty() {
            return Err(SpecError::NoSafekeepers);
        }
        for (at, safekeeper) in self.safekeepers.iter().enumerate() {
            if self.safekeepers[..at].iter().any(|other| other.id == safekeeper.id) {
                return entry("safekeeper", &safekeeper.id.to_string(), "it is named twice");
            }
            check_host_port("safekeeper", &safekeeper.pg_connstr)?;
        }
        check_host_port("pageserver", &self.pageserver.pg_connstr)?;
        self.configurable().check()
    }

    /// The part of the spec that can be changed while the compute runs.
    pub fn configurable(&self) -> ConfigureRequest {
        ConfigureRequest {
            roles: self.roles.clone(),
            databases: self.databases.clone(),
            settings: self.settings.clone(),
        }
    }
}

impl ConfigureRequest {
    pub fn check(&self) -> Result<(), SpecError> {
        for role in &self.roles {
            check_name("role", &role.name)?;
            if role.name.starts_with("pg_") || role.name == "public" || role.name == "none" {
                return entry("role", &role.name, "the name is PostgreSQL's own");
            }
            if role.encrypted_password.as_ref().is_some_and(|verifier| !is_scram_verifier(verifier)) {
                return entry("role", &role.name, "encrypted_password is not a SCRAM-SHA-256 verifier");
            }
        }
        for database in &self.databases {
            check_name("database", &database.name)?;
            check_name("owner", &database.owner)?;
        }
        crate::settings::check(&self.settings)
    }
}

pub(crate) fn entry<T>(what: &'static str, name: &str, problem: &'static str) -> Result<T, SpecError> {
    Err(SpecError::Entry { what, name: name.to_owned(), problem })
}

fn check_name(what: &'static str, name: &str) -> Result<(), SpecError> {
    if name.is_empty() || name.len() > MAX_NAME || name.contains('\0') {
        return entry(what, name, "expected 1 to 63 bytes");
    }
    Ok(())
}

fn check_host_port(what: &'static str, address: &str) -> Result<(), SpecError> {
    let parts =
        address.rsplit_once(':').filter(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok());
    // A blank or a quote would end the value inside a libpq connection string.
    if parts.is_none() || address.contains([' ', '\'', '\\']) {
        return entry(what, address, "expected host:port");
    }
    Ok(())
}

/// `SCRAM-SHA-256$<iterations>:<salt>$<stored key>:<server key>`
fn is_scram_verifier(text: &str) -> bool {
    let Some((iterations, rest)) = text.strip_prefix("SCRAM-SHA-256$").and_then(|rest| rest.split_once(':'))
    else {
        return false;
    };
    let base64 = |part: &str| {
        !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/' | b'='))
    };
    let keys = rest.split_once('$').and_then(|(salt, keys)| Some((salt, keys.split_once(':')?)));
    iterations.parse::<u32>().is_ok()
        && keys.is_some_and(|(salt, (stored, server))| base64(salt) && base64(stored) && base64(server))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json() -> serde_json::Value {
        serde_json::json!({
            "format_version": 1,
            "tenant_id": "0123456789abcdef0123456789abcdef",
            "timeline_id": "fedcba9876543210fedcba9876543210",
            "endpoint_id": "main",
            "pg_version": 15,
            "safekeepers": [{"id": 1, "pg_connstr": "127.0.0.1:5454"}],
            "pageserver": {"pg_connstr": "127.0.0.1:64000"},
            "pg_listen_addr": "127.0.0.1",
            "pg_port": 55432,
            "roles": [{"name": "app", "encrypted_password": "SCRAM-SHA-256$4096:c2FsdA==$a2V5:a2V5"}],
            "databases": [{"name": "app", "owner": "app"}],
            "settings": [{"name": "shared_buffers", "value": "1MB"}]
        })
    }

    fn parse(change: impl FnOnce(&mut serde_json::Value)) -> Result<ComputeSpec, SpecError> {
        let mut value = json();
        change(&mut value);
        ComputeSpec::parse(value.to_string().as_bytes())
    }

    #[test]
    fn reads_what_it_writes() {
        let spec = parse(|_| ()).unwrap();
        assert!(spec.roles[0].login && !spec.roles[0].superuser);
        assert_eq!(spec.mode, ComputeMode::Primary);
        let mode = |mode: serde_json::Value| parse(|v| v["mode"] = mode).map(|spec| spec.mode);
        assert_eq!(mode("replica".into()), Ok(ComputeMode::Replica));
        let lsn = serde_json::json!({"static": {"lsn": "0/16B9188"}});
        assert_eq!(mode(lsn), Ok(ComputeMode::Static { lsn: Lsn(0x16B_9188) }));
        assert_eq!(ComputeSpec::parse(&serde_json::to_vec(&spec).unwrap()).unwrap(), spec);
    }

    #[test]
    fn says_what_is_wrong() {
        let message = |result: Result<ComputeSpec, SpecError>| result.unwrap_err().to_string();
        assert!(message(parse(|v| v["format_version"] = 2.into())).contains("format version 2"));
        assert!(message(parse(|v| v["pg_prot"] = 2.into())).contains("pg_prot"));
        assert!(message(parse(|v| v["safekeepers"] = serde_json::json!([]))).contains("no safekeeper"));
        assert!(message(parse(|v| v["endpoint_id"] = "../x".into())).contains("../x"));
        assert!(message(parse(|v| v["pageserver"]["pg_connstr"] = "nowhere".into())).contains("host:port"));
        assert!(message(parse(|v| v["roles"][0]["encrypted_password"] = "hunter2".into())).contains("SCRAM"));
        assert!(message(parse(|v| v["roles"][0]["name"] = "pg_monitor".into())).contains("pg_monitor"));
        assert!(message(parse(|v| v["settings"][0]["value"] = "1\nfsync=on".into())).contains("one line"));
    }
}

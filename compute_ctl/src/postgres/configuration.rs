//! Settings: the ones that durability and the sparse cache stand on go onto the server's command line,
//! which neither postgresql.conf nor ALTER SYSTEM can override; the user's go into postgresql.conf.

use std::path::Path;

use compute_api::{ComputeMode, ComputeSpec, LEAST_SETTINGS, SettingSpec};
use telemetry::traces::span::is_on;
use types::Lsn;

use crate::error::ComputeError;
use crate::paths::ComputePaths;

use super::storage::{StorageTls, pageserver_connstr};

/// The bootstrap superuser. Who reaches the private socket directory is this role.
pub const POSTGRES_USER: &str = compute_api::SOCKET_USER;

/// No line for physical replication over TCP: a client that could stream WAL as a standby would be one
/// more copy that commits might wait for. `all` does not match the keyword `replication`.
fn host_based_authentication(tls: bool) -> String {
    let host = if tls { "hostssl" } else { "host" };
    format!(
        "\
# Written by compute_ctl at every start.
# The socket directory has mode 0700: only compute_ctl and the server itself reach it.
local replication postgres trust
local all postgres trust
{host} all all 0.0.0.0/0 scram-sha-256
{host} all all ::/0 scram-sha-256
"
    )
}

/// What initdb would have written for a server without a locale or a clock of its own.
const DEFAULTS: &[(&str, &str)] = &[
    ("datestyle", "iso, mdy"),
    ("timezone", "UTC"),
    ("log_timezone", "UTC"),
    ("lc_messages", "C.UTF-8"),
    ("lc_monetary", "C.UTF-8"),
    ("lc_numeric", "C.UTF-8"),
    ("lc_time", "C.UTF-8"),
    ("default_text_search_config", "pg_catalog.english"),
    ("log_line_prefix", "%m [%p] "),
    // A page that is not cached comes over the network: more of them should be on their way.
    ("effective_io_concurrency", "32"),
    ("maintenance_io_concurrency", "32"),
];

/// Fixed for everybody, whatever the spec says.
const FIXED: &[(&str, &str)] = &[
    // The durable copy of WAL is on the safekeepers, of pages on the pageserver; local files are a cache.
    ("fsync", "off"),
    ("full_page_writes", "off"),
    ("wal_log_hints", "off"),
    ("synchronous_standby_names", "walproposer"),
    // After a crash of a backend compute_ctl starts over from a fresh base backup.
    ("restart_after_crash", "off"),
    ("max_slot_wal_keep_size", "-1"),
    ("archive_mode", "off"),
    ("track_commit_timestamp", "off"),
    // New segments need be neither zeroed nor kept for reuse when nothing is ever fsynced.
    ("wal_recycle", "off"),
    ("wal_init_zero", "off"),
    ("unix_socket_permissions", "0700"),
    ("unix_socket_group", ""),
    ("zero_damaged_pages", "off"),
    ("logging_collector", "off"),
];

const WAL_LEVEL: &str = "wal_level";
const PRELOAD: &str = "shared_preload_libraries";

/// Where the server listens.
#[derive(Clone, Debug)]
pub struct Listen {
    pub addresses: String,
    pub port: u16,
}

/// Everything that goes onto the command line.
pub struct ManagedSettings<'a> {
    pub spec: &'a ComputeSpec,
    pub paths: &'a ComputePaths,
    pub listen: Listen,
    pub start_lsn: Lsn,
    pub life_id: &'a str,
    /// Settings that the primary has, which a replica may raise but not lower.
    pub least: Vec<(&'static str, u32)>,
    /// Whether it has a certificate to show.
    pub tls: bool,
    /// How it connects to storage.
    pub storage_tls: StorageTls,
}

/// Of a hot standby, whatever the spec says.
const STANDBY: &[(&str, &str)] = &[
    ("hot_standby", "on"),
    // It would ask the storage manager about each block; ours are passed over, or fetched one by one.
    ("recovery_prefetch", "off"),
    ("primary_slot_name", ""),
    ("restore_command", ""),
    ("wal_retrieve_retry_interval", "500ms"),
];

impl ManagedSettings<'_> {
    pub fn arguments(&self) -> Vec<(String, String)> {
        let path = |path: &Path| path.display().to_string();
        let spec = self.spec;
        let mut arguments: Vec<(String, String)> =
            FIXED.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let mut add = |name: &str, value: String| arguments.push((name.to_owned(), value));
        for (name, least) in LEAST_SETTINGS {
            let primarys = self.least.iter().find(|(other, _)| other == name).map_or(0, |(_, value)| *value);
            let wanted = number(&spec.settings, name).unwrap_or(*least);
            add(name, wanted.max(*least).max(primarys).to_string());
        }
        for (name, least) in &self.least {
            let is_added = LEAST_SETTINGS.iter().any(|(other, _)| other == name);
            if !is_added && number(&spec.settings, name).is_none_or(|wanted| wanted < *least) {
                add(name, least.to_string());
            }
        }
        add(WAL_LEVEL, setting(&spec.settings, WAL_LEVEL).unwrap_or("replica").to_owned());
        add(PRELOAD, preload_libraries(setting(&spec.settings, PRELOAD)));
        add("listen_addresses", self.listen.addresses.clone());
        add("port", self.listen.port.to_string());
        add("unix_socket_directories", path(&self.paths.socket));
        add("hba_file", path(&self.paths.pgdata.join("pg_hba.conf")));
        add("ident_file", path(&self.paths.pgdata.join("pg_ident.conf")));
        let pageserver = pageserver_connstr(&spec.pageserver.pg_connstr, self.paths, self.storage_tls);
        add("varve.pageserver_connstr", pageserver);
        add("varve.tenant_id", spec.tenant_id.to_string());
        add("varve.timeline_id", spec.timeline_id.to_string());
        add("varve.auth_token_file", path(&self.paths.token));
        add("varve.start_lsn", self.start_lsn.to_string());
        add("varve.life_id", self.life_id.to_owned());
        add("varve.sync_standby_name", "walproposer".to_owned());
        // An extension of before there were traces does not know it, and is not asked to.
        if is_on() {
            add("varve.trace_socket", path(&self.paths.spans));
        }
        if self.tls {
            add("ssl", "on".to_owned());
            add("ssl_cert_file", path(&self.paths.certificate));
            add("ssl_key_file", path(&self.paths.certificate_key));
        }
        if spec.mode != ComputeMode::Primary {
            STANDBY.iter().for_each(|(name, value)| add(name, (*value).to_owned()));
        }
        if let ComputeMode::Static { .. } = spec.mode {
            add("varve.static", "on".to_owned());
        }
        arguments
    }
}

fn number(settings: &[SettingSpec], name: &str) -> Option<u32> {
    setting(settings, name).and_then(|value| value.trim().parse().ok())
}

fn setting<'a>(settings: &'a [SettingSpec], name: &str) -> Option<&'a str> {
    let found = settings.iter().rev().find(|setting| setting.name.eq_ignore_ascii_case(name));
    found.map(|setting| setting.value.as_str())
}

/// Settings of the spec that go onto the command line and differ: a running server never takes them on.
pub fn changed_arguments(present: &[SettingSpec], wanted: &[SettingSpec]) -> Vec<String> {
    let names = LEAST_SETTINGS.iter().map(|(name, _)| *name).chain([WAL_LEVEL, PRELOAD]);
    names.filter(|name| setting(present, name) != setting(wanted, name)).map(str::to_owned).collect()
}

/// Ours first: it interposes the storage manager before anybody else's code runs.
fn preload_libraries(wanted: Option<&str>) -> String {
    let wanted = wanted.unwrap_or_default().split(',').map(str::trim);
    let others = wanted.filter(|library| !library.is_empty() && *library != "varve");
    ["varve"].into_iter().chain(others).collect::<Vec<_>>().join(",")
}

/// The settings that postgresql.conf holds.
struct FileSettings<'a>(&'a [SettingSpec]);

impl FileSettings<'_> {
    fn text(&self) -> String {
        let mut text =
            String::from("# Written by compute_ctl at every start; what stands on the command line wins.\n");
        let defaults = DEFAULTS.iter().map(|(name, value)| (*name, *value));
        let wanted = self.0.iter().map(|setting| (setting.name.as_str(), setting.value.as_str()));
        // Here too: a server that somebody starts by hand on these files, whose holes read as zeros, is
        // stopped by the extension.
        let preload = preload_libraries(setting(self.0, PRELOAD));
        for (name, value) in defaults.chain(wanted).chain([(PRELOAD, preload.as_str())]) {
            text.push_str(&format!("{name} = '{}'\n", quoted(value)));
        }
        text
    }
}

/// Writes all configuration files into a new data directory.
pub fn write_files(pgdata: &Path, settings: &[SettingSpec], tls: bool) -> Result<(), ComputeError> {
    write_settings(pgdata, settings)?;
    write(pgdata, "pg_hba.conf", &host_based_authentication(tls))?;
    write(pgdata, "pg_ident.conf", "")?;
    // ALTER SYSTEM writes it; like all else in here it lasts as long as this start.
    write(pgdata, "postgresql.auto.conf", "")
}

/// What a replica follows. Not on the command line: a running server takes another safekeeper on.
pub fn write_primary(pgdata: &Path, conninfo: &str) -> Result<(), ComputeError> {
    write(pgdata, "postgresql.auto.conf", &format!("primary_conninfo = '{}'\n", quoted(conninfo)))
}

/// A value as it stands between single quotes in a configuration file.
fn quoted(value: &str) -> String {
    value.replace('\\', "\\\\").replace('\'', "''")
}

/// Writes the settings of the spec, which a running server takes on at SIGHUP.
pub fn write_settings(pgdata: &Path, settings: &[SettingSpec]) -> Result<(), ComputeError> {
    write(pgdata, "postgresql.conf", &FileSettings(settings).text())
}

fn write(pgdata: &Path, name: &str, text: &str) -> Result<(), ComputeError> {
    let path = pgdata.join(name);
    std::fs::write(&path, text).map_err(ComputeError::file("write", &path))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(name: &str, value: &str) -> Vec<SettingSpec> {
        vec![SettingSpec { name: name.into(), value: value.into() }]
    }

    #[test]
    fn no_spec_may_hold_what_is_fixed() {
        for (name, _) in FIXED {
            assert!(compute_api::RESERVED_SETTINGS.contains(name), "{name}");
        }
    }

    #[test]
    fn values_are_quoted() {
        let text = FileSettings(&one("search_path", r"it's \n")).text();
        assert!(text.contains("search_path = 'it''s \\\\n'\n"), "{text}");
        assert!(text.ends_with("shared_preload_libraries = 'varve'\n"), "{text}");
    }

    #[test]
    fn the_users_libraries_come_after_ours() {
        assert_eq!(preload_libraries(None), "varve");
        assert_eq!(
            preload_libraries(Some("pg_stat_statements, varve ,auto_explain")),
            "varve,pg_stat_statements,auto_explain"
        );
    }
}

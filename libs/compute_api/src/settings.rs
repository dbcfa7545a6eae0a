//! Which settings of PostgreSQL a spec may hold. The values are PostgreSQL's to judge.

use crate::spec::{SettingSpec, SpecError, entry};

/// What compute_ctl sets itself: durability, the sparse cache, or the start depends on it.
pub const RESERVED_SETTINGS: &[&str] = &[
    "archive_mode",
    "config_file",
    "data_directory",
    "fsync",
    "full_page_writes",
    "hba_file",
    "hot_standby",
    "ident_file",
    "include",
    "include_dir",
    "include_if_exists",
    "listen_addresses",
    "logging_collector",
    "max_slot_wal_keep_size",
    "port",
    "primary_conninfo",
    "primary_slot_name",
    "promote_trigger_file",
    "recovery_prefetch",
    "recovery_target",
    "recovery_target_action",
    "recovery_target_inclusive",
    "recovery_target_lsn",
    "recovery_target_name",
    "recovery_target_time",
    "recovery_target_timeline",
    "recovery_target_xid",
    "restart_after_crash",
    "restore_command",
    "synchronous_standby_names",
    "track_commit_timestamp",
    "unix_socket_directories",
    "unix_socket_group",
    "unix_socket_permissions",
    "varve.auth_token_file",
    "varve.life_id",
    "varve.pageserver_connstr",
    "varve.start_lsn",
    "varve.static",
    "varve.sync_standby_name",
    "varve.tenant_id",
    "varve.timeline_id",
    "wal_init_zero",
    "wal_log_hints",
    "wal_recycle",
    "zero_damaged_pages",
];

/// What a spec may raise but not lower: the walproposer takes one sender and one slot, pageservers and tools
/// need some more.
pub const LEAST_SETTINGS: &[(&str, u32)] = &[("max_wal_senders", 10), ("max_replication_slots", 10)];

pub(crate) fn check(settings: &[SettingSpec]) -> Result<(), SpecError> {
    for SettingSpec { name, value } in settings {
        let refuse = |problem| entry("setting", name, problem);
        let plain = name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'.');
        if name.is_empty() || !plain {
            return refuse("expected letters, digits, '_' and '.'");
        }
        if value.contains(['\0', '\n', '\r']) {
            return refuse("the value must be one line");
        }
        let lower = name.to_ascii_lowercase();
        if RESERVED_SETTINGS.contains(&lower.as_str()) {
            return refuse("it cannot be chosen: durability or the sparse cache depends on it");
        }
        if lower == "wal_level" && !["replica", "logical"].contains(&value.as_str()) {
            return refuse("expected replica or logical");
        }
        if LEAST_SETTINGS.iter().any(|(least, _)| *least == lower) && value.trim().parse::<u32>().is_err() {
            return refuse("expected a number");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(name: &str, value: &str) -> Vec<SettingSpec> {
        vec![SettingSpec { name: name.into(), value: value.into() }]
    }

    #[test]
    fn what_durability_depends_on_is_refused() {
        for name in
            ["fsync", "FSYNC", "synchronous_standby_names", "varve.life_id", "hba_file", "include", "a b", ""]
        {
            assert!(check(&one(name, "x")).is_err(), "{name}");
        }
        for (name, value) in
            [("wal_level", "minimal"), ("max_wal_senders", "many"), ("work_mem", "1MB\nfsync=off")]
        {
            assert!(check(&one(name, value)).is_err(), "{name}");
        }
        for (name, value) in
            [("wal_level", "logical"), ("shared_buffers", "1MB"), ("varve.cache_size", "1GB")]
        {
            check(&one(name, value)).unwrap();
        }
    }
}

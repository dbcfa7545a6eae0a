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
    "varve.trace_socket",
    "wal_init_zero",
    "wal_log_hints",
    "wal_recycle",
    "zero_damaged_pages",
];

/// How stock PostgreSQL 17 brings slots to a standby, and has subscribers wait for it. Here no standby follows the compute:
/// the one would never begin, the other never end.
const SLOT_SYNCHRONIZATION: [&str; 2] = ["sync_replication_slots", "synchronized_standby_slots"];

/// What a spec may raise but not lower: the walproposer takes one sender and one slot, pageservers and tools
/// need some more.
pub const LEAST_SETTINGS: &[(&str, u32)] = &[("max_wal_senders", 10), ("max_replication_slots", 10)];

pub(crate) fn check(settings: &[SettingSpec]) -> Result<(), SpecError> {
    for SettingSpec { name, value } in settings {
        let refuse = |problem| entry("setting", name, problem);
        if !is_name(name) {
            return refuse(
                "expected letters, digits and '_', not beginning with a digit; one '.' may be between",
            );
        }
        if value.contains(['\0', '\n', '\r']) {
            return refuse("the value must be one line");
        }
        let lower = name.to_ascii_lowercase();
        if RESERVED_SETTINGS.contains(&lower.as_str()) {
            return refuse("it cannot be chosen: durability or the sparse cache depends on it");
        }
        if SLOT_SYNCHRONIZATION.contains(&lower.as_str()) {
            return refuse(
                "it is not needed: slots are kept with the branch, and every compute that takes it over has them, \
                 a promoted replica too",
            );
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

/// What postgresql.conf takes as a name (`ID` and `QUALIFIED_ID` in guc-file.l). Anything else is a syntax error there,
/// and the server takes on nothing of the file, and does not start from it.
fn is_name(text: &str) -> bool {
    let is_word = |word: &str| {
        word.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
            && word.bytes().next().is_some_and(|first| !first.is_ascii_digit())
    };
    match text.split_once('.') {
        Some((class, name)) => is_word(class) && is_word(name),
        None => is_word(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(name: &str, value: &str) -> Vec<SettingSpec> {
        vec![SettingSpec { name: name.into(), value: value.into() }]
    }

    #[test]
    fn what_would_be_a_syntax_error_is_refused() {
        for name in ["", ".", "7", "7_days", "a b", "a.", ".a", "a.7", "shop.open.now", "größe", "a-b"] {
            let refused = check(&one(name, "x")).unwrap_err();
            assert!(refused.to_string().contains("not beginning with a digit"), "{name}: {refused}");
        }
        for name in ["a", "_7", "shop.open", "pg_stat_statements.max"] {
            check(&one(name, "x")).unwrap();
        }
    }

    #[test]
    fn slots_need_no_synchronization() {
        for (name, value) in [("sync_replication_slots", "on"), ("Synchronized_Standby_Slots", "a, b")] {
            let refused = check(&one(name, value)).unwrap_err();
            assert!(refused.to_string().contains("kept with the branch"), "{name}: {refused}");
        }
    }

    #[test]
    fn what_durability_depends_on_is_refused() {
        for name in ["fsync", "FSYNC", "synchronous_standby_names", "varve.life_id", "hba_file", "include"] {
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

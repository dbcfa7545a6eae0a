//! The configuration of an export: the least that stock PostgreSQL starts with. Pure.

use pg_format::ControlFile;

/// Paths and texts.
pub(super) fn files(control: &ControlFile) -> [(&'static str, String); 3] {
    let parameters = &control.parameters;
    let wal_level = match parameters.wal_level {
        0 => "minimal",
        1 => "replica",
        _ => "logical",
    };
    let configuration = format!(
        "# Written by an export of Varve. A plain data directory: change what you like.\n\
         max_connections = {}\n\
         max_worker_processes = {}\n\
         max_wal_senders = {}\n\
         max_prepared_transactions = {}\n\
         max_locks_per_transaction = {}\n\
         wal_level = {wal_level}\n\
         wal_log_hints = {}\n\
         shared_buffers = 128MB\n",
        parameters.max_connections,
        parameters.max_worker_processes,
        parameters.max_wal_senders,
        parameters.max_prepared_xacts,
        parameters.max_locks_per_xact,
        if parameters.wal_log_hints { "on" } else { "off" },
    );
    let access = "# Who may connect; see PostgreSQL's documentation of pg_hba.conf.\n\
                  local all all trust\n\
                  host all all 127.0.0.1/32 scram-sha-256\n\
                  host all all ::1/128 scram-sha-256\n\
                  local replication all trust\n";
    [("postgresql.conf", configuration), ("pg_hba.conf", access.to_owned()), ("pg_ident.conf", String::new())]
}

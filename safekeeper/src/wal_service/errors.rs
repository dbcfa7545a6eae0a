//! Errors of the safekeeper as a client of the WAL service sees them: the one place where SQLSTATEs are chosen.

use pg_backend::{QueryError, sqlstate};
use types::{Lsn, TenantTimelineId, Term};

use crate::timeline::{LookupError, Stopped};
use crate::wal_store::WalStoreError;

pub fn lookup(error: LookupError) -> QueryError {
    let code = match error {
        LookupError::NotFound(_) => sqlstate::UNDEFINED_OBJECT,
        LookupError::Broken { .. } => sqlstate::DATA_CORRUPTED,
        LookupError::NotNow { .. } => sqlstate::OBJECT_NOT_IN_PREREQUISITE_STATE,
    };
    QueryError::new(code, error.to_string())
}

pub fn wal_store(error: WalStoreError) -> QueryError {
    let code = if error.is_disk_full() { sqlstate::DISK_FULL } else { sqlstate::IO_ERROR };
    QueryError::fatal(code, error.to_string())
}

pub fn stopped(error: Stopped) -> QueryError {
    QueryError::fatal(sqlstate::ADMIN_SHUTDOWN, error.to_string())
}

pub fn timeline_stopped(ttid: TenantTimelineId) -> QueryError {
    stopped(Stopped(ttid))
}

pub fn other_term(asked: Term, ours: Term) -> QueryError {
    let message = format!("WAL of term {asked} was asked for, but this safekeeper is in term {ours}");
    QueryError::new(sqlstate::OBJECT_NOT_IN_PREREQUISITE_STATE, message)
}

pub fn not_elected(asked: Term, ours: Term) -> QueryError {
    let message = format!(
        "WAL of term {asked} was asked for, but this safekeeper, which has voted in it, has only that of term {ours}"
    );
    QueryError::new(sqlstate::OBJECT_NOT_IN_PREREQUISITE_STATE, message)
}

pub fn other_entry(end: Lsn, asked: Term, ours: Term, flush_lsn: Lsn) -> QueryError {
    let message = format!(
        "WAL up to {end} of term {asked} was asked for, but here it is of term {ours} and ends at {flush_lsn}"
    );
    QueryError::new(sqlstate::OBJECT_NOT_IN_PREREQUISITE_STATE, message)
}

pub fn not_offered(what: &str, reason: &str) -> QueryError {
    QueryError::new(
        sqlstate::FEATURE_NOT_SUPPORTED,
        format!("{what} is not offered by a safekeeper: {reason}"),
    )
}

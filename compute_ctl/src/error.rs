//! Why a compute did not start or did not go on.

use std::path::PathBuf;

use pg_frontend::PgError;
use types::Lsn;

/// What has the extension compiled for the server that is installed.
const REBUILD: &str = "`varve-rebuild-extension` (of the package postgresql-varve-source) or `make extension` (in the \
                       sources) builds it";

#[derive(Debug, thiserror::Error)]
pub enum ComputeError {
    #[error("compute_ctl runs as root, and there is no user postgres to run the server as")]
    NoServerUser,
    #[error("user {user} may not enter {}: move the data directory or open that one (chmod a+x)", directory.display())]
    NotReachable { directory: PathBuf, user: &'static str },
    #[error("cannot {action} {}: {source}", path.display())]
    File { action: &'static str, path: PathBuf, source: std::io::Error },
    #[error(
        "{} is not empty and was not made by compute_ctl: it is left alone (every start wipes the data directory)",
        path.display()
    )]
    NotOurs { path: PathBuf },
    #[error("compute_ctl {pid} still holds {} and could not be ended", path.display())]
    PredecessorHolds { pid: i32, path: PathBuf },
    #[error("process {pid} of an earlier server in {} could not be ended", path.display())]
    PredecessorServer { pid: i32, path: PathBuf },
    #[error("{} is missing: the extension is not installed for this PostgreSQL; {REBUILD}", path.display())]
    NoExtension { path: PathBuf },
    #[error(
        "{} was compiled for PostgreSQL {compiled_for}, and the server in {} is {server}; {REBUILD}",
        path.display(), bin.display()
    )]
    OtherExtension { path: PathBuf, compiled_for: String, bin: PathBuf, server: String },
    #[error("{} is PostgreSQL {found:?}; the spec asks for version {wanted}", path.display())]
    WrongServer { path: PathBuf, found: String, wanted: types::PgVersion },
    #[error("the pageserver refuses the base backup{}: {source}", lsn.map(|lsn| format!(" at {lsn}")).unwrap_or_default())]
    BasebackupRefused { lsn: Option<Lsn>, source: PgError },
    #[error("the base backup is not usable: {0}")]
    Basebackup(String),
    #[error("cannot listen on {address}: {source}")]
    Listen { address: String, source: std::io::Error },
    #[error("a newer compute won term {term}")]
    Fenced { term: types::Term },
    #[error("the election failed: {0}")]
    Election(String),
    #[error("PostgreSQL does not take the setting {name:?}: {reason}")]
    Setting { name: String, reason: String },
    #[error("PostgreSQL ended during its start ({status}); see {}", log.display())]
    ServerEnded { status: String, log: PathBuf },
    #[error("PostgreSQL was not ready within {seconds} s; see {}", log.display())]
    ServerSilent { seconds: u64, log: PathBuf },
    #[error("cannot {action}: {source}")]
    Sql { action: String, source: PgError },
    #[error("with these settings no session can begin, and they were taken back: {0}")]
    KeepsOut(String),
}

impl ComputeError {
    /// PostgreSQL does not take what it was asked for, and would not take it later either.
    pub fn is_refusal(&self) -> bool {
        // Values that no type holds; what is not supported; names that are taken, reserved or unknown.
        let of_ours = |state: &str| ["22", "0A", "42"].iter().any(|class| state.starts_with(class));
        matches!(self, ComputeError::Setting { .. } | ComputeError::KeepsOut(_))
            || self.of_sql().and_then(PgError::sqlstate).is_some_and(of_ours)
    }

    /// Sessions are connected to a database that may have none (55006, "object in use").
    pub fn is_in_use(&self) -> bool {
        self.of_sql().and_then(PgError::sqlstate) == Some("55006")
    }

    /// Whether PostgreSQL was only not there, or too busy.
    pub fn is_retryable(&self) -> bool {
        self.of_sql().is_some_and(PgError::is_retryable)
    }

    fn of_sql(&self) -> Option<&PgError> {
        if let ComputeError::Sql { source, .. } = self { Some(source) } else { None }
    }

    pub fn file(
        action: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(std::io::Error) -> ComputeError {
        let path = path.into();
        move |source| ComputeError::File { action, path, source }
    }
}

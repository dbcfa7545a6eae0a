//! Errors: what a client is told ([`QueryError`]) and what ended a connection ([`ConnectionError`]).

use std::fmt;
use std::io;

/// The codes that this crate itself uses, and a few that every daemon needs.
pub mod sqlstate {
    pub const PROTOCOL_VIOLATION: &str = "08P01";
    pub const CONNECTION_FAILURE: &str = "08006";
    pub const FEATURE_NOT_SUPPORTED: &str = "0A000";
    pub const INVALID_PARAMETER_VALUE: &str = "22023";
    pub const INVALID_AUTHORIZATION: &str = "28000";
    pub const INVALID_PASSWORD: &str = "28P01";
    pub const INSUFFICIENT_PRIVILEGE: &str = "42501";
    pub const SYNTAX_ERROR: &str = "42601";
    pub const UNDEFINED_OBJECT: &str = "42704";
    pub const TOO_MANY_CONNECTIONS: &str = "53300";
    pub const DISK_FULL: &str = "53100";
    pub const OBJECT_NOT_IN_PREREQUISITE_STATE: &str = "55000";
    pub const ADMIN_SHUTDOWN: &str = "57P01";
    pub const IO_ERROR: &str = "58030";
    pub const INTERNAL_ERROR: &str = "XX000";
    pub const DATA_CORRUPTED: &str = "XX001";
}

/// Whether the connection goes on after an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// The next query may work.
    Error,
    /// The connection is closed after the error was sent.
    Fatal,
}

impl Severity {
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Severity::Error => "ERROR",
            Severity::Fatal => "FATAL",
        }
    }
}

/// An error as the client sees it: PostgreSQL's `ErrorResponse`.
#[derive(Clone, Debug, thiserror::Error)]
pub struct QueryError {
    pub severity: Severity,
    pub sqlstate: &'static str,
    pub message: String,
    pub detail: Option<String>,
    pub hint: Option<String>,
}

impl QueryError {
    pub fn new(sqlstate: &'static str, message: impl Into<String>) -> Self {
        Self { severity: Severity::Error, sqlstate, message: message.into(), detail: None, hint: None }
    }

    pub fn fatal(sqlstate: &'static str, message: impl Into<String>) -> Self {
        Self { severity: Severity::Fatal, ..Self::new(sqlstate, message) }
    }

    #[must_use]
    pub fn with_detail(self, detail: impl Into<String>) -> Self {
        Self { detail: Some(detail.into()), ..self }
    }

    #[must_use]
    pub fn with_hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }
}

impl fmt::Display for QueryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (SQLSTATE {})", self.message, self.sqlstate)
    }
}

/// The connection is of no use any more.
#[derive(Debug, thiserror::Error)]
pub enum ConnectionError {
    #[error("connection lost: {0}")]
    Io(#[from] io::Error),
    #[error("the client closed the connection in the middle of a message")]
    Truncated,
    #[error("protocol violation: {0}")]
    Protocol(String),
    #[error("a message of {length} bytes is over the limit of {limit}")]
    MessageTooLarge { length: usize, limit: usize },
}

impl From<ConnectionError> for QueryError {
    fn from(error: ConnectionError) -> Self {
        let code = match error {
            ConnectionError::Io(_) | ConnectionError::Truncated => sqlstate::CONNECTION_FAILURE,
            ConnectionError::Protocol(_) | ConnectionError::MessageTooLarge { .. } => {
                sqlstate::PROTOCOL_VIOLATION
            }
        };
        QueryError::fatal(code, error.to_string())
    }
}

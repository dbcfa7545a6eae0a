//! What can go wrong on a connection, and what the server said about it.

use std::fmt;

/// An ErrorResponse of the server, with the fields that people and programs act on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServerError {
    pub severity: String,
    /// Five characters, such as `28P01`; empty only if the server broke the protocol.
    pub sqlstate: String,
    pub message: String,
    pub detail: Option<String>,
    pub hint: Option<String>,
}

impl fmt::Display for ServerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (SQLSTATE {})", self.message, self.sqlstate)?;
        if let Some(detail) = &self.detail {
            write!(f, "; {detail}")?;
        }
        if let Some(hint) = &self.hint {
            write!(f, "; hint: {hint}")?;
        }
        Ok(())
    }
}

#[derive(Debug, thiserror::Error)]
pub enum PgError {
    #[error("cannot connect to {address}: {source}")]
    Connect { address: String, source: std::io::Error },
    #[error("no answer from {address} within {seconds} s of connecting")]
    ConnectTimeout { address: String, seconds: u64 },
    #[error("no TLS with {address}: {reason}")]
    Tls { address: String, reason: String },
    #[error("{0:?} is not an address: expected host:port")]
    BadAddress(String),
    #[error("connection failed: {0}")]
    Io(#[from] std::io::Error),
    #[error("the server closed the connection")]
    Closed,
    #[error("{0}")]
    Server(Box<ServerError>),
    #[error("the server broke the protocol: {0}")]
    Protocol(String),
    #[error("authentication failed: {0}")]
    Authentication(String),
}

impl PgError {
    /// The SQLSTATE, if it was the server that refused.
    pub fn sqlstate(&self) -> Option<&str> {
        match self {
            PgError::Server(error) => Some(&error.sqlstate),
            PgError::Connect { .. }
            | PgError::ConnectTimeout { .. }
            | PgError::Tls { .. }
            | PgError::BadAddress(_)
            | PgError::Io(_)
            | PgError::Closed
            | PgError::Protocol(_)
            | PgError::Authentication(_) => None,
        }
    }

    /// Whether the same attempt may succeed later: the peer is away, starting or shutting down.
    /// A refusal of the request itself, and a broken protocol, are not.
    pub fn is_retryable(&self) -> bool {
        match self {
            PgError::Connect { .. } | PgError::ConnectTimeout { .. } | PgError::Io(_) | PgError::Closed => {
                true
            }
            // Class 57P is "operator intervention" (shutting down, starting up), class 53 is a lack of
            // resources (too many connections), class 08 a connection that failed on the server's side.
            PgError::Server(error) => {
                ["57P", "53", "08"].iter().any(|class| error.sqlstate.starts_with(class))
            }
            // Certificates are replaced while everything runs: another try may find one that is believed.
            PgError::Tls { .. } => true,
            PgError::BadAddress(_) | PgError::Protocol(_) | PgError::Authentication(_) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(sqlstate: &str) -> PgError {
        PgError::Server(Box::new(ServerError {
            sqlstate: sqlstate.into(),
            message: "no".into(),
            ..ServerError::default()
        }))
    }

    #[test]
    fn refusals_are_not_retried_and_absences_are() {
        assert!(server("57P03").is_retryable());
        assert!(server("53300").is_retryable());
        assert!(PgError::Closed.is_retryable());
        assert!(!server("28P01").is_retryable());
        assert!(!server("42P01").is_retryable());
        assert_eq!(server("28P01").to_string(), "no (SQLSTATE 28P01)");
    }
}

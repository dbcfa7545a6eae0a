//! The command line.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Parser;
use remote_storage::RemoteStorageConfig;
use telemetry::{LogFormat, TraceArguments};
use types::NodeId;

/// Keeps the WAL of computes durably, and gives it to pageservers.
#[derive(Clone, Debug, Parser)]
#[command(version, name = "safekeeper")]
pub struct Arguments {
    /// Directory for WAL and control files. Created if it does not exist.
    #[arg(short = 'D', long)]
    pub datadir: PathBuf,
    /// Number of this safekeeper. A directory belongs to one number for ever.
    #[arg(long)]
    pub id: NodeId,
    /// Address of the WAL service (PostgreSQL protocol).
    #[arg(short = 'l', long, default_value = "127.0.0.1:5454")]
    pub listen_pg: SocketAddr,
    /// Address of the HTTP API.
    #[arg(long, default_value = "127.0.0.1:7676")]
    pub listen_http: SocketAddr,
    /// `host:port` at which others reach the WAL service, if it is not the listen address.
    #[arg(long)]
    pub advertise_pg: Option<String>,
    /// `host:port` at which others reach the HTTP API, if it is not the listen address.
    #[arg(long)]
    pub advertise_http: Option<String>,
    /// The storage broker, as http://HOST:PORT; as https://HOST:PORT with --tls-ca-file.
    #[arg(long)]
    pub broker_endpoint: String,
    /// Public keys whose tokens are believed: a file in PEM, or a directory of files that end in .pem.
    #[arg(long)]
    pub auth_public_key_path: PathBuf,
    /// The token that this safekeeper presents to the others and to the broker: scopes safekeeper and broker.
    #[arg(long)]
    pub auth_token_file: PathBuf,
    /// Certificate to show on both ports, in PEM, with those that lead to its root. Nothing but TLS is spoken there then. A
    /// replaced file is taken on while it runs.
    #[arg(long, requires = "tls_key_file")]
    pub tls_cert_file: Option<PathBuf>,
    /// The certificate's key, in PEM.
    #[arg(long, requires = "tls_cert_file")]
    pub tls_key_file: Option<PathBuf>,
    /// Whose certificates are believed, in PEM: connections to other safekeepers and to the broker are TLS then.
    #[arg(long)]
    pub tls_ca_file: Option<PathBuf>,
    /// Object storage, where WAL goes that is not needed here any more: 'local_path = "DIRECTORY"'. The same for all
    /// safekeepers; without it, WAL stays here for ever.
    #[arg(long, value_name = "TOML")]
    pub remote_storage: Option<RemoteStorageConfig>,
    /// Seconds for which nobody must have used a timeline before it is evicted: from memory, and its WAL into object
    /// storage.
    #[arg(long, value_name = "SECONDS", default_value_t = 900)]
    pub evict_after: u64,
    #[arg(long, value_enum, default_value_t)]
    pub log_format: LogFormat,
    #[command(flatten)]
    pub traces: TraceArguments,
}

/// Who this safekeeper is to others.
#[derive(Clone, Debug)]
pub struct Advertised {
    pub id: NodeId,
    pub pg_connstr: String,
    pub http_connstr: String,
}

impl Arguments {
    pub fn advertised(&self) -> Advertised {
        Advertised {
            id: self.id,
            pg_connstr: self.advertise_pg.clone().unwrap_or_else(|| self.listen_pg.to_string()),
            http_connstr: self.advertise_http.clone().unwrap_or_else(|| self.listen_http.to_string()),
        }
    }
}

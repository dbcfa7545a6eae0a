//! `varve container …`, and `varve machine …`, which is the same

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::builder::{FalseyValueParser, StyledStr};
use clap::{Args, Subcommand, ValueEnum};

use pageserver_api::history::Interval;
use types::Lsn;

use super::help::examples;
use super::parse_setting;

#[derive(Subcommand)]
pub enum ContainerCommand {
    /// Make keys, template, first tenant and first database, once: what is made already stays as it is.
    Init(ContainerInitArguments),
    /// Become the compute of a branch.
    Compute {
        /// The branch that it reads and writes.
        #[arg(long, default_value = "main")]
        branch_name: String,
        /// A read replica of it: a hot standby that follows the branch. There may be many.
        #[arg(long)]
        hot_standby: bool,
        /// Read the branch as it was at this LSN, for ever.
        #[arg(long, conflicts_with = "hot_standby")]
        lsn: Option<Lsn>,
        /// A setting for postgresql.conf, as NAME=VALUE. May be repeated.
        #[arg(long = "set", value_name = "NAME=VALUE", value_parser = parse_setting)]
        settings: Vec<(String, String)>,
        /// Stop PostgreSQL when nobody has used it for so long, as "5m"; the next connection starts it. 0: never.
        #[arg(long, value_name = "TIME", default_value = "0")]
        suspend_timeout: Interval,
        /// Port of PostgreSQL, on all addresses of this host.
        #[arg(long, default_value_t = 5432)]
        pg_port: u16,
        /// Address of the HTTP API.
        #[arg(long, default_value = "0.0.0.0:3080")]
        listen_http: SocketAddr,
        /// Name or address under which others reach this host: with TLS between the parts, whose certificate it shows.
        #[arg(long, value_name = "HOST", env = "VARVE_ADVERTISE")]
        advertise: Option<String>,
        /// Directory of its own, a cache.
        #[arg(long, default_value = "/var/lib/varve/compute")]
        home: PathBuf,
    },
    /// Succeed if the part that runs in this container does its work.
    Health {
        /// What runs here.
        part: Part,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Part {
    Broker,
    Safekeeper,
    Pageserver,
    Compute,
}

#[derive(Args)]
pub struct ContainerInitArguments {
    /// Host of the storage broker.
    #[arg(long)]
    pub broker: String,
    /// Host of the pageserver.
    #[arg(long)]
    pub pageserver: String,
    /// Hosts of the safekeepers, separated by commas. The first is safekeeper 1.
    #[arg(long, value_delimiter = ',', required = true)]
    pub safekeepers: Vec<String>,
    /// Have the parts speak TLS and nothing else: make certificates for their hosts, and whom all believe. Those that run have
    /// to be stopped and started, all of them. Said once, it stays so.
    #[arg(long, env = "VARVE_PARTS_TLS", value_parser = FalseyValueParser::new())]
    pub tls: bool,
    /// With TLS: hosts that run computes and no storage, separated by commas; they get certificates too.
    #[arg(long, env = "VARVE_COMPUTES", value_name = "HOST", value_delimiter = ',')]
    pub computes: Vec<String>,
    /// Make keys and configuration alone. For machines that get them by hand before their daemons can start; the same
    /// command without this flag goes on.
    #[arg(long)]
    pub keys_only: bool,
    /// The first superuser. Default: postgres.
    #[arg(long, env = "POSTGRES_USER")]
    pub user: Option<String>,
    /// Its password. There is no default.
    #[arg(long, env = "POSTGRES_PASSWORD", hide_env_values = true)]
    pub password: Option<String>,
    /// The first database, which belongs to it. Default: called as the user.
    #[arg(long, env = "POSTGRES_DB")]
    pub database: Option<String>,
    /// A name or an address under which clients reach computes: makes a certificate for it, and TLS obligatory. Several have
    /// commas between them.
    #[arg(long, env = "VARVE_TLS_NAME", value_delimiter = ',')]
    pub tls_name: Vec<String>,
}

pub fn group_examples() -> StyledStr {
    examples(&[
        ("varve container health pageserver", "in the container of the pageserver"),
        ("varve machine compute --branch-name dev", "a server on the branch dev"),
        ("varve machine compute --hot-standby", "a read replica of main"),
    ])
}

//! What can be typed. Verbs and flags are those of neon_local where it has them.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use types::{Lsn, NodeId, PgVersion, TenantId, TimelineId};

#[derive(Parser)]
#[command(
    name = "varve",
    version,
    about = "Serverless PostgreSQL storage on unmodified PostgreSQL: runs a cluster on this machine.",
    after_help = "\
Examples:
  varve up                                              start everything, with a first database
  psql \"$(varve connstr main)\"                          connect
  varve timeline branch --branch-name dev               branch, in no time, whatever the size
  varve endpoint create dev --branch-name dev && varve endpoint start dev"
)]
pub struct Arguments {
    /// Directory that holds the cluster.
    #[arg(long, global = true, env = "VARVE_DIR", default_value = ".varve")]
    pub data_dir: PathBuf,
    /// Answer with one JSON document instead of text.
    #[arg(long, global = true)]
    pub json: bool,
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Subcommand)]
pub enum Command {
    /// Make the cluster if there is none, start all of it and say how to connect.
    Up(InitArguments),
    /// Stop everything; data stays.
    Down(StopArguments),
    /// Make keys, configuration and the template database of a new cluster. Starts nothing.
    Init(InitArguments),
    /// Start the storage and every endpoint that was running; repair what died.
    Start,
    /// Stop everything; data stays.
    Stop(StopArguments),
    /// What runs, where, and how far each part is.
    Status,
    /// Print the connection string of an endpoint.
    Connstr(ConnstrArguments),
    /// Run psql on an endpoint. What follows `--` goes to psql.
    Psql(PsqlArguments),
    /// Print a log: broker, safekeeper-1, pageserver, or an endpoint's name.
    Logs(LogsArguments),
    /// Tenants: PostgreSQL clusters with all their branches.
    #[command(subcommand)]
    Tenant(TenantCommand),
    /// Timelines: branches of a tenant's history.
    #[command(subcommand)]
    Timeline(TimelineCommand),
    /// Endpoints: stateless PostgreSQL servers on a branch.
    #[command(subcommand)]
    Endpoint(EndpointCommand),
    /// The pageserver alone.
    #[command(subcommand)]
    Pageserver(DaemonCommand),
    /// One safekeeper, or all.
    #[command(subcommand)]
    Safekeeper(DaemonCommand),
    /// The storage broker alone.
    #[command(subcommand)]
    Broker(DaemonCommand),
    /// What runs inside of containers: see docker/README.md.
    #[command(subcommand)]
    Container(ContainerCommand),
}

#[derive(Args, Clone, Default)]
pub struct InitArguments {
    /// First of the ports of this cluster, so that several can share a machine. Default: each part's own port.
    #[arg(long)]
    pub port_base: Option<u16>,
    /// Directory of PostgreSQL's programs. Default: /usr/lib/postgresql/15/bin.
    #[arg(long)]
    pub pg_bin_dir: Option<PathBuf>,
    /// Number of safekeepers: odd, at least 3.
    #[arg(long)]
    pub num_safekeepers: Option<u64>,
}

#[derive(Args, Clone, Copy)]
pub struct StopArguments {
    /// fast: all WAL is durable before PostgreSQL ends. immediate: as if the power failed.
    #[arg(short, long, value_enum, default_value_t)]
    pub mode: StopMode,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum StopMode {
    #[default]
    Fast,
    Immediate,
}

#[derive(Args)]
pub struct ConnstrArguments {
    #[arg(default_value = "main")]
    pub endpoint: String,
    /// Database to name in it.
    #[arg(long, default_value = "postgres")]
    pub database: String,
}

#[derive(Args)]
pub struct PsqlArguments {
    #[arg(default_value = "main")]
    pub endpoint: String,
    #[arg(last = true)]
    pub psql_arguments: Vec<String>,
}

#[derive(Args)]
pub struct LogsArguments {
    pub name: String,
    /// Go on printing what is added.
    #[arg(short, long)]
    pub follow: bool,
}

#[derive(Subcommand)]
pub enum TenantCommand {
    /// Make a tenant with one branch, `main`.
    Create {
        #[arg(long)]
        tenant_id: Option<TenantId>,
        #[arg(long)]
        timeline_id: Option<TimelineId>,
        #[arg(long, default_value = "15")]
        pg_version: PgVersion,
        /// Use it where no --tenant-id is given.
        #[arg(long)]
        set_default: bool,
    },
    List,
    /// Use this tenant where no --tenant-id is given.
    SetDefault {
        #[arg(long)]
        tenant_id: TenantId,
    },
}

#[derive(Subcommand)]
pub enum TimelineCommand {
    /// Make a new, empty root branch.
    Create {
        #[arg(long)]
        branch_name: String,
        #[arg(long)]
        tenant_id: Option<TenantId>,
        #[arg(long)]
        timeline_id: Option<TimelineId>,
        #[arg(long, default_value = "15")]
        pg_version: PgVersion,
    },
    /// Branch off another branch: at its head, or at an LSN.
    Branch {
        #[arg(long)]
        branch_name: String,
        #[arg(long, default_value = "main")]
        ancestor_branch_name: String,
        #[arg(long)]
        ancestor_start_lsn: Option<Lsn>,
        #[arg(long)]
        tenant_id: Option<TenantId>,
        #[arg(long)]
        timeline_id: Option<TimelineId>,
    },
    /// The branches as a tree, with positions and sizes.
    List {
        #[arg(long)]
        tenant_id: Option<TenantId>,
    },
    /// Write a branch as it was at an LSN into a plain data directory that stock PostgreSQL starts.
    Export {
        #[arg(long, default_value = "main")]
        branch_name: String,
        /// Default: the head.
        #[arg(long)]
        at_lsn: Option<Lsn>,
        /// Directory to make; it must be empty or not exist.
        #[arg(short, long)]
        output: PathBuf,
        #[arg(long)]
        tenant_id: Option<TenantId>,
    },
}

#[derive(Subcommand)]
pub enum EndpointCommand {
    /// Describe a new endpoint. Starts nothing.
    Create {
        endpoint: String,
        #[arg(long, default_value = "main")]
        branch_name: String,
        #[arg(long)]
        tenant_id: Option<TenantId>,
        #[arg(long)]
        pg_port: Option<u16>,
        #[arg(long)]
        http_port: Option<u16>,
        /// A setting for postgresql.conf, as NAME=VALUE. May be repeated.
        #[arg(long = "set", value_name = "NAME=VALUE", value_parser = parse_setting)]
        settings: Vec<(String, String)>,
        /// Allow a second endpoint on a branch: when it starts, the first one is fenced off.
        #[arg(long)]
        allow_multiple: bool,
    },
    /// Start PostgreSQL on a new, empty data directory.
    Start {
        endpoint: String,
        /// Seconds to wait for the first connection.
        #[arg(short = 't', long, default_value_t = 90)]
        start_timeout: u64,
        /// Start although another endpoint of the branch runs, which fences that one off.
        #[arg(long)]
        allow_multiple: bool,
    },
    Stop {
        endpoint: String,
        #[command(flatten)]
        stop: StopArguments,
        /// Delete the endpoint too.
        #[arg(long)]
        destroy: bool,
    },
    List {
        #[arg(long)]
        tenant_id: Option<TenantId>,
    },
    /// Forget an endpoint that does not run. The branch and its data stay.
    Delete { endpoint: String },
    /// Change settings; a running endpoint takes them on at once where PostgreSQL can.
    Reconfigure {
        endpoint: String,
        #[arg(long = "set", value_name = "NAME=VALUE", value_parser = parse_setting)]
        settings: Vec<(String, String)>,
    },
}

#[derive(Subcommand)]
pub enum DaemonCommand {
    Start {
        /// Which one; default: all.
        #[arg(long)]
        id: Option<NodeId>,
    },
    Stop {
        #[arg(long)]
        id: Option<NodeId>,
        #[command(flatten)]
        stop: StopArguments,
    },
    Status {
        #[arg(long)]
        id: Option<NodeId>,
    },
}

#[derive(Subcommand)]
pub enum ContainerCommand {
    /// Make keys, template, first tenant and first database, once: what is made already stays as it is.
    Init(ContainerInitArguments),
    /// Become the compute of a branch.
    Compute {
        #[arg(long, default_value = "main")]
        branch_name: String,
        /// A setting for postgresql.conf, as NAME=VALUE. May be repeated.
        #[arg(long = "set", value_name = "NAME=VALUE", value_parser = parse_setting)]
        settings: Vec<(String, String)>,
        /// Directory of its own, emptied at every start.
        #[arg(long, default_value = "/var/lib/varve/compute")]
        home: PathBuf,
    },
    /// Succeed if the part that runs in this container does its work.
    Health { part: Part },
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
    /// The first superuser. Default: postgres.
    #[arg(long, env = "POSTGRES_USER")]
    pub user: Option<String>,
    /// Its password. There is no default.
    #[arg(long, env = "POSTGRES_PASSWORD", hide_env_values = true)]
    pub password: Option<String>,
    /// The first database, which belongs to it. Default: called as the user.
    #[arg(long, env = "POSTGRES_DB")]
    pub database: Option<String>,
}

fn parse_setting(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or_else(|| format!("{text:?} is not NAME=VALUE"))?;
    Ok((name.trim().to_owned(), value.trim().to_owned()))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_definition_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn psql_gets_what_follows_the_dashes() {
        let arguments = Arguments::parse_from(["varve", "psql", "dev", "--", "-c", "\\dt+"]);
        let Command::Psql(psql) = arguments.command else { panic!("not psql") };
        assert_eq!((psql.endpoint.as_str(), psql.psql_arguments), ("dev", vec!["-c".into(), "\\dt+".into()]));
    }
}

//! `varve endpoint …`

use clap::Subcommand;
use clap::builder::StyledStr;
use pageserver_api::history::Interval;
use types::{Lsn, TenantId};

use super::help::examples;
use super::moment::Moment;
use super::{StopArguments, parse_setting};

#[derive(Subcommand)]
pub enum EndpointCommand {
    /// Describe a new endpoint. Starts nothing.
    #[command(after_help = create_examples())]
    Create {
        /// Name of the new endpoint.
        endpoint: String,
        /// The branch that it reads and writes.
        #[arg(long, default_value = "main")]
        branch_name: String,
        /// Default: the default tenant.
        #[arg(long)]
        tenant_id: Option<TenantId>,
        /// Port of PostgreSQL. Default: the first free one of the cluster's range.
        #[arg(long)]
        pg_port: Option<u16>,
        /// Port of compute_ctl. Default: the first free one of the cluster's range.
        #[arg(long)]
        http_port: Option<u16>,
        /// A setting for postgresql.conf, as NAME=VALUE. May be repeated.
        #[arg(long = "set", value_name = "NAME=VALUE", value_parser = parse_setting)]
        settings: Vec<(String, String)>,
        /// Stop PostgreSQL when nobody has used it for so long, as "5m"; the next connection starts it.
        #[arg(long, value_name = "TIME")]
        suspend_timeout: Option<Interval>,
        /// Allow a second endpoint on a branch: when it starts, the first one is fenced off.
        #[arg(long)]
        allow_multiple: bool,
        /// A read replica: a hot standby that follows the branch. There may be many.
        #[arg(long)]
        hot_standby: bool,
        /// Read the branch as it was at this LSN, for ever.
        #[arg(long, conflicts_with = "hot_standby")]
        lsn: Option<Lsn>,
        /// Read the branch as it was then: "2026-11-22 10:00", "2 hours ago".
        #[arg(long, value_name = "TIME", conflicts_with_all = ["hot_standby", "lsn"])]
        time: Option<Moment>,
    },
    /// Make a read replica the one that writes; the one that does is fenced off.
    Promote {
        /// Name of the endpoint.
        endpoint: String,
        /// Seconds to wait for the first connection.
        #[arg(short = 't', long, default_value_t = 90)]
        start_timeout: u64,
    },
    /// Start PostgreSQL, with the cache that a clean stop on this machine left, or with none.
    Start {
        /// Name of the endpoint.
        endpoint: String,
        /// Seconds to wait for the first connection.
        #[arg(short = 't', long, default_value_t = 90)]
        start_timeout: u64,
        /// Start although another endpoint of the branch runs, which fences that one off.
        #[arg(long)]
        allow_multiple: bool,
        /// Begin with an empty cache, although the last stop left a full one.
        #[arg(long)]
        cold: bool,
    },
    /// Stop PostgreSQL; all that was committed is in storage.
    Stop {
        /// Name of the endpoint.
        endpoint: String,
        #[command(flatten)]
        stop: StopArguments,
        /// Delete the endpoint too.
        #[arg(long)]
        destroy: bool,
    },
    /// All endpoints, with their branches and ports.
    List {
        /// Only those of this tenant.
        #[arg(long)]
        tenant_id: Option<TenantId>,
    },
    /// Forget an endpoint that does not run. The branch and its data stay.
    Delete {
        /// Name of the endpoint.
        endpoint: String,
    },
    /// Change settings; a running endpoint takes them on at once where PostgreSQL can.
    #[command(after_help = reconfigure_examples())]
    Reconfigure {
        /// Name of the endpoint.
        endpoint: String,
        /// A setting for postgresql.conf, as NAME=VALUE. May be repeated.
        #[arg(
            long = "set", value_name = "NAME=VALUE", value_parser = parse_setting,
            required_unless_present_any = ["unset", "suspend_timeout"]
        )]
        settings: Vec<(String, String)>,
        /// Go back to the default of a setting that was set before. May be repeated.
        #[arg(long, value_name = "NAME")]
        unset: Vec<String>,
        /// Stop PostgreSQL when nobody has used it for so long; 0: never. Counts from the next start on.
        #[arg(long, value_name = "TIME")]
        suspend_timeout: Option<Interval>,
    },
}

pub fn group_examples() -> StyledStr {
    examples(&[
        ("varve endpoint create test --branch-name test", "choose ports and a password"),
        ("varve endpoint start test", "within a second or two"),
        ("varve endpoint list", "which there are"),
        ("varve endpoint stop test --destroy", "the branch stays"),
    ])
}

fn create_examples() -> StyledStr {
    examples(&[
        ("varve endpoint create work --branch-name work --set work_mem=64MB", "a setting"),
        ("varve endpoint create second --allow-multiple", "fences main off when started"),
        ("varve endpoint create ro --hot-standby", "a read replica of main"),
        ("varve endpoint create past --time '1 hour ago'", "main as it was"),
        ("varve endpoint create lazy --hot-standby --suspend-timeout 5m", "a replica that stops when idle"),
    ])
}

fn reconfigure_examples() -> StyledStr {
    examples(&[
        ("varve endpoint reconfigure main --set log_min_duration_statement=100", "ms"),
        ("varve endpoint reconfigure main --unset log_min_duration_statement", "the default again"),
        ("varve endpoint reconfigure main --suspend-timeout 5m", "from its next start on"),
    ])
}

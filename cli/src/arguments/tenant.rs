//! `varve tenant …`

use clap::Subcommand;
use clap::builder::StyledStr;
use types::{PgVersion, TenantId, TimelineId};

use super::help::examples;
use super::parse_pg_version;

#[derive(Subcommand)]
pub enum TenantCommand {
    /// Make a tenant with one branch, `main`.
    Create {
        /// Id of the tenant, 32 hexadecimal digits. Default: a random one.
        #[arg(long)]
        tenant_id: Option<TenantId>,
        /// Id of its branch `main`. Default: a random one.
        #[arg(long)]
        timeline_id: Option<TimelineId>,
        /// Major version of PostgreSQL. Default: the cluster's.
        #[arg(long, value_parser = parse_pg_version)]
        pg_version: Option<PgVersion>,
        /// Use it where no --tenant-id is given.
        #[arg(long)]
        set_default: bool,
    },
    /// All tenants, with the names of their branches.
    List,
    /// What is kept of a tenant's past; with --set, another setting.
    #[command(after_help = config_examples())]
    Config {
        /// pitr_interval ("7 days": how far back any moment can be read) or gc_horizon (bytes of WAL that are kept at
        /// least). May be given several times.
        #[arg(long, value_name = "NAME=VALUE")]
        set: Vec<String>,
        /// Back to what the pageserver's configuration says.
        #[arg(long, value_name = "NAME")]
        unset: Vec<String>,
        /// Default: the default tenant.
        #[arg(long)]
        tenant_id: Option<TenantId>,
    },
    /// Delete a tenant with all its branches and all they have in object storage.
    ///
    /// It must have no endpoints. Nothing brings it back.
    Delete {
        /// Which one: see `varve tenant list`.
        #[arg(long)]
        tenant_id: TenantId,
    },
    /// Use this tenant where no --tenant-id is given.
    SetDefault {
        /// Which one: see `varve tenant list`.
        #[arg(long)]
        tenant_id: TenantId,
    },
}

fn config_examples() -> StyledStr {
    examples(&[
        ("varve tenant config", "how it is now"),
        ("varve tenant config --set pitr_interval='14 days'", "two weeks of history"),
        ("varve tenant config --unset pitr_interval", "as for all others"),
    ])
}

pub fn group_examples() -> StyledStr {
    examples(&[
        ("varve tenant create", "with a branch main of its own"),
        ("varve tenant create --set-default", "and mean it from now on"),
        ("varve tenant list", "all ids"),
    ])
}

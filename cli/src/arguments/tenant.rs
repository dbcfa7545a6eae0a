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
    /// Use this tenant where no --tenant-id is given.
    SetDefault {
        /// Which one: see `varve tenant list`.
        #[arg(long)]
        tenant_id: TenantId,
    },
}

pub fn group_examples() -> StyledStr {
    examples(&[
        ("varve tenant create", "with a branch main of its own"),
        ("varve tenant create --set-default", "and mean it from now on"),
        ("varve tenant list", "all ids"),
    ])
}

//! `tenant`: clusters of PostgreSQL with all their branches.

use serde_json::json;
use types::{PgVersion, TenantId, TimelineId};

use super::timeline;
use crate::arguments::TenantCommand;
use crate::local_env::{Branches, LocalEnv};
use crate::output::Output;
use crate::output::table::table;
use crate::storage::pageserver_client;

/// The first branch of every tenant.
pub const MAIN_BRANCH: &str = "main";

pub struct NewTenant {
    pub tenant_id: TenantId,
    pub timeline_id: TimelineId,
    pub pg_version: PgVersion,
    pub set_default: bool,
}

impl NewTenant {
    /// The default tenant, with new ids.
    pub fn of(pg_version: PgVersion) -> Self {
        NewTenant {
            tenant_id: TenantId::generate(),
            timeline_id: TimelineId::generate(),
            pg_version,
            set_default: true,
        }
    }
}

pub const fn only_reads(command: &TenantCommand) -> bool {
    matches!(command, TenantCommand::List)
}

pub async fn run(env: &LocalEnv, command: TenantCommand, output: Output) -> anyhow::Result<()> {
    let mut branches = env.branches()?;
    match command {
        TenantCommand::Create { tenant_id, timeline_id, pg_version, set_default } => {
            let new = NewTenant {
                tenant_id: tenant_id.unwrap_or_else(TenantId::generate),
                timeline_id: timeline_id.unwrap_or_else(TimelineId::generate),
                pg_version: pg_version.unwrap_or(env.config.pg_version),
                set_default,
            };
            let value = json!({ "tenant_id": new.tenant_id, "timeline_id": new.timeline_id });
            let text = format!(
                "tenant {} with branch {MAIN_BRANCH:?} on timeline {}",
                new.tenant_id, new.timeline_id
            );
            create(env, &mut branches, new, output).await?;
            output.result(&value, || text)
        }
        TenantCommand::List => list(&branches, output),
        TenantCommand::SetDefault { tenant_id } => {
            branches.set_default(tenant_id)?;
            output.result(&json!({ "default_tenant": tenant_id }), || {
                format!("the default tenant is {tenant_id}")
            })
        }
    }
}

pub async fn create(
    env: &LocalEnv,
    branches: &mut Branches,
    new: NewTenant,
    output: Output,
) -> anyhow::Result<()> {
    output.progress(format!("making tenant {}", new.tenant_id));
    pageserver_client(env).create_tenant(new.tenant_id).await?;
    timeline::create_root(env, new.tenant_id, new.timeline_id, new.pg_version, output).await?;
    // The names last: what they name is there.
    branches.add_branch(new.tenant_id, MAIN_BRANCH, new.timeline_id, new.pg_version)?;
    branches.add_tenant(new.tenant_id, new.set_default)
}

fn list(branches: &Branches, output: Output) -> anyhow::Result<()> {
    let default = branches.default_tenant();
    let tenants: Vec<_> = branches.tenants().collect();
    let value: Vec<_> = tenants
        .iter()
        .map(|(id, names)| json!({ "tenant_id": id, "default": Some(*id) == default, "branches": names }))
        .collect();
    output.result(&value, || {
        table(
            &["TENANT", "DEFAULT", "BRANCHES"],
            tenants.iter().map(|(id, names)| {
                let mark = if Some(*id) == default { "yes" } else { "" };
                vec![id.to_string(), mark.to_owned(), names.keys().cloned().collect::<Vec<_>>().join(", ")]
            }),
        )
    })
}

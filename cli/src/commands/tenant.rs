//! `tenant`: clusters of PostgreSQL with all their branches.

use anyhow::{Context, bail};
use http_client::absent_is_none;
use pageserver_api::history::{TenantConfig, TenantConfigRequest, TenantConfigResponse};
use serde_json::json;
use types::{PgVersion, TenantId, TenantTimelineId, TimelineId};

use super::timeline;
use crate::arguments::TenantCommand;
use crate::endpoints::Endpoint;
use crate::local_env::{Branches, LocalEnv};
use crate::output::Output;
use crate::output::table::table;
use crate::storage::{on_all_safekeepers, pageserver_client};

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
        TenantCommand::Config { set, unset, tenant_id } => {
            let tenant = branches.tenant(tenant_id)?;
            config(env, tenant, &set, &unset, output).await
        }
        TenantCommand::Delete { tenant_id } => delete(env, &mut branches, tenant_id, output).await,
        TenantCommand::SetDefault { tenant_id } => {
            branches.set_default(tenant_id)?;
            output.result(&json!({ "default_tenant": tenant_id }), || {
                format!("the default tenant is {tenant_id}")
            })
        }
    }
}

/// From the pageserver first, as a branch is. The names go last, so that the same command goes on after a failure.
async fn delete(
    env: &LocalEnv,
    branches: &mut Branches,
    tenant: TenantId,
    output: Output,
) -> anyhow::Result<()> {
    if let Some(endpoint) = Endpoint::all(env)?.iter().find(|endpoint| endpoint.tenant_id == tenant) {
        bail!(
            "endpoint {:?} is on a branch of tenant {tenant}: `varve endpoint delete {}` first",
            endpoint.name,
            endpoint.name
        );
    }
    for (branch, timeline) in branches.names(tenant) {
        timeline::no_compute_writes(env, TenantTimelineId::new(tenant, timeline), &format!("{branch:?}"))
            .await?;
    }
    let on_pageserver = absent_is_none(pageserver_client(env).delete_tenant(tenant).await)?.is_some();
    let on_safekeepers =
        on_all_safekeepers(env, async |safekeeper| safekeeper.delete_tenant(tenant).await).await?;
    let timelines = on_safekeepers.iter().map(|deleted| deleted.timelines).max().unwrap_or(0);
    if !on_pageserver && timelines == 0 {
        bail!("there is no tenant {tenant}: `varve tenant list` shows all");
    }
    branches.remove_tenant(tenant)?;
    output.result(&json!({ "deleted": tenant, "timelines": timelines }), || {
        format!("tenant {tenant} is deleted")
    })
}

async fn config(
    env: &LocalEnv,
    tenant: TenantId,
    set: &[String],
    unset: &[String],
    output: Output,
) -> anyhow::Result<()> {
    let pageserver = pageserver_client(env);
    let before = pageserver.tenant_config(tenant).await?;
    if !set.is_empty() || !unset.is_empty() {
        let config = changed(before.tenant_specific_overrides, set, unset)?;
        pageserver.set_tenant_config(&TenantConfigRequest::new(tenant, config)).await?;
    }
    let now = pageserver.tenant_config(tenant).await?;
    let TenantConfigResponse { tenant_specific_overrides: own, effective_config: effective } = &now;
    output.result(&now, || {
        let text = |value: Option<String>| value.unwrap_or_default();
        let whose = |is_own| if is_own { "of this tenant" } else { "of the pageserver" }.to_owned();
        table(
            &["SETTING", "VALUE", "SET"],
            [
                vec![
                    "pitr_interval".to_owned(),
                    text(effective.pitr_interval.map(|interval| interval.to_string())),
                    whose(own.pitr_interval.is_some()),
                ],
                vec![
                    "gc_horizon".to_owned(),
                    text(effective.gc_horizon.map(|bytes| bytes.to_string())),
                    whose(own.gc_horizon.is_some()),
                ],
            ],
        )
    })
}

/// The settings of a tenant with what was asked for on the command line.
fn changed(mut config: TenantConfig, set: &[String], unset: &[String]) -> anyhow::Result<TenantConfig> {
    let unknown =
        |name: &str| format!("{name:?} is no setting of a tenant: take pitr_interval or gc_horizon");
    for name in unset {
        match name.as_str() {
            "pitr_interval" => config.pitr_interval = None,
            "gc_horizon" => config.gc_horizon = None,
            other => bail!(unknown(other)),
        }
    }
    for setting in set {
        let (name, value) =
            setting.split_once('=').with_context(|| format!("{setting:?} is no NAME=VALUE"))?;
        match name {
            "pitr_interval" => config.pitr_interval = Some(value.parse()?),
            "gc_horizon" => {
                let bytes =
                    value.parse().with_context(|| format!("gc_horizon {value:?} is no number of bytes"))?;
                config.gc_horizon = Some(bytes);
            }
            other => bail!(unknown(other)),
        }
    }
    Ok(config)
}

pub async fn create(
    env: &LocalEnv,
    branches: &mut Branches,
    new: NewTenant,
    output: Output,
) -> anyhow::Result<()> {
    // With the same ids it goes on with what was begun. With another timeline it would take the name from the one that has it.
    match branches.names(new.tenant_id).get(MAIN_BRANCH) {
        Some(named) if *named != new.timeline_id => bail!(
            "tenant {} has branch {MAIN_BRANCH:?} already, on timeline {named}: `varve timeline create` makes it a further root",
            new.tenant_id
        ),
        Some(_) => {}
        None => branches.check_new_timeline(new.tenant_id, new.timeline_id)?,
    }
    output.progress(format!("making tenant {}", new.tenant_id));
    pageserver_client(env).create_tenant(new.tenant_id).await?;
    timeline::create_root(env, new.tenant_id, new.timeline_id, new.pg_version, output).await?;
    // Also for computes that run where the private key is not.
    env.keys.tenant_token_file(new.tenant_id)?;
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

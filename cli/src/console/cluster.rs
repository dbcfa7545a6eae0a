//! The cluster as one request finds it: configuration and names are read anew each time, since commands change them.

use std::fmt::Write;
use std::fs::File;

use maud::{Markup, html};
use nix::fcntl::Flock;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use types::{TenantId, TenantTimelineId};

use super::Console;
use super::sessions::Visitor;
use crate::local_env::{Branches, LocalEnv};

pub struct Cluster {
    pub env: LocalEnv,
    pub branches: Branches,
    /// The one that the page is about.
    pub tenant: TenantId,
}

impl Console {
    /// `tenant` as a link or a form names it; empty for the default one.
    pub fn open(&self, tenant: &str) -> anyhow::Result<Cluster> {
        let env = LocalEnv::load(&self.directory)?;
        let branches = env.branches()?;
        let asked = match tenant {
            "" => None,
            id => Some(id.parse().map_err(|_| anyhow::anyhow!("{id:?} is not the id of a tenant"))?),
        };
        let tenant = branches.tenant(asked)?;
        Ok(Cluster { env, branches, tenant })
    }

    /// Waits for commands that change the cluster, without holding up other requests, and reads behind them.
    pub async fn behind_others(&self, tenant: &str) -> anyhow::Result<(Flock<File>, Cluster)> {
        let directory = self.directory.clone();
        let lock = tokio::task::spawn_blocking(move || LocalEnv::lock(&directory)).await??;
        Ok((lock, self.open(tenant)?))
    }
}

impl Cluster {
    pub fn branch(&self, name: &str) -> anyhow::Result<TenantTimelineId> {
        Ok(TenantTimelineId::new(self.tenant, self.branches.timeline(self.tenant, name)?))
    }

    pub fn branch_names(&self) -> Vec<String> {
        self.branches.names(self.tenant).into_keys().collect()
    }

    /// The tenant as links and forms name it: not at all, if it is the default one.
    pub fn tenant_word(&self) -> String {
        let is_default = self.branches.default_tenant() == Some(self.tenant);
        if is_default { String::new() } else { self.tenant.to_string() }
    }

    /// A link that stays with the tenant.
    pub fn link(&self, path: &str, query: &[(&str, &str)]) -> String {
        let tenant = self.tenant_word();
        let mut link = path.to_owned();
        let tenant = [("tenant", tenant.as_str())];
        let pairs = query.iter().chain(&tenant).filter(|(_, value)| !value.is_empty());
        for (at, (name, value)) in pairs.enumerate() {
            let mark = if at == 0 { '?' } else { '&' };
            // Writing to memory does not fail.
            let _ = write!(link, "{mark}{name}={}", utf8_percent_encode(value, NON_ALPHANUMERIC));
        }
        link
    }

    /// What every form has.
    pub fn hidden(&self, visitor: &Visitor) -> Markup {
        let tenant = self.tenant_word();
        html! {
            input type="hidden" name="csrf" value=(visitor.csrf);
            @if !tenant.is_empty() { input type="hidden" name="tenant" value=(tenant); }
        }
    }

    /// The branches as choices.
    pub fn branch_options(&self, chosen: &str) -> Markup {
        html! {
            @for name in self.branch_names() {
                option value=(name) selected[name == chosen] { (name) }
            }
        }
    }

    /// Whether its parts are processes of this machine, which can be started and stopped here.
    pub fn runs_here(&self) -> bool {
        self.env.config.hosts.is_none()
    }
}

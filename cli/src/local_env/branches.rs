//! `branches.json`: names that people gave to timelines. Storage knows ids only.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use durable_fs::DurableFs;
use serde::{Deserialize, Serialize};
use types::{PgVersion, TenantId, TenantTimelineId, TimelineId};

use crate::output::alternatives;

const FORMAT_VERSION: u32 = 1;
const MAX_NAME: usize = 63;

#[derive(Debug)]
pub struct Branches {
    path: PathBuf,
    content: Content,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Content {
    format_version: u32,
    default_tenant: Option<TenantId>,
    tenants: BTreeMap<TenantId, BTreeMap<String, TimelineId>>,
    /// Major version of PostgreSQL. Timelines from when there was only one are not named.
    #[serde(default)]
    pg_versions: BTreeMap<TimelineId, PgVersion>,
    /// Timelines that imports have sent to the pageserver, and that are no branches yet.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    imports: BTreeSet<TenantTimelineId>,
}

impl Branches {
    pub fn load(path: &Path) -> anyhow::Result<Branches> {
        let content = match std::fs::read(path) {
            Ok(bytes) => serde_json::from_slice(&bytes)
                .with_context(|| format!("{} is not understood", path.display()))?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let (tenants, pg_versions) = (BTreeMap::new(), BTreeMap::new());
                let imports = BTreeSet::new();
                Content {
                    format_version: FORMAT_VERSION,
                    default_tenant: None,
                    tenants,
                    pg_versions,
                    imports,
                }
            }
            Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
        };
        if content.format_version != FORMAT_VERSION {
            bail!(
                "{} has format version {}, this varve reads {FORMAT_VERSION}",
                path.display(),
                content.format_version
            );
        }
        Ok(Branches { path: path.to_owned(), content })
    }

    fn save(&self) -> anyhow::Result<()> {
        let bytes = serde_json::to_vec_pretty(&self.content)?;
        Ok(DurableFs::default().write_atomically(&self.path, &bytes)?)
    }

    pub const fn default_tenant(&self) -> Option<TenantId> {
        self.content.default_tenant
    }

    /// The tenant that was asked for, else the default one.
    pub fn tenant(&self, asked: Option<TenantId>) -> anyhow::Result<TenantId> {
        let tenant = asked
            .or(self.content.default_tenant)
            .context("there is no default tenant: `varve tenant create --set-default` makes one")?;
        if !self.content.tenants.contains_key(&tenant) {
            let known = self.content.tenants.keys().map(TenantId::to_string);
            bail!("there is no tenant {tenant}; {}", alternatives(known));
        }
        Ok(tenant)
    }

    pub fn tenants(&self) -> impl Iterator<Item = (TenantId, &BTreeMap<String, TimelineId>)> {
        self.content.tenants.iter().map(|(id, branches)| (*id, branches))
    }

    /// The branches of a tenant.
    pub fn names(&self, tenant: TenantId) -> BTreeMap<String, TimelineId> {
        self.content.tenants.get(&tenant).cloned().unwrap_or_default()
    }

    /// It has no branch, and none that an import has begun.
    pub fn is_empty(&self, tenant: TenantId) -> bool {
        self.content.tenants.get(&tenant).is_none_or(BTreeMap::is_empty)
            && self.content.imports.iter().all(|import| import.tenant_id != tenant)
    }

    /// The branch that a command names, of the default tenant if it names none.
    pub fn find(&self, tenant: Option<TenantId>, branch: &str) -> anyhow::Result<TenantTimelineId> {
        let tenant = self.tenant(tenant)?;
        Ok(TenantTimelineId::new(tenant, self.timeline(tenant, branch)?))
    }

    pub fn timeline(&self, tenant: TenantId, branch: &str) -> anyhow::Result<TimelineId> {
        let branches = self.content.tenants.get(&tenant);
        let timeline = branches.and_then(|branches| branches.get(branch)).copied();
        timeline.with_context(|| {
            let known = branches.into_iter().flatten().map(|(name, _)| name);
            format!("there is no branch {branch:?}; {}", alternatives(known))
        })
    }

    /// Which PostgreSQL runs on the timeline.
    pub fn pg_version(&self, timeline: TimelineId) -> PgVersion {
        self.content.pg_versions.get(&timeline).copied().unwrap_or(PgVersion::V15)
    }

    pub fn name_of(&self, tenant: TenantId, timeline: TimelineId) -> Option<&str> {
        let branches = self.content.tenants.get(&tenant)?;
        branches.iter().find(|(_, id)| **id == timeline).map(|(name, _)| name.as_str())
    }

    /// The name in quotes; the id of a timeline that has none.
    pub fn quoted(&self, tenant: TenantId, timeline: TimelineId) -> String {
        match self.name_of(tenant, timeline) {
            Some(name) => format!("{name:?}"),
            None => timeline.to_string(),
        }
    }

    /// For what a branch was until now.
    pub fn free_name(&self, tenant: TenantId, branch: &str) -> String {
        let names = self.names(tenant);
        let mut candidates = (1_u64..).map(|number| format!("{branch}-before-{number}"));
        candidates.find(|name| !names.contains_key(name)).unwrap_or_default()
    }

    /// Refuses a name that is taken or that would not do as a word of a command line.
    pub fn check_new_name(&self, tenant: TenantId, branch: &str) -> anyhow::Result<()> {
        let plain =
            branch.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b'/'));
        if branch.is_empty() || branch.len() > MAX_NAME || !plain || branch.starts_with('-') {
            bail!(
                "{branch:?} is no good name for a branch: take 1 to 63 letters, digits, '-', '_', '.' or '/'"
            );
        }
        if self.content.tenants.get(&tenant).is_some_and(|branches| branches.contains_key(branch)) {
            bail!("there is a branch {branch:?} already");
        }
        Ok(())
    }

    /// Refuses the id of a timeline that is a branch already. One whose creation did not come to its end has no name, so
    /// that the same command may be repeated; but what was imported is not what `timeline create` makes.
    pub fn check_new_timeline(&self, tenant: TenantId, timeline: TimelineId) -> anyhow::Result<()> {
        if self.has_begun_import(TenantTimelineId::new(tenant, timeline)) {
            bail!(
                "an import of timeline {timeline} did not come to its end: repeat that, or `varve timeline delete --timeline-id \
                 {timeline}`"
            );
        }
        self.check_unnamed(tenant, timeline)
    }

    pub fn check_unnamed(&self, tenant: TenantId, timeline: TimelineId) -> anyhow::Result<()> {
        if let Some(name) = self.name_of(tenant, timeline) {
            bail!("timeline {timeline} is branch {name:?} already: take another id, or leave it out");
        }
        Ok(())
    }

    /// From now on it may come to be on the pageserver, until it is a branch, is deleted, or did not come to be.
    pub fn begin_import(&mut self, timeline: TenantTimelineId) -> anyhow::Result<()> {
        self.content.imports.insert(timeline);
        self.save()
    }

    pub fn has_begun_import(&self, timeline: TenantTimelineId) -> bool {
        self.content.imports.contains(&timeline)
    }

    pub fn forget_import(&mut self, timeline: TenantTimelineId) -> anyhow::Result<()> {
        self.content.imports.remove(&timeline);
        self.save()
    }

    pub fn add_tenant(&mut self, tenant: TenantId, make_default: bool) -> anyhow::Result<()> {
        self.content.tenants.entry(tenant).or_default();
        if make_default || self.content.default_tenant.is_none() {
            self.content.default_tenant = Some(tenant);
        }
        self.save()
    }

    pub fn set_default(&mut self, tenant: TenantId) -> anyhow::Result<()> {
        self.content.default_tenant = Some(self.tenant(Some(tenant))?);
        self.save()
    }

    /// Forgets its name, if it has one.
    pub fn remove_timeline(&mut self, ttid: TenantTimelineId) -> anyhow::Result<()> {
        if let Some(branches) = self.content.tenants.get_mut(&ttid.tenant_id) {
            branches.retain(|_, timeline| *timeline != ttid.timeline_id);
        }
        self.content.pg_versions.remove(&ttid.timeline_id);
        self.forget_import(ttid)
    }

    /// Forgets its names. If it was the default tenant, there is none from now on.
    pub fn remove_tenant(&mut self, tenant: TenantId) -> anyhow::Result<()> {
        for timeline in self.content.tenants.remove(&tenant).unwrap_or_default().values() {
            self.content.pg_versions.remove(timeline);
        }
        self.content.imports.retain(|import| import.tenant_id != tenant);
        self.content.default_tenant = self.content.default_tenant.filter(|default| *default != tenant);
        self.save()
    }

    /// The name means `timeline` from now on, what it meant before is called `keep_as`; in one step.
    pub fn replace_branch(
        &mut self,
        tenant: TenantId,
        branch: &str,
        timeline: TimelineId,
        keep_as: &str,
    ) -> anyhow::Result<()> {
        let before = self.timeline(tenant, branch)?;
        self.content.tenants.entry(tenant).or_default().insert(keep_as.to_owned(), before);
        self.add_branch(tenant, branch, timeline, self.pg_version(before))
    }

    pub fn add_branch(
        &mut self,
        tenant: TenantId,
        branch: &str,
        timeline: TimelineId,
        pg_version: PgVersion,
    ) -> anyhow::Result<()> {
        self.content.pg_versions.insert(timeline, pg_version);
        self.content.tenants.entry(tenant).or_default().insert(branch.to_owned(), timeline);
        self.forget_import(TenantTimelineId::new(tenant, timeline))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_survive_and_mistakes_are_named() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("branches.json");
        let (tenant, timeline) = (TenantId([1; 16]), TimelineId([2; 16]));
        let mut branches = Branches::load(&path).unwrap();
        assert!(branches.tenant(None).is_err());
        branches.add_tenant(tenant, false).unwrap();
        branches.add_branch(tenant, "main", timeline, PgVersion::V17).unwrap();

        let branches = Branches::load(&path).unwrap();
        assert_eq!(branches.tenant(None).unwrap(), tenant);
        assert_eq!(branches.timeline(tenant, "main").unwrap(), timeline);
        assert_eq!(branches.name_of(tenant, timeline), Some("main"));
        let taken = branches.check_new_timeline(tenant, timeline).unwrap_err().to_string();
        assert!(taken.contains("is branch \"main\" already"), "{taken}");
        branches.check_new_timeline(tenant, TimelineId::generate()).unwrap();
        assert_eq!(branches.pg_version(timeline), PgVersion::V17);
        assert_eq!(branches.pg_version(TimelineId([3; 16])), PgVersion::V15);
        let unknown = branches.timeline(tenant, "dev").unwrap_err().to_string();
        assert!(unknown.contains("\"dev\"") && unknown.contains("main"), "{unknown}");
        for bad in ["main", "", "-x", "a b", &"x".repeat(64)] {
            assert!(branches.check_new_name(tenant, bad).is_err(), "{bad:?}");
        }
        assert!(branches.check_new_name(tenant, "feature/x-1").is_ok());
    }

    #[test]
    fn what_an_import_has_begun_is_an_imports() {
        let directory = tempfile::tempdir().unwrap();
        let open = || Branches::load(&directory.path().join("branches.json")).unwrap();
        let (tenant, timeline) = (TenantId([1; 16]), TimelineId([2; 16]));
        let ttid = TenantTimelineId::new(tenant, timeline);
        assert!(open().is_empty(tenant));
        open().begin_import(ttid).unwrap();
        assert!(!open().is_empty(tenant));
        let refused = open().check_new_timeline(tenant, timeline).unwrap_err().to_string();
        assert!(refused.contains(&format!("delete --timeline-id {timeline}")), "{refused}");
        open().check_unnamed(tenant, timeline).unwrap();
        open().remove_timeline(ttid).unwrap();
        open().check_new_timeline(tenant, timeline).unwrap();

        open().begin_import(ttid).unwrap();
        open().add_branch(tenant, "mine", timeline, PgVersion::V17).unwrap();
        assert!(!open().has_begun_import(ttid) && !open().is_empty(tenant));
        assert!(open().check_unnamed(tenant, timeline).is_err());
    }
}

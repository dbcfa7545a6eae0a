//! `first_tenant.json`: what `container init` has decided, and whether it has come to its end. The ids are
//! written down before anything is made with them, so that an init that dies is followed by one that goes on.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use durable_fs::DurableFs;
use serde::{Deserialize, Serialize};
use types::{TenantId, TimelineId};

const FORMAT_VERSION: u32 = 1;

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FirstTenant {
    format_version: u32,
    pub tenant_id: TenantId,
    pub timeline_id: TimelineId,
    /// Role and database are made too, and are the user's from now on.
    pub complete: bool,
}

impl FirstTenant {
    pub fn generate() -> FirstTenant {
        FirstTenant {
            format_version: FORMAT_VERSION,
            tenant_id: TenantId::generate(),
            timeline_id: TimelineId::generate(),
            complete: false,
        }
    }

    /// One that object storage had, with roles and databases.
    pub const fn recovered(tenant_id: TenantId, timeline_id: TimelineId) -> FirstTenant {
        FirstTenant { format_version: FORMAT_VERSION, tenant_id, timeline_id, complete: true }
    }

    /// None before the first `init` has come so far.
    pub fn load(cluster: &Path) -> anyhow::Result<Option<FirstTenant>> {
        let path = path(cluster);
        let bytes = match std::fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
        };
        let first: FirstTenant = serde_json::from_slice(&bytes)
            .with_context(|| format!("{} is not understood", path.display()))?;
        if first.format_version != FORMAT_VERSION {
            let found = first.format_version;
            bail!("{} has format version {found}, this varve reads {FORMAT_VERSION}", path.display());
        }
        Ok(Some(first))
    }

    pub fn save(&self, cluster: &Path) -> anyhow::Result<()> {
        Ok(DurableFs::default().write_atomically(&path(cluster), &serde_json::to_vec_pretty(self)?)?)
    }
}

fn path(cluster: &Path) -> PathBuf {
    cluster.join("first_tenant.json")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_decided_is_found_again() {
        let place = tempfile::tempdir().unwrap();
        assert_eq!(FirstTenant::load(place.path()).unwrap(), None);
        let first = FirstTenant::generate();
        first.save(place.path()).unwrap();
        assert_eq!(FirstTenant::load(place.path()).unwrap(), Some(first));
        std::fs::write(path(place.path()), "{").unwrap();
        let error = FirstTenant::load(place.path()).unwrap_err().to_string();
        assert!(error.contains("first_tenant.json"), "{error}");
    }
}

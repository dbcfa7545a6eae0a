//! The data directory as a whole: whose it is, and that only one process has it.
//!
//! ```text
//!  <datadir>/safekeeper.id                       whose directory this is, with the format's version
//!  <datadir>/safekeeper.lock                     held by the running process
//!  <datadir>/owners                              which pageserver generations it has granted
//!  <datadir>/<tenant>/<timeline>/control         one timeline: its control file,
//!  <datadir>/<tenant>/<timeline>/0000…           and its WAL
//! ```

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use durable_fs::{DurableFs, REMOVED_SUFFIX};
use nix::fcntl::{Flock, FlockArg};
use serde::{Deserialize, Serialize};
use types::{NodeId, TenantId, TenantTimelineId, TimelineId};

const FORMAT_VERSION: u32 = 1;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Identity {
    format_version: u32,
    id: NodeId,
}

/// The directory, held until dropped.
pub struct DataDirectory {
    path: PathBuf,
    _lock: Flock<File>,
}

impl DataDirectory {
    /// Creates the directory at the first start; later checks that it is this safekeeper's.
    pub fn open(fs: &DurableFs, path: &Path, id: NodeId) -> anyhow::Result<Self> {
        fs.create_dir_durably(path)?;
        let lock_path = path.join("safekeeper.lock");
        let file =
            File::create(&lock_path).with_context(|| format!("cannot create {}", lock_path.display()))?;
        let Ok(lock) = Flock::lock(file, FlockArg::LockExclusiveNonblock) else {
            bail!("another safekeeper is running in {}", path.display());
        };
        let identity_path = path.join("safekeeper.id");
        if identity_path.exists() {
            let text = fs::read(&identity_path)
                .with_context(|| format!("cannot read {}", identity_path.display()))?;
            let found: Identity = serde_json::from_slice(&text)
                .with_context(|| format!("{} is damaged", identity_path.display()))?;
            ensure!(
                found.format_version == FORMAT_VERSION,
                "{} has the format version {}, this program reads {FORMAT_VERSION}",
                path.display(),
                found.format_version
            );
            ensure!(
                found.id == id,
                "{} is the directory of safekeeper {}, not {id}",
                path.display(),
                found.id
            );
        } else {
            let identity = Identity { format_version: FORMAT_VERSION, id };
            fs.write_atomically(&identity_path, &serde_json::to_vec(&identity)?)?;
        }
        Ok(Self { path: path.to_owned(), _lock: lock })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// Where a timeline is kept.
pub fn timeline_directory(datadir: &Path, ttid: TenantTimelineId) -> PathBuf {
    datadir.join(ttid.tenant_id.to_string()).join(ttid.timeline_id.to_string())
}

/// Every directory that has the name of a timeline, whatever is in it.
pub fn timeline_directories(datadir: &Path) -> std::io::Result<Vec<TenantTimelineId>> {
    let mut found = Vec::new();
    for (tenant, path) in named_directories(datadir)? {
        let Ok(tenant_id) = tenant.parse() else { continue };
        for (timeline, _) in named_directories(&path)? {
            found
                .extend(timeline.parse().ok().map(|timeline_id| TenantTimelineId { tenant_id, timeline_id }));
        }
    }
    Ok(found)
}

/// Removes what a crash has left of timelines that were being deleted.
pub fn remove_leftovers(datadir: &Path) -> std::io::Result<()> {
    for (tenant, path) in named_directories(datadir)? {
        if tenant.parse::<TenantId>().is_err() {
            continue;
        }
        for (name, path) in named_directories(&path)? {
            if name
                .strip_suffix(REMOVED_SUFFIX)
                .is_some_and(|timeline| timeline.parse::<TimelineId>().is_ok())
            {
                tracing::info!(directory = %path.display(), "removing what is left of a deleted timeline");
                fs::remove_dir_all(path)?;
            }
        }
    }
    Ok(())
}

fn named_directories(path: &Path) -> std::io::Result<Vec<(String, PathBuf)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            found.extend(entry.file_name().into_string().ok().map(|name| (name, entry.path())));
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_belongs_to_one_safekeeper_and_one_process() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("deep/datadir");
        let fs = DurableFs::default();
        let held = DataDirectory::open(&fs, &path, NodeId(1)).unwrap();
        let refusal = |id| DataDirectory::open(&fs, &path, NodeId(id)).map(|_| ()).unwrap_err().to_string();
        assert!(refusal(1).contains("another safekeeper is running"));
        drop(held);
        DataDirectory::open(&fs, &path, NodeId(1)).unwrap();
        assert!(refusal(2).contains("is the directory of safekeeper 1, not 2"));
    }
}

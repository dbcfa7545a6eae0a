//! `safekeeper dump-control`: the control files of a safekeeper in words, whether it runs or not.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use safekeeper_api::control_file::{ControlFile, FILE_NAME};
use safekeeper_api::framed::Framed;
use types::{NodeId, TimelineId};

use crate::local_env::LocalEnv;
use crate::output::Output;
use crate::storage::Daemon;

pub fn dump(
    env: &LocalEnv,
    id: NodeId,
    timeline_id: Option<TimelineId>,
    output: Output,
) -> anyhow::Result<()> {
    let directory = Daemon::Safekeeper(id).directory(env);
    let mut files = Vec::new();
    for path in control_files(&directory).with_context(|| format!("cannot read {}", directory.display()))? {
        let bytes = std::fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let file = ControlFile::decode(&bytes).with_context(|| path.display().to_string())?;
        if timeline_id.is_none_or(|asked| file.acceptor.identity.ttid.timeline_id == asked) {
            files.push(file);
        }
    }
    if let Some(timeline_id) = timeline_id.filter(|_| files.is_empty()) {
        bail!("safekeeper {id} has no timeline {timeline_id} in {}", directory.display());
    }
    output.result(&files, || files.iter().map(|file| format!("{file}\n")).collect::<Vec<_>>().join("\n"))
}

/// `TENANT/TIMELINE/control`. A directory without one is of a timeline that was never finished being made.
fn control_files(directory: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for tenant in directories(directory)? {
        for timeline in directories(&tenant)? {
            found.push(timeline.join(FILE_NAME));
        }
    }
    found.retain(|path| path.exists());
    found.sort();
    Ok(found)
}

fn directories(of: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(of)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            found.push(entry.path());
        }
    }
    Ok(found)
}

//! The base backup's tar, entry by entry, into the data directory.
//!
//! The tar comes over the network: only plain files and directories are taken, only under names that stay
//! inside the directory, and never over something that is there already.

use std::io::Read;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Component, Path, PathBuf};

use pageserver_api::manifest::{BackupManifest, MANIFEST_PATH, RELATIONS_PATH, RelationLine};
use tar::{Archive, Entry, EntryType};
use types::{BLCKSZ, Lsn, PgVersion, RELSEG_BLOCKS, TenantTimelineId};

use super::manifest::{parse_manifest, parse_relations};
use crate::error::ComputeError;

/// The last entry: its arrival means that the backup is whole.
const CONTROL_FILE: &str = "global/pg_control";

const LONGEST_MANIFEST: u64 = 16 << 20;
/// About forty bytes a fork: enough for some fifty million relations.
const LONGEST_RELATIONS: u64 = 2 << 30;
const LONGEST_FILE: u64 = RELSEG_BLOCKS as u64 * BLCKSZ as u64;

/// The backup that was asked for.
#[derive(Clone, Copy, Debug)]
pub struct Wanted {
    pub ttid: TenantTimelineId,
    /// None: the pageserver chooses.
    pub lsn: Option<Lsn>,
    pub pg_version: PgVersion,
}

#[derive(Debug)]
pub struct Unpacked {
    pub manifest: BackupManifest,
    pub relations: Vec<RelationLine>,
    pub files: u64,
    pub bytes: u64,
}

/// Unpacks a tar into `root`, which must be as good as empty, after checking that it is the wanted backup.
pub fn unpack(tar: impl Read, root: &Path, wanted: &Wanted) -> Result<Unpacked, ComputeError> {
    let mut archive = Archive::new(tar);
    let mut entries = archive.entries().map_err(unreadable)?;
    let first = entries.next().ok_or_else(|| unusable("it is empty"))?.map_err(unreadable)?;
    if first.path().map_err(unreadable)? != Path::new(MANIFEST_PATH) {
        return Err(unusable("it does not begin with its manifest"));
    }
    let manifest = parse_manifest(read_whole(first, LONGEST_MANIFEST)?.as_bytes())?;
    wanted.check(&manifest)?;

    let mut unpacked = Unpacked { manifest, relations: Vec::new(), files: 0, bytes: 0 };
    let mut complete = false;
    for entry in entries {
        let entry = entry.map_err(unreadable)?;
        let name = safe_name(&entry.path().map_err(unreadable)?)?;
        complete = name == Path::new(CONTROL_FILE);
        if name == Path::new(RELATIONS_PATH) {
            unpacked.relations = parse_relations(&read_whole(entry, LONGEST_RELATIONS)?)?;
            continue;
        }
        let path = root.join(&name);
        match entry.header().entry_type() {
            EntryType::Directory => make_directory(&path)?,
            EntryType::Regular => {
                unpacked.bytes += write_file(entry, &path)?;
                unpacked.files += 1;
            }
            other => return Err(unusable(&format!("{} is of kind {other:?}", name.display()))),
        }
    }
    if !complete {
        return Err(unusable("it ends before its control file"));
    }
    Ok(unpacked)
}

fn unusable(problem: &str) -> ComputeError {
    ComputeError::Basebackup(problem.to_owned())
}

fn unreadable(error: std::io::Error) -> ComputeError {
    ComputeError::Basebackup(format!("it is not readable: {error}"))
}

impl Wanted {
    fn check(&self, manifest: &BackupManifest) -> Result<(), ComputeError> {
        let found = TenantTimelineId::new(manifest.tenant_id, manifest.timeline_id);
        let wanted = self.lsn.unwrap_or(manifest.lsn);
        if found != self.ttid || manifest.lsn != wanted {
            let lsn = manifest.lsn;
            return Err(unusable(&format!("it is of {found} at {lsn}, not of {} at {wanted}", self.ttid)));
        }
        if manifest.pg_version != self.pg_version {
            let (found, wanted) = (manifest.pg_version, self.pg_version);
            return Err(unusable(&format!("it is of PostgreSQL {found}, and the spec says {wanted}")));
        }
        Ok(())
    }
}

/// The name without `./`; refused if it leads out of the directory.
fn safe_name(name: &Path) -> Result<PathBuf, ComputeError> {
    let mut safe = PathBuf::new();
    for component in name.components() {
        match component {
            Component::Normal(part) => safe.push(part),
            Component::CurDir => {}
            Component::Prefix(_) | Component::RootDir | Component::ParentDir => {
                return Err(unusable(&format!("the name {} leads out of it", name.display())));
            }
        }
    }
    Ok(safe)
}

fn make_directory(path: &Path) -> Result<(), ComputeError> {
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(ComputeError::file("create", path))
}

fn write_file(mut entry: Entry<'_, impl Read>, path: &Path) -> Result<u64, ComputeError> {
    if entry.size() > LONGEST_FILE {
        return Err(unusable(&format!("{} has {} bytes", path.display(), entry.size())));
    }
    if let Some(parent) = path.parent() {
        make_directory(parent)?;
    }
    let failed = || ComputeError::file("write", path);
    let mut options = std::fs::OpenOptions::new();
    let mut file = options.write(true).create_new(true).mode(0o600).open(path).map_err(failed())?;
    std::io::copy(&mut entry, &mut file).map_err(failed())
}

fn read_whole(entry: Entry<'_, impl Read>, limit: u64) -> Result<String, ComputeError> {
    if entry.size() > limit {
        return Err(unusable(&format!("an entry of {} bytes is too long", entry.size())));
    }
    let mut text = String::new();
    entry.take(limit).read_to_string(&mut text).map_err(unreadable)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "0123456789abcdef0123456789abcdef";

    fn manifest(lsn: &str) -> String {
        serde_json::json!({
            "format_version": 1, "tenant_id": ID, "timeline_id": ID, "lsn": lsn, "system_identifier": "1",
            "pg_version": 15, "wal_seg_size": 16 << 20, "prev_lsn": "0/0", "tli": 1, "tablespaces": []
        })
        .to_string()
    }

    fn archive(entries: &[(&str, EntryType, &str)]) -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        for (name, kind, body) in entries {
            let mut header = tar::Header::new_ustar();
            header.set_entry_type(*kind);
            header.set_size(body.len() as u64);
            header.set_mode(0o600);
            // Set by hand: the library refuses to write the names that we want to see refused.
            header.as_ustar_mut().unwrap().name[..name.len()].copy_from_slice(name.as_bytes());
            if *kind == EntryType::Symlink {
                header.set_link_name("/etc/passwd").unwrap();
            }
            header.set_cksum();
            builder.append(&header, body.as_bytes()).unwrap();
        }
        builder.into_inner().unwrap()
    }

    fn run(entries: &[(&str, EntryType, &str)]) -> (tempfile::TempDir, Result<Unpacked, ComputeError>) {
        let root = tempfile::tempdir().unwrap();
        let id = ID.parse().unwrap();
        let ttid = TenantTimelineId::new(id, ID.parse().unwrap());
        let wanted = Wanted { ttid, lsn: Some(Lsn(0x1000)), pg_version: PgVersion::V15 };
        let result = unpack(&archive(entries)[..], root.path(), &wanted);
        (root, result)
    }

    #[test]
    fn unpacks_a_whole_backup() {
        let manifest = manifest("0/1000");
        let (root, unpacked) = run(&[
            (MANIFEST_PATH, EntryType::Regular, &manifest),
            (RELATIONS_PATH, EntryType::Regular, "1663 5 1259 0 2\n"),
            ("./pg_xact", EntryType::Directory, ""),
            ("base/5/PG_VERSION", EntryType::Regular, "15\n"),
            (CONTROL_FILE, EntryType::Regular, "control"),
        ]);
        let unpacked = unpacked.unwrap();
        assert_eq!((unpacked.files, unpacked.bytes, unpacked.relations.len()), (2, 10, 1));
        assert!(root.path().join("pg_xact").is_dir());
        assert_eq!(std::fs::read_to_string(root.path().join("base/5/PG_VERSION")).unwrap(), "15\n");
        assert!(!root.path().join("varve").exists());
    }

    #[test]
    fn refuses_what_is_not_a_whole_backup_of_this_timeline() {
        let right = manifest("0/1000");
        let other = manifest("0/2000");
        let control = (CONTROL_FILE, EntryType::Regular, "control");
        for (problem, entries) in [
            ("manifest", vec![control]),
            ("at 0/2000", vec![(MANIFEST_PATH, EntryType::Regular, other.as_str()), control]),
            ("control file", vec![(MANIFEST_PATH, EntryType::Regular, right.as_str())]),
        ] {
            let error = run(&entries).1.unwrap_err().to_string();
            assert!(error.contains(problem), "{error}");
        }
    }

    #[test]
    fn nothing_gets_out_of_the_directory() {
        let manifest = manifest("0/1000");
        for entry in [
            ("../escaped", EntryType::Regular, "x"),
            ("/tmp/varve-escaped", EntryType::Regular, "x"),
            ("base/../../escaped", EntryType::Regular, "x"),
            ("link", EntryType::Symlink, ""),
        ] {
            let (root, result) = run(&[(MANIFEST_PATH, EntryType::Regular, &manifest), entry]);
            assert!(result.is_err(), "{entry:?}");
            assert!(!root.path().parent().unwrap().join("escaped").exists());
            assert!(!root.path().join("link").exists());
        }
    }
}

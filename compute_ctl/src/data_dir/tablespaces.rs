//! User tablespaces: a directory beside the data directory for each, and the link that PostgreSQL follows.

use pageserver_api::manifest::BackupManifest;
use types::{Oid, RelTag};

use super::DataDir;
use crate::error::ComputeError;

pub fn create(data: &DataDir<'_>, manifest: &BackupManifest) -> Result<(), ComputeError> {
    for tablespace in &manifest.tablespaces {
        let place = data.tablespaces.join(tablespace.oid.to_string());
        let link = data.root.join("pg_tblspc").join(tablespace.oid.to_string());
        // The base backup brings a tablespace as a plain directory, with what its databases have in it.
        if link.is_dir() {
            std::fs::rename(&link, &place).map_err(ComputeError::file("move", &link))?;
        }
        let versioned = place.join(data.layout.tablespace_subdirectory());
        std::fs::create_dir_all(&versioned).map_err(ComputeError::file("create", &versioned))?;
        std::os::unix::fs::symlink(&place, &link).map_err(ComputeError::file("link", &link))?;
        tracing::debug!(
            oid = tablespace.oid,
            wanted = tablespace.location,
            "tablespace at {}",
            place.display()
        );
    }
    Ok(())
}

/// A relation in a tablespace that the manifest does not name would be made inside `pg_tblspc` itself.
pub fn check_known(data: &DataDir<'_>, oid: Oid) -> Result<(), ComputeError> {
    let built_in = [RelTag::DEFAULT_TABLESPACE, RelTag::GLOBAL_TABLESPACE].contains(&oid);
    if built_in || data.root.join("pg_tblspc").join(oid.to_string()).exists() {
        return Ok(());
    }
    Err(ComputeError::Basebackup(format!(
        "it has relations in tablespace {oid}, which its manifest does not name"
    )))
}

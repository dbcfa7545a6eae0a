//! The template: what initdb of the installed PostgreSQL makes, packed once, of which every new root
//! timeline is a copy (with its own system identifier). The pageserver itself runs no PostgreSQL program.

use std::fs::File;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::process::Command;

use anyhow::{Context, bail};
use nix::unistd::{User, chown};
use types::PgVersion;

use crate::local_env::check_version;

/// Compression level: a little above zstd's default, since this is packed once and read often.
const ZSTD_LEVEL: i32 = 6;

/// Runs initdb and writes the packed directory to `target`, through a temporary name.
pub fn make(pg_bin_dir: &Path, pg_version: PgVersion, target: &Path) -> anyhow::Result<()> {
    check_version(pg_bin_dir, pg_version)?;
    // Not below the cluster's directory: initdb may have to run as a user who cannot get there.
    let scratch = tempfile::Builder::new().prefix("varve-initdb-").tempdir()?;
    std::fs::set_permissions(scratch.path(), PermissionsExt::from_mode(0o755))?;
    let data = scratch.path().join("data");
    std::fs::create_dir(&data)?;

    let mut command = as_postgres_user(&pg_bin_dir.join("initdb"), &data)?;
    command
        .args(["--encoding=UTF8", "--locale=C.UTF-8", "--username=postgres", "--auth=trust", "--no-sync"])
        .arg("--pgdata")
        .arg(&data)
        .current_dir(scratch.path());
    let output = command.output().with_context(|| format!("cannot run {}/initdb", pg_bin_dir.display()))?;
    if !output.status.success() {
        bail!("initdb failed: {}", String::from_utf8_lossy(&output.stderr).trim());
    }

    let partial = target.with_extension("partial");
    pack(&data, &partial, ZSTD_LEVEL)?;
    durable_fs::DurableFs::default().rename_durably(&partial, target)?;
    Ok(())
}

/// A data directory as one file, which nobody else may read, as they may not read the directory.
pub fn pack(data: &Path, target: &Path, level: i32) -> anyhow::Result<()> {
    let mut private = File::options();
    private.write(true).create(true).truncate(true).mode(0o600);
    let file = private.open(target).with_context(|| format!("cannot write {}", target.display()))?;
    let mut archive = tar::Builder::new(zstd::Encoder::new(file, level)?);
    // What a link leads to is refused by whoever reads the archive, not read here.
    archive.follow_symlinks(false);
    // It compresses away all the same, and every reader of archives knows plain files.
    archive.sparse(false);
    archive.append_dir_all(".", data)?;
    archive.into_inner()?.finish()?.sync_all()?;
    Ok(())
}

/// PostgreSQL refuses to run as root: root runs it as the user `postgres`, to whom `data` is given.
pub fn as_postgres_user(program: &Path, data: &Path) -> anyhow::Result<Command> {
    if !nix::unistd::geteuid().is_root() {
        return Ok(Command::new(program));
    }
    let user = User::from_name("postgres")?
        .context("there is no user postgres: install PostgreSQL from its package")?;
    chown(data, Some(user.uid), Some(user.gid))?;
    let mut command = Command::new("setpriv");
    command
        .arg(format!("--reuid={}", user.uid))
        .arg(format!("--regid={}", user.gid))
        .args(["--clear-groups", "--"])
        .arg(program);
    Ok(command)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_packed_is_its_owners_alone() {
        let place = tempfile::tempdir().unwrap();
        let (data, target) = (place.path().join("data"), place.path().join("packed.tar.zst"));
        std::fs::create_dir(&data).unwrap();
        std::fs::write(data.join("PG_VERSION"), "15\n").unwrap();
        pack(&data, &target, ZSTD_LEVEL).unwrap();
        assert_eq!(std::fs::metadata(&target).unwrap().permissions().mode() & 0o777, 0o600);
    }
}

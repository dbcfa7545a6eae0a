//! `timeline import`: a database that lives elsewhere becomes a root branch.
//!
//! ```text
//! pg_basebackup, or its archives ─▶ a copy here ─▶ PostgreSQL recovers it and stops ─▶ packed ─▶ the pageserver
//! ```
//! A base backup is a database in the midst of its work: its own WAL makes it whole. PostgreSQL does that itself, so that
//! what is imported is what it would have started on.

mod scratch;

use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::os::unix::fs::{DirBuilderExt, lchown};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, bail};
use http_client::{StatusCode, absent_is_none};
use nix::unistd::{User, geteuid};
use pageserver_api::models::TimelineInfo;
use types::{PgVersion, TenantTimelineId};

use super::{create_on_safekeepers, storage_is_ready};
use crate::local_env::{Branches, LocalEnv, check_version};
use crate::output::{Output, bytes};
use crate::storage::pageserver_client;
use crate::template::{as_postgres_user, pack};
use scratch::Scratch;

/// Once written, once read.
const ZSTD_LEVEL: i32 = 1;
const ZSTD_MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];
/// Of the archive that is sent.
const PACKED: &str = "packed.tar.zst";
/// Seconds that recovery may take.
const RECOVERY_TIMEOUT: &str = "86400";

pub enum Source {
    Archives { base: PathBuf, wal: Option<PathBuf> },
    Server(String),
}

/// What an import of the same timeline has sent that did not come to its end is not sent again.
pub async fn import(
    env: &LocalEnv,
    branches: &mut Branches,
    ttid: TenantTimelineId,
    source: Source,
    output: Output,
) -> anyhow::Result<TimelineInfo> {
    let info = match begun(env, branches, ttid).await? {
        Some(info) => {
            output.progress(format!(
                "going on with what an earlier attempt has sent to the pageserver as timeline {}",
                ttid.timeline_id
            ));
            info
        }
        None => {
            let scratch = Scratch::new(env)?;
            let version = prepare(env, source, scratch.path(), output)?;
            send(env, branches, ttid, version, scratch.path(), output).await?
        }
    };
    create_on_safekeepers(env, ttid.tenant_id, &info, None).await?;
    Ok(info)
}

/// The timeline, if an earlier attempt got so far. All who are needed are asked before there is much work.
async fn begun(
    env: &LocalEnv,
    branches: &Branches,
    ttid: TenantTimelineId,
) -> anyhow::Result<Option<TimelineInfo>> {
    let TenantTimelineId { tenant_id, timeline_id } = ttid;
    storage_is_ready(env, ttid).await?;
    let pageserver = pageserver_client(env);
    match pageserver.check_import(tenant_id, timeline_id).await {
        Ok(()) => Ok(None),
        Err(error) if error.status() == Some(StatusCode::CONFLICT) && branches.has_begun_import(ttid) => {
            // Or it was deleted.
            let sent = absent_is_none(pageserver.timeline(tenant_id, timeline_id).await)?;
            sent.map(Some).ok_or(error).context("nothing was made")
        }
        Err(error) => Err(error).context("nothing was made"),
    }
}

/// From the source to the archive that is to be sent.
fn prepare(env: &LocalEnv, source: Source, scratch: &Path, output: Output) -> anyhow::Result<PgVersion> {
    let data = scratch.join("data");
    std::fs::DirBuilder::new().mode(0o700).create(&data)?;
    match &source {
        Source::Server(connstr) => {
            let bin = env.config.pg_bin_dir(env.config.pg_version);
            output.progress("taking a base backup");
            base_backup(&newest_client(env, &bin), connstr, &data)?;
        }
        Source::Archives { base, wal } => {
            output.progress(format!("unpacking {}", base.display()));
            unpack(base, &data)?;
            refuse_links(&data)?;
            if let Some(wal) = wal {
                unpack(wal, &data.join("pg_wal"))?;
            }
        }
    }
    let version = version_of(&data)?;
    let bin = env.config.pg_bin_dir(version);
    check_version(&bin, version)?;
    refuse_links(&data)?;
    output.progress("recovering it");
    recover(&bin, &data, scratch)?;
    // What it was recovered with is in its pages now.
    std::fs::remove_dir_all(data.join("pg_wal"))?;
    output.progress("packing it");
    pack(&data, &scratch.join(PACKED), ZSTD_LEVEL)?;
    std::fs::remove_dir_all(&data)?;
    Ok(version)
}

async fn send(
    env: &LocalEnv,
    branches: &mut Branches,
    ttid: TenantTimelineId,
    version: PgVersion,
    scratch: &Path,
    output: Output,
) -> anyhow::Result<TimelineInfo> {
    let TenantTimelineId { tenant_id, timeline_id } = ttid;
    let file = tokio::fs::File::open(scratch.join(PACKED)).await?;
    let size = bytes(file.metadata().await?.len());
    output.progress(format!("sending {size} to the pageserver, as timeline {timeline_id}"));
    // The pageserver goes on with what it has got, whatever becomes of this command.
    branches.begin_import(ttid)?;
    let sent = pageserver_client(env).import_timeline(tenant_id, timeline_id, version, file).await;
    match sent {
        Ok(info) => Ok(info),
        // It has none, or one that is not of this.
        Err(error) if error.status().is_some_and(|status| status.is_client_error()) => {
            branches.forget_import(ttid)?;
            Err(error.into())
        }
        Err(error) => Err(error).with_context(|| {
            format!(
                "timeline {timeline_id} may be there or not: the same command with --timeline-id {timeline_id} goes on with it, \
                 or begins anew"
            )
        }),
    }
}

/// pg_basebackup takes backups of older servers too, not of newer ones.
fn newest_client(env: &LocalEnv, default: &Path) -> PathBuf {
    let installed = |version: &PgVersion| env.config.pg_bin_dir(*version).join("pg_basebackup").exists();
    let newest = PgVersion::ALL.into_iter().rev().find(installed);
    newest.map_or_else(|| default.to_owned(), |version| env.config.pg_bin_dir(version))
}

fn base_backup(bin: &Path, connstr: &str, data: &Path) -> anyhow::Result<()> {
    let mut command = as_postgres_user(&bin.join("pg_basebackup"), data)?;
    command.args([
        "--wal-method=stream",
        "--checkpoint=fast",
        "--no-manifest",
        "--progress",
        "--dbname",
        connstr,
    ]);
    command.arg("--pgdata").arg(data).stdin(Stdio::null()).stdout(Stdio::null());
    let status = command.status().with_context(|| format!("cannot run {}/pg_basebackup", bin.display()))?;
    if !status.success() {
        bail!("pg_basebackup could not take a base backup; it says why above");
    }
    Ok(())
}

fn unpack(archive: &Path, target: &Path) -> anyhow::Result<()> {
    let open = || -> anyhow::Result<Box<dyn Read>> {
        let mut file = File::open(archive)?;
        let mut magic = [0; 4];
        let length = file.read(&mut magic)?;
        file.seek(SeekFrom::Start(0))?;
        match magic.get(..length).unwrap_or_default() {
            [a, b, ..] if [*a, *b] == GZIP_MAGIC => bail!("it is compressed with gzip: gunzip it first"),
            start if *start == ZSTD_MAGIC => Ok(Box::new(zstd::Decoder::new(file)?)),
            _ => Ok(Box::new(BufReader::new(file))),
        }
    };
    let unpacked = open().and_then(|reader| Ok(tar::Archive::new(reader).unpack(target)?));
    unpacked.with_context(|| format!("cannot unpack {}", archive.display()))
}

fn version_of(data: &Path) -> anyhow::Result<PgVersion> {
    let text = std::fs::read_to_string(data.join("PG_VERSION"))
        .context("this is no base backup of a PostgreSQL server: it has no file PG_VERSION")?;
    text.trim().parse().with_context(|| format!("PostgreSQL {} is not known here", text.trim()))
}

/// What a link leads to is another's: it would be written to, and given to PostgreSQL's user.
fn refuse_links(data: &Path) -> anyhow::Result<()> {
    refuse_tablespaces(data)?;
    for path in with_all_in_it(data)? {
        let kind = path.symlink_metadata()?.file_type();
        if !kind.is_dir() && !kind.is_file() {
            let path = path.strip_prefix(data).unwrap_or(&path).display();
            bail!(
                "{path} in the base backup is a link, or no file at all: put what it leads to in its place"
            );
        }
    }
    Ok(())
}

/// What links lead to is not in it.
fn with_all_in_it(path: &Path) -> std::io::Result<Vec<PathBuf>> {
    let (mut waiting, mut all) = (vec![path.to_owned()], Vec::new());
    while let Some(path) = waiting.pop() {
        if path.symlink_metadata()?.is_dir() {
            for entry in std::fs::read_dir(&path)? {
                waiting.push(entry?.path());
            }
        }
        all.push(path);
    }
    Ok(all)
}

fn refuse_tablespaces(data: &Path) -> anyhow::Result<()> {
    let map = std::fs::read_to_string(data.join("tablespace_map")).unwrap_or_default();
    let links = std::fs::read_dir(data.join("pg_tblspc")).into_iter().flatten().count();
    if links > 0 || !map.trim().is_empty() {
        bail!("the server has tablespaces of its own: move what is in them to pg_default first");
    }
    Ok(())
}

/// Starts PostgreSQL on the copy, which makes it whole, and stops it cleanly.
fn recover(bin: &Path, data: &Path, scratch: &Path) -> anyhow::Result<()> {
    // A standby would wait for more WAL, and settings of the server may name what is not here.
    for name in ["postmaster.pid", "standby.signal", "recovery.signal", "postgresql.auto.conf"] {
        match std::fs::remove_file(data.join(name)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
            Ok(()) | Err(_) => {}
        }
    }
    let (config, hba, log) =
        (scratch.join("postgresql.conf"), scratch.join("pg_hba.conf"), scratch.join("log"));
    // Nobody may connect, and what is lost in a crash of this machine is taken anew.
    let settings = [
        "listen_addresses = \'\'".to_owned(),
        format!("unix_socket_directories = \'{}\'", data.display()),
        format!("hba_file = \'{}\'", hba.display()),
        "autovacuum = off".to_owned(),
        "fsync = off".to_owned(),
        "max_prepared_transactions = 1000".to_owned(),
    ];
    std::fs::write(&config, settings.join("\n"))?;
    std::fs::write(&hba, "local all all reject\n")?;
    File::create(&log)?;
    give_to_postgres(data)?;
    give_to_postgres(&log)?;
    let pg_ctl = |arguments: &[&str]| -> anyhow::Result<bool> {
        let mut command: Command = as_postgres_user(&bin.join("pg_ctl"), data)?;
        command.args(arguments).args(["--wait", "--timeout", RECOVERY_TIMEOUT]).arg("--pgdata").arg(data);
        command.arg("--log").arg(&log).current_dir(scratch);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        Ok(command.status().with_context(|| format!("cannot run {}/pg_ctl", bin.display()))?.success())
    };
    let options = format!("-c config_file={}", config.display());
    let worked = pg_ctl(&["start", "--options", &options])? && pg_ctl(&["stop", "--mode", "fast"])?;
    if !worked {
        let said = std::fs::read_to_string(&log).unwrap_or_default();
        let last: Vec<&str> = said.lines().rev().take(8).collect();
        bail!(
            "PostgreSQL does not start on the base backup, was all its WAL given? It says:\n{}",
            last.into_iter().rev().collect::<Vec<_>>().join("\n")
        );
    }
    let config_file = format!("config_file={}", config.display());
    make_reachable(bin, data, scratch, &config_file)
}

/// compute_ctl comes as the role that initdb made, by the name of `postgres`, to the database of that name.
const REACHABLE: &str = "SELECT \'first role: \' || rolname FROM pg_authid WHERE oid = 10\n\
                         ALTER ROLE postgres SUPERUSER LOGIN\n\
                         CREATE DATABASE postgres\n";
const NAMED_SO: &str = "\"first role: postgres\"";

/// In single-user mode, which asks nobody who he is. That the database is there already is no failure.
fn make_reachable(bin: &Path, data: &Path, scratch: &Path, config_file: &str) -> anyhow::Result<()> {
    let statements = scratch.join("statements");
    std::fs::write(&statements, REACHABLE)?;
    let mut command = as_postgres_user(&bin.join("postgres"), data)?;
    command.arg("--single").arg("-D").arg(data).args(["-c", config_file, "template1"]);
    command.current_dir(scratch).stdin(File::open(&statements)?);
    let output = command.output().with_context(|| format!("cannot run {}/postgres", bin.display()))?;
    if !output.status.success() {
        bail!(
            "PostgreSQL does not run in single-user mode: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    if !String::from_utf8_lossy(&output.stdout).contains(NAMED_SO) {
        bail!("the role that initdb made is not called postgres, which computes need: rename it there first");
    }
    Ok(())
}

/// With all that is in it. Where this is not root, it is ours already and PostgreSQL runs as we do.
fn give_to_postgres(path: &Path) -> anyhow::Result<()> {
    if !geteuid().is_root() {
        return Ok(());
    }
    let user = User::from_name("postgres")?.context("there is no user postgres")?;
    for path in with_all_in_it(path)? {
        lchown(path, Some(user.uid.as_raw()), Some(user.gid.as_raw()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_elsewhere_is_refused() {
        let data = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(data.path().join("pg_tblspc")).unwrap();
        std::fs::create_dir_all(data.path().join("base/5")).unwrap();
        std::fs::write(data.path().join("base/5/16384"), "").unwrap();
        refuse_links(data.path()).unwrap();
        for (link, said) in
            [("pg_wal", "pg_wal in the base backup is a link"), ("pg_tblspc/16400", "pg_default")]
        {
            let path = data.path().join(link);
            std::os::unix::fs::symlink("/etc", &path).unwrap();
            let refused = refuse_links(data.path()).unwrap_err().to_string();
            assert!(refused.contains(said), "{refused}");
            std::fs::remove_file(path).unwrap();
        }
    }
}

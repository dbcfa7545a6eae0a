//! `timeline export`: a plain data directory of a branch at an LSN, which stock PostgreSQL starts.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::Path;

use anyhow::{Context, bail};
use pg_frontend::{Address, ConnectParams, CopyReader, PgClient};
use serde_json::json;
use types::{Lsn, PgVersion, TenantId, TimelineId};

use crate::local_env::LocalEnv;
use crate::output::{Output, bytes};

/// Entries of the archive that speak to compute_ctl and are no part of a data directory.
const OWN_ENTRIES: &str = "varve";

pub async fn export(
    env: &LocalEnv,
    (tenant, timeline): (TenantId, TimelineId),
    pg_version: PgVersion,
    at_lsn: Option<Lsn>,
    directory: &Path,
    output: Output,
) -> anyhow::Result<()> {
    refuse_full(directory)?;
    output.progress(format!("exporting timeline {timeline} to {}", directory.display()));
    let address = Address::parse(&env.config.pageserver_pg_address())?;
    let params = ConnectParams::new(address, "varve").credentials(&env.credentials);
    let lsn = at_lsn.map(|lsn| format!(" {lsn}")).unwrap_or_default();
    let command = format!("fullbackup {tenant} {timeline}{lsn} --zstd");
    let copy = PgClient::connect(&params).await?.copy_out(&command).await?;

    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    let target = directory.canonicalize()?;
    let stream = BlockingCopy { copy, runtime: tokio::runtime::Handle::current(), chunk: Default::default() };
    let unpacked = match tokio::task::spawn_blocking(move || unpack(stream, &target)).await? {
        Ok(unpacked) => unpacked,
        Err(error) => {
            // If nothing has come, nothing is left; a part of an archive is left to look at.
            let _ = std::fs::remove_dir(directory);
            return Err(error.context(format!("cannot export timeline {timeline}{lsn}")));
        }
    };
    // PostgreSQL refuses a data directory that others may read.
    std::fs::set_permissions(directory, PermissionsExt::from_mode(0o700))?;
    let value = json!({ "directory": directory, "bytes": unpacked, "at_lsn": at_lsn });
    output.result(&value, || {
        format!(
            "{} in {}; start it with\n\n  {}/pg_ctl -D {} start",
            bytes(unpacked),
            directory.display(),
            env.config.pg_bin_dir(pg_version).display(),
            directory.display()
        )
    })
}

fn refuse_full(directory: &Path) -> anyhow::Result<()> {
    match std::fs::read_dir(directory) {
        Ok(mut entries) => match entries.next() {
            Some(_) => bail!("{} is not empty", directory.display()),
            None => Ok(()),
        },
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot use {}", directory.display()))
        }
        _ => Ok(()),
    }
}

/// Returns the bytes of all files.
fn unpack(stream: BlockingCopy, target: &Path) -> anyhow::Result<u64> {
    let mut archive = tar::Archive::new(zstd::Decoder::new(stream)?);
    let (mut total, mut complete) = (0, false);
    for entry in archive.entries()? {
        let mut entry = entry.context("the pageserver's archive ended")?;
        let path = entry.path()?.into_owned();
        if path.starts_with(OWN_ENTRIES) {
            continue;
        }
        // `unpack_in` refuses a path that leads out of the target.
        if !entry.unpack_in(target)? {
            bail!("the archive has an entry outside of the target: {}", path.display());
        }
        total += entry.size();
        // It comes last, so that half an archive does not look like a cluster.
        complete |= path.ends_with("global/pg_control");
    }
    if !complete {
        bail!("the archive ended early: {} is not a usable data directory", target.display());
    }
    // Whoever deletes the branch now has it here only.
    let synced = File::open(target).and_then(|directory| Ok(nix::unistd::syncfs(directory)?));
    synced.with_context(|| format!("cannot make {} durable", target.display()))?;
    Ok(total)
}

/// A COPY OUT stream for code that reads files.
struct BlockingCopy {
    copy: CopyReader,
    runtime: tokio::runtime::Handle,
    chunk: std::io::Cursor<Vec<u8>>,
}

impl Read for BlockingCopy {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        loop {
            let count = self.chunk.read(buffer)?;
            if count > 0 || buffer.is_empty() {
                return Ok(count);
            }
            match self.runtime.block_on(self.copy.next()).map_err(std::io::Error::other)? {
                Some(bytes) => self.chunk = std::io::Cursor::new(bytes.to_vec()),
                None => return Ok(0),
            }
        }
    }
}

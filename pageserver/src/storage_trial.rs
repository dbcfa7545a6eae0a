//! `--check-storage`: whether object storage does what this pageserver will rely on.

use std::path::Path;

use anyhow::Context;
use durable_fs::DurableFs;
use remote_storage::{ObjectKey, try_out};
use types::TenantId;

use crate::config::Config;

/// Beside tenants and WAL.
const PLACE: &str = "doctor";

pub async fn run(config: &Config, workdir: &Path) -> anyhow::Result<()> {
    let store = config
        .remote_storage
        .open(workdir, DurableFs::default())
        .await
        .context("cannot use object storage")?;
    // Another name each time: two may be at it.
    try_out(&*store, &ObjectKey::new(PLACE)?, &TenantId::generate().to_string()).await?;
    tracing::info!("object storage does what is relied on");
    Ok(())
}

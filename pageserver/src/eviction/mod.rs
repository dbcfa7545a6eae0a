//! The local disk is a cache: when it gets full, layers go that nobody has read for the longest time. Object storage has
//! them, so a read that needs one fetches it again.

mod plan;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use durable_fs::run_blocking;
use nix::sys::statvfs::statvfs;
use tokio_util::sync::CancellationToken;

use crate::storage::{EvictableLayer, TenantManager};
pub use plan::Limits;
use plan::{Candidate, Usage, choose, excess};

/// What a file that does not fit is given room for beyond the limits, at least.
const ROOM: u64 = 64 << 20;

pub struct Evictor {
    manager: Arc<TenantManager>,
    /// On the file system that counts.
    workdir: PathBuf,
    limits: Limits,
    period: Duration,
}

impl Evictor {
    pub fn new(manager: Arc<TenantManager>, workdir: PathBuf, limits: Limits, period: Duration) -> Self {
        Self { manager, workdir, limits, period }
    }

    /// Looks at the disk from time to time, and when a file did not fit, until `shutdown` is cancelled.
    pub async fn run(&self, shutdown: CancellationToken) {
        loop {
            let wanted = tokio::select! {
                () = shutdown.cancelled() => return,
                () = tokio::time::sleep(self.period) => 0,
                bytes = self.manager.room_wanted() => bytes.max(ROOM),
            };
            match self.usage().await {
                Ok(usage) => self.evict(usage, wanted).await,
                Err(error) => {
                    tracing::error!(path = %self.workdir.display(), %error, "cannot tell how full the disk is");
                }
            }
            if wanted > 0 {
                self.manager.room_made();
            }
        }
    }

    async fn usage(&self) -> nix::Result<Usage> {
        let path = self.workdir.clone();
        let found = run_blocking(move || statvfs(&path)).await?;
        let bytes = |blocks| u64::saturating_mul(blocks, found.fragment_size());
        Ok(Usage {
            total: bytes(found.blocks()),
            available: bytes(found.blocks_available()),
            layers: self.manager.local_layer_bytes(),
        })
    }

    async fn evict(&self, usage: Usage, wanted: u64) {
        let bytes = excess(usage, self.limits).max(wanted);
        if bytes == 0 {
            return;
        }
        let layers = self.manager.evictable_layers();
        let candidate =
            |layer: &EvictableLayer| Candidate { last_access: layer.last_access(), size: layer.size() };
        let candidates: Vec<Candidate> = layers.iter().map(candidate).collect();
        let chosen: Vec<EvictableLayer> =
            choose(&candidates, bytes).into_iter().map(|at| layers[at].clone()).collect();
        let evict = move || {
            chosen.iter().filter_map(EvictableLayer::evict).fold((0, 0), |(n, sum), size| (n + 1, sum + size))
        };
        let (evicted, freed): (usize, u64) = run_blocking(evict).await;
        let Usage { available, layers, .. } = usage;
        if freed < bytes {
            tracing::warn!(
                wanted = bytes,
                freed,
                layers = evicted,
                available,
                layer_bytes = layers,
                "the disk is full, and too few layers may be evicted: what object storage has not got yet must stay"
            );
        } else {
            tracing::info!(freed, layers = evicted, available, layer_bytes = layers, "evicted layers");
        }
    }
}

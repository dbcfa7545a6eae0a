//! How much of the past is kept: from time to time, and when somebody asks, cutoffs are computed and given to storage.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use pageserver_api::history::{LsnKind, POSTGRES_EPOCH, TenantConfig};
use prometheus::{Gauge, IntCounter, Registry};
use telemetry::trace_span;
use tokio_util::sync::CancellationToken;
use tracing::Instrument;
use types::{Lsn, TenantId};

use crate::basebackup::own_checkpoint;
use crate::history::{commit_time, lsn_of_time};
use crate::storage::{StorageError, TenantManager, Timeline};

/// What counts for a tenant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    pub pitr_interval: Duration,
    /// Bytes of WAL.
    pub gc_horizon: u64,
}

impl Retention {
    /// With what is set in its place.
    pub fn with(self, config: TenantConfig) -> Self {
        Self {
            pitr_interval: config.pitr_interval.map_or(self.pitr_interval, |interval| interval.0),
            gc_horizon: config.gc_horizon.unwrap_or(self.gc_horizon),
        }
    }
}

/// Whether rounds come to their ends.
pub struct GcMetrics {
    errors: IntCounter,
    period: Gauge,
    last_round: Gauge,
}

impl GcMetrics {
    pub fn new(registry: &Registry) -> prometheus::Result<Self> {
        let metrics = Self {
            errors: IntCounter::new(
                "pageserver_gc_errors_total",
                "Tenants whose garbage could not be collected in a round",
            )?,
            period: Gauge::new(
                "pageserver_gc_period_seconds",
                "Time between two rounds of garbage collection",
            )?,
            last_round: Gauge::new(
                "pageserver_gc_last_round_timestamp_seconds",
                "When the last round ended, or the pageserver was started, since 1970",
            )?,
        };
        registry.register(Box::new(metrics.errors.clone()))?;
        registry.register(Box::new(metrics.period.clone()))?;
        registry.register(Box::new(metrics.last_round.clone()))?;
        metrics.round_ended();
        Ok(metrics)
    }

    fn round_ended(&self) {
        self.last_round.set(SystemTime::UNIX_EPOCH.elapsed().map_or(0.0, |since| since.as_secs_f64()));
    }
}

pub struct GarbageCollector {
    manager: Arc<TenantManager>,
    defaults: Retention,
    period: Duration,
    lease_length: Duration,
    metrics: GcMetrics,
}

impl GarbageCollector {
    pub fn new(
        manager: Arc<TenantManager>,
        defaults: Retention,
        period: Duration,
        lease_length: Duration,
        metrics: GcMetrics,
    ) -> Self {
        metrics.period.set(period.as_secs_f64());
        Self { manager, defaults, period, lease_length, metrics }
    }

    pub const fn lease_length(&self) -> Duration {
        self.lease_length
    }

    pub const fn defaults(&self) -> Retention {
        self.defaults
    }

    pub fn retention(&self, tenant: TenantId) -> Result<Retention, StorageError> {
        Ok(self.defaults.with(self.manager.tenant_config(tenant)?))
    }

    /// Collects of all tenants, one after the other, until `shutdown` is cancelled.
    pub async fn run(&self, shutdown: CancellationToken) {
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = tokio::time::sleep(self.period) => {}
            }
            // Of one that came a moment ago, the leases of what is above the cutoff are not known: whoever had one, of the
            // pageserver that it came from, gets the time to renew it.
            for tenant in self.manager.tenants_served_for(self.lease_length) {
                let collecting = async {
                    let retention = self.retention(tenant)?;
                    self.collect(tenant, retention).await
                };
                // Not dropped at a shutdown: what it has begun must not go on beside what comes next. It ends when
                // the timelines are closed.
                let span = trace_span!(None, "garbage collection", varve.tenant_id = %tenant);
                match collecting.instrument(span).await {
                    Ok(_) => {}
                    // Or one of its timelines was deleted meanwhile: the next round does without.
                    Err(StorageError::ShuttingDown) => {}
                    Err(error) => {
                        self.metrics.errors.inc();
                        tracing::error!(%tenant, %error, "cannot collect garbage, will try again");
                    }
                }
            }
            self.metrics.round_ended();
        }
    }

    /// Of all timelines of a tenant, but for archived ones, whose layers are not fetched for it. Returns how many layers were
    /// removed. One that cannot be read keeps all that it has, and the others go on.
    pub async fn collect(&self, tenant: TenantId, retention: Retention) -> Result<usize, StorageError> {
        let (mut cutoffs, mut failed) = (BTreeMap::new(), None);
        for timeline in self.manager.list_timelines(tenant)? {
            if self.manager.is_archived(timeline.id()) {
                continue;
            }
            match cutoff(&timeline, retention).await {
                Ok(Some(cutoff)) => drop(cutoffs.insert(timeline.id().timeline_id, cutoff)),
                Ok(None) => {}
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        let removed = self.manager.collect_garbage(tenant, &cutoffs).await?;
        failed.map_or(Ok(removed), Err)
    }
}

/// Everything from the returned LSN on is kept.
///
/// The interval is counted from the branch's last commit, or from now if that is earlier: so a branch that nobody
/// writes to keeps its past, and a clock of ours that runs ahead removes nothing. A replica that comes begins where redo of
/// the last checkpoint does: that is kept in any case.
async fn cutoff(timeline: &Timeline, retention: Retention) -> Result<Option<Lsn>, StorageError> {
    let last = timeline.last_record_lsn();
    let Some((newest, _)) = commit_time(timeline, last).await? else { return Ok(None) };
    let end = newest.min(now());
    let interval = i64::try_from(retention.pitr_interval.as_micros()).unwrap_or(i64::MAX);
    let found = lsn_of_time(timeline, end.saturating_sub(interval)).await?;
    if matches!(found.kind, LsnKind::Past | LsnKind::NoData) {
        return Ok(None);
    }
    let begin = own_checkpoint(timeline, last).await?.map_or(last, |written| written.checkpoint.redo);
    Ok(Some(found.lsn.min(begin).min(Lsn(last.0.saturating_sub(retention.gc_horizon)))))
}

/// Microseconds since 2000-01-01.
fn now() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX).saturating_sub(POSTGRES_EPOCH)
}

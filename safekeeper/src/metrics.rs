//! What the safekeeper counts. Made once at start and passed to those who count.

use prometheus::{Histogram, HistogramOpts, IntCounter, IntGauge, IntGaugeVec, Opts, Registry};
use types::TenantTimelineId;

pub struct Metrics {
    pub timelines: IntGauge,
    pub broken_timelines: IntGauge,
    pub wal_receivers: IntGauge,
    pub wal_senders: IntGauge,
    pub wal_received_bytes: IntCounter,
    pub wal_sent_bytes: IntCounter,
    pub wal_flush_seconds: Histogram,
    pub wal_write_seconds: Histogram,
    pub batch_messages: Histogram,
    pub control_file_seconds: Histogram,
    /// Appends or state changes that failed and were undone: a full disk, WAL that is not WAL.
    pub undone_batches: IntCounter,
    pub broker_connection_failures: IntCounter,
    pub evicted: IntCounter,
    pub woken: IntCounter,
    pub offloaded_segments: IntCounter,
    pub offload_failures: IntCounter,
    flush_position: IntGaugeVec,
    commit_position: IntGaugeVec,
    term: IntGaugeVec,
    offload_lag: IntGaugeVec,
}

/// The gauges of one timeline.
#[derive(Clone)]
pub struct TimelineMetrics {
    pub flush_position: IntGauge,
    pub commit_position: IntGauge,
    pub term: IntGauge,
    /// None where WAL stays: this safekeeper has no object storage.
    pub offload_lag: Option<IntGauge>,
}

impl Metrics {
    pub fn new(registry: &Registry) -> prometheus::Result<Self> {
        let seconds = |name: &str, help: &str| {
            let buckets = prometheus::exponential_buckets(0.000_1, 2.0, 16)?;
            register(registry, Histogram::with_opts(HistogramOpts::new(name, help).buckets(buckets))?)
        };
        let counter = |name: &str, help: &str| register(registry, IntCounter::new(name, help)?);
        let gauge = |name: &str, help: &str| register(registry, IntGauge::new(name, help)?);
        let labels = &["tenant_id", "timeline_id"];
        let per_timeline =
            |name: &str, help: &str| register(registry, IntGaugeVec::new(Opts::new(name, help), labels)?);
        let batch = HistogramOpts::new("safekeeper_batch_messages", "Messages that shared one fdatasync")
            .buckets(prometheus::exponential_buckets(1.0, 2.0, 8)?);
        Ok(Self {
            timelines: gauge("safekeeper_timelines", "Timelines kept here")?,
            broken_timelines: gauge(
                "safekeeper_broken_timelines",
                "Timelines that could not be opened at start",
            )?,
            wal_receivers: gauge("safekeeper_wal_receivers", "Proposers connected")?,
            wal_senders: gauge("safekeeper_wal_senders", "Readers of WAL connected")?,
            wal_received_bytes: counter("safekeeper_wal_received_bytes_total", "WAL written to disk")?,
            wal_sent_bytes: counter("safekeeper_wal_sent_bytes_total", "WAL sent to readers")?,
            wal_flush_seconds: seconds("safekeeper_wal_flush_seconds", "One fdatasync of WAL")?,
            wal_write_seconds: seconds(
                "safekeeper_wal_write_seconds",
                "One write of WAL, without its fdatasync",
            )?,
            batch_messages: register(registry, Histogram::with_opts(batch)?)?,
            control_file_seconds: seconds(
                "safekeeper_control_file_seconds",
                "One durable write of a control file",
            )?,
            undone_batches: counter(
                "safekeeper_undone_batches_total",
                "Batches that failed and were undone",
            )?,
            broker_connection_failures: counter(
                "safekeeper_broker_connection_failures_total",
                "Connections to the storage broker that failed or ended",
            )?,
            evicted: counter(
                "safekeeper_evictions_total",
                "Timelines that were evicted because nobody used them",
            )?,
            woken: counter("safekeeper_wakes_total", "Evicted timelines that somebody wanted to use")?,
            offloaded_segments: counter(
                "safekeeper_offloaded_segments_total",
                "WAL segments found equal in object storage, put there by this safekeeper or another",
            )?,
            offload_failures: counter(
                "safekeeper_offload_failures_total",
                "Attempts to put a WAL segment into object storage, or to compare it, that failed",
            )?,
            flush_position: per_timeline(
                "safekeeper_flush_position_bytes",
                "LSN of the end of the last whole record that is durable here",
            )?,
            commit_position: per_timeline(
                "safekeeper_commit_position_bytes",
                "LSN up to which WAL is durable on a quorum, as far as is known here",
            )?,
            term: per_timeline("safekeeper_acceptor_term", "Highest term the acceptor has seen")?,
            offload_lag: per_timeline(
                "safekeeper_offload_lag_bytes",
                "WAL that is committed and not known to be in object storage; up to a segment is normal",
            )?,
        })
    }

    /// Its gauges are shown no more.
    pub fn forget_timeline(&self, ttid: TenantTimelineId) {
        let (tenant, timeline) = (ttid.tenant_id.to_string(), ttid.timeline_id.to_string());
        for gauges in [&self.flush_position, &self.commit_position, &self.term, &self.offload_lag] {
            // Not there is fine.
            let _ = gauges.remove_label_values(&[&tenant, &timeline]);
        }
    }

    pub fn of_timeline(&self, ttid: TenantTimelineId, offloads: bool) -> TimelineMetrics {
        let (tenant, timeline) = (ttid.tenant_id.to_string(), ttid.timeline_id.to_string());
        let labels = [tenant.as_str(), timeline.as_str()];
        TimelineMetrics {
            flush_position: self.flush_position.with_label_values(&labels),
            commit_position: self.commit_position.with_label_values(&labels),
            term: self.term.with_label_values(&labels),
            offload_lag: offloads.then(|| self.offload_lag.with_label_values(&labels)),
        }
    }
}

fn register<C: prometheus::core::Collector + Clone + 'static>(
    registry: &Registry,
    collector: C,
) -> prometheus::Result<C> {
    registry.register(Box::new(collector.clone()))?;
    Ok(collector)
}

/// Counts something for as long as it lives.
pub struct Counted(IntGauge);

impl Counted {
    pub fn new(gauge: &IntGauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.dec();
    }
}

//! What ingest counts.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use prometheus::{IntCounter, IntCounterVec, Opts, Registry};
use types::TenantTimelineId;

#[derive(Clone)]
pub struct IngestMetrics {
    pub records: IntCounter,
    pub bytes: IntCounter,
    pub entries: IntCounter,
    pub gap_blocks: IntCounter,
    inapplicable: IntCounterVec,
    /// For status answers; the Prometheus counter has resource managers only.
    by_timeline: Arc<Mutex<HashMap<TenantTimelineId, u64>>>,
}

impl IngestMetrics {
    pub fn new(registry: &Registry) -> prometheus::Result<Self> {
        let counter = |name: &str, help: &str| -> prometheus::Result<IntCounter> {
            let counter = IntCounter::new(format!("pageserver_ingest_{name}"), help)?;
            registry.register(Box::new(counter.clone()))?;
            Ok(counter)
        };
        let inapplicable = IntCounterVec::new(
            Opts::new(
                "pageserver_ingest_inapplicable_records_total",
                "Records that were stored but cannot be applied",
            ),
            &["rmgr"],
        )?;
        registry.register(Box::new(inapplicable.clone()))?;
        Ok(Self {
            records: counter("records_total", "WAL records taken in")?,
            bytes: counter("bytes_total", "Bytes of WAL records taken in")?,
            entries: counter("entries_total", "Versions of keys made of WAL records")?,
            gap_blocks: counter(
                "gap_blocks_total",
                "Blocks that begin anew as zeros since a relation grew past them",
            )?,
            inapplicable,
            by_timeline: Arc::default(),
        })
    }

    pub(super) fn inapplicable(&self, timeline: TenantTimelineId, rmgr: &str) {
        self.inapplicable.with_label_values(&[rmgr]).inc();
        *self.by_timeline.lock().expect("no holder panics").entry(timeline).or_default() += 1;
    }

    pub fn inapplicable_of(&self, timeline: TenantTimelineId) -> u64 {
        self.by_timeline.lock().expect("no holder panics").get(&timeline).copied().unwrap_or(0)
    }

    pub fn inapplicable_total(&self) -> u64 {
        self.by_timeline.lock().expect("no holder panics").values().sum()
    }
}
